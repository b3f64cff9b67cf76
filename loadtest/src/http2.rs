//! One HTTP/2 request by hand (RFC 9113), for connections that are idle afterwards.

use std::io::{self, Read, Write};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// `:method GET`, `:scheme http` and `:path /` from the static table, and an authority that nobody indexes
/// (RFC 7541 section 6.2.2).
const REQUEST_BLOCK: &[u8] = b"\x82\x86\x84\x01\x09idle.test";
/// The first byte of a response's block is `:status 200` from the static table.
const STATUS_200: u8 = 0x88;

/// Opens the connection's HTTP/2, asks once, and answers what has to be answered until the response has ended.
pub(crate) fn ask(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut opening = PREFACE.to_vec();
    push_frame(&mut opening, SETTINGS, 0, 0, &[]);
    push_frame(&mut opening, HEADERS, END_STREAM | END_HEADERS, 1, REQUEST_BLOCK);
    stream.write_all(&opening)?;
    let (mut ended, mut settled) = (false, false);
    while !(ended && settled) {
        let (kind, flags, stream_id, payload) = read_frame(stream)?;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                write_frame(stream, SETTINGS, ACK, 0, &[])?;
            }
            // Ours is acknowledged: nothing of the opening is under way any more.
            SETTINGS => settled = true,
            PING if flags & ACK == 0 => write_frame(stream, PING, ACK, 0, &payload)?,
            HEADERS | DATA if stream_id == 1 => {
                if kind == HEADERS && payload.first() != Some(&STATUS_200) {
                    return Err(io::Error::other("the response does not begin with :status 200"));
                }
                ended |= flags & END_STREAM != 0;
            }
            3 | 7 => return Err(io::Error::other("the stream was reset, or the connection is going away")),
            _ => {}
        }
    }
    Ok(())
}

fn push_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

fn write_frame(to: &mut impl Write, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    let mut bytes = Vec::new();
    push_frame(&mut bytes, kind, flags, stream, payload);
    to.write_all(&bytes)
}

fn read_frame(stream: &mut impl Read) -> io::Result<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload)?;
    Ok((kind, flags, u32::from_be_bytes(id) & 0x7fff_ffff, payload))
}
