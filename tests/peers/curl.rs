//! curl as the client.

use std::path::PathBuf;
use std::process::Output;

use ringway_tests::peers::{find, run};
use ringway_tests::temp::TempDir;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

each_driver! {
    speaks_http_1_0_and_1_1,
    uploads_with_expect_continue,
    uploads_chunked,
    downloads_what_was_uploaded,
    keeps_its_connection,
    sends_every_method,
    is_refused_h2c_and_served_all_the_same,
    asks_through_a_proxy_in_absolute_form,
    resumes_with_a_range,
}

/// Echoes the body of each request, and its head in fields of the response.
fn echo() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            let head = format!(
                "HTTP/1.1 200 OK\r\nX-Version: {}\r\nX-Expect: {}\r\nX-Coding: {}\r\nX-Range: {}\r\nContent-Length: {}\r\n\r\n",
                request.version,
                request.field("expect").unwrap_or("none"),
                request.field("transfer-encoding").unwrap_or("none"),
                request.field("range").unwrap_or("none"),
                request.body.len()
            );
            conn.send([head.as_bytes(), &request.body].concat());
        }
    })
}

fn curl(program: &PathBuf, proxy: &Proxy, arguments: &[&str]) -> Output {
    let url = format!("http://{}/curl", proxy.address());
    let output = run(program, &[&["-sS", "-m", "20"], arguments, &[&url]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn speaks_http_1_0_and_1_1(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    for version in ["--http1.0", "--http1.1"] {
        let output = text(&curl(&program, &proxy, &[version, "-i"]));
        assert!(output.starts_with("HTTP/1.1 200 ") && output.contains("X-Version: HTTP/1.1"), "{output}");
    }
    let head = text(&curl(&program, &proxy, &["-I"]));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

fn uploads_with_expect_continue(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = Origin::start(|conn| {
        while conn.request_head().is_some() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = conn.exactly(2_000_000).expect("the body");
            assert!(body.iter().all(|byte| *byte == b'u'));
            conn.reply(200, "thanks");
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let directory = TempDir::new();
    let file = directory.write("upload", vec![b'u'; 2_000_000]).display().to_string();
    // Long enough that curl would only go on because the 100 came.
    let arguments = ["-T", &file, "-H", "Expect: 100-continue", "--expect100-timeout", "15"];
    let start = std::time::Instant::now();
    assert_eq!(text(&curl(&program, &proxy, &arguments)), "thanks");
    assert!(start.elapsed() < std::time::Duration::from_secs(12));
}

fn uploads_chunked(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let directory = TempDir::new();
    let content = "chunked upload ".repeat(30_000);
    let file = directory.write("upload", &content).display().to_string();
    let output = curl(&program, &proxy, &["-T", &file, "-H", "Transfer-Encoding: chunked", "-H", "Expect:"]);
    assert!(text(&output) == content);
    assert_eq!(
        origin.only_request().field("transfer-encoding").map(str::to_ascii_lowercase).as_deref(),
        Some("chunked")
    );
}

fn downloads_what_was_uploaded(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let directory = TempDir::new();
    let content: Vec<u8> = (0..5_000_000_u32).map(|index| (index % 249) as u8).collect();
    let file = directory.write("upload", &content).display().to_string();
    let output = curl(&program, &proxy, &["--data-binary", &format!("@{file}"), "-H", "Expect:"]);
    assert!(output.stdout == content);
}

fn keeps_its_connection(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let url = format!("http://{}/n[1-50]", proxy.address());
    let output = run(&program, &["-sS", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\\n", &url]);
    let lines = text(&output);
    assert_eq!(lines.lines().filter(|line| *line == "200 0").count(), 49, "{lines}");
    assert_eq!(origin.connections(), 1);
}

fn sends_every_method(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"] {
        assert_eq!(text(&curl(&program, &proxy, &["-X", method, "-d", "body"])), "body", "{method}");
    }
}

fn is_refused_h2c_and_served_all_the_same(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let output = text(&curl(&program, &proxy, &["--http2", "-i"]));
    assert!(output.starts_with("HTTP/1.1 200 "), "{output}");
    let seen = origin.only_request();
    assert_eq!((seen.field("upgrade"), seen.field("http2-settings")), (None, None));
}

fn asks_through_a_proxy_in_absolute_form(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let through = format!("http://{}", proxy.address());
    let output = run(&program, &["-sS", "-m", "20", "-x", &through, "http://named.test/path?q"]);
    assert!(output.status.success());
    let seen = origin.only_request();
    assert_eq!((seen.target.as_str(), seen.field("host")), ("/path?q", Some("named.test")));
}

fn resumes_with_a_range(io: Io) {
    let Some(program) = find("curl") else { return };
    let origin = echo();
    let proxy = Ringway::to(&origin).io(io).start();
    let output = text(&curl(&program, &proxy, &["-r", "100-199", "-i"]));
    assert!(output.contains("X-Range: bytes=100-199"), "{output}");
}
