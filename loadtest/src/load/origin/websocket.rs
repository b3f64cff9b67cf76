//! WebSocket as an origin (RFC 6455): every data message is sent back.

use std::collections::VecDeque;

use ringway_protocols::websocket;

use super::faults::Answer;
use super::{Body, Broken, OUT_BYTES_MAX, Then};

/// One connection.
pub(super) struct WebSocket {
    partial: Vec<u8>,
    open: bool,
    closing: bool,
    /// The message whose frames are being read.
    message: Vec<u8>,
    /// Messages without an answer.
    waiting: VecDeque<Vec<u8>>,
    next_id: u32,
    payload: Vec<u8>,
    pub(super) body: Body,
}

const FIN: u8 = 0x80;
const MASK: u8 = 0x80;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const HEAD_BYTES_MAX: usize = 64 << 10;
const MESSAGE_BYTES_MAX: u64 = 16 << 20;
/// 1011: an unexpected condition (RFC 6455 7.4.1).
const UNEXPECTED: [u8; 2] = 1011u16.to_be_bytes();

impl WebSocket {
    pub(super) fn new() -> WebSocket {
        WebSocket {
            partial: Vec::new(),
            open: false,
            closing: false,
            message: Vec::new(),
            waiting: VecDeque::new(),
            next_id: 0,
            payload: Vec::new(),
            body: Body::default(),
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        asked: &mut Vec<u32>,
    ) -> Result<(), Broken> {
        self.partial.extend_from_slice(bytes);
        let mut joined = std::mem::take(&mut self.partial);
        let mut from = 0;
        if !self.open {
            let Some(end) = joined.windows(4).position(|window| window == b"\r\n\r\n") else {
                self.partial = joined;
                return if self.partial.len() > HEAD_BYTES_MAX { Err(Broken) } else { Ok(()) };
            };
            from = end + 4;
            accept(joined.get(..from).unwrap_or_default(), out)?;
            self.open = true;
        }
        while let Some(used) = self.take_frame(joined.get_mut(from..).unwrap_or_default(), out, asked)? {
            from += used;
        }
        joined.drain(..from);
        self.partial = joined;
        Ok(())
    }

    /// Takes one whole frame; `None` when more bytes are needed.
    fn take_frame(
        &mut self,
        bytes: &mut [u8],
        out: &mut Vec<u8>,
        asked: &mut Vec<u32>,
    ) -> Result<Option<usize>, Broken> {
        let &mut [first, second, ..] = bytes else { return Ok(None) };
        // A client masks (RFC 6455 5.1), and there is no extension (5.2).
        if second & MASK == 0 || first & 0x70 != 0 {
            return Err(Broken);
        }
        let (head, length) = match (second & 0x7f, &*bytes) {
            (126, [_, _, a, b, ..]) => (4, u64::from(u16::from_be_bytes([*a, *b]))),
            (127, bytes) => match bytes.get(2..10).and_then(|length| <[u8; 8]>::try_from(length).ok()) {
                Some(length) => (10, u64::from_be_bytes(length)),
                None => return Ok(None),
            },
            (126, _) => return Ok(None),
            (length, _) => (2, u64::from(length)),
        };
        if length > MESSAGE_BYTES_MAX {
            return Err(Broken);
        }
        let end = head + 4 + length as usize;
        let Some(frame) = bytes.get_mut(head..end) else { return Ok(None) };
        let Some((mask, payload)) = frame.split_first_chunk_mut::<4>() else { return Ok(None) };
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match first & 0x0f {
            0..=BINARY => {
                if (self.message.len() + payload.len()) as u64 > MESSAGE_BYTES_MAX {
                    return Err(Broken);
                }
                self.message.extend_from_slice(payload);
                if first & FIN != 0 {
                    self.waiting.push_back(std::mem::take(&mut self.message));
                    asked.push(self.next_id);
                    self.next_id = self.next_id.wrapping_add(1);
                }
            }
            CLOSE => {
                frame_head(CLOSE, payload.len(), out);
                out.extend_from_slice(payload);
                self.closing = true;
            }
            PING => {
                frame_head(PONG, payload.len(), out);
                out.extend_from_slice(payload);
            }
            PONG => {}
            _ => return Err(Broken),
        }
        Ok(Some(end))
    }

    pub(super) fn answer(&mut self, id: u32, answer: Answer, slow: bool, out: &mut Vec<u8>) -> Then {
        let Some(payload) = self.waiting.pop_front() else { return Then::Close };
        match answer {
            Answer::Reset => return Then::Reset,
            Answer::Error => {
                frame_head(CLOSE, UNEXPECTED.len(), out);
                out.extend_from_slice(&UNEXPECTED);
                return Then::Close;
            }
            // A frame with an opcode that does not exist (RFC 6455 5.2).
            Answer::Garbage => {
                out.extend_from_slice(&[FIN | 0x0f, 0]);
                return Then::Close;
            }
            Answer::Right | Answer::Short | Answer::GoAway => {}
        }
        if answer == Answer::Short {
            // One byte more than there is: the frame has no end.
            frame_head(BINARY, payload.len() + 1, out);
            out.extend_from_slice(&payload);
            return Then::Close;
        }
        frame_head(BINARY, payload.len(), out);
        self.body = Body::begin(id, payload.len() as u64, slow);
        self.payload = payload;
        Then::Continue
    }

    pub(super) fn pump(&mut self, out: &mut Vec<u8>, finished: &mut Vec<u32>) {
        if !self.body.is_open {
            return;
        }
        let range = self.body.take(OUT_BYTES_MAX.saturating_sub(out.len()));
        out.extend_from_slice(self.payload.get(range.start as usize..range.end as usize).unwrap_or_default());
        if self.body.end() {
            finished.push(self.body.id);
        }
    }
}

fn frame_head(opcode: u8, length: usize, out: &mut Vec<u8>) {
    out.push(FIN | opcode);
    match length {
        0..126 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

fn accept(head: &[u8], out: &mut Vec<u8>) -> Result<(), Broken> {
    const NAME: &[u8] = b"sec-websocket-key:";
    let mut lines = head.split(|&byte| byte == b'\n');
    let key = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then(|| value.trim_ascii())
    });
    let accept = websocket::accept_of(key.ok_or(Broken)?);
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    out.extend_from_slice(b"Sec-WebSocket-Accept: ");
    out.extend_from_slice(&accept);
    out.extend_from_slice(b"\r\n\r\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_whole_and_pings_are_answered() {
        let text = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n\x01\x81\0\0\0\0a\x89\x80\0\0\0\0\x80\x82\x01\x01\0\0bc";
        for size in [1, 5, text.len()] {
            let (mut websocket, mut out, mut asked) = (WebSocket::new(), Vec::new(), Vec::new());
            for piece in text.chunks(size) {
                assert_eq!(websocket.receive(piece, &mut out, &mut asked), Ok(()), "{size}");
            }
            assert_eq!(asked, [0], "{size}");
            assert!(out.ends_with(b"\r\n\r\n\x8a\0"), "{size}");
            assert_eq!(websocket.answer(0, Answer::Right, false, &mut out), Then::Continue);
            let mut finished = Vec::new();
            websocket.pump(&mut out, &mut finished);
            assert!(out.ends_with(b"\x82\x03acb") && finished == [0], "{size}");
        }
    }

    #[test]
    fn what_is_not_masked_is_refused() {
        let mut websocket = WebSocket::new();
        websocket.open = true;
        assert_eq!(websocket.receive(b"\x81\x01a", &mut Vec::new(), &mut Vec::new()), Err(Broken));
    }
}
