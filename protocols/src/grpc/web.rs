//! gRPC-Web: trailers as the last frame of the body, and bodies in base64.

use std::error::Error;
use std::fmt;

/// The flag of a frame that holds trailers (PROTOCOL-WEB.md, "Message framing").
const TRAILERS_FLAG: u8 = 0x80;

/// The frame of trailers, given as `name: value\r\n` lines.
pub fn trailers_frame(lines: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(5 + lines.len());
    frame.push(TRAILERS_FLAG);
    // Trailers are bounded far below what four bytes can say.
    frame.extend_from_slice(&u32::try_from(lines.len()).unwrap_or(u32::MAX).to_be_bytes());
    frame.extend_from_slice(lines);
    frame
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes one piece, padded: a reader has to take padding wherever a piece ends, and so a message never waits for the
/// next one.
pub fn encode_base64(piece: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(piece.len().div_ceil(3) * 4);
    for group in piece.chunks(3) {
        let bits = group.iter().fold(0, |bits: u32, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for index in 0..4 {
            let sextet = (bits >> (18 - 6 * index)) as usize & 63;
            let letter = ALPHABET.get(sextet).copied().unwrap_or(b'=');
            out.push(if index <= group.len() { letter } else { b'=' });
        }
    }
    out
}

/// Something in a body that is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base64Error;

impl fmt::Display for Base64Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body is not base64")
    }
}

impl Error for Base64Error {}

/// Decodes a body in pieces. Padding may end any group of four, not just the last one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Base64Decoder {
    bits: u32,
    letters: u8,
    padding: u8,
}

impl Base64Decoder {
    /// Appends what `piece` completes to `out`.
    pub fn decode(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Base64Error> {
        out.reserve(piece.len() / 4 * 3 + 3);
        for byte in piece {
            match value_of(*byte) {
                Some(value) if self.padding == 0 => self.bits = self.bits << 6 | value,
                None if *byte == b'=' && self.letters >= 2 => {
                    self.bits <<= 6;
                    self.padding += 1;
                }
                _ => return Err(Base64Error),
            }
            self.letters += 1;
            if self.letters == 4 {
                let [_, bytes @ ..] = self.bits.to_be_bytes();
                out.extend_from_slice(bytes.get(..3 - usize::from(self.padding)).unwrap_or_default());
                *self = Base64Decoder::default();
            }
        }
        Ok(())
    }

    /// Whether the body may end here.
    pub fn is_complete(&self) -> bool {
        self.letters == 0
    }
}

fn value_of(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
