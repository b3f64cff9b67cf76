//! HUP: a new configuration at once and as a whole, or the old one and a reason; never a dropped connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringway_tests::process::Signal;
use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

each_driver! {
    the_next_request_uses_the_new_configuration,
    a_bad_file_keeps_the_last_good_one_and_says_why,
    no_request_fails_while_it_reloads_under_load,
    a_running_exchange_keeps_its_configuration,
    listeners_come_and_go_and_kept_ones_are_never_closed,
    changed_workers_need_a_restart_and_it_says_so,
    generations_are_counted_and_bounded,
}

/// A file whose only route goes to this origin.
fn to(origin: &Origin) -> String {
    Ringway::to(origin).yaml()
}

/// The same file with `bind` of the kept listener, so that a reload finds it unchanged.
fn named(name: &str) -> Origin {
    let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    Origin::replying(reply)
}

fn the_next_request_uses_the_new_configuration(io: Io) {
    let (one, two) = (named("one"), named("two"));
    let proxy = Ringway::to(&one).io(io).workers(2).start();
    let mut kept: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/").body_text(), "one");
    }
    let line = proxy.reload(to(&two));
    assert!(!line.contains("ERROR"), "{line}");
    proxy.wait_for_stats("the new generation on every worker", |stats| {
        stats.sum("ringway_config_generation") >= 2.0
    });
    for client in &mut kept {
        eventually("the new origin", || {
            Some(client.get("/")).filter(|response| response.body_text() == "two")
        });
    }
    assert_eq!(proxy.get("/").body_text(), "two");
}

fn a_bad_file_keeps_the_last_good_one_and_says_why(io: Io) {
    let one = named("one");
    let proxy = Ringway::to(&one).io(io).start();
    let mut client = proxy.connect();
    let good = to(&one);
    let bad = [
        "".to_owned(),
        "{".to_owned(),
        good.replace("to: origin", "to: nowhere"),
        good.replace("bind:", "bnd:"),
        format!("{good}unknown_key: 1\n"),
        "\u{0}\u{1}".to_owned(),
    ];
    for yaml in &bad {
        let line = proxy.reload(yaml);
        assert!(line.contains("ERROR") || line.contains("WARN"), "{yaml:?}: {line}");
        assert_eq!(client.get("/").body_text(), "one", "{yaml:?}");
    }
    let two = named("two");
    proxy.reload(to(&two));
    eventually("the new origin", || Some(client.get("/")).filter(|response| response.body_text() == "two"));
}

fn no_request_fails_while_it_reloads_under_load(io: Io) {
    let (one, two) = (named("one"), named("two"));
    let proxy = Ringway::to(&one).io(io).workers(2).start();
    let over = AtomicBool::new(false);
    let (served, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for fresh in [false, false, true] {
            let (over, served, failed, proxy) = (&over, &served, &failed, &proxy);
            scope.spawn(move || {
                let mut client = proxy.connect();
                while !over.load(Ordering::Relaxed) {
                    if fresh {
                        client = proxy.connect();
                    }
                    let ok = client.get("/").status == 200;
                    (if ok { served } else { failed }).fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 0..20 {
            let line = proxy.reload(to(if number % 2 == 0 { &two } else { &one }));
            assert!(!line.contains("ERROR"), "{line}");
            let seen = served.load(Ordering::Relaxed);
            eventually("some requests", || (served.load(Ordering::Relaxed) > seen + 20).then_some(()));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0, "of {}", served.load(Ordering::Relaxed));
}

fn a_running_exchange_keeps_its_configuration(io: Io) {
    let one = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.reached("holding");
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
            conn.until_closed();
        }
    });
    let two = named("two");
    let proxy = Ringway::to(&one).io(io).start();
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    one.wait_until_reached("holding");
    assert!(client.wire().head().is_ok());
    proxy.reload(to(&two));
    eventually("the new origin", || Some(proxy.get("/")).filter(|response| response.body_text() == "two"));
    assert!(client.stays_silent(std::time::Duration::from_millis(100)), "the old exchange goes on");
    assert_eq!(one.open_connections(), 1);
}

fn listeners_come_and_go_and_kept_ones_are_never_closed(io: Io) {
    let origin = Origin::ok();
    let listener = |name: &str, bind: &str| format!("  - {{ name: {name}, bind: \"{bind}\" }}\n");
    let file = |listeners: &str| {
        format!(
            "listeners:\n{listeners}clusters:\n  - {{ name: o, endpoints: [\"{}\"] }}\nroutes:\n  - {{ name: all, to: o }}\n",
            origin.address()
        )
    };
    let web = ringway_tests::peers::free_address().to_string();
    let more = ringway_tests::peers::free_address().to_string();
    let alone = file(&listener("web", &web));
    let both = file(&(listener("web", &web) + &listener("more", &more)));
    let proxy = Ringway::to(&origin).io(io).workers(2).config(&alone).start();
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").status, 200);
    for _ in 0..3 {
        proxy.reload(&both);
        let address = more.parse().expect("an address");
        let mut second = eventually("the new listener", || {
            std::net::TcpStream::connect(address).ok().map(|_| Client::connect(address))
        });
        assert_eq!(second.get("/").status, 200);
        proxy.reload(&alone);
        eventually("the listener to be gone", || {
            std::net::TcpStream::connect(address).is_err().then_some(())
        });
        assert_eq!(kept.get("/").status, 200);
        assert_eq!(proxy.get("/").status, 200);
    }
}

fn changed_workers_need_a_restart_and_it_says_so(io: Io) {
    let origin = Origin::ok();
    let yaml = to(&origin);
    let proxy = Ringway::to(&origin).io(io).start();
    proxy.reload(format!("pin: false\n{yaml}"));
    proxy.wait_for_log("restart");
    assert_eq!(proxy.get("/").status, 200);
}

fn generations_are_counted_and_bounded(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            if request.target == "/hold" {
                conn.until_closed();
                return;
            }
            conn.reply(200, "ok");
        }
    });
    let proxy = Ringway::to(&origin).io(io).set("generations", 3).start();
    let yaml = to(&origin);
    // Each held exchange keeps the generation that it began under.
    let mut held: Vec<Client> = Vec::new();
    let mut refused = false;
    for number in 0..6 {
        let mut client = proxy.connect();
        client.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n");
        origin.wait_for_requests(held.len() + 1);
        held.push(client);
        let line = proxy.reload(format!("# {number}\n{yaml}"));
        refused |= line.contains("generation") && (line.contains("ERROR") || line.contains("WARN"));
    }
    assert!(refused, "{:#?}", proxy.log());
    // A FIN would only say that no more requests come: these still want their responses.
    held.into_iter().for_each(Client::reset);
    eventually("a reload to work again", || {
        let line = proxy.reload(&yaml);
        (!line.contains("ERROR") && !line.contains("WARN")).then_some(())
    });
    proxy.signal(Signal::TERM);
}
