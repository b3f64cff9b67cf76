//! Clients that do not read, or hardly: what they asked for waits in bounds, and everybody else is served
//! (threat rows 8, 49 and 58).

use std::time::{Duration, Instant};

use ringway_tests::http2::{Frame, Http2Client, code, kind};
use ringway_tests::{Client, Io, Origin, Ringway, each_driver, process, wait};

use crate::{Neighbour, Stage};

each_driver! {
    fifty_stalled_streams_do_not_hold_up_fifty_others,
    windows_of_one_byte_cost_little,
    a_client_that_stops_in_the_middle_leaves_nothing_behind,
    uploads_to_an_origin_that_does_not_read_are_held_back,
    a_large_body_flows_both_ways_with_flat_memory,
    connections_without_requests_cost_little,
}

const INITIAL_WINDOW_SIZE: u16 = 4;

/// An origin with 512 KiB for `/large`.
fn large_origin() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.request() {
            match request.target.as_str() {
                "/large" => {
                    conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 512 << 10));
                    let part = vec![b'x'; 64 << 10];
                    if !(0..8).all(|_| conn.send(&part)) {
                        return;
                    }
                }
                _ => drop(conn.reply(200, "small")),
            }
        }
    })
}

fn fifty_stalled_streams_do_not_hold_up_fifty_others(io: Io) {
    let origin = large_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::begin(proxy.connect(), &[(INITIAL_WINDOW_SIZE, 1000)]);
    client.send(&Frame::window_update(0, 1 << 30));
    client.settled();
    let warm = client.get("/small");
    client.response(warm);
    let before = process::resident_bytes(proxy.pid());
    // This client opens no window of these by itself: their DATA is read with `any_frame` only.
    let stalled: Vec<u32> = (0..50).map(|_| client.get("/large")).collect();
    let mut filled = vec![0; 50];
    while filled.iter().any(|bytes| *bytes < 1000) {
        let frame = client.any_frame().expect("a frame");
        if let (kind::DATA, Some(index)) = (frame.kind, stalled.iter().position(|id| *id == frame.id)) {
            filled[index] += frame.payload.len();
        }
    }
    let mut other = Http2Client::connect(proxy.address());
    other.settled();
    for _ in 0..50 {
        let id = other.get("/large");
        assert_eq!(other.response(id).body.len(), 512 << 10);
        // And on the very connection.
        let start = Instant::now();
        let id = client.get("/small");
        while client.any_frame().expect("a frame").id != id {}
        assert!(start.elapsed() < wait::PATIENCE / 2, "{:?}", start.elapsed());
    }
    // What each of them may hold back: chunks of receive buffers, and the stream and connection around them. Some of it
    // is what fifty large responses to the other client left with the allocator.
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    println!("{} KiB for fifty stalled streams", grown >> 10);
    assert!(grown < 50 * (512 << 10), "{} KiB for fifty stalled streams", grown >> 10);
    assert!(client.goaways.is_empty());
}

fn windows_of_one_byte_cost_little(io: Io) {
    let stage = Stage::new(io);
    let neighbour = Neighbour::of(&stage);
    let mut client = Http2Client::begin(stage.proxy.connect(), &[(INITIAL_WINDOW_SIZE, 1)]);
    client.settled();
    for _ in 0..20 {
        let id = client.get("/");
        // `frame` opens the window by as much as came: one byte at a time.
        assert_eq!(client.response(id).body, b"ok");
    }
    neighbour.assert_was_served("windows of one byte");
    drop(client);
    stage.assert_unharmed("windows of one byte");
}

/// Threat row 8: no loop is left behind, and no request either.
fn a_client_that_stops_in_the_middle_leaves_nothing_behind(io: Io) {
    let origin = large_origin();
    let proxy = Ringway::to(&origin).io(io).start();
    for way in ["window", "socket", "reset"] {
        let mut client = Http2Client::begin(
            Client::connect_with_buffer(4096, proxy.address()),
            &[(INITIAL_WINDOW_SIZE, if way == "window" { 100 } else { 1 << 24 })],
        );
        client.send(&Frame::window_update(0, 1 << 24));
        let ids: Vec<u32> = (0..8).map(|_| client.get("/large")).collect();
        while client.any_frame().expect("a frame").kind != kind::DATA {}
        let before = process::cpu_time(proxy.pid());
        wait::pause(Duration::from_millis(300));
        let spent = process::cpu_time(proxy.pid()) - before;
        assert!(spent <= Duration::from_millis(100), "{way}: {spent:?} of 300 ms while nobody reads");
        match way {
            "reset" => ids.into_iter().for_each(|id| {
                client.try_send(&Frame::reset(id, code::CANCEL));
            }),
            _ => drop(client),
        }
        proxy.wait_for_stats(way, |stats| stats.sum("ringway_exchanges_open") == 0.0);
    }
}

fn uploads_to_an_origin_that_does_not_read_are_held_back(io: Io) {
    let origin = Origin::start(|conn| {
        let head = conn.request_head().unwrap_or_default();
        if head.starts_with(b"POST") {
            conn.reached("head");
            wait::pause(Duration::from_secs(5));
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let id = client.post("/");
    origin.wait_until_reached("head");
    let before = process::resident_bytes(proxy.pid());
    // As much as the windows allow, which does not grow without end; what the sockets hold is not the proxy's.
    let mut sent = 0;
    loop {
        let part = client.allowed(id).saturating_sub(sent).min(16_384);
        if part > 0 {
            client.send(&Frame::data(id, vec![b'u'; part], false));
            sent += part;
        } else if client.stays_silent(Duration::from_millis(300)) {
            break;
        } else {
            client.frame().expect("a frame");
        }
    }
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    println!("{} KiB sent, {} KiB more memory", sent >> 10, grown >> 10);
    assert!(grown < 3 << 20, "{} KiB for one stream whose origin does not read", grown >> 10);
}

/// 1 GiB with `RINGWAY_TEST_MIB=1024`; less by default, as every byte is made and read in a debug build.
fn a_large_body_flows_both_ways_with_flat_memory(io: Io) {
    let mib: usize = std::env::var("RINGWAY_TEST_MIB").ok().and_then(|n| n.parse().ok()).unwrap_or(24);
    let total = mib << 20;
    let origin = Origin::start(move |conn| {
        let part = vec![b'd'; 256 << 10];
        while let Some(head) = conn.request_head() {
            let head = String::from_utf8_lossy(&head).into_owned();
            if head.starts_with("POST") {
                assert!(head.contains(&format!("content-length: {total}")), "{head}");
                let mut left = total;
                while left > 0 && conn.exactly(left.min(1 << 20)).is_some() {
                    left -= left.min(1 << 20);
                }
                conn.reply(200, format!("{} left", left));
                continue;
            }
            conn.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n"));
            if !(0..total / part.len()).all(|_| conn.send(&part)) {
                return;
            }
        }
    });
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::connect(proxy.address());
    client.settled();
    let before = process::resident_bytes(proxy.pid());
    download(&mut client, total);
    upload(&mut client, total);
    let grown = process::resident_bytes(proxy.pid()).saturating_sub(before);
    println!("{mib} MiB each way, {} KiB more memory", grown >> 10);
    assert!(grown < 6 << 20, "{} KiB more while {mib} MiB flowed each way", grown >> 10);
}

fn download(client: &mut Http2Client, total: usize) {
    client.get("/");
    let mut seen = 0;
    while seen < total {
        let frame = client.any_frame().expect("a frame");
        let length = frame.payload.len();
        if frame.kind == kind::DATA && length > 0 {
            assert!(frame.payload.iter().all(|byte| *byte == b'd'));
            client.send(&Frame::window_update(0, length as u32));
            client.send(&Frame::window_update(frame.id, length as u32));
            seen += length;
        }
    }
    assert_eq!(seen, total);
}

fn upload(client: &mut Http2Client, total: usize) {
    let length = total.to_string();
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "test")];
    let id = client.open(&[&fields[..], &[("content-length", &length)]].concat(), false);
    let mut sent = 0;
    while sent < total {
        let part = client.allowed(id).saturating_sub(sent).min(16_384).min(total - sent);
        if part > 0 {
            sent += part;
            client.send(&Frame::data(id, vec![b'u'; part], sent == total));
        } else {
            client.frame().expect("a frame");
        }
    }
    assert_eq!(client.response(id).body, b"0 left");
}

/// Threat row 58: a connection that only stays costs a few KiB, whatever it said at its beginning.
fn connections_without_requests_cost_little(io: Io) {
    let stage = Stage::new(io);
    let neighbour = Neighbour::of(&stage);
    let mut clients: Vec<Http2Client> = (0..300).map(|_| stage.connect()).collect();
    for client in &mut clients {
        let id = client.get("/");
        assert_eq!(client.response(id).status, 200);
    }
    let each = process::resident_bytes(stage.proxy.pid()).saturating_sub(stage.memory) / 300;
    println!("{each} bytes for each connection");
    assert!(each < 12_288, "{each} bytes for each connection");
    neighbour.assert_was_served("idle connections");
}
