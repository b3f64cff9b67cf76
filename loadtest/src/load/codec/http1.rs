//! HTTP/1.1 as a client reads it (RFC 9112): Content-Length, chunked, until close; interim responses are skipped.
//!
//! Strict where a response would be counted wrongly, and no more: this is a tester, not a proxy.

use std::collections::VecDeque;

use crate::head::digits;
use crate::load::codec::{Ended, KEPT_BYTES_MAX};
use crate::load::request::Rendered;
use crate::load::totals::Failure;

/// One connection.
pub struct Http1 {
    depth_max: u32,
    keep_body: bool,
    /// Requests without a response, first asked first.
    waiting: VecDeque<Waiting>,
    state: State,
    /// An incomplete head or chunk line.
    partial: Vec<u8>,
    status: u16,
    body_bytes: u64,
    body: Vec<u8>,
    closing: bool,
}

#[derive(Clone, Copy)]
struct Waiting {
    tag: u32,
    /// The response has no body, whatever its head says (RFC 9110 9.3.2).
    head_only: bool,
}

/// `Head → (Length | UntilClose | ChunkSize ⇄ Chunk → ChunkEnd … → Trailer) → Head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

/// Bytes of a head, or of a line between chunks, before the response counts as malformed.
const HEAD_BYTES_MAX: usize = 64 << 10;

impl Http1 {
    pub fn new(depth_max: u32, keep_body: bool) -> Http1 {
        Http1 {
            depth_max,
            keep_body,
            waiting: VecDeque::new(),
            state: State::Head,
            partial: Vec::new(),
            status: 0,
            body_bytes: 0,
            body: Vec::new(),
            closing: false,
        }
    }

    pub fn can_start(&self) -> bool {
        !self.closing && (self.waiting.len() as u32) < self.depth_max
    }

    pub fn is_closing(&self) -> bool {
        self.closing
    }

    pub fn start(&mut self, tag: u32, request: &Rendered, out: &mut Vec<u8>) -> Result<(), Failure> {
        out.extend_from_slice(request.bytes());
        self.waiting.push_back(Waiting { tag, head_only: request.is_head() });
        Ok(())
    }

    pub fn receive(&mut self, bytes: &[u8], ended: &mut Vec<Ended>) -> Result<(), Failure> {
        if self.partial.is_empty() {
            return self.take(bytes, ended);
        }
        self.partial.extend_from_slice(bytes);
        let joined = std::mem::take(&mut self.partial);
        self.take(&joined, ended)
    }

    /// The length of the rest of a body whose bytes are only to be counted.
    pub fn body_left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) if !self.keep_body && self.partial.is_empty() => Some(left),
            _ => None,
        }
    }

    /// Bytes of a body that were received and thrown away.
    pub fn skipped(&mut self, bytes: u64, ended: &mut Vec<Ended>) {
        if let State::Length(left) = self.state {
            self.body_bytes += bytes.min(left);
            self.state = State::Length(left.saturating_sub(bytes));
            if left <= bytes {
                self.finish(ended);
            }
        }
    }

    pub fn end(&mut self, ended: &mut Vec<Ended>) {
        if self.state == State::UntilClose {
            self.finish(ended);
        }
        self.closing = true;
    }

    fn take(&mut self, mut bytes: &[u8], ended: &mut Vec<Ended>) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let used = match self.state {
                State::Head => self.take_head(bytes, ended)?,
                State::Length(left) => {
                    let used = self.take_body(bytes, left);
                    self.state = State::Length(left - used as u64);
                    if left == used as u64 {
                        self.finish(ended);
                    }
                    Some(used)
                }
                State::UntilClose => Some(self.take_body(bytes, u64::MAX)),
                State::Chunk(left) => {
                    let used = self.take_body(bytes, left);
                    let left = left - used as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    Some(used)
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => self.take_line(bytes, ended)?,
            };
            let Some(used) = used else {
                if bytes.len() > HEAD_BYTES_MAX {
                    return Err(Failure::Malformed);
                }
                self.partial = bytes.to_vec();
                return Ok(());
            };
            bytes = bytes.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn take_head(&mut self, bytes: &[u8], ended: &mut Vec<Ended>) -> Result<Option<usize>, Failure> {
        // A byte that nobody asked for.
        let Some(&Waiting { head_only, .. }) = self.waiting.front() else { return Err(Failure::Malformed) };
        let Some(head) = parse_head(bytes)? else { return Ok(None) };
        if (100..200).contains(&head.status) {
            // 101 is the answer to an upgrade that this client has not asked for.
            return if head.status == 101 { Err(Failure::Malformed) } else { Ok(Some(head.bytes)) };
        }
        self.status = head.status;
        self.body_bytes = 0;
        self.closing |= head.close;
        // RFC 9112 6.3, in its order.
        let bodiless = head_only || matches!(head.status, 204 | 304);
        self.state = match head.length {
            _ if bodiless => State::Length(0),
            Length::Chunked => State::ChunkSize,
            Length::Known(bytes) => State::Length(bytes),
            Length::None => State::UntilClose,
        };
        if self.state == State::Length(0) {
            self.finish(ended);
        }
        Ok(Some(head.bytes))
    }

    fn take_body(&mut self, bytes: &[u8], left: u64) -> usize {
        let used = (bytes.len() as u64).min(left) as usize;
        self.body_bytes += used as u64;
        if self.keep_body && self.body.len() + used <= KEPT_BYTES_MAX {
            self.body.extend_from_slice(bytes.get(..used).unwrap_or_default());
        }
        used
    }

    /// The lines of the chunked coding (RFC 9112 7.1).
    fn take_line(&mut self, bytes: &[u8], ended: &mut Vec<Ended>) -> Result<Option<usize>, Failure> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
        let line = bytes.get(..end).unwrap_or_default().strip_suffix(b"\r").ok_or(Failure::Malformed)?;
        match self.state {
            State::ChunkSize => {
                let size = chunk_size(line).ok_or(Failure::Malformed)?;
                self.state = if size == 0 { State::Trailer } else { State::Chunk(size) };
            }
            State::ChunkEnd if line.is_empty() => self.state = State::ChunkSize,
            State::ChunkEnd => return Err(Failure::Malformed),
            _ if line.is_empty() => self.finish(ended),
            _ => {}
        }
        Ok(Some(end + 1))
    }

    fn finish(&mut self, ended: &mut Vec<Ended>) {
        self.state = State::Head;
        if let Some(Waiting { tag, .. }) = self.waiting.pop_front() {
            let (status, body_bytes) = (self.status, self.body_bytes);
            let body = std::mem::take(&mut self.body);
            ended.push(Ended { tag, status, body_bytes, failure: None, body });
        }
    }
}

struct Head {
    status: u16,
    bytes: usize,
    length: Length,
    close: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    None,
    Known(u64),
    Chunked,
}

/// `None`: more bytes are needed.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let well_begun = bytes.iter().zip(b"HTTP/1.").all(|(found, expected)| found == expected);
    if !well_begun {
        return Err(Failure::Malformed);
    }
    let Some(end) = head_end(bytes) else { return Ok(None) };
    let head = bytes.get(..end).unwrap_or_default();
    let mut lines = head.split(|&byte| byte == b'\n');
    let (status, minor) = match lines.next() {
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor, b' ', a, b, c, b' ' | b'\r', ..]) => {
            (digits(&[*a, *b, *c]).ok_or(Failure::Malformed)? as u16, *minor)
        }
        _ => return Err(Failure::Malformed),
    };
    if status < 100 {
        return Err(Failure::Malformed);
    }
    let mut parsed = Head { status, bytes: end, length: Length::None, close: minor == b'0' };
    for line in lines {
        // The length of the name picks the few of interest before any comparison.
        let Some(colon) = line.iter().take(18).position(|&byte| byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = || value.get(1..).unwrap_or_default().trim_ascii();
        match colon {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let known = Length::Known(digits(value()).ok_or(Failure::Malformed)?);
                if parsed.length != Length::Chunked && parsed.length != Length::None && parsed.length != known
                {
                    return Err(Failure::Malformed);
                }
                if parsed.length == Length::None {
                    parsed.length = known;
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if !value().eq_ignore_ascii_case(b"chunked") {
                    return Err(Failure::Malformed);
                }
                parsed.length = Length::Chunked;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                let value = value();
                parsed.close = value.eq_ignore_ascii_case(b"close")
                    || (parsed.close && !value.eq_ignore_ascii_case(b"keep-alive"));
            }
            _ => {}
        }
    }
    Ok(Some(parsed))
}

/// The position behind the first CRLF CRLF.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let here = from + bytes.get(from..)?.iter().position(|&byte| byte == b'\r')?;
        if bytes.get(here..here + 4)? == b"\r\n\r\n" {
            return Some(here + 4);
        }
        from = here + 1;
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let number = line.split(|&byte| byte == b';').next()?.trim_ascii_end();
    if number.is_empty() || number.len() > 15 {
        return None;
    }
    number.iter().try_fold(0u64, |sum, &byte| Some(sum * 16 + u64::from((byte as char).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of every length: the outcome must not depend on it.
    fn check(head_only: bool, count: u32, bytes: &[u8], expected: Result<&[(u16, u64)], Failure>) {
        for piece in 1..=bytes.len() {
            let mut http1 = Http1::new(count, false);
            http1.waiting.extend((0..count).map(|tag| Waiting { tag, head_only }));
            let mut ended = Vec::new();
            let result = bytes.chunks(piece).try_for_each(|piece| http1.receive(piece, &mut ended));
            http1.end(&mut ended);
            let got: Vec<(u16, u64)> = ended.iter().map(|end| (end.status, end.body_bytes)).collect();
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(result.map(|()| got.as_slice()), expected, "pieces of {piece}: {text}");
        }
    }

    #[test]
    fn every_framing_of_a_response_is_read() {
        check(false, 1, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Ok(&[(200, 5)]));
        check(false, 1, b"HTTP/1.1 404 No\r\ncontent-length:0\r\n\r\n", Ok(&[(404, 0)]));
        check(false, 1, b"HTTP/1.1 204 No\r\n\r\n", Ok(&[(204, 0)]));
        check(false, 1, b"HTTP/1.0 200 OK\r\n\r\nuntil the end", Ok(&[(200, 13)]));
        check(true, 1, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok(&[(200, 0)]));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
        check(false, 1, chunked, Ok(&[(200, 13)]));
        let interim = b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        check(false, 1, interim, Ok(&[(200, 1)]));
        let two =
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nyy";
        check(false, 2, two, Ok(&[(200, 1), (500, 2)]));
    }

    #[test]
    fn garbage_is_malformed_and_what_is_cut_off_does_not_end() {
        for bytes in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"HTTP/1.1 2x0 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        ] {
            check(false, 1, bytes, Err(Failure::Malformed));
        }
        check(false, 1, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Ok(&[]));
        let mut unasked = Http1::new(1, false);
        assert_eq!(unasked.receive(b"HTTP/1.1 408 x\r\n\r\n", &mut Vec::new()), Err(Failure::Malformed));
    }

    #[test]
    fn connection_close_ends_the_use_of_a_connection() {
        for (head, closing) in [
            ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        ] {
            let mut http1 = Http1::new(1, false);
            http1.waiting.push_back(Waiting { tag: 0, head_only: false });
            assert_eq!(http1.receive(head.as_bytes(), &mut Vec::new()), Ok(()));
            assert_eq!(http1.is_closing(), closing, "{head}");
        }
    }
}
