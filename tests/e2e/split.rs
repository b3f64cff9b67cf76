//! A route with several targets: shares by weight, keys that stay, and weights that change while the proxy runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringway_tests::either::{EITHER, Speaks, ask};
use ringway_tests::http2::Http2Client;
use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    shares_follow_the_weights,
    a_key_stays_with_its_target_on_every_worker_and_in_every_process,
    weights_change_at_run_time_and_last_until_the_file_changes,
    a_switch_moves_everything_without_a_failed_request,
    what_is_no_weight_changes_nothing,
}

const TOKEN: &str = "s3cret-token";

fn named(name: &str) -> Origin {
    Origin::replying(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
}

struct Site {
    blue: Origin,
    green: Origin,
}

impl Site {
    fn new() -> Site {
        Site { blue: named("blue"), green: named("green") }
    }

    fn yaml(&self, blue: u32, green: u32, more: &str) -> String {
        format!(
            "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\nclusters:\n  \
             - {{ name: blue, endpoints: [\"{}\"] }}\n  - {{ name: green, endpoints: [\"{}\"] }}\nroutes:\n  \
             - name: shop\n    to:\n      - {{ cluster: blue, weight: {blue} }}\n      \
             - {{ cluster: green, weight: {green} }}\n    {more}\n",
            self.blue.address(),
            self.green.address(),
        )
    }

    fn start(&self, io: Io, blue: u32, green: u32, more: &str) -> Proxy {
        let ringway = Ringway::to(&self.blue).io(io).workers(2).config(self.yaml(blue, green, more));
        ringway.environment("RINGWAY_ADMIN_TOKEN", TOKEN).start()
    }
}

fn change(proxy: &Proxy, path: &str) -> (u16, String) {
    let host = proxy.admin();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    );
    let response = Client::connect(host).exchange(request);
    (response.status, response.body_text())
}

/// How many of so many requests go to green.
fn greens(proxy: &Proxy, speaks: Speaks, count: usize) -> usize {
    match speaks {
        Speaks::Http1 => {
            let mut client = proxy.connect();
            (0..count).filter(|_| client.get("/").body_text() == "green").count()
        }
        Speaks::Http2 => {
            let mut client = Http2Client::connect(proxy.address());
            let mut is_green = || {
                let id = client.get("/");
                client.response(id).body == b"green"
            };
            (0..count).filter(|_| is_green()).count()
        }
    }
}

fn shares_follow_the_weights(io: Io) {
    let site = Site::new();
    let proxy = site.start(io, 90, 10, "");
    for speaks in EITHER {
        // 10% of 1,000 within five standard deviations of 9.5 each.
        let greens = greens(&proxy, speaks, 1000);
        assert!((52..=148).contains(&greens), "{greens} of 1000, {speaks:?}");
    }
    let proxy = site.start(io, 1, 0, "");
    assert_eq!(greens(&proxy, Speaks::Http1, 50), 0, "a weight of 0 gets nothing");
}

fn a_key_stays_with_its_target_on_every_worker_and_in_every_process(io: Io) {
    let site = Site::new();
    for (sticky, name, value) in [
        ("sticky: { header: X-User }", "x-user", ""),
        ("sticky: { cookie: session }", "cookie", "a=1; session="),
    ] {
        let (one, other) = (site.start(io, 50, 50, sticky), site.start(io, 50, 50, sticky));
        let mut greens = 0;
        for user in 0..40 {
            let value = format!("{value}{user}");
            let ask = |proxy, speaks| ask(proxy, speaks, "GET", "/", &[(name, &value)], b"").body;
            let first = ask(&one, Speaks::Http1);
            for speaks in EITHER {
                for proxy in [&one, &other] {
                    // Each on a connection of its own, so that both workers have a say.
                    assert_eq!(ask(proxy, speaks), first, "{sticky} {user}");
                }
            }
            greens += usize::from(first == "green");
        }
        assert!((1..40).contains(&greens), "{greens}: keys do spread");
    }
    let proxy = site.start(io, 50, 50, "sticky: { client: true }");
    let first = proxy.get("/").body_text();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").body_text(), first);
    }
}

fn weights_change_at_run_time_and_last_until_the_file_changes(io: Io) {
    let site = Site::new();
    let proxy = site.start(io, 1, 0, "");
    assert_eq!(greens(&proxy, Speaks::Http1, 20), 0);
    let (status, body) = change(&proxy, "/weights/shop?blue=0&green=100");
    assert_eq!(status, 200, "{body}");
    assert_eq!(greens(&proxy, Speaks::Http2, 20), 20);
    let shown = proxy.admin_get("/weights").body_text();
    assert!(shown.contains("\"weight\": 100") && shown.contains("\"weight_of_file\": 0"), "{shown}");
    // Another setting of the route has changed, its targets have not.
    proxy.reload(site.yaml(1, 0, "timeout: 9s"));
    assert_eq!(greens(&proxy, Speaks::Http1, 20), 20, "the change lasts over a reload");
    proxy.reload(site.yaml(2, 0, "timeout: 9s"));
    eventually("the weights of the file", || (greens(&proxy, Speaks::Http1, 1) == 0).then_some(()));
    assert_eq!(greens(&proxy, Speaks::Http1, 20), 0);
}

fn a_switch_moves_everything_without_a_failed_request(io: Io) {
    let site = Site::new();
    let proxy = site.start(io, 1, 0, "");
    let (over, served, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while !over.load(Ordering::Relaxed) {
                    let ok = client.get("/").status == 200;
                    (if ok { &served } else { &failed }).fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for turn in 0..10 {
            let (to, want) = if turn % 2 == 0 { ("green", 10) } else { ("blue", 0) };
            assert_eq!(change(&proxy, &format!("/switch/shop?to={to}")).0, 200);
            // The answer means that it is in force.
            assert_eq!(greens(&proxy, Speaks::Http1, 10), want, "{to}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {served:?}");
}

fn what_is_no_weight_changes_nothing(io: Io) {
    let site = Site::new();
    let proxy = site.start(io, 0, 1, "");
    for (path, want) in [
        ("/weights/shop", 400),
        ("/weights/shop?blue", 400),
        ("/weights/shop?blue=many", 400),
        ("/weights/shop?blue=1000001", 400),
        ("/weights/shop?red=1", 400),
        ("/weights/shop?green=0", 400),
        ("/switch/shop?to=red", 400),
        ("/switch/shop", 400),
        ("/weights/nothing?blue=1", 404),
        ("/switch/nothing?to=blue", 404),
    ] {
        let (status, body) = change(&proxy, path);
        assert_eq!(status, want, "{path}: {body}");
    }
    let without = format!("POST /switch/shop?to=blue HTTP/1.1\r\nHost: {}\r\n\r\n", proxy.admin());
    assert!(matches!(Client::connect(proxy.admin()).exchange(without).status, 401 | 403));
    assert_eq!(greens(&proxy, Speaks::Http1, 20), 20);
}
