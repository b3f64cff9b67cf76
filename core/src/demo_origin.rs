//! The embedded demo origin: a fixed reply, so that the proxy has something to proxy to on a fresh machine.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use ringway_protocols::http1::{self, BodyDecoder, BodyStep, HeadLimits, Parsed, TrailerLimits};
use ringway_protocols::message::{Method, RequestHead};

const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 35\r\n\r\n\
Hello from Ringway's demo origin.\r\n";
/// The same for HEAD (RFC 9110 section 9.3.2).
const REPLY_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 35\r\n\r\n";
/// Connections at a time: each is a thread, and this is a demonstration.
const CONNECTIONS_MAX: usize = 1024;
/// A head larger than this ends its connection.
const HEAD_BYTES_MAX: u32 = 128 * 1024;

/// Starts the origin on a loopback port of the kernel's choice and returns its address.
pub fn start() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("demo-origin".to_owned()).spawn(move || accept(&listener))?;
    Ok(address)
}

fn accept(listener: &TcpListener) {
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        if open.load(Relaxed) >= CONNECTIONS_MAX {
            continue;
        }
        open.fetch_add(1, Relaxed);
        let open_here = Arc::clone(&open);
        let serve = move || {
            // A client that breaks off ends its own connection only.
            let _ = serve(stream);
            open_here.fetch_sub(1, Relaxed);
        };
        let spawned = std::thread::Builder::new().stack_size(128 * 1024).spawn(serve);
        if spawned.is_err() {
            open.fetch_sub(1, Relaxed);
        }
    }
}

/// Answers each request once its body has been read.
fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let limits = HeadLimits { bytes_max: HEAD_BYTES_MAX, fields_max: 200, target_bytes_max: HEAD_BYTES_MAX };
    let trailers = TrailerLimits { bytes_max: HEAD_BYTES_MAX, fields_max: 200 };
    let mut head = RequestHead::default();
    let mut received = Vec::new();
    loop {
        match http1::parse_request(&received, &limits, &mut head) {
            Ok(Parsed::Complete) => {}
            Ok(Parsed::NeedMore) => {
                if !receive(&mut stream, &mut received)? {
                    return Ok(());
                }
                continue;
            }
            Err(_) => return Ok(()),
        }
        received.drain(..head.bytes as usize);
        if head.expect_continue {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = BodyDecoder::new(head.body, &trailers);
        while !body.is_done() {
            match body.next(&received) {
                Ok(BodyStep::Framing(n) | BodyStep::Trailer(n) | BodyStep::Data(n)) => {
                    drop(received.drain(..n))
                }
                Ok(_) if body.is_done() => {}
                Ok(_) => {
                    if !receive(&mut stream, &mut received)? {
                        return Ok(());
                    }
                }
                Err(_) => return Ok(()),
            }
        }
        stream.write_all(if head.method == Method::Head { REPLY_HEAD } else { REPLY })?;
    }
}

/// Appends what comes next; `false` at the end of the connection.
fn receive(stream: &mut TcpStream, received: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut piece = [0; 16 * 1024];
    let read = stream.read(&mut piece)?;
    received.extend_from_slice(&piece[..read]);
    Ok(read > 0)
}
