//! HTTP/1.1 as an origin reads and answers it.

use std::collections::VecDeque;
use std::rc::Rc;

use ringway_protocols::http1::{HeadLimits, Parsed, parse_request};
use ringway_protocols::message::{BodyLength, Method, RequestHead};

use super::faults::Answer;
use super::{Body, Broken, Content, OUT_BYTES_MAX, Then};

/// One connection.
pub(super) struct Http1 {
    body_bytes: u64,
    content: Rc<Content>,
    partial: Vec<u8>,
    state: State,
    head: RequestHead,
    /// Requests without an answer, first asked first.
    waiting: VecDeque<Asked>,
    next_id: u32,
    pub(super) body: Body,
    /// The request at hand is the last.
    last: bool,
    closing: bool,
}

#[derive(Clone, Copy)]
struct Asked {
    head_only: bool,
    close: bool,
}

/// `Head → (Length | ChunkSize ⇄ Chunk → ChunkEnd … → Trailer) → Head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

const LIMITS: HeadLimits = HeadLimits { bytes_max: 64 << 10, fields_max: 500, target_bytes_max: 32 << 10 };
const LINE_BYTES_MAX: usize = 8 << 10;

impl Http1 {
    pub(super) fn new(body_bytes: u64, content: Rc<Content>) -> Http1 {
        Http1 {
            body_bytes,
            content,
            partial: Vec::new(),
            state: State::Head,
            head: RequestHead::default(),
            waiting: VecDeque::new(),
            next_id: 0,
            body: Body::default(),
            last: false,
            closing: false,
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn receive(&mut self, bytes: &[u8], asked: &mut Vec<u32>) -> Result<(), Broken> {
        if self.partial.is_empty() {
            return self.take(bytes, asked);
        }
        self.partial.extend_from_slice(bytes);
        let joined = std::mem::take(&mut self.partial);
        self.take(&joined, asked)
    }

    fn take(&mut self, mut bytes: &[u8], asked: &mut Vec<u32>) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Head => self.take_head(bytes, asked)?,
                State::Length(left) => {
                    let used = left.min(bytes.len() as u64);
                    self.state = State::Length(left - used);
                    if left == used {
                        self.whole(asked);
                    }
                    Some(used as usize)
                }
                State::Chunk(left) => {
                    let used = left.min(bytes.len() as u64);
                    self.state = if left == used { State::ChunkEnd } else { State::Chunk(left - used) };
                    Some(used as usize)
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => self.take_line(bytes, asked)?,
            };
            let Some(used) = used else {
                self.partial = bytes.to_vec();
                return Ok(());
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn take_head(&mut self, bytes: &[u8], asked: &mut Vec<u32>) -> Result<Option<usize>, Broken> {
        match parse_request(bytes, &LIMITS, &mut self.head) {
            Ok(Parsed::NeedMore) => return Ok(None),
            Ok(Parsed::Complete) => {}
            Err(_) => return Err(Broken),
        }
        self.waiting
            .push_back(Asked { head_only: self.head.method == Method::Head, close: !self.head.keep_alive });
        match self.head.body {
            BodyLength::Exact(bytes) if bytes > 0 => self.state = State::Length(bytes),
            BodyLength::Chunked => self.state = State::ChunkSize,
            BodyLength::Empty | BodyLength::Exact(_) | BodyLength::UntilClose => self.whole(asked),
        }
        Ok(Some(self.head.bytes as usize))
    }

    /// The lines of the chunked coding (RFC 9112 7.1).
    fn take_line(&mut self, bytes: &[u8], asked: &mut Vec<u32>) -> Result<Option<usize>, Broken> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
            return if bytes.len() > LINE_BYTES_MAX { Err(Broken) } else { Ok(None) };
        };
        let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Broken)?;
        match self.state {
            State::ChunkSize => {
                let size = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
                let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
                let size = size.ok_or(Broken)?;
                self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Broken),
            _ if line.is_empty() => self.whole(asked),
            _ => {}
        }
        Ok(Some(end + 1))
    }

    fn whole(&mut self, asked: &mut Vec<u32>) {
        self.state = State::Head;
        asked.push(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
    }

    pub(super) fn answer(&mut self, id: u32, answer: Answer, slow: bool, out: &mut Vec<u8>) -> Then {
        let Some(asked) = self.waiting.pop_front() else { return Then::Close };
        self.last = asked.close;
        let close = if asked.close { "Connection: close\r\n" } else { "" };
        let length = if answer == Answer::Error { 0 } else { self.body_bytes };
        let status = if answer == Answer::Error { "503 Service Unavailable" } else { "200 OK" };
        match answer {
            Answer::Reset => return Then::Reset,
            Answer::Garbage => {
                out.extend_from_slice(b"\x00garbage\r\n\r\n");
                return Then::Close;
            }
            Answer::Right | Answer::Error | Answer::Short | Answer::GoAway => {}
        }
        let kind = "Content-Type: text/plain\r\n";
        let head = format!("HTTP/1.1 {status}\r\n{kind}Content-Length: {length}\r\n{close}\r\n");
        out.extend_from_slice(head.as_bytes());
        if answer == Answer::Short {
            self.content.append(0..length / 2, out);
            return Then::Close;
        }
        self.body = Body::begin(id, if asked.head_only { 0 } else { length }, slow);
        Then::Continue
    }

    pub(super) fn pump(&mut self, out: &mut Vec<u8>, finished: &mut Vec<u32>) {
        if !self.body.is_open {
            return;
        }
        let room = OUT_BYTES_MAX.saturating_sub(out.len());
        self.content.append(self.body.take(room), out);
        if self.body.end() {
            self.closing |= self.last;
            finished.push(self.body.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole_behind_their_bodies() {
        let text =
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
            POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n";
        for size in [1, 7, text.len()] {
            let (mut http1, mut asked) = (Http1::new(5, Rc::new(Content::text())), Vec::new());
            for piece in text.chunks(size) {
                assert_eq!(http1.receive(piece, &mut asked), Ok(()), "{size}");
            }
            assert_eq!(asked, [0, 1, 2], "{size}");
        }
    }

    #[test]
    fn a_body_goes_as_it_is_allowed() {
        let (mut http1, mut out, mut finished) =
            (Http1::new(5, Rc::new(Content::text())), Vec::new(), Vec::new());
        http1.receive(b"GET / HTTP/1.0\r\n\r\n", &mut Vec::new()).expect("valid");
        assert_eq!(http1.answer(0, Answer::Right, true, &mut out), Then::Continue);
        http1.pump(&mut out, &mut finished);
        assert!(out.ends_with(b"\r\n\r\n") && finished.is_empty());
        assert!(http1.body.allow(0, 3));
        http1.pump(&mut out, &mut finished);
        assert!(out.ends_with(b"\r\n\r\nabc") && finished.is_empty());
        assert!(!http1.body.allow(0, 3));
        http1.pump(&mut out, &mut finished);
        assert!(out.ends_with(b"\r\n\r\nabcde") && finished == [0] && http1.is_closing());
    }
}
