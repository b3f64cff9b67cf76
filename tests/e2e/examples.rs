//! The files of `docs/examples` that show what a gateway and a mesh are asked for, each run with origins in the place of its
//! addresses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ringway_tests::http::Response;
use ringway_tests::temp::TempDir;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    a_canary_gets_one_request_of_ten_and_keeps_its_users,
    a_service_is_tried_three_times_and_shares_go_to_the_next_version,
    partners_need_a_key_and_have_a_hundred_requests_a_minute,
    an_edge_of_a_shop_leads_and_limits_by_path_and_key,
}

/// An example that is being made ready to run here.
struct Example {
    text: String,
    directory: TempDir,
}

impl Example {
    fn of(name: &str) -> Example {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name);
        let text = std::fs::read_to_string(path).expect("the example");
        let mut example = Example { text, directory: TempDir::new() };
        // Machines that run tests are slow and shared.
        let patient = ["500ms", "1s", "2s", "10s"];
        for key in ["connect: ", "per_try_timeout: ", " timeout: "] {
            for time in patient {
                example.text = example.text.replace(&format!("{key}{time}"), &format!("{key}60s"));
            }
        }
        example.with("bind: \":8080\"", "bind: \"127.0.0.1:0\"")
    }

    /// Puts something of this machine in the place of something of theirs.
    fn with(mut self, theirs: &str, ours: impl std::fmt::Display) -> Example {
        assert!(self.text.contains(theirs) || theirs.starts_with("bind"), "the example has no {theirs}");
        self.text = self.text.replace(theirs, &ours.to_string());
        self
    }

    fn start(&self, io: Io, listener: &str) -> (Proxy, std::net::SocketAddr) {
        let socket = self.directory.path().join("admin.sock");
        let ringway = Ringway::to_endpoints([]).io(io).workers(2).config(&self.text);
        let proxy = ringway.set("admin-socket", socket.display()).start();
        let address = proxy.address_of(listener);
        (proxy, address)
    }

    /// A key of a consumer, in the file of keys that the example then reads.
    fn with_key(self, consumer: &str, groups: &str) -> (Example, String) {
        let file = self.directory.path().join("keys.yaml");
        let shown = file.display().to_string();
        let output = std::process::Command::new(ringway_tests::proxy::binary("ringway-under-test"))
            .args(["keys", "add", "--file", &shown, "--consumer", consumer, "--groups", groups])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let key = printed.split_whitespace().max_by_key(|word| word.len()).expect("a key").to_owned();
        (self.with("/etc/ringway/keys.yaml", shown), key)
    }
}

fn named(name: &str) -> Origin {
    Origin::replying(format!(
        "HTTP/1.1 200 OK\r\nServer: secret\r\nContent-Length: {}\r\n\r\n{name}",
        name.len()
    ))
}

/// A GET with these fields, each with its line end.
fn get(client: &mut Client, host: &str, path: &str, fields: &str) -> Response {
    client.exchange(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"))
}

fn a_canary_gets_one_request_of_ten_and_keeps_its_users(io: Io) {
    let (one, two) = (named("one"), named("two"));
    let example =
        Example::of("canary.yaml").with("10.0.1.1:9000", one.address()).with("10.0.2.1:9000", two.address());
    let (_proxy, address) = example.start(io, "web");
    let mut client = Client::connect(address);
    let mut ask = |fields: &str| get(&mut client, "api.example.com", "/", fields).body_text();
    let canary = (0..2_000).filter(|_| ask("") == "two").count();
    // Of 2,000 that chance sends there with 1/10: 200, and 13 is the standard deviation.
    assert!((120..=280).contains(&canary), "{canary} of 2,000");
    let users: Vec<String> = (0..50).map(|user| format!("x-user: {user}\r\n")).collect();
    let first: Vec<String> = users.iter().map(|user| ask(user)).collect();
    for _ in 0..3 {
        assert_eq!(users.iter().map(|user| ask(user)).collect::<Vec<_>>(), first);
    }
    let other = Client::connect(address).exchange("GET / HTTP/1.1\r\nHost: other.example.com\r\n\r\n");
    assert_eq!(other.status, 404);
}

fn a_service_is_tried_three_times_and_shares_go_to_the_next_version(io: Io) {
    // The two endpoints fail two of three requests, whichever gets them, until they have seen so many.
    const FAILING: usize = 90;
    let seen = Arc::new(AtomicUsize::new(0));
    let failing = || {
        let seen = Arc::clone(&seen);
        Origin::start(move |conn| {
            while conn.request().is_some() {
                let number = seen.fetch_add(1, Ordering::SeqCst);
                let status = if number >= FAILING || number % 3 == 2 { 200 } else { 503 };
                conn.reply(status, "stable");
            }
        })
    };
    let (a, b, next) = (failing(), failing(), named("next"));
    let example = Example::of("internal.yaml")
        .with("127.0.0.1:15001", "127.0.0.1:0")
        .with("10.0.1.1:9000", a.address())
        .with("10.0.1.2:9000", b.address())
        .with("10.0.2.1:9000", next.address());
    let (proxy, address) = example.start(io, "mesh");
    let mut client = Client::connect(address);
    let (mut stable, mut nexts) = (0, 0);
    for _ in 0..1_000 {
        let answer = get(&mut client, "inventory", "/", "");
        assert_eq!(answer.status, 200, "{}", answer.body_text());
        if answer.body_text() == "next" { nexts += 1 } else { stable += 1 }
    }
    // Of 1,000 that chance sends there with 1/20: 50, and 7 is the standard deviation.
    assert!((8..=92).contains(&nexts), "{nexts} of 1,000");
    let retries = FAILING / 3 * 2;
    assert_eq!(seen.load(Ordering::SeqCst), stable + retries, "three tries each while they fail");
    proxy.wait_for_stats("the retries", |stats| stats.sum("ringway_retries_total") == retries as f64);
}

fn partners_need_a_key_and_have_a_hundred_requests_a_minute(io: Io) {
    let origin = Origin::ok();
    let example = Example::of("partner-api.yaml").with("10.0.1.1:9000", origin.address());
    let (example, key) = example.with_key("acme", "partners");
    let (_proxy, address) = example.start(io, "web");
    let mut client = Client::connect(address);
    let mut ask = |fields: &str| get(&mut client, "api.example.com", "/partner/orders?open=1", fields);
    assert_eq!(ask("").status, 401);
    assert_eq!(ask("x-api-key: wrong\r\n").status, 401);
    origin.assert_saw_nothing();
    let fields = format!("x-api-key: {key}\r\n");
    let start = Instant::now();
    let mut passed = 0;
    let refused = loop {
        match ask(&fields) {
            answer if answer.status == 200 => passed += 1,
            other => break other,
        }
    };
    // A hundred at once, and one more for each 0.6 s that this takes.
    let most = 101 + (start.elapsed().as_secs_f64() / 0.6) as usize;
    assert!((100..=most).contains(&passed), "{passed} passed");
    assert!(refused.status == 429 && refused.field("retry-after").is_some(), "{refused:?}");
    let requests = origin.requests();
    assert_eq!(requests.len(), passed);
    assert!(requests.iter().all(|request| request.target == "/orders?open=1"), "the prefix is stripped");
    assert!(
        requests.iter().all(|request| request.field("x-api-key").is_none()),
        "the key is not the origin's"
    );
}

fn an_edge_of_a_shop_leads_and_limits_by_path_and_key(io: Io) {
    let (shop, checkout, search, partner) =
        (named("shop"), named("checkout"), named("search"), named("partner"));
    let example = Example::of("e-commerce.yaml")
        .with("10.0.1.1:9000", shop.address())
        .with("10.0.2.1:9000", checkout.address())
        .with("10.0.3.1:9000", search.address())
        .with("10.0.4.1:9000", partner.address());
    let (example, key) = example.with_key("acme", "partners");
    let (_proxy, address) = example.start(io, "web");
    let mut client = Client::connect(address);
    let mut ask = |method: &str, host: &str, path: &str, fields: &str| {
        client.exchange(format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{fields}\r\n"
        ))
    };
    let with_key = format!("x-api-key: {key}\r\n");
    let cases = [
        ("GET", "shop.example.com", "/", "", 200, "shop"),
        ("GET", "shop.example.com", "/checkouts", "", 200, "shop"),
        ("POST", "shop.example.com", "/checkout/pay", "", 200, "checkout"),
        ("GET", "shop.example.com", "/search?q=tea", "", 200, "search"),
        ("GET", "api.example.com", "/v1/orders", "", 401, ""),
        ("GET", "api.example.com", "/v1/orders", with_key.as_str(), 200, "partner"),
        ("GET", "api.example.com", "/v2/orders", with_key.as_str(), 404, ""),
    ];
    for (method, host, path, fields, status, name) in cases {
        let answer = ask(method, host, path, fields);
        assert_eq!(answer.status, status, "{method} {host}{path}");
        if status == 200 {
            assert_eq!(answer.body_text(), name, "{method} {host}{path}");
        }
        // Without a route there is nobody's policy to ask.
        let safe = answer.field("x-content-type-options").is_some() && answer.field("server").is_none();
        assert!(safe || status == 404, "{answer:?}");
    }
    let start = Instant::now();
    let passed = (0..100).filter(|_| ask("POST", "shop.example.com", "/checkout", "").status == 200).count();
    // 19 are left of the 20 at once, and one more comes each second.
    let most = 20 + start.elapsed().as_secs() as usize;
    assert!((19..=most).contains(&passed), "{passed} passed");
    // Others are not limited by that.
    assert_eq!(ask("GET", "shop.example.com", "/search?q=tea", "").status, 200);
}
