//! The access log: what a line says, that nothing a peer sends breaks a line, and that no target stops a worker.

use std::process::Command;

use serde_json::Value;

use ringway_tests::process::Signal;
use ringway_tests::temp::TempDir;
use ringway_tests::wait::eventually;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    json_lines_say_who_what_and_how_long,
    combined_lines_are_what_log_readers_expect,
    a_template_is_filled_in,
    what_a_peer_sends_cannot_break_a_line,
    a_request_that_was_no_http_is_logged_too,
    usr1_opens_the_file_again,
    a_full_disk_drops_lines_and_nothing_else,
    a_blocked_pipe_drops_lines_and_nothing_else,
    lines_are_whole_when_the_process_ends,
}

fn json_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

fn json_lines_say_who_what_and_how_long(io: Io) {
    let origin = Origin::replying("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello");
    let proxy =
        Ringway::to(&origin).io(io).set("access-log", "stdout").set("access-log-format", "json").start();
    let mut client = proxy.connect();
    let request = "POST /logged?q=1 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: tester/1\r\nReferer: http://r/\r\n\
                   Content-Length: 3\r\n\r\nabc";
    client.exchange(request);
    client.exchange(request);
    let lines = eventually("two lines", || Some(proxy.stdout()).filter(|lines| lines.len() == 2));
    let line = json_line(&lines[1]);
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (text("method"), text("target"), text("host")),
        ("POST".into(), "/logged?q=1".into(), "shop.test".into())
    );
    assert_eq!((text("client"), text("protocol")), ("127.0.0.1".into(), "HTTP/1.1".into()));
    assert_eq!((text("user_agent"), text("referer")), ("tester/1".into(), "http://r/".into()));
    assert_eq!(
        (text("listener"), text("route"), text("cluster")),
        ("web".into(), "all".into(), "origin".into())
    );
    assert_eq!(text("endpoint"), origin.address().to_string());
    assert_eq!(
        (&line["status"], &line["request_body_bytes"], &line["response_body_bytes"]),
        (&201.into(), &3.into(), &5.into())
    );
    assert_eq!(
        (&line["attempts"], &line["upstream_reused"], &line["reason"]),
        (&1.into(), &true.into(), &Value::Null)
    );
    let times = ["head_us", "connect_us", "first_byte_us", "duration_us"].map(|key| line[key].as_u64());
    assert!(times.iter().all(Option::is_some), "{line}");
    assert!(times[3] >= times[2], "{line}");
    let ids: Vec<String> =
        origin.requests().iter().map(|r| r.field("x-request-id").unwrap_or_default().to_owned()).collect();
    assert_eq!(ids[1], text("request_id"));
}

fn combined_lines_are_what_log_readers_expect(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("access-log", "stdout").start();
    proxy.get("/c");
    let line = proxy.wait_for_stdout("/c");
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with("] \"GET /c HTTP/1.1\" 200 2 \"-\" \"-\""), "{line}");
}

fn a_template_is_filled_in(io: Io) {
    let origin = Origin::ok();
    let format = "{status} {{x}} {reason} {worker} {target}";
    let proxy =
        Ringway::to(&origin).io(io).set("access-log", "stdout").set("access-log-format", format).start();
    proxy.get("/t");
    assert_eq!(proxy.wait_for_stdout("/t"), "200 {x} - 0 /t");
}

fn what_a_peer_sends_cannot_break_a_line(io: Io) {
    // Threat row 51.
    let origin = Origin::ok();
    for format in ["json", "combined"] {
        let proxy =
            Ringway::to(&origin).io(io).set("access-log", "stdout").set("access-log-format", format).start();
        let long = format!("/{}", "p".repeat(16_000));
        let mut requests: Vec<Vec<u8>> = vec![
            b"GET /a HTTP/1.1\r\nHost: test\r\nUser-Agent: \"quoted\" \\ back\\\"\r\n\r\n".to_vec(),
            b"GET /b HTTP/1.1\r\nHost: test\r\nUser-Agent: \xff\xfe\xc3\x28 caf\xc3\xa9\r\n\r\n".to_vec(),
            b"GET /c HTTP/1.1\r\nHost: test\r\nReferer: \x1b[2J\x07\r\n\r\n".to_vec(),
            b"GET /d HTTP/1.1\r\nHost: test\r\nReferer: a\tb \xe2\x80\xa8 c \xc2\x85 d\r\n\r\n".to_vec(),
            b"GET /e\"x HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            b"GET /f HTTP/1.0\r\n\r\n".to_vec(),
            b"GET /g%0a%22 HTTP/1.1\r\nHost: t${jndi:ldap://x}\r\n\r\n".to_vec(),
        ];
        requests.push(format!("GET {long} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes());
        for request in &requests {
            let mut client = proxy.connect();
            client.send(request);
            client.response();
        }
        let lines =
            eventually("all lines", || Some(proxy.stdout()).filter(|lines| lines.len() >= requests.len()));
        assert_eq!(lines.len(), requests.len(), "{lines:#?}");
        for line in lines {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.len() < 20_000);
            if format == "json" {
                json_line(&line);
            } else {
                assert_eq!(line.matches('"').count(), 6, "{line}");
            }
        }
    }
}

fn a_request_that_was_no_http_is_logged_too(io: Io) {
    let origin = Origin::ok();
    let proxy =
        Ringway::to(&origin).io(io).set("access-log", "stdout").set("access-log-format", "json").start();
    proxy.exchange("\u{16}\u{3}\u{1} nonsense\r\n\r\n");
    let line = json_line(&proxy.wait_for_stdout("bad_request"));
    assert_eq!(
        (&line["status"], &line["reason"], &line["route"]),
        (&400.into(), &"bad_request".into(), &Value::Null)
    );
}

fn usr1_opens_the_file_again(io: Io) {
    let origin = Origin::ok();
    let directory = TempDir::new();
    let (file, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let proxy = Ringway::to(&origin).io(io).set("access-log", file.display()).start();
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    proxy.get("/before");
    eventually("the first line", || read(&file).contains("/before").then_some(()));
    std::fs::rename(&file, &moved).expect("moved away");
    proxy.signal(Signal::USR1);
    eventually("the new file", || file.exists().then_some(()));
    proxy.get("/after");
    eventually("the second line", || read(&file).contains("/after").then_some(()));
    assert!(!read(&moved).contains("/after") && !read(&file).contains("/before"));
}

fn a_full_disk_drops_lines_and_nothing_else(io: Io) {
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).set("access-log", "/dev/full").start();
    let mut client = proxy.connect();
    for _ in 0..200 {
        assert_eq!(client.get("/full").status, 200);
    }
    proxy.wait_for_stats("failures to be counted", |stats| {
        stats.sum("ringway_access_log_write_errors_total") > 0.0
    });
    assert_eq!(client.get("/full").status, 200);
}

fn a_blocked_pipe_drops_lines_and_nothing_else(io: Io) {
    let directory = TempDir::new();
    let pipe = directory.path().join("log.pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    // Opened for reading and writing, so that nobody waits for the other end; and never read.
    let _held = std::fs::File::options().read(true).write(true).open(&pipe).expect("the pipe opens");
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin)
        .io(io)
        .set("access-log", pipe.display())
        .set("access-log-format", "json")
        .start();
    let filler = "x".repeat(3000);
    // About 16 MB of lines: more than the pipe, the buffers of the workers and the writer's queue together.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..1200 {
                    assert_eq!(client.get(&format!("/{filler}")).status, 200);
                }
            });
        }
    });
    proxy.wait_for_stats("drops to be counted", |stats| {
        stats.sum("ringway_access_log_dropped_lines_total") > 0.0
    });
    assert_eq!(proxy.get("/still").status, 200);
    let memory = ringway_tests::process::resident_bytes(proxy.pid());
    assert!(memory < 96 << 20, "{} KiB", memory >> 10);
}

fn lines_are_whole_when_the_process_ends(io: Io) {
    let origin = Origin::ok();
    let directory = TempDir::new();
    let file = directory.path().join("access.log");
    let mut proxy = Ringway::to(&origin)
        .io(io)
        .workers(2)
        .set("access-log", file.display())
        .set("access-log-format", "json")
        .start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    for number in 0..400 {
        assert_eq!(clients[number % 4].get(&format!("/{number}")).status, 200);
    }
    proxy.signal(Signal::TERM);
    proxy.wait_for_exit();
    let content = std::fs::read_to_string(&file).expect("the log");
    let mut targets: Vec<String> = content
        .lines()
        .map(|line| json_line(line)["target"].as_str().unwrap_or_default().to_owned())
        .collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 400);
}
