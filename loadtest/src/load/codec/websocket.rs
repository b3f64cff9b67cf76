//! WebSocket messages (RFC 6455): one message of ours is a request, and the next data message is its answer, as an
//! echo server gives it. The latency of the handshake is not counted.

use std::collections::VecDeque;

use ringway_protocols::websocket;

use crate::load::codec::{CodecConfig, Ended, KEPT_BYTES_MAX};
use crate::load::random::Random;
use crate::load::request::Rendered;
use crate::load::totals::Failure;

/// One connection.
pub struct WebSocket {
    depth_max: u32,
    waiting: VecDeque<u32>,
    partial: Vec<u8>,
    key: Vec<u8>,
    open: bool,
    closing: bool,
    random: Random,
    message_bytes: u64,
    /// The fragments of a message so far, where it is kept.
    body: Vec<u8>,
    keep_body: bool,
}

const OPCODE_TEXT: u8 = 1;
const OPCODE_BINARY: u8 = 2;
const OPCODE_CLOSE: u8 = 8;
const OPCODE_PING: u8 = 9;
const OPCODE_PONG: u8 = 10;
const FIN: u8 = 0x80;
const MASK: u8 = 0x80;
/// Of a response to the handshake, and of a message.
const HEAD_BYTES_MAX: usize = 64 << 10;
const MESSAGE_BYTES_MAX: u64 = 16 << 20;
/// Pongs wait behind no more than this: of pings that come faster than their answers go, some are not answered.
const UNSENT_BYTES_MAX: usize = 64 << 10;

impl WebSocket {
    pub fn new(config: &CodecConfig, seed: u64, out: &mut Vec<u8>) -> WebSocket {
        let mut random = Random::new(seed);
        let key = websocket::key_of(u128::from(random.next_u64()) << 64 | u128::from(random.next_u64()));
        let (path, authority) = (&config.path, &config.authority);
        out.extend_from_slice(format!("GET {path} HTTP/1.1\r\nUpgrade: websocket\r\n").as_bytes());
        if !config.gives("host") {
            out.extend_from_slice(format!("Host: {authority}\r\n").as_bytes());
        }
        for (name, value) in &config.handshake_fields {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
        out.extend_from_slice(&key);
        out.extend_from_slice(b"\r\n\r\n");
        WebSocket {
            depth_max: config.streams,
            waiting: VecDeque::new(),
            partial: Vec::new(),
            key: key.to_vec(),
            open: false,
            closing: false,
            random,
            message_bytes: 0,
            body: Vec::new(),
            keep_body: config.keep_body,
        }
    }

    pub fn can_start(&self) -> bool {
        self.open && !self.closing && (self.waiting.len() as u32) < self.depth_max
    }

    /// The handshake is done.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// What the peer's end of the connection means for messages without an answer.
    pub fn end_failure(&self) -> Failure {
        match (self.open, self.closing) {
            (false, _) => Failure::Handshake,
            (true, true) => Failure::Closed,
            (true, false) => Failure::EarlyClose,
        }
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }

    pub fn start(&mut self, tag: u32, request: &Rendered, out: &mut Vec<u8>) -> Result<(), Failure> {
        // Servers that speak JSON expect text.
        let text = std::str::from_utf8(request.body()).is_ok();
        self.frame(if text { OPCODE_TEXT } else { OPCODE_BINARY }, request.body(), out);
        self.waiting.push_back(tag);
        Ok(())
    }

    pub fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Failure> {
        self.partial.extend_from_slice(bytes);
        let mut joined = std::mem::take(&mut self.partial);
        let mut at = 0;
        if !self.open {
            let Some(end) = joined.windows(4).position(|window| window == b"\r\n\r\n") else {
                self.partial = joined;
                return if self.partial.len() > HEAD_BYTES_MAX { Err(Failure::Malformed) } else { Ok(()) };
            };
            at = end + 4;
            self.check_handshake(joined.get(..at).unwrap_or_default())?;
            self.open = true;
        }
        while let Some(used) = self.take_frame(joined.get(at..).unwrap_or_default(), out, ended)? {
            at += used;
        }
        // Only whole frames go: a long one is not copied with each piece of it that comes.
        joined.drain(..at);
        self.partial = joined;
        Ok(())
    }

    fn check_handshake(&self, head: &[u8]) -> Result<(), Failure> {
        let accept = websocket::accept_of(&self.key);
        let accepted = head.windows(accept.len()).any(|window| window == accept);
        if head.starts_with(b"HTTP/1.1 101") && accepted { Ok(()) } else { Err(Failure::Handshake) }
    }

    /// Takes one whole frame; `None` when more bytes are needed.
    fn take_frame(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        ended: &mut Vec<Ended>,
    ) -> Result<Option<usize>, Failure> {
        let &[first, second, ..] = bytes else { return Ok(None) };
        // A server does not mask (RFC 6455 5.1), and we have negotiated no extension (5.2).
        if second & MASK != 0 || first & 0x70 != 0 {
            return Err(Failure::Malformed);
        }
        let (head_bytes, length) = match second {
            126 => match bytes {
                [_, _, a, b, ..] => (4, u64::from(u16::from_be_bytes([*a, *b]))),
                _ => return Ok(None),
            },
            127 => match bytes.get(2..10).and_then(|length| <[u8; 8]>::try_from(length).ok()) {
                Some(length) => (10, u64::from_be_bytes(length)),
                None => return Ok(None),
            },
            length => (2, u64::from(length)),
        };
        if length > MESSAGE_BYTES_MAX {
            return Err(Failure::Malformed);
        }
        let Some(payload) = bytes.get(head_bytes..head_bytes + length as usize) else { return Ok(None) };
        match first & 0x0f {
            0..=2 => {
                self.message_bytes += length;
                if self.keep_body && self.body.len() + payload.len() <= KEPT_BYTES_MAX {
                    self.body.extend_from_slice(payload);
                }
                if first & FIN != 0 {
                    let body_bytes = std::mem::take(&mut self.message_bytes);
                    let tag = self.waiting.pop_front().ok_or(Failure::Malformed)?;
                    let body = std::mem::take(&mut self.body);
                    ended.push(Ended { tag, status: 0, body_bytes, failure: None, body });
                }
            }
            OPCODE_CLOSE => {
                // It is answered with the same (RFC 6455 5.5.1).
                if !std::mem::replace(&mut self.closing, true) {
                    self.frame(OPCODE_CLOSE, payload, out);
                }
            }
            // RFC 6455 5.5.3: the newest is enough.
            OPCODE_PING if out.len() > UNSENT_BYTES_MAX => {}
            OPCODE_PING => self.frame(OPCODE_PONG, payload, out),
            OPCODE_PONG => {}
            _ => return Err(Failure::Malformed),
        }
        Ok(Some(head_bytes + length as usize))
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.push(FIN | opcode);
        match payload.len() {
            length @ 0..126 => out.push(MASK | length as u8),
            length @ 126..=0xffff => {
                out.push(MASK | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                out.push(MASK | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        let mask = (self.random.next_u64() as u32).to_be_bytes();
        out.extend_from_slice(&mask);
        out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::codec::Protocol;

    fn opened() -> WebSocket {
        let config = CodecConfig {
            protocol: Protocol::WebSocket,
            streams: 1,
            keep_body: false,
            authority: "a".into(),
            path: "/".into(),
            handshake_fields: vec![("origin".into(), "http://a.test".into()), ("HOST".into(), "b".into())],
            tls: false,
        };
        let mut out = Vec::new();
        let mut websocket = WebSocket::new(&config, 1, &mut out);
        let said = String::from_utf8_lossy(&out);
        assert!(
            said.contains("\r\norigin: http://a.test\r\nHOST: b\r\n") && !said.contains("Host: a"),
            "{said}"
        );
        let accept = websocket::accept_of(&websocket.key);
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: ".to_vec();
        answer.extend_from_slice(&accept);
        answer.extend_from_slice(b"\r\n\r\n");
        assert_eq!(websocket.receive(&answer, &mut out, &mut Vec::new()), Ok(()));
        websocket
    }

    #[test]
    fn a_message_answers_a_message_and_a_ping_gets_its_pong() {
        let mut websocket = opened();
        assert!(websocket.can_start());
        websocket.waiting.push_back(4);
        let (mut out, mut ended) = (Vec::new(), Vec::new());
        let frames = b"\x89\x01p\x02\x02ab\x80\x01c";
        for byte in frames {
            assert_eq!(websocket.receive(&[*byte], &mut out, &mut ended), Ok(()));
        }
        assert_eq!(ended.len(), 1);
        assert_eq!((ended[0].tag, ended[0].body_bytes), (4, 3));
        assert_eq!(out.first(), Some(&(FIN | OPCODE_PONG)));
    }

    #[test]
    fn a_message_in_fragments_is_kept_whole_and_text_goes_as_text() {
        let mut websocket = WebSocket { keep_body: true, ..opened() };
        let (mut out, mut ended) = (Vec::new(), Vec::new());
        websocket.frame(OPCODE_TEXT, b"x", &mut out);
        assert_eq!(out.first(), Some(&(FIN | OPCODE_TEXT)));
        websocket.waiting.push_back(0);
        assert_eq!(websocket.receive(b"\x01\x02ab\x80\x01c", &mut out, &mut ended), Ok(()));
        assert_eq!(ended[0].body, b"abc");
    }

    #[test]
    fn refusals_and_masked_answers_fail() {
        let mut websocket = opened();
        let masked = b"\x82\x81\0\0\0\0a";
        assert_eq!(websocket.receive(masked, &mut Vec::new(), &mut Vec::new()), Err(Failure::Malformed));
        websocket.open = false;
        let refused = b"HTTP/1.1 403 Forbidden\r\n\r\n";
        websocket.partial.clear();
        assert_eq!(websocket.receive(refused, &mut Vec::new(), &mut Vec::new()), Err(Failure::Handshake));
    }
}
