//! RFC 9113 section 3: how a connection begins.

use ringway_tests::http2::{Frame, Http2Client, PREFACE, code, flag, kind};
use ringway_tests::{Io, each_driver};

use super::Stage;

each_driver! {
    the_first_frame_of_the_server_is_settings,
    the_first_frame_of_the_client_has_to_be_settings,
    what_is_no_preface_is_closed,
}

/// Section 3.4.
fn the_first_frame_of_the_server_is_settings(io: Io) {
    let stage = Stage::new(io);
    let mut client = Http2Client::connect(stage.proxy.address());
    let first = client.any_frame().expect("a frame");
    assert_eq!((first.kind, first.flags, first.id), (kind::SETTINGS, 0, 0));
    assert_eq!(first.payload.len() % 6, 0);
    // What it announces is in the range of section 6.5.2.
    for setting in first.payload.chunks(6) {
        let value = u32::from_be_bytes(setting[2..].try_into().expect("four bytes"));
        match u16::from_be_bytes([setting[0], setting[1]]) {
            2 => assert_eq!(value, 0, "a server pushes, and is not pushed to"),
            3 => assert!(value >= 100, "SETTINGS_MAX_CONCURRENT_STREAMS (section 6.5.2)"),
            4 => assert!(value <= i32::MAX as u32),
            5 => assert!((1 << 14..1 << 24).contains(&value)),
            _ => {}
        }
    }
}

fn the_first_frame_of_the_client_has_to_be_settings(io: Io) {
    let stage = Stage::new(io);
    for first in [
        Frame::ping(*b"12345678"),
        Frame::window_update(0, 1),
        Frame::new(kind::SETTINGS, flag::ACK, 0, []),
        Frame::new(kind::HEADERS, 5, 1, ringway_tests::hpack::request("GET", "/")),
        Frame::new(0xff, 0, 0, []),
    ] {
        let mut client = stage.proxy.connect();
        client.send([&PREFACE[..], &first.encode()].concat());
        let mut client = Http2Client::over(client, 1);
        assert_eq!(client.until_closed().map(|(_, code)| code), Some(code::PROTOCOL_ERROR), "{first:?}");
    }
}

fn what_is_no_preface_is_closed(io: Io) {
    let stage = Stage::new(io);
    for preface in [
        "INVALID CONNECTION PREFACE\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\rx",
        "PRI * HTTP/2.1\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = stage.proxy.connect();
        client.send(preface);
        client.finish_writing();
        let answer = client.until_closed();
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 ") || answer[3] == kind::SETTINGS,
            "{answer:?}"
        );
    }
}
