//! Servers to measure, and the program that measures them.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// A server with a thread for each connection; `serve` gets the connection and the count of requests so far.
pub(crate) fn server(
    serve: impl Fn(&mut TcpStream, &AtomicU64) + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (count, serve) = (Arc::new(AtomicU64::new(0)), Arc::new(serve));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, serve, count) =
                (stream.expect("a connection"), Arc::clone(&serve), Arc::clone(&counted));
            std::thread::spawn(move || serve(&mut stream, &count));
        }
    });
    (address, count)
}

/// Reads heads without bodies, and answers each as `answer` says with the number of the request.
pub(crate) fn each_request(
    stream: &mut TcpStream,
    count: &AtomicU64,
    mut answer: impl FnMut(&mut TcpStream, u64) -> bool,
) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 {
            return;
        }
        bytes.extend_from_slice(&buffer[..length]);
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            bytes.drain(..end + 4);
            if !answer(stream, count.fetch_add(1, Ordering::SeqCst)) {
                return;
            }
        }
    }
}

/// Reads whole requests, and answers each from its head and its body.
pub(crate) fn each_whole_request(
    stream: &mut TcpStream,
    count: &AtomicU64,
    mut answer: impl FnMut(&mut TcpStream, &str, &str) -> bool,
) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
        while let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lower = head.to_ascii_lowercase();
            let length = lower.split_once("content-length:").and_then(|(_, rest)| rest.lines().next());
            let body = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if bytes.len() < end + 4 + body {
                break;
            }
            let body = String::from_utf8_lossy(&bytes[end + 4..end + 4 + body]).into_owned();
            bytes.drain(..end + 4 + body.len());
            count.fetch_add(1, Ordering::SeqCst);
            if !answer(stream, &head, &body) {
                return;
            }
        }
    }
}

/// Runs `ringway-load`: its exit status, its JSON, and what it printed.
pub(crate) fn load(args: &[&str]) -> (Option<i32>, Value, String) {
    let json = tempfile(".json");
    let output = Command::new(env!("CARGO_BIN_EXE_ringway-load"))
        .args(args)
        .args(["--quiet", "--json", &json])
        .output()
        .expect("ringway-load runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let document = std::fs::read_to_string(&json).ok().and_then(|text| serde_json::from_str(&text).ok());
    let _ = std::fs::remove_file(&json);
    (output.status.code(), document.unwrap_or(Value::Null), text)
}

/// The name of a file that nobody else writes.
pub(crate) fn tempfile(ending: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("ringway-load-test-{}-{number}{ending}", std::process::id());
    std::env::temp_dir().join(name).display().to_string()
}

/// A number of the JSON, 0 where there is none.
pub(crate) fn count(document: &Value, pointer: &str) -> u64 {
    document.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}
