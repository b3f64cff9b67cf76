//! HTTP/1.1: counts, rates, queues, latencies, and servers that break the protocol.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

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
fn an_open_loop_shows_a_stall_that_a_closed_loop_hides() {
    let stalling = || {
        server(|stream, count| {
            each_request(stream, count, |stream, number| {
                if number == 100 {
                    // The stall is what is tested; nothing waits for it to be long enough.
                    std::thread::sleep(Duration::from_secs(1));
                }
                stream.write_all(OK).is_ok()
            });
        })
    };
    let (address, _) = stalling();
    let url = format!("http://{address}/");
    let (_, open, text) = load(&["-c", "1", "-d", "2s", "-R", "300", &url]);
    let p90 = open.pointer("/latency/p90_us").and_then(Value::as_f64).unwrap_or(0.0);
    assert!(p90 > 300_000.0, "{text}");
    let (address, _) = stalling();
    let (_, closed, text) = load(&["-c", "1", "-d", "2s", &format!("http://{address}/")]);
    let p90 = closed.pointer("/latency/p90_us").and_then(Value::as_f64).unwrap_or(f64::MAX);
    assert!(p90 < 300_000.0, "{text}");
}

#[test]
fn percentiles_are_those_of_a_known_distribution() {
    // Nine answers of ten after 20 ms, one after 60 ms.
    let (address, _) = server(|stream, count| {
        each_request(stream, count, |stream, number| {
            std::thread::sleep(Duration::from_millis(if number % 10 == 9 { 60 } else { 20 }));
            stream.write_all(OK).is_ok()
        });
    });
    let (_, document, text) = load(&["-c", "4", "-n", "200", &format!("http://{address}/")]);
    let at = |name: &str| {
        document.pointer(&format!("/latency/{name}")).and_then(Value::as_f64).unwrap_or(0.0) / 1e3
    };
    // No answer can come before its time; how late it comes is up to a busy machine.
    assert!(at("min_us") >= 19.9 && at("p50_us") >= 19.9 && at("p50_us") < 55.0, "{text}");
    assert!(at("p99_us") >= 59.9, "{text}");
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
