//! The client's connection: kept, pipelined, half-closed, reset (RFC 9112 section 9).

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ringway_tests::origin::End;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    serves_many_requests_on_one_connection,
    closes_when_the_client_says_so,
    closes_towards_the_client_do_not_pass_the_proxy,
    answers_pipelined_requests_in_order,
    answers_a_deep_pipeline_of_requests_with_bodies,
    ignores_empty_lines_before_a_request,
    a_request_followed_by_fin_gets_its_response,
    a_fin_in_the_middle_of_a_request_sends_nothing_more,
    a_fin_in_the_middle_of_a_body_closes_the_upstream,
    a_reset_cancels_the_upstream_and_is_logged_as_499,
    serves_both_families_and_unix_sockets,
    tells_to_close_after_the_last_allowed_request,
}

fn serves_many_requests_on_one_connection(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    for number in 0..500 {
        let response = client.get(&format!("/{number}"));
        assert_eq!(response.status, 200);
        assert!(!response.says_close());
    }
    assert_eq!(origin.connections(), 1, "the upstream connection is kept as well");
    let targets: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, (0..500).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

fn closes_when_the_client_says_so(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for spelling in ["close", "Close", "CLOSE", "close, x-other", "x-other,  close"] {
        let mut client = proxy.connect();
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: {spelling}\r\n\r\n");
        let response = client.exchange(request);
        assert!(response.says_close(), "{spelling}");
        client.expect_closed();
    }
    assert_eq!(origin.connections(), 1, "which says nothing about the upstream connection");
}

fn closes_towards_the_client_do_not_pass_the_proxy(io: Io) {
    let origin = Origin::replying_once("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client.get("/");
        assert_eq!(response.status, 200);
        assert!(!response.says_close(), "Connection is about one hop");
    }
    assert_eq!(origin.connections(), 3);
}

fn answers_pipelined_requests_in_order(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, &request.target);
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    for count in [2, 10, 100] {
        let mut client = proxy.connect();
        let pipeline: String =
            (0..count).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
        client.send(pipeline);
        for number in 0..count {
            assert_eq!(client.response().body_text(), format!("/{number}"));
        }
    }
}

fn answers_a_deep_pipeline_of_requests_with_bodies(io: Io) {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, [request.target.as_bytes(), b" ", &request.body].concat());
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    let one = |number: usize| match number % 3 {
        0 => format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n"),
        1 => format!("POST /{number} HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody"),
        _ => format!(
            "POST /{number} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"
        ),
    };
    let count = 300;
    client.send((0..count).map(one).collect::<String>());
    for number in 0..count {
        let want = if number % 3 == 0 { "" } else { "body" };
        assert_eq!(client.response().body_text(), format!("/{number} {want}"));
    }
    origin.assert_unambiguous();
}

fn ignores_empty_lines_before_a_request(io: Io) {
    // RFC 9112 section 2.2: at least one empty line before the request line should be ignored.
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = proxy.connect();
    assert_eq!(client.exchange("\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
    assert_eq!(client.exchange("\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n").status, 200);
    origin.assert_unambiguous();
}

fn a_request_followed_by_fin_gets_its_response(io: Io) {
    let (go, wait) = mpsc::sync_channel::<()>(0);
    let wait = Arc::new(std::sync::Mutex::new(wait));
    let origin = Origin::start(move |conn| {
        while conn.request().is_some() {
            wait.lock().expect("the gate").recv().expect("the signal");
            conn.reply(200, "late");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let requests = [
        "GET / HTTP/1.1\r\nHost: test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.0\r\nHost: test\r\n\r\n",
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send(request).finish_writing();
        origin.wait_for_requests(index + 1);
        // The proxy has seen the FIN by now, or sees it while it waits.
        assert!(client.stays_silent(Duration::from_millis(50)));
        go.send(()).expect("the script waits");
        assert_eq!(client.response().body_text(), "late");
        client.expect_closed();
    }
}

fn a_fin_in_the_middle_of_a_request_sends_nothing_more(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).start();
    for part in ["", "GET", "GET / HTTP/1.1\r\nHost: te", "GET / HTTP/1.1\r\nHost: test\r\n"] {
        let mut client = proxy.connect();
        client.send(part).finish_writing();
        let rest = client.until_closed();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(proxy.get("/after").status, 200);
    assert_eq!(origin.only_request().target, "/after");
}

fn a_fin_in_the_middle_of_a_body_closes_the_upstream(io: Io) {
    // Threat row 17: an upload that was cut must never look complete, nor leave its connection in the pool.
    for request in [
        "POST /cut HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nonly this",
        "POST /cut HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        "POST /cut HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n99\r\nonly this",
    ] {
        let origin = Origin::ok();
        let proxy = Ringway::to(&origin).io(io).start();
        let mut client = proxy.connect();
        client.send(request);
        origin.wait_for_connections(1);
        client.finish_writing();
        assert_ne!(origin.wait_for_end(0), End::Script);
        assert!(origin.requests().is_empty(), "the origin saw no complete request");
        drop(client);
        assert_eq!(proxy.get("/next").status, 200);
        assert_eq!(origin.only_request().connection, 1, "on another connection");
    }
}

fn a_reset_cancels_the_upstream_and_is_logged_as_499(io: Io) {
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.reached("waiting");
            // Says nothing, and waits to be told that nobody waits any more.
            conn.until_closed();
        }
    });
    let proxy =
        Ringway::to(&origin).io(io).set("access-log", "stdout").set("access-log-format", "json").start();
    let mut client = proxy.connect();
    client.send("GET /given-up HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.wait_until_reached("waiting");
    client.reset();
    assert_ne!(
        origin.wait_for_end(0),
        End::Script,
        "the upstream connection is closed while the origin still works"
    );
    let line = proxy.wait_for_stdout("/given-up");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
    assert_eq!(line["status"], 499, "{line}");
    assert!(line.to_string().contains("client_closed"), "{line}");
}

fn serves_both_families_and_unix_sockets(io: Io) {
    let origin = Origin::ok();
    let directory = ringway_tests::temp::TempDir::new();
    let path = directory.path().join("web.sock");
    let yaml = format!(
        "listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\" }}\n  - {{ name: six, bind: \"[::1]:0\" }}\n  \
         - {{ name: local, bind: \"unix:{}\" }}\nclusters:\n  - {{ name: o, endpoints: [\"{}\"] }}\nroutes:\n  \
         - {{ name: all, to: o }}\n",
        path.display(),
        origin.address()
    );
    let proxy = Ringway::to(&origin).io(io).config(yaml).start();
    assert_eq!(proxy.get("/4").status, 200);
    assert_eq!(ringway_tests::Client::connect(proxy.address_of("six")).get("/6").status, 200);
    let mut local = ringway_tests::Client::connect_unix(&path);
    assert_eq!(local.get("/unix").status, 200);
    assert_eq!(local.get("/unix").status, 200);
}

fn tells_to_close_after_the_last_allowed_request(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("requests", 3).start();
    let mut client = proxy.connect();
    let said: Vec<bool> = (0..3).map(|_| client.get("/").says_close()).collect();
    assert_eq!(said, [false, false, true]);
    client.expect_closed();
}
