//! HTTP/1.1: counts, rates, queues, latencies, and servers that break the protocol.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::harness::{OK, count, each_request, load, server};

#[test]
fn what_is_reported_was_served() {
    for extra in
        [&["-c", "7"][..], &["-c", "3", "--pipeline", "4"], &["-c", "5", "--new-connection"], &["-R", "2000"]]
    {
        let (address, served) =
            server(|stream, count| each_request(stream, count, |stream, _| stream.write_all(OK).is_ok()));
        let url = format!("http://{address}/");
        let (code, document, text) = load(&[&["-n", "1001", &url][..], extra].concat());
        assert_eq!(code, Some(0), "{extra:?}: {text}");
        assert_eq!(count(&document, "/summary/requests"), 1001, "{extra:?}: {text}");
        assert_eq!(served.load(Ordering::SeqCst), 1001, "{extra:?}");
        assert_eq!(count(&document, "/summary/body_bytes"), 5005, "{extra:?}");
        assert_eq!(count(&document, "/statuses/200"), 1001, "{extra:?}");
    }
}

#[test]
fn a_run_of_some_time_counts_what_was_served_and_keeps_the_rate() {
    let (address, served) =
        server(|stream, count| each_request(stream, count, |stream, _| stream.write_all(OK).is_ok()));
    let (code, document, text) = load(&["-d", "1s", "-R", "500", &format!("http://{address}/")]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(count(&document, "/summary/requests"), 500, "{text}");
    assert_eq!(served.load(Ordering::SeqCst), 500);
}

#[test]
fn each_fault_of_a_server_has_its_own_name() {
    type Fault = fn(&mut TcpStream) -> bool;
    let faults: &[(&str, Fault)] = &[
        ("early_close", |_| false),
        ("malformed", |stream| stream.write_all(b"garbage\r\n\r\n").is_ok()),
        ("early_close", |stream| {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel");
            false
        }),
        ("status", |stream| stream.write_all(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n").is_ok()),
        ("malformed", |stream| stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxtra").is_ok()),
        ("timeout", |_| true),
    ];
    for (name, fault) in faults {
        let (address, _) = server(|stream, count| each_request(stream, count, |stream, _| fault(stream)));
        let url = format!("http://{address}/");
        let began = Instant::now();
        let (code, document, text) = load(&["-c", "2", "-n", "20", "-d", "3s", "--timeout", "200ms", &url]);
        assert_eq!(code, Some(3), "{name}: {text}");
        assert!(count(&document, &format!("/errors/{name}")) > 0, "{name}: {text}");
        assert!(began.elapsed() < Duration::from_secs(20), "{name}: {text}");
    }
}

#[test]
fn a_queue_that_is_full_counts_what_it_misses() {
    let (address, served) = server(|stream, count| {
        each_request(stream, count, |stream, _| {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(OK).is_ok()
        });
    });
    let url = format!("http://{address}/");
    let (code, document, text) = load(&["-c", "1", "-R", "200", "--queue", "5", "-d", "1s", &url]);
    assert_eq!(code, Some(3), "{text}");
    let (answered, missed) = (count(&document, "/summary/requests"), count(&document, "/summary/missed"));
    assert_eq!(answered + missed, 200, "{text}");
    assert_eq!(answered, served.load(Ordering::SeqCst), "{text}");
    assert!(text.contains("missed"), "{text}");
}

#[test]
fn errors_say_what_to_do() {
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    for (args, advice) in [
        (&["http://127.0.0.1:PORT/"][..], "nothing listens there"),
        (&[], "expected a URL"),
        (&["--groups", "x", "--insecure", "https://127.0.0.1:PORT/"], "nothing listens there"),
        (&["--ca", "/nonexistent.pem", "https://127.0.0.1:PORT/"], "nothing listens there"),
        (&["unix:/nonexistent.sock:/"], "no such socket"),
        (&["--compare", "a=http://127.0.0.1:PORT/"], "at least two"),
        (&["--compare", "a=http://127.0.0.1:PORT/,b=127.0.0.1:PORT", "--csv", "x"], "not with --compare"),
        (&["--find-knee", "--hdr", "x", "http://127.0.0.1:PORT/"], "not with --find-knee"),
        (&["--messages", "2", "http://127.0.0.1:PORT/"], "only with --protocol grpc"),
        (&["--pipeline", "2", "--protocol", "h2", "http://127.0.0.1:PORT/"], "others have --streams"),
        (&["--proxy-protocol", "1", "unix:/nonexistent.sock:/"], "no addresses to tell of"),
        (&["--rate", "0", "http://127.0.0.1:PORT/"], "above 0"),
    ] {
        let args: Vec<String> =
            args.iter().map(|arg| arg.replace("PORT", &unused.port().to_string())).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, _, text) = load(&args);
        assert_eq!(code, Some(1), "{args:?}: {text}");
        assert!(text.contains(advice), "{args:?}: {text}");
    }
}

#[test]
fn the_faults_of_our_origin_are_seen_as_often_as_asked_for() {
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let listen = address.to_string();
    let mut origin = Command::new(env!("CARGO_BIN_EXE_ringway-load"))
        .args(["origin", "--listen", &listen, "--body", "1KiB", "--error-rate", "20%", "--reset-rate", "5%"])
        .args(["--latency", "exponential:1ms"])
        .spawn()
        .expect("the origin runs");
    let end = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "the origin does not listen");
        std::thread::yield_now();
    }
    let (code, document, text) = load(&["-c", "8", "-n", "2000", &format!("http://{address}/")]);
    origin.kill().and_then(|()| origin.wait()).expect("the origin ends");
    assert_eq!(code, Some(3), "{text}");
    let (errors, resets) = (count(&document, "/errors/status"), count(&document, "/errors/reset"));
    // Five deviations of either count.
    assert!((290..=470).contains(&errors), "seed 1: {text}");
    assert!((50..=150).contains(&resets), "seed 1: {text}");
    assert_eq!(count(&document, "/statuses/503"), errors, "{text}");
    assert_eq!(count(&document, "/summary/requests") + resets, 2000, "{text}");
}
