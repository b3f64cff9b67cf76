//! RFC 9113 sections 5.2 and 6.9: flow control.

use ringway_tests::http2::{Frame, Http2Client, kind};
use ringway_tests::{Io, each_driver};

use super::*;

each_driver! {
    window_update_frames,
    windows_above_the_maximum,
    no_byte_more_than_the_streams_window,
    no_byte_more_than_the_connections_window,
    a_larger_initial_window_opens_streams,
    a_smaller_initial_window_may_make_windows_negative,
    data_beyond_our_window_is_an_error,
    padding_counts_and_windows_come_back,
}

const INITIAL_WINDOW_SIZE: u16 = 4;

/// Section 6.9.
fn window_update_frames(io: Io) {
    Stage::new(io).run([
        case("of the connection", [window(0, 1), get(1)], Expect::Answer(200)),
        case("of a stream", [post(1), window(1, 1), data(END, 1, "x")], Expect::Answer(200)),
        case("of nothing for the connection", [window(0, 0)], PROTOCOL),
        case("of nothing for a stream", [hang(1), window(1, 0)], Expect::Either(&[code::PROTOCOL_ERROR])),
        case("of three bytes", [frame(kind::WINDOW_UPDATE, 0, 0, [0, 0, 1])], FRAME_SIZE),
        case(
            "of five bytes on a stream",
            [hang(1), frame(kind::WINDOW_UPDATE, 0, 1, [0, 0, 0, 1, 0])],
            FRAME_SIZE,
        ),
    ]);
}

/// Sections 6.9.1 and 6.9.2.
fn windows_above_the_maximum(io: Io) {
    let most = 0x7fff_ffff;
    Stage::new(io).run([
        case("of the connection", [window(0, most), window(0, most)], FLOW_CONTROL),
        case("of the connection by one", [window(0, most - 65_535), window(0, 1)], FLOW_CONTROL),
        case("of the connection, just", [window(0, most - 65_535), get(1)], Expect::Answer(200)),
        case(
            "of a stream",
            [hang(1), window(1, most), window(1, most)],
            Expect::Stream(&[code::FLOW_CONTROL_ERROR]),
        ),
        case("of a stream, just", [hang(1), window(1, most - 65_535)], Expect::Nothing),
        case(
            "of a stream by SETTINGS",
            [hang(1), window(1, 1), settings(&[(INITIAL_WINDOW_SIZE, most)])],
            FLOW_CONTROL,
        ),
    ]);
}

/// What comes before a PING is answered: bytes of DATA.
fn bytes_before_pong(client: &mut Http2Client) -> usize {
    client.send(&Frame::ping([3; 8]));
    let mut seen = 0;
    loop {
        let frame = client.any_frame().expect("a frame");
        match frame.kind {
            kind::DATA => seen += frame.payload.len(),
            kind::PING if frame.has(flag::ACK) => return seen,
            _ => {}
        }
    }
}

/// Opens nothing by itself.
fn with_window(stage: &Stage, window: u32) -> Http2Client {
    let mut client = Http2Client::begin(stage.proxy.connect(), &[(INITIAL_WINDOW_SIZE, window)]);
    client.settled();
    client
}

/// Section 6.9.1.
fn no_byte_more_than_the_streams_window(io: Io) {
    let stage = Stage::new(io);
    let mut client = with_window(&stage, 1);
    let id = client.get("/");
    while client.any_frame().expect("a frame").kind != kind::DATA {}
    assert_eq!(bytes_before_pong(&mut client), 0);
    client.send(&Frame::window_update(id, 4));
    let mut seen = 0;
    while seen < 4 {
        let frame = client.any_frame().expect("a frame");
        seen += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
    }
    assert_eq!((seen, bytes_before_pong(&mut client)), (4, 0));
}

fn no_byte_more_than_the_connections_window(io: Io) {
    let origin = Origin::replying(
        [&b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n"[..], &vec![b'x'; 100_000]].concat(),
    );
    let proxy = Ringway::to(&origin).io(io).start();
    let mut client = Http2Client::begin(proxy.connect(), &[(INITIAL_WINDOW_SIZE, 1 << 20)]);
    client.settled();
    client.get("/");
    let mut seen = 0;
    while seen < 65_535 {
        let frame = client.any_frame().expect("a frame");
        seen += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
    }
    assert_eq!((seen, bytes_before_pong(&mut client)), (65_535, 0));
}

/// Section 6.9.2.
fn a_larger_initial_window_opens_streams(io: Io) {
    let stage = Stage::new(io);
    let mut client = with_window(&stage, 0);
    let id = client.get("/");
    while client.any_frame().expect("a frame").kind != kind::HEADERS {}
    assert_eq!(bytes_before_pong(&mut client), 0);
    client.send(&Frame::settings(&[(INITIAL_WINDOW_SIZE, 3)]));
    let first = loop {
        let frame = client.any_frame().expect("a frame");
        if frame.kind == kind::DATA {
            break frame;
        }
    };
    assert_eq!((first.id, first.payload.len()), (id, 3));
}

fn a_smaller_initial_window_may_make_windows_negative(io: Io) {
    let stage = Stage::new(io);
    let mut client = with_window(&stage, 3);
    let id = client.get("/");
    while client.any_frame().expect("a frame").kind != kind::DATA {}
    // The stream's window goes from 0 to -2, to 0, and to 1.
    client.client().send([settings(&[(INITIAL_WINDOW_SIZE, 1)]), window(id, 2)].concat());
    assert_eq!(bytes_before_pong(&mut client), 0);
    client.send(&Frame::window_update(id, 1));
    loop {
        let frame = client.any_frame().expect("a frame");
        if frame.kind == kind::DATA {
            assert_eq!(frame.payload.len(), 1);
            break;
        }
    }
}

/// Section 5.2.1: our windows hold.
fn data_beyond_our_window_is_an_error(io: Io) {
    let head = || headers(HEAD, 1, ringway_tests::hpack::request("POST", "/hang"));
    let full = vec![b'x'; 1 << 14];
    // The default windows are 64 KiB for a stream; the origin does not read, the client sends on.
    let frames = std::iter::once(head()).chain((0..200).map(|_| data(0, 1, &full)));
    Stage::new(io).run([case("a stream's", frames, Expect::Either(&[code::FLOW_CONTROL_ERROR]))]);
}

/// Padding of 255 bytes again and again would eat the windows if it were not given back (section 6.1).
fn padding_counts_and_windows_come_back(io: Io) {
    let stage = Stage::new(io);
    let mut client: Http2Client = stage.connect();
    let id = client.post("/");
    let padded = Frame::new(kind::DATA, flag::PADDED, id, [&[255][..], b"xyz", &[0; 255]].concat());
    // More than the window of the stream in all, with 3 bytes of content in each.
    let mut room: i64 = 65_535;
    for _ in 0..600 {
        let cost = padded.payload.len() as i64;
        while room < cost {
            let frame = client.until(kind::WINDOW_UPDATE);
            room += if frame.id == id { i64::from(frame.number(0)) } else { 0 };
        }
        room -= cost;
        client.send(&padded);
    }
    client.send(&Frame::data(id, "", true));
    assert_eq!(client.response(id).status, 200);
}
