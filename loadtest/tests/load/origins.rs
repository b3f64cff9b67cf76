//! Our origins of every protocol, and their faults: what the client counts is what the origin has done.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringway_loadtest::load::codec::Protocol;
use ringway_loadtest::load::origin::faults::{Delay, Faults};
use ringway_loadtest::load::origin::{OriginConfig, OriginTotals, serve, serve_all};
use ringway_loadtest::socket::listen_shared;

use crate::harness::{count, load, tempfile};

/// An origin on a thread of its own, until it is asked for its totals.
pub(crate) struct Origin {
    pub(crate) port: u16,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<OriginTotals>,
}

impl Origin {
    pub(crate) fn start(config: OriginConfig) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::spawn(move || serve(listener, &config, &stopped).expect("the origin serves"));
        Origin { port, stop, thread }
    }

    pub(crate) fn totals(self) -> OriginTotals {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the origin ends")
    }
}

pub(crate) fn config(protocol: Protocol, faults: Faults) -> OriginConfig {
    OriginConfig { protocol, body_bytes: 300, messages: 1, faults, tls: None, seed: 7 }
}

/// The flags of the client, and the URL without its end.
fn client(protocol: Protocol, port: u16) -> Vec<String> {
    let name = match protocol {
        Protocol::Http1 => "http1",
        Protocol::Http2 => "h2",
        Protocol::Grpc => "grpc",
        Protocol::WebSocket => "ws",
    };
    let mut flags = vec!["--protocol".to_owned(), name.to_owned(), format!("http://127.0.0.1:{port}/a.B/C")];
    if protocol == Protocol::WebSocket {
        flags.extend(["--data".to_owned(), "x".repeat(300)]);
    }
    flags
}

const ALL: [Protocol; 4] = [Protocol::Http1, Protocol::Http2, Protocol::Grpc, Protocol::WebSocket];

fn run(
    protocol: Protocol,
    faults: Faults,
    flags: &[&str],
) -> (Option<i32>, serde_json::Value, String, OriginTotals) {
    let origin = Origin::start(config(protocol, faults));
    let own = client(protocol, origin.port);
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let (code, document, text) = load(&[flags, &own].concat());
    (code, document, text, origin.totals())
}

#[test]
fn every_protocol_counts_what_was_served() {
    for protocol in ALL {
        for flags in [&["-c", "3"][..], &["-c", "2", "-m", "7"], &["-c", "2", "-R", "3000"]] {
            let all = [&["-n", "1003"], flags].concat();
            let (code, document, text, totals) = run(protocol, Faults::default(), &all);
            assert_eq!(code, Some(0), "{protocol:?} {flags:?}: {text}");
            assert_eq!(
                (totals.requests, totals.right, totals.lost),
                (1003, 1003, 0),
                "{protocol:?} {flags:?}"
            );
            assert_eq!(count(&document, "/summary/requests"), 1003, "{protocol:?} {flags:?}: {text}");
            let prefix = if protocol == Protocol::Grpc { 5 } else { 0 };
            assert_eq!(
                count(&document, "/summary/body_bytes"),
                1003 * (300 + prefix),
                "{protocol:?}: {text}"
            );
        }
    }
}

#[test]
fn each_fault_of_each_protocol_has_its_own_name_and_its_number() {
    let share = 0.1;
    let none = Faults::default();
    let faults = [
        (Faults { errors: share, ..none }, ["status", "status", "grpc", "closed"]),
        (Faults { resets: share, ..none }, ["reset", "stream", "stream", "reset"]),
        (Faults { garbage: share, ..none }, ["malformed", "http2", "http2", "malformed"]),
        (Faults { short: share, ..none }, ["early_close", "malformed", "malformed", "early_close"]),
    ];
    for (faults, names) in faults {
        for (protocol, name) in ALL.into_iter().zip(names) {
            // One request at a time on a connection: a fault strikes no other.
            let (code, document, text, totals) = run(protocol, faults, &["-n", "400", "-c", "4"]);
            let struck = totals.errors + totals.resets + totals.garbage + totals.short;
            assert!(struck > 10, "{protocol:?} {name}: struck {struck} times with seed 7");
            assert_eq!(code, Some(3), "{protocol:?} {name}: {text}");
            assert_eq!(count(&document, &format!("/errors/{name}")), struck, "{protocol:?} {name}: {text}");
            assert_eq!(count(&document, "/summary/errors"), struck, "{protocol:?} {name}: {text}");
            assert_eq!(totals.requests, 400, "{protocol:?} {name}: {text}");
        }
    }
}

#[test]
fn several_threads_serve_one_address_and_count_together() {
    let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let listeners = listen_shared(address, 3).expect("sockets");
    let address =
        TcpListener::from(listeners[0].try_clone().expect("a handle")).local_addr().expect("an address");
    assert!(listen_shared(address, 2).is_err(), "another process would take its share of the connections");
    let (stop, config) = (Arc::new(AtomicBool::new(false)), config(Protocol::Http1, Faults::default()));
    let stopped = Arc::clone(&stop);
    let thread = std::thread::spawn(move || serve_all(listeners, &config, &stopped).expect("it serves"));
    let (code, document, text) = load(&["-c", "20", "-n", "1000", &format!("http://{address}/")]);
    stop.store(true, Ordering::Relaxed);
    let totals = thread.join().expect("it ends");
    assert_eq!((code, count(&document, "/summary/requests")), (Some(0), 1000), "{text}");
    assert_eq!(
        (totals.right, totals.connections),
        (1000, count(&document, "/summary/connects") + 1),
        "{text}"
    );
}

#[test]
fn storms_of_goaway_lose_nothing() {
    for protocol in [Protocol::Http2, Protocol::Grpc] {
        let faults = Faults { goaways: 0.3, ..Faults::default() };
        let (_, document, text, totals) = run(protocol, faults, &["-n", "2000", "-c", "4", "-m", "8"]);
        assert!(totals.goaways > 100, "{:?}", totals.report());
        let (answered, refused) =
            (count(&document, "/summary/requests"), count(&document, "/errors/refused"));
        assert_eq!(answered + refused, 2000, "{protocol:?}: {text}");
        assert_eq!(count(&document, "/summary/errors"), refused, "{protocol:?}: {text}");
        assert_eq!(answered, totals.right + totals.goaways, "{protocol:?}: {text}");
    }
}

#[test]
fn slow_bodies_arrive_whole_and_late() {
    for protocol in ALL {
        // 300 bytes at 3,000 a second: a tenth of a second.
        let faults = Faults { body_rate: Some(3000), ..Faults::default() };
        let (code, document, text, totals) = run(protocol, faults, &["-n", "20", "-c", "10"]);
        assert_eq!((code, totals.right), (Some(0), 20), "{protocol:?}: {text}");
        let least = document.pointer("/latency/min_us").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        assert!(least > 90_000.0, "{protocol:?}: {text}");
    }
}

#[test]
fn a_grpc_call_by_proto_sends_its_json() {
    let proto = tempfile(".proto");
    let text = "syntax = \"proto3\";\npackage a;\nmessage M { string id = 1; }\n\
        service B { rpc C(M) returns (M); rpc S(stream M) returns (stream M); }\n";
    std::fs::write(&proto, text).expect("a file");
    let json = tempfile(".json");
    std::fs::write(&json, r#"{"id": "{hex:8}"}"#).expect("a file");
    let origin = Origin::start(OriginConfig { messages: 3, ..config(Protocol::Grpc, Faults::default()) });
    let url = format!("grpc://127.0.0.1:{}", origin.port);
    let data = format!("@{json}");
    let call = |call: &str, data: &str| {
        load(&["-n", "50", "-c", "2", "--proto", &proto, "--call", call, "--data", data, &url])
    };
    let (code, document, text) = call("a.B/C", &data);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(count(&document, "/summary/body_bytes"), 50 * 3 * 305, "{text}");
    let (code, _, text) = call("a.B/S", r#"[{"id": "1"}, {"id": "2"}]"#);
    assert_eq!(code, Some(0), "{text}");
    for (method, data, expected) in [
        ("a.B/C", r#"{"name": 1}"#, "unrecognized field name 'name'"),
        ("a.B/C", "[]", "takes one message"),
        ("a.B/D", "{}", "it has C, S"),
    ] {
        let (code, _, text) = call(method, data);
        assert!(code == Some(1) && text.contains(expected), "{method} {data}: {text}");
    }
    assert_eq!(origin.totals().requests, 100);
    std::fs::remove_file(proto).and_then(|()| std::fs::remove_file(json)).expect("the files are ours");
}

#[test]
fn a_delay_is_in_the_latency() {
    let delay = Delay::Fixed(std::time::Duration::from_millis(30));
    for protocol in ALL {
        let faults = Faults { latency: Some(delay), ..Faults::default() };
        let (code, document, text, _) = run(protocol, faults, &["-n", "40", "-c", "8"]);
        assert_eq!(code, Some(0), "{protocol:?}: {text}");
        let least = document.pointer("/latency/min_us").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
        assert!(least >= 29_900.0, "{protocol:?}: {text}");
    }
}
