//! HTTP/2 with programs of others: curl, nghttp and h2load as clients, nghttpd, nginx and HAProxy as origins, nginx and
//! HAProxy in front.

use std::path::PathBuf;

use ringway_tests::peers::{Server, find, run};
use ringway_tests::temp::TempDir;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    curl_asks_with_prior_knowledge,
    curl_uploads_and_downloads,
    nghttp_asks,
    h2load_gets_every_answer,
    nghttpd_as_the_origin,
    nginx_as_the_origin_over_http2,
    haproxy_as_the_origin_over_http2,
    nginx_in_front_over_http2,
    haproxy_in_front_over_http2,
}

/// Echoes bodies, and says in which version it was asked.
fn echo() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            let head = format!(
                "HTTP/1.1 200 OK\r\nx-version: {}\r\nx-method: {}\r\nx-cookie: {}\r\nContent-Length: {}\r\n\r\n",
                request.version,
                request.method,
                request.field("cookie").unwrap_or("none"),
                request.body.len()
            );
            conn.send([head.as_bytes(), &request.body].concat());
        }
    })
}

fn output(program: &PathBuf, arguments: &[&str]) -> Vec<u8> {
    let output = run(program, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn curl(program: &PathBuf, to: &str, arguments: &[&str]) -> Vec<u8> {
    output(program, &[&["-sS", "-m", "20", "--http2-prior-knowledge"], arguments, &[to]].concat())
}

fn url(proxy: &Proxy, path: &str) -> String {
    format!("http://{}{path}", proxy.address())
}

fn curl_asks_with_prior_knowledge(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    for (method, arguments) in [
        ("GET", &[][..]),
        ("DELETE", &["-X", "DELETE"]),
        ("OPTIONS", &["-X", "OPTIONS"]),
        ("PUT", &["-X", "PUT"]),
    ] {
        let cookies = ["-i", "-H", "Cookie: a=1; b=2"];
        let said = curl(&program, &url(&proxy, "/curl?q=1"), &[&cookies, arguments].concat());
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/2 200"), "{said}");
        assert!(
            said.contains("x-version: HTTP/1.1") && said.contains(&format!("x-method: {method}")),
            "{said}"
        );
        assert!(said.contains("x-cookie: a=1; b=2"), "{said}");
    }
    let head = curl(&program, &url(&proxy, "/"), &["-I"]);
    assert!(head.starts_with(b"HTTP/2 200"), "{}", String::from_utf8_lossy(&head));
    origin.assert_unambiguous();
}

fn curl_uploads_and_downloads(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let directory = TempDir::new();
    let body: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 241) as u8).collect();
    let file = format!("@{}", directory.write("body", &body).display());
    // With a length, and without one: chunked toward the origin.
    for fields in [&[][..], &["-H", "content-length:", "-H", "transfer-encoding: chunked"]] {
        let arguments = [&["-X", "POST", "--data-binary"], &[file.as_str()][..], fields].concat();
        assert!(curl(&program, &url(&proxy, "/"), &arguments) == body, "{fields:?}");
    }
    origin.assert_unambiguous();
}

fn nghttp_asks(io: Io) {
    let Some(program) = find("nghttp") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let directory = TempDir::new();
    let body = vec![b'n'; 200_000];
    let file = directory.write("body", &body).display().to_string();
    // It opens with streams that depend on each other, and with windows of its own.
    let (first, second) = (url(&proxy, "/first"), url(&proxy, "/second"));
    let said = output(&program, &["-d", &file, "-w", "16", "-W", "17", "--no-dep", &first, &second]);
    assert_eq!(said.len(), 2 * body.len());
    let said =
        output(&program, &["-v", "--no-content-length", "--trailer", "x-check: sum", "-d", &file, &first]);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains(":status: 200"), "{said}");
    let last = origin.requests().pop().expect("a request");
    assert_eq!(last.trailers, [("x-check".to_owned(), "sum".to_owned())]);
    origin.assert_unambiguous();
}

fn h2load_gets_every_answer(io: Io) {
    let Some(program) = find("h2load") else { return };
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).workers(2).start();
    for shape in [["-c8", "-m32"], ["-c16", "-m1"], ["-c1", "-m100"]] {
        h2load(&program, &proxy, &[&["-n", "2000"], &shape[..]].concat());
    }
    h2load(&program, &proxy, &["-n", "500", "-c20", "--h1"]);
    origin.assert_unambiguous();
}

fn h2load(program: &PathBuf, proxy: &Proxy, arguments: &[&str]) {
    let said = output(program, &[arguments, &[url(proxy, "/load").as_str()]].concat());
    let said = String::from_utf8_lossy(&said).into_owned();
    let requests = said.lines().find(|line| line.starts_with("requests:")).unwrap_or_default();
    assert!(requests.contains(" 0 failed, 0 errored, 0 timeout"), "{arguments:?}: {said}");
    let statuses = said.lines().find(|line| line.starts_with("status codes:")).unwrap_or_default();
    assert!(statuses.contains(" 0 3xx, 0 4xx, 0 5xx"), "{arguments:?}: {said}");
}

/// A proxy whose origins speak HTTP/2.
fn to_http2(origin: &Server, io: Io) -> Proxy {
    Ringway::to_address(origin.address()).io(io).cluster("protocol: http2").start()
}

/// The same file over HTTP/1.1 and over HTTP/2.
fn fetch(proxy: &Proxy, path: &str, body: &[u8]) {
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client.get(path);
        assert_eq!(response.status, 200);
        assert!(response.body == body, "{} bytes of {}", response.body.len(), body.len());
    }
    assert_eq!(client.get("/missing").status, 404);
    if let Some(program) = find("curl") {
        assert!(curl(&program, &url(proxy, path), &[]) == body);
    }
    if let Some(program) = find("h2load") {
        h2load(&program, proxy, &["-n", "300", "-c4", "-m10"]);
    }
}

fn nghttpd_as_the_origin(io: Io) {
    let body: Vec<u8> = (0..2_000_000_u32).map(|index| (index % 239) as u8).collect();
    let files = [("big", body.as_slice()), ("load", b"loaded")];
    let Some(origin) = Server::nghttpd(&files, &["--trailer", "x-end: yes"]) else { return };
    let proxy = to_http2(&origin, io);
    fetch(&proxy, "/big", &body);
    let mut client = proxy.connect();
    let response = client.exchange("GET /big HTTP/1.1\r\nHost: test\r\nTE: trailers\r\n\r\n");
    assert_eq!(response.status, 200);
    let head = client.send("HEAD /big HTTP/1.1\r\nHost: test\r\n\r\n").response_to("HEAD");
    assert_eq!((head.status, head.field("content-length")), (200, Some("2000000")));
}

fn nginx_as_the_origin_over_http2(io: Io) {
    let server =
        "client_max_body_size 0; location /load { return 200 loaded; } location /files/ { alias ./; }";
    let Some(nginx) = Server::nginx_http2(server) else { return };
    let body: Vec<u8> = (0..2_000_000_u32).map(|index| (index % 233) as u8).collect();
    nginx.directory().write("big", &body);
    let proxy = to_http2(&nginx, io);
    fetch(&proxy, "/files/big", &body);
    let mut client = proxy.connect();
    let part = client.exchange("GET /files/big HTTP/1.1\r\nHost: test\r\nRange: bytes=100-299\r\n\r\n");
    assert_eq!((part.status, part.body.len()), (206, 200));
    let not_modified = client.exchange("GET /files/big HTTP/1.1\r\nHost: test\r\nIf-None-Match: *\r\n\r\n");
    assert!(matches!(not_modified.status, 200 | 304));
}

fn haproxy_as_the_origin_over_http2(io: Io) {
    let frontend = "  http-request return status 404 if { path /missing }\n  \
                    http-request return status 200 content-type text/plain lf-string \"%[req.ver] %[path]\"";
    let Some(haproxy) = Server::haproxy(frontend) else { return };
    let proxy = to_http2(&haproxy, io);
    fetch(&proxy, "/file", b"2.0 /file");
}

/// What a proxy in front sends on, whatever the client's version is.
fn through(front: &Server, origin: &Origin) {
    let mut client = Client::connect(front.address());
    for round in 0..30 {
        let body = "b".repeat(round * 700);
        let request =
            format!("POST /{round} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let response = client.exchange(request);
        assert_eq!((response.status, response.body.len()), (200, body.len()));
        let chunked = format!(
            "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n{:x}\r\n{body}x\r\n0\r\n\r\n",
            body.len() + 1
        );
        let response = client.exchange(chunked);
        assert_eq!((response.status, response.body.len()), (200, body.len() + 6));
    }
    origin.assert_unambiguous();
    assert_eq!(origin.requests().len(), 60);
}

fn nginx_in_front_over_http2(io: Io) {
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let http = format!("upstream ringway {{ server {}; keepalive 8; }}", proxy.address());
    let server = "client_max_body_size 0; location / { grpc_pass grpc://ringway; }";
    let Some(nginx) = Server::nginx_with(&http, server) else { return };
    through(&nginx, &origin);
    assert!(proxy.stats().sum("ringway_http2_connections_total") > 0.0, "it spoke HTTP/2");
}

fn haproxy_in_front_over_http2(io: Io) {
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let config =
        format!("  default_backend back\nbackend back\n  server ringway {} proto h2", proxy.address());
    let Some(haproxy) = Server::haproxy(&config) else { return };
    through(&haproxy, &origin);
}
