//! nginx and HAProxy, as origins and as proxies in front.

use ringway_tests::peers::Server;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    nginx_as_the_origin,
    haproxy_as_the_origin,
    nginx_in_front,
    haproxy_in_front,
    haproxy_in_front_speaks_the_proxy_protocol,
    haproxy_behind_reads_our_proxy_protocol,
    nginx_behind_that_closes_idle_connections,
}

const NGINX: &str = "keepalive_timeout 60s; client_max_body_size 0;\n\
    location /echo { return 200 \"$request_method $request_uri $http_host\\n\"; }\n\
    location /files/ { alias ./; }\n\
    location /slow { limit_rate 200k; alias ./big; }\n";

/// A few requests of each kind over one connection.
fn converse(proxy: &Proxy) {
    let mut client = proxy.connect();
    for round in 0..20 {
        let response = client.get(&format!("/echo/{round}"));
        assert_eq!(response.status, 200);
        assert_eq!(response.body_text(), format!("GET /echo/{round} test\n"));
        let head = client.send("HEAD /echo HTTP/1.1\r\nHost: test\r\n\r\n").response_to("HEAD");
        assert_eq!(head.status, 200);
    }
    assert_eq!(client.get("/missing").status, 404);
    assert_eq!(client.get("/echo").status, 200);
}

fn nginx_as_the_origin(io: Io) {
    let Some(nginx) = Server::nginx(NGINX) else { return };
    let body: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 247) as u8).collect();
    nginx.directory().write("big", &body);
    let proxy = Ringway::to_address(nginx.address()).io(io).start();
    converse(&proxy);
    let mut client = proxy.connect();
    assert!(client.get("/files/big").body == body);
    let part = client.exchange("GET /files/big HTTP/1.1\r\nHost: test\r\nRange: bytes=100-299\r\n\r\n");
    assert_eq!((part.status, part.body.len()), (206, 200));
    assert!(part.body == body[100..300]);
    let bad = client.exchange("GET /files/big HTTP/1.1\r\nHost: test\r\nIf-None-Match: *\r\n\r\n");
    assert!(matches!(bad.status, 200 | 304));
}

fn haproxy_as_the_origin(io: Io) {
    let frontend = "  http-request return status 200 content-type text/plain lf-string \"%[method] %[path] %[req.hdr(host)]\\n\" \
                    if { path_beg /echo }\n  http-request return status 404";
    let Some(haproxy) = Server::haproxy(frontend) else { return };
    converse(&Ringway::to_address(haproxy.address()).io(io).start());
}

/// What any proxy in front does with ours: connections of its own, kept, and the client's words rewritten.
fn through(front: &Server, origin: &Origin) {
    let mut client = Client::connect(front.address());
    for round in 0..50 {
        let body = "b".repeat(round * 500);
        let request = format!(
            "POST /front/{round} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let response = client.exchange(request);
        assert_eq!((response.status, response.body.len()), (200, body.len()));
        let chunked = format!(
            "POST /front HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{:x}\r\n{body}x\r\n0\r\n\r\n",
            body.len() + 1
        );
        let response = client.exchange(chunked);
        assert_eq!((response.status, response.body.len()), (200, body.len() + 6));
    }
    origin.assert_unambiguous();
    assert_eq!(origin.requests().len(), 100);
}

fn echo() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, &request.body);
        }
    })
}

fn nginx_in_front(io: Io) {
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let http = format!("upstream ringway {{ server {}; keepalive 8; }}", proxy.address());
    let server = "client_max_body_size 0; location / { proxy_pass http://ringway; proxy_http_version 1.1; \
                  proxy_set_header Connection \"\"; proxy_request_buffering off; proxy_buffering off; }";
    let Some(nginx) = Server::nginx_with(&http, server) else { return };
    through(&nginx, &origin);
}

fn haproxy_in_front(io: Io) {
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let config = format!("  default_backend back\nbackend back\n  server ringway {}", proxy.address());
    let Some(haproxy) = Server::haproxy(&config) else { return };
    through(&haproxy, &origin);
}

fn haproxy_in_front_speaks_the_proxy_protocol(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("proxy-protocol", "127.0.0.1").start();
    for version in ["send-proxy", "send-proxy-v2"] {
        let config =
            format!("  default_backend back\nbackend back\n  server ringway {} {version}", proxy.address());
        let Some(haproxy) = Server::haproxy(&config) else { return };
        let mut client = Client::connect_from([127, 0, 0, 9].into(), haproxy.address());
        assert_eq!(client.get("/").status, 200);
        let seen = origin.requests().pop().expect("a request");
        assert_eq!(seen.fields_named("x-forwarded-for"), ["127.0.0.9"], "{version}");
    }
}

fn haproxy_behind_reads_our_proxy_protocol(io: Io) {
    for version in ["v1", "v2"] {
        let frontend =
            "  http-request return status 200 content-type text/plain lf-string \"%[src]:%[src_port]\"";
        // The bind line is the harness's; `tcp-request` makes it expect the header.
        let expecting = format!("  tcp-request connection expect-proxy layer4 if TRUE\n{frontend}");
        let Some(haproxy) = Server::haproxy(&expecting) else { return };
        let proxy = Ringway::to_address(haproxy.address()).io(io).set("send-proxy-protocol", version).start();
        let mut client = Client::connect_from([127, 0, 0, 8].into(), proxy.address());
        let want = format!("127.0.0.8:{}", client.local_port());
        assert_eq!(client.get("/").body_text(), want, "{version}");
    }
}

fn nginx_behind_that_closes_idle_connections(io: Io) {
    // The sporadic 502 that users of other proxies report: the origin's keep-alive ends just when a request comes.
    let Some(nginx) = Server::nginx("keepalive_requests 7; location / { return 200 ok; }") else { return };
    let proxy = Ringway::to_address(nginx.address()).io(io).workers(2).start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for number in 0..300 {
                    assert_eq!(client.get(&format!("/{number}")).status, 200);
                }
            });
        }
    });
}
