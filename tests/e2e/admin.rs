//! The admin listener: what it tells, and to whom.

use std::os::unix::fs::PermissionsExt;

use ringway_tests::temp::TempDir;
use ringway_tests::wait::eventually;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    ready_and_live_say_so,
    metrics_are_prometheus_text,
    stats_are_json_with_each_worker_and_the_sum,
    labels_come_from_the_configuration_only,
    the_effective_configuration_is_shown_without_secrets,
    foreign_hosts_and_origins_are_refused,
    writes_over_tcp_need_the_token,
    the_unix_socket_is_for_its_owner_and_takes_writes,
    broken_requests_do_not_harm_it,
}

fn ready_and_live_say_so(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for path in ["/ready", "/live"] {
        assert_eq!(proxy.admin_get(path).status, 200, "{path}");
    }
    for path in ["/nothing", "/ready/x", "//ready"] {
        assert_eq!(proxy.admin_get(path).status, 404, "{path}");
    }
}

fn metrics_are_prometheus_text(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    proxy.get("/");
    let response = proxy.admin_get("/metrics");
    assert!(
        response
            .field("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain") && kind.contains("version=0.0.4"))
    );
    let text = response.body_text();
    let mut families = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(families.insert(name.to_owned()), "{name} twice");
            assert!(name.starts_with("ringway_") || name.starts_with("process_"), "{name}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').expect("a sample");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = name.split('{').next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            assert!(families.contains(name) || families.contains(family), "no TYPE before {line}");
        }
    }
    assert!(families.iter().any(|name| name.ends_with("_seconds")), "{families:?}");
    assert!(text.contains("_seconds_bucket{") && text.contains("le=\"+Inf\""), "histograms");
}

fn stats_are_json_with_each_worker_and_the_sum(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    for _ in 0..20 {
        proxy.get("/");
    }
    let stats = proxy.wait_for_stats("20 requests", |stats| stats.sum("ringway_requests_total") == 20.0);
    let workers = stats.json["workers"].as_array().expect("a list of workers");
    assert_eq!(workers.len(), 2);
    assert_eq!(stats.sum_where("ringway_responses_total", "status=\"200\""), 20.0);
}

fn labels_come_from_the_configuration_only(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    proxy.exchange("GET /needle-path HTTP/1.1\r\nHost: needle-host\r\nUser-Agent: needle-agent\r\n\r\n");
    proxy.exchange("NEEDLE / HTTP/1.1\r\nHost: test\r\n\r\n");
    proxy.wait_for_stats("2 requests", |stats| stats.sum("ringway_requests_total") == 2.0);
    for path in ["/metrics", "/stats", "/config"] {
        let text = proxy.admin_get(path).body_text().to_lowercase();
        assert!(!text.contains("needle"), "{path}");
        assert!(path == "/config" || !text.contains("client=\"127"), "{path}");
    }
}

fn the_effective_configuration_is_shown_without_secrets(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin)
        .io(io)
        .environment("RINGWAY_ADMIN_TOKEN", "very-secret")
        .set("header-timeout", "7s")
        .start();
    let text = proxy.admin_get("/config").body_text();
    assert!(text.contains("7s") && text.contains(&origin.address().to_string()), "{text}");
    assert!(!text.contains("very-secret"), "{text}");
}

fn foreign_hosts_and_origins_are_refused(io: Io) {
    // Threat row 59: a page in a browser must not reach it, by another Origin or by a rebound name.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let admin = proxy.admin();
    let ask = |method: &str, fields: String| {
        let request =
            format!("{method} /stats HTTP/1.1\r\n{fields}Connection: close\r\nContent-Length: 0\r\n\r\n");
        Client::connect(admin).exchange(request).status
    };
    for host in [admin.to_string(), format!("localhost:{}", admin.port())] {
        assert_eq!(ask("GET", format!("Host: {host}\r\n")), 200, "{host}");
    }
    for host in
        ["evil.test", "evil.test:80", &format!("evil.test:{}", admin.port()), "127.0.0.1.evil.test", ""]
    {
        assert!(matches!(ask("GET", format!("Host: {host}\r\n")), 400 | 403 | 421), "{host:?}");
    }
    for foreign in ["http://evil.test", "null", "https://127.0.0.1.evil.test"] {
        let fields = format!("Host: {admin}\r\nOrigin: {foreign}\r\n");
        assert!(matches!(ask("GET", fields.clone()), 400 | 403), "{foreign}");
        assert!(matches!(ask("POST", fields), 400 | 401 | 403 | 405), "{foreign}");
    }
    assert!(matches!(ask("GET", String::new()), 400 | 403), "no Host at all");
}

fn post(client: &mut Client, host: &str, path: &str, fields: &str) -> u16 {
    client
        .exchange(format!("POST {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: 0\r\n\r\n"))
        .status
}

fn post_tcp(proxy: &Proxy, path: &str, fields: &str) -> u16 {
    post(&mut Client::connect(proxy.admin()), &proxy.admin().to_string(), path, fields)
}

fn writes_over_tcp_need_the_token(io: Io) {
    let origin = Origin::ok();
    let without = Ringway::to(&origin).io(io).start();
    assert!(matches!(post_tcp(&without, "/reload", ""), 401 | 403 | 405));
    assert!(matches!(post_tcp(&without, "/reload", "Authorization: Bearer \r\n"), 401 | 403 | 405));
    let with = Ringway::to(&origin).io(io).environment("RINGWAY_ADMIN_TOKEN", "s3cret-token").start();
    for fields in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic s3cret-token\r\n",
        "Authorization: Bearer s3cret-toke\r\n",
        "Authorization: Bearer s3cret-tokenx\r\n",
    ] {
        assert!(matches!(post_tcp(&with, "/reload", fields), 401 | 403), "{fields:?}");
    }
    assert!(!with.log().iter().any(|line| line.contains("reload")));
    let status = post_tcp(&with, "/reload", "Authorization: Bearer s3cret-token\r\n");
    assert!((200..300).contains(&status), "{status}");
    with.wait_for_log("reload");
}

fn the_unix_socket_is_for_its_owner_and_takes_writes(io: Io) {
    let origin = Origin::ok();
    let directory = TempDir::new();
    let path = directory.path().join("admin.sock");
    let proxy = Ringway::to(&origin).io(io).set("admin-socket", path.display()).start();
    let mode = eventually("the socket", || std::fs::metadata(&path).ok()).permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = Client::connect_unix(&path);
    assert_eq!(client.exchange("GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 200);
    let status = post(&mut Client::connect_unix(&path), "localhost", "/reload", "");
    assert!((200..300).contains(&status), "{status}");
    proxy.wait_for_log("reload");
}

fn broken_requests_do_not_harm_it(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let half: Vec<Client> = (0..40)
        .map(|_| {
            let mut client = Client::connect(proxy.admin());
            client.send("GET /me");
            client
        })
        .collect();
    for bytes in [
        "\r\n\r\n",
        "\u{0}\u{0}\u{0}\u{0}\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    ] {
        let mut client = Client::connect(proxy.admin());
        client.send(bytes).finish_writing();
        client.until_closed();
    }
    let mut endless = Client::connect(proxy.admin());
    let mut sent = 0;
    while sent < 20_000_000 && endless.try_send([b'x'; 10_000]) {
        sent += 10_000;
    }
    assert!(sent < 20_000_000, "an endless head is cut");
    assert_eq!(proxy.admin_get("/ready").status, 200);
    assert_eq!(proxy.get("/").status, 200);
    drop(half);
}
