//! HUP: a new configuration at once and as a whole, or the old one and a reason; never a dropped connection.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ringway_tests::process::{Signal, resident_bytes};
use ringway_tests::temp::TempDir;
use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

each_driver! {
    the_next_request_uses_the_new_configuration,
    a_bad_file_keeps_the_last_good_one_and_says_why,
    no_request_fails_while_it_reloads_under_load,
    a_running_exchange_keeps_its_configuration,
    settings_that_concern_no_connection_keep_the_pools,
    listeners_come_and_go_and_kept_ones_are_never_closed,
    changed_workers_need_a_restart_and_it_says_so,
    generations_are_counted_and_bounded,
    a_reload_by_the_admin_socket_answers_when_every_worker_has_it,
    reload_finds_the_socket_in_the_file,
    a_watched_file_is_reloaded_when_it_or_what_it_refers_to_changes,
    a_thousand_reloads_under_load_fail_no_request_and_leave_memory_flat,
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

fn settings_that_concern_no_connection_keep_the_pools(io: Io) {
    let origin = named("one");
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").body_text(), "one");
    for line in [
        "balance: least_request",
        "outlier: { consecutive_5xx: 5 }",
        "limits: { requests: 100 }",
        "timeouts: { connect: 1s }",
        "health: { tcp: true, interval: 1h }",
        "slow_start: 10s",
    ] {
        proxy.reload(Ringway::to(&origin).cluster(line).yaml());
        assert_eq!(client.get("/").body_text(), "one", "{line}");
        let asked = usize::from(line.starts_with("health"));
        eventually("the question about health", || (origin.connections() > asked).then_some(()));
        assert!(origin.connections() <= 2, "{line}: a connection for health at most");
    }
    // Who the client is has to be said at the begin of a connection.
    let before = origin.connections();
    proxy.reload(Ringway::to(&origin).cluster("send_proxy_protocol: v1").yaml());
    client.get("/");
    assert!(origin.connections() > before);
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

/// `ringway reload` with these arguments: whether it succeeded, and what it said.
fn ringway_reload(arguments: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(ringway_tests::proxy::binary("ringway-under-test"));
    let output =
        command.arg("reload").args(arguments).env_remove("RINGWAY_CONFIG").output().expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn a_reload_by_the_admin_socket_answers_when_every_worker_has_it(io: Io) {
    let (one, two) = (named("one"), named("two"));
    let directory = TempDir::new();
    let socket = directory.path().join("admin.sock").display().to_string();
    let proxy = Ringway::to(&one).io(io).workers(2).set("admin-socket", &socket).start();
    let mut kept: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
    kept.iter_mut().for_each(|client| assert_eq!(client.get("/").body_text(), "one"));
    proxy.write_config(to(&two));
    let (ok, answer) = ringway_reload(&["--admin-socket", &socket]);
    assert!(ok && answer.starts_with("reloaded generation=2"), "{answer}");
    // No waiting here: the answer came after the last worker had taken it.
    kept.iter_mut().for_each(|client| assert_eq!(client.get("/").body_text(), "two"));

    proxy.write_config("listeners: []\nwrong: 1\n");
    let (ok, answer) = ringway_reload(&["--admin-socket", &socket]);
    assert!(!ok && answer.contains("wrong: unknown key `wrong`"), "{answer}");
    assert!(answer.contains("the configuration in use did not change"), "{answer}");
    let config: serde_json::Value =
        serde_json::from_str(&proxy.admin_get("/config").body_text()).expect("JSON");
    assert_eq!(config["generation"], 2, "the last good one");
    assert_eq!(config["last_reload"]["ok"], false);
    let error = config["last_reload"]["error"].as_str().unwrap_or_default();
    assert!(error.contains(":2:1: wrong: unknown key `wrong`"), "{error}");
    assert_eq!(config["config"]["clusters"][0]["endpoints"][0], two.address().to_string());
    kept.iter_mut().for_each(|client| assert_eq!(client.get("/").body_text(), "two"));
}

/// The file says where its socket is, even when the rest of it is wrong.
fn reload_finds_the_socket_in_the_file(io: Io) {
    let one = named("one");
    let directory = TempDir::new();
    let socket = directory.path().join("admin.sock").display().to_string();
    let text = format!("admin: {{ socket: {socket} }}\n{}", to(&one));
    let _proxy = Ringway::to(&one).io(io).config(&text).start();
    let path = directory.write("same.yaml", &text).display().to_string();
    let (ok, answer) = ringway_reload(&["--config", &path]);
    assert!(ok, "{answer}");
    let wrong = directory.write("wrong.yaml", format!("{text}wrong: 1\n")).display().to_string();
    let (ok, answer) = ringway_reload(&["--config", &wrong]);
    assert!(ok, "it is the proxy's file that counts: {answer}");
}

fn a_watched_file_is_reloaded_when_it_or_what_it_refers_to_changes(io: Io) {
    let (one, two) = (named("one"), named("two"));
    let directory = TempDir::new();
    let routes = directory.path().join("routes.d");
    std::fs::create_dir(&routes).expect("a directory");
    let endpoint = |origin: &Origin| origin.address().to_string();
    let secret = directory.write("endpoint", endpoint(&one));
    let text = to(&one).replace(&endpoint(&one), &format!("${{file:{}}}", secret.display()));
    let text = format!("watch: true\ninclude: {}\n{text}", routes.display());
    let proxy = Ringway::to(&one).io(io).config(&text).start();
    let becomes = |name: &str| {
        eventually(name, || Some(proxy.get("/")).filter(|response| response.body_text() == name));
    };
    becomes("one");
    // What a reference names.
    std::fs::write(&secret, endpoint(&two)).expect("written");
    becomes("two");
    // The file itself: wrong, and the last good one stays; then right again.
    proxy.write_config(format!("{text}wrong: 1\n"));
    proxy.wait_for_log("reload refused");
    assert_eq!(proxy.get("/").body_text(), "two");
    std::fs::write(&secret, endpoint(&one)).expect("written");
    proxy.write_config(&text);
    becomes("one");
    // A file that is new in an included directory.
    let more = format!("clusters: [{{ name: more, endpoints: [\"{}\"] }}]\n", endpoint(&two));
    let more = more + "routes: [{ name: more, match: [{ path: { prefix: /more } }], to: more }]\n";
    std::fs::write(routes.join("more.yaml"), more).expect("written");
    eventually("the new route", || Some(proxy.get("/more")).filter(|response| response.body_text() == "two"));
}

fn a_thousand_reloads_under_load_fail_no_request_and_leave_memory_flat(io: Io) {
    const RELOADS: usize = 1_000;
    /// By then every pool and every arena has been used.
    const WARM: usize = 200;
    /// One generation that is kept for each reload would take far more than this, and so would each connection.
    const GROWTH_BYTES_MAX: u64 = 8 << 20;
    let (one, two) = (named("one"), named("two"));
    let directory = TempDir::new();
    let socket = directory.path().join("admin.sock");
    let extra: String = (0..50)
        .map(|n| {
            format!("  - {{ name: extra-{n}, match: [{{ path: {{ prefix: /extra/{n} }} }}], to: origin }}\n")
        })
        .collect();
    let files = [to(&one) + &extra, to(&two)];
    let proxy = Ringway::to(&one).io(io).workers(2).set("admin-socket", socket.display()).start();
    let over = AtomicBool::new(false);
    let (served, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let mut warm = 0;
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
        // Whatever goes wrong here must not leave the others running.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 0..RELOADS {
                proxy.write_config(&files[number % 2]);
                let answer = eventually("room for another generation", || {
                    let answer = Client::connect_unix(&socket).exchange(RELOAD);
                    // An exchange with an origin that gets no time to answer holds its own.
                    Some(answer).filter(|answer| !answer.body_text().contains("generations are still in use"))
                });
                assert_eq!(answer.status, 200, "reload {number}: {}", answer.body_text());
                if number == WARM {
                    warm = resident_bytes(proxy.pid());
                }
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let (served, failed) = (served.into_inner(), failed.into_inner());
    assert!(failed == 0 && served > RELOADS / 10, "{failed} of {served} requests failed");
    let grown = resident_bytes(proxy.pid()).saturating_sub(warm);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more than after {WARM} reloads");
    proxy.wait_for_stats("the last generation alone", |stats| stats.sum("ringway_config_generations") <= 2.0);
}

const RELOAD: &str =
    "POST /reload HTTP/1.1\r\nHost: ringway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
