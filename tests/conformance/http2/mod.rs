//! HTTP/2 through the running proxy, by section of RFC 9113: what a client may send, what it may not, and with what
//! code it is told so. Every case is its bytes, one connection and one verdict; the client shares no code with the
//! proxy's.

mod rfc9113_03_starting;
mod rfc9113_04_frames;
mod rfc9113_05_streams;
mod rfc9113_06_connection_frames;
mod rfc9113_06_stream_frames;
mod rfc9113_06_windows;
mod rfc9113_08_messages;

use ringway_tests::hpack;
use ringway_tests::http2::{Frame, Http2Client, code, flag, kind};
use ringway_tests::wire::Broken;
use ringway_tests::{Io, Origin, Proxy, Ringway};

pub(crate) const END: u8 = flag::END_STREAM;
pub(crate) const HEAD: u8 = flag::END_HEADERS;

/// What has to follow from the bytes of a case.
pub(crate) enum Expect {
    /// The response to stream 1, with this status, and no other frame that says no.
    Answer(u16),
    /// Nothing: the connection goes on, and no stream is reset.
    Nothing,
    /// RST_STREAM with one of these codes; the connection goes on.
    Stream(&'static [u32]),
    /// GOAWAY with one of these codes, and the end of the connection.
    Connection(&'static [u32]),
    /// Either of the two with one of these codes, where the RFC leaves the choice.
    Either(&'static [u32]),
}

/// One step of a case.
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Reads until the response of this stream is complete.
    Await(u32),
}

pub(crate) struct Case {
    name: &'static str,
    steps: Vec<Step>,
    expect: Expect,
}

/// A case whose bytes are sent in one write.
pub(crate) fn case(name: &'static str, frames: impl IntoIterator<Item = Vec<u8>>, expect: Expect) -> Case {
    let bytes: Vec<Vec<u8>> = frames.into_iter().collect();
    Case { name, steps: vec![Step::Send(bytes.concat())], expect }
}

/// A case whose second part goes out once the response of stream 1 is there.
pub(crate) fn after_response(
    name: &'static str,
    before: impl IntoIterator<Item = Vec<u8>>,
    after: impl IntoIterator<Item = Vec<u8>>,
    expect: Expect,
) -> Case {
    let concat = |frames: Vec<Vec<u8>>| Step::Send(frames.concat());
    let steps =
        vec![concat(before.into_iter().collect()), Step::Await(1), concat(after.into_iter().collect())];
    Case { name, steps, expect }
}

pub(crate) fn frame(kind: u8, flags: u8, id: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    Frame::new(kind, flags, id, payload.as_ref()).encode()
}

pub(crate) fn headers(flags: u8, id: u32, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::HEADERS, flags, id, block)
}

pub(crate) fn data(flags: u8, id: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::DATA, flags, id, payload)
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    Frame::settings(settings).encode()
}

pub(crate) fn window(id: u32, increment: u32) -> Vec<u8> {
    Frame::window_update(id, increment).encode()
}

/// A complete request that is answered at once.
pub(crate) fn get(id: u32) -> Vec<u8> {
    headers(END | HEAD, id, hpack::request("GET", "/"))
}

/// A complete request that is never answered.
pub(crate) fn hang(id: u32) -> Vec<u8> {
    headers(END | HEAD, id, hpack::request("GET", "/hang"))
}

/// The head of a request whose content follows.
pub(crate) fn post(id: u32) -> Vec<u8> {
    headers(HEAD, id, hpack::request("POST", "/"))
}

/// The block of a GET with more fields.
pub(crate) fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    [hpack::request("GET", "/"), hpack::block(fields.iter().copied())].concat()
}

/// A proxy in front of an origin that answers everything but `/hang`, and cases to run.
pub(crate) struct Stage {
    _origin: Origin,
    proxy: Proxy,
}

impl Stage {
    pub(crate) fn new(io: Io) -> Stage {
        let origin = Origin::start(|conn| {
            while let Some(request) = conn.request() {
                match (request.method.as_str(), request.target.as_str()) {
                    (_, "/hang") => drop(conn.until_closed()),
                    ("HEAD", _) => drop(conn.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n")),
                    _ => drop(conn.reply(200, "0123456789")),
                }
            }
        });
        let proxy = Ringway::to(&origin).io(io).start();
        Stage { _origin: origin, proxy }
    }

    /// Runs every case and tells all that failed.
    pub(crate) fn run(&self, cases: impl IntoIterator<Item = Case>) {
        let (mut count, mut failed) = (0, Vec::new());
        for case in cases {
            count += 1;
            if let Err(what) = self.check(&case) {
                failed.push(format!("{}: {what}", case.name));
            }
        }
        assert!(failed.is_empty(), "{} of {count} failed:\n{}", failed.len(), failed.join("\n"));
        assert!(count > 0);
    }

    pub(crate) fn connect(&self) -> Http2Client {
        let mut client = Http2Client::connect(self.proxy.address());
        client.settled();
        client
    }

    fn check(&self, case: &Case) -> Result<(), String> {
        let mut client = self.connect();
        for step in &case.steps {
            match step {
                // A peer that closes in the middle of what it refuses is a verdict, too.
                Step::Send(bytes) => drop(client.client().try_send(bytes)),
                Step::Await(id) => drop(client.response(*id)),
            }
        }
        if let Expect::Answer(status) = case.expect {
            let response = client.try_response(1).map_err(|instead| format!("{instead:?}"))?;
            return equal(response.status, status);
        }
        let seen = observe(&mut client)?;
        match (&case.expect, seen) {
            (Expect::Nothing, Seen::Alive(resets)) if resets.is_empty() => Ok(()),
            (Expect::Stream(codes) | Expect::Either(codes), Seen::Alive(resets))
                if resets.len() == 1 && codes.contains(&resets[0]) =>
            {
                Ok(())
            }
            (Expect::Connection(codes) | Expect::Either(codes), Seen::Ended(code))
                if codes.contains(&code) =>
            {
                Ok(())
            }
            (_, seen) => Err(format!("{seen:?}")),
        }
    }
}

/// What a connection came to.
#[derive(Debug)]
enum Seen {
    /// PING is answered; the codes of the streams that were reset before.
    Alive(Vec<u32>),
    /// GOAWAY with this code, then the end.
    Ended(u32),
}

const LAST: [u8; 8] = *b"the last";

/// Asks with a PING how far the peer has come: it answers in order.
fn observe(client: &mut Http2Client) -> Result<Seen, String> {
    client.try_send(&Frame::ping(LAST));
    let mut resets = Vec::new();
    loop {
        match client.frame() {
            Ok(frame) if frame.kind == kind::RST_STREAM => resets.push(frame.number(0)),
            Ok(frame) if frame.kind == kind::PING && frame.has(flag::ACK) && frame.payload == LAST => {
                return Ok(Seen::Alive(resets));
            }
            Ok(_) => {}
            Err(Broken::Closed(rest) | Broken::Reset(rest)) if rest.is_empty() => {
                let code = client.goaways.last().map(|(_, code)| *code);
                return code.map(Seen::Ended).ok_or("the end without GOAWAY".to_owned());
            }
            Err(broken) => return Err(format!("{broken:?}")),
        }
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found:?}, not {expected:?}")) }
}

pub(crate) const PROTOCOL: Expect = Expect::Connection(&[code::PROTOCOL_ERROR]);
pub(crate) const FRAME_SIZE: Expect = Expect::Connection(&[code::FRAME_SIZE_ERROR]);
pub(crate) const FLOW_CONTROL: Expect = Expect::Connection(&[code::FLOW_CONTROL_ERROR]);
pub(crate) const COMPRESSION: Expect = Expect::Connection(&[code::COMPRESSION_ERROR]);
/// RFC 9113 8.1.1.
pub(crate) const MALFORMED: Expect = Expect::Stream(&[code::PROTOCOL_ERROR]);
pub(crate) const CLOSED: Expect = Expect::Either(&[code::STREAM_CLOSED]);
