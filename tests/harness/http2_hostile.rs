//! An origin that speaks HTTP/2 by raw frames: it reads as little as it has to, and says whatever it is told.

use std::sync::{Arc, Mutex};

use crate::http2::{Frame, PREFACE, flag, kind};
use crate::origin::{Conn, Origin};

/// A request head as it came: its stream and its fields.
pub type Head = (u32, Vec<(Vec<u8>, Vec<u8>)>);

/// An origin whose connections answer each request head with the bytes that a script makes of its stream.
pub struct HostileOrigin {
    pub origin: Origin,
    heads: Arc<Mutex<Vec<Head>>>,
    complete: Arc<Mutex<Vec<Head>>>,
}

impl HostileOrigin {
    /// `answer` gives the bytes to send once the head of a stream is complete; `None` closes the connection.
    pub fn start(answer: impl Fn(u32, &Head) -> Option<Vec<u8>> + Send + Sync + 'static) -> HostileOrigin {
        let heads: Arc<Mutex<Vec<Head>>> = Arc::default();
        let complete: Arc<Mutex<Vec<Head>>> = Arc::default();
        let (seen, ended) = (Arc::clone(&heads), Arc::clone(&complete));
        let origin = Origin::start(move |conn| {
            let mut decoder = fluke_hpack::Decoder::new();
            if conn.exactly(PREFACE.len()).is_none_or(|preface| preface != PREFACE) {
                return;
            }
            conn.send(Frame::settings(&[]).encode());
            let mut open: Vec<Head> = Vec::new();
            while let Some(frame) = read(conn) {
                let ends = matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.has(flag::END_STREAM);
                let stream = frame.id;
                match frame.kind {
                    kind::SETTINGS if !frame.has(flag::ACK) => {
                        conn.send(Frame::new(kind::SETTINGS, flag::ACK, 0, []).encode());
                    }
                    kind::PING if !frame.has(flag::ACK) => {
                        conn.send(Frame::new(kind::PING, flag::ACK, 0, frame.payload).encode());
                    }
                    kind::HEADERS => {
                        assert!(frame.has(flag::END_HEADERS), "this origin reads no CONTINUATION");
                        let head = (frame.id, decoder.decode(&frame.payload).expect("a header block"));
                        seen.lock().unwrap_or_else(|e| e.into_inner()).push(head.clone());
                        open.push(head.clone());
                        match answer(frame.id, &head) {
                            Some(bytes) => drop(conn.send(bytes)),
                            None => return,
                        }
                    }
                    _ => {}
                }
                if let Some(at) = open.iter().position(|(id, _)| ends && *id == stream) {
                    ended.lock().unwrap_or_else(|e| e.into_inner()).push(open.remove(at));
                }
            }
        });
        HostileOrigin { origin, heads, complete }
    }

    /// The heads of all requests that were sent to their end.
    pub fn complete(&self) -> Vec<Head> {
        self.complete.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Every request head so far.
    pub fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

fn read(conn: &mut Conn) -> Option<Frame> {
    let header = conn.exactly(9)?;
    let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
    let id = u32::from_be_bytes(header[5..9].try_into().ok()?) & (u32::MAX >> 1);
    let payload = conn.exactly(length)?;
    Some(Frame { kind: header[3], flags: header[4], id, payload })
}
