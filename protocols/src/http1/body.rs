//! Where the parts of a body are (RFC 9112 6 and 7).
//!
//! The decoder reads bytes as they come, in any split, and says of the beginning of each input what it is: chunk
//! framing, or content. It copies nothing, so that a body that stays chunked passes on byte for byte.

use super::diagnose::is_token;
use crate::message::{BodyLength, FieldKind, KindSet};

/// Bounds of the trailer section after a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailerLimits {
    /// Bytes of all trailer lines together.
    pub bytes_max: u32,
    pub fields_max: u16,
}

/// What the input starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyStep {
    /// That many bytes of chunk framing: to be passed on where the body stays chunked, dropped elsewhere.
    Framing(usize),
    /// That many bytes of trailer lines, a whole line with its CRLF or a piece of one. The empty line behind the last is
    /// framing.
    Trailer(usize),
    /// That many bytes of content.
    Data(usize),
    /// The body has ended; nothing of the input belongs to it.
    Done,
    /// The input is empty and the body has not ended.
    NeedMore,
}

/// Why a body is refused. The connection that it came on cannot be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BodyError {
    /// A chunk size is not 1 to 16 hexadecimal digits (RFC 9112 7.1). White space around it is refused too.
    InvalidChunkSize,
    /// A chunk size above what a signed 64-bit integer holds, where readers overflow.
    ChunkSizeTooLarge,
    /// A chunk extension breaks its grammar (RFC 9112 7.1.1); so does bad white space, which only grammar for the
    /// past allows.
    InvalidChunkExtension,
    /// Chunk extensions are out of proportion to the content.
    ChunkExtensionsTooLarge,
    /// The content of a chunk is not followed by CRLF.
    InvalidChunkEnd,
    /// LF without CR or CR without LF within the framing (RFC 9112 2.2).
    BareLineEnd,
    /// A trailer line is not a field line (RFC 9112 7.1.2).
    InvalidTrailer,
    /// The trailer section is longer than `TrailerLimits::bytes_max`.
    TrailersTooLarge,
    /// More trailer fields than `TrailerLimits::fields_max`.
    TooManyTrailers,
    /// A trailer that would change framing, routing, authentication or meaning (RFC 9110 6.5.1).
    ForbiddenTrailer,
    /// The connection ended before the body did (RFC 9112 8).
    Truncated,
}

impl std::error::Error for BodyError {}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid body: {self:?}")
    }
}

/// Finds the end of one body.
#[derive(Debug, Clone)]
pub struct BodyDecoder {
    state: State,
    /// Content of the body or of the chunk that is still to come.
    remaining: u64,
    /// Digits of the chunk size so far.
    digits: u8,
    /// Extension bytes beyond what the content so far has paid for.
    extension_excess: u32,
    trailers: Trailers,
}

/// The chunked coding of RFC 9112 7.1, by what the next byte has to be:
///
/// ```text
/// Size -> [Extension…] -> SizeLf -> Data -> DataCr -> DataLf -> Size …
///   last chunk:  SizeLf -> TrailerStart -> [TrailerName -> TrailerValue -> TrailerLf -> TrailerStart]
///                                       -> EndLf -> Done
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Exact,
    UntilClose,
    Size,
    ExtensionStart,
    ExtensionName,
    ExtensionEquals,
    ExtensionToken,
    ExtensionQuoted,
    ExtensionEscape,
    ExtensionQuoteEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
}

/// Extension bytes that a body may carry beyond two for each byte of its content: Go's bound (CVE-2023-39326), so
/// that signed chunks pass for ever and one-byte chunks under long extensions do not.
const EXTENSION_EXCESS_MAX: u32 = 16 * 1024;

const SIZE_DIGITS_MAX: u8 = 16;

impl BodyDecoder {
    pub fn new(length: BodyLength, limits: &TrailerLimits) -> BodyDecoder {
        let (state, remaining) = match length {
            BodyLength::Empty | BodyLength::Exact(0) => (State::Done, 0),
            BodyLength::Exact(length) => (State::Exact, length),
            BodyLength::Chunked => (State::Size, 0),
            BodyLength::UntilClose => (State::UntilClose, 0),
        };
        let trailers = Trailers {
            bytes_left: limits.bytes_max,
            fields_left: limits.fields_max,
            name: [0; 24],
            name_len: 0,
        };
        BodyDecoder { state, remaining, digits: 0, extension_excess: 0, trailers }
    }

    /// Says what `input` starts with and moves past it: the next call gets what follows.
    pub fn next(&mut self, input: &[u8]) -> Result<BodyStep, BodyError> {
        match self.state {
            State::Done => Ok(BodyStep::Done),
            _ if input.is_empty() => Ok(BodyStep::NeedMore),
            State::UntilClose => Ok(BodyStep::Data(input.len())),
            State::Exact => Ok(self.data(input, State::Done)),
            State::Data => Ok(self.data(input, State::DataCr)),
            State::TrailerStart if !input.starts_with(b"\r") => self.trailer_line(input),
            State::TrailerName | State::TrailerValue | State::TrailerLf => self.trailer_line(input),
            _ => self.framing(input).map(BodyStep::Framing),
        }
    }

    /// Whether the whole body has been seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of content that are certain to follow without framing in between: of the body where its length is
    /// declared, else of the current chunk.
    pub fn contiguous(&self) -> u64 {
        if matches!(self.state, State::Exact | State::Data) { self.remaining } else { 0 }
    }

    /// Moves past content that did not go through [`BodyDecoder::next`]; at most [`BodyDecoder::contiguous`].
    pub fn skip(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.remaining, "more skipped than announced");
        let after = match self.state {
            State::Exact => State::Done,
            State::Data => State::DataCr,
            _ => return,
        };
        self.remaining = self.remaining.saturating_sub(bytes);
        if self.remaining == 0 {
            self.state = after;
        }
    }

    /// The connection has ended: the end of a body that lasts until then, a truncation of any other (RFC 9112 8).
    pub fn eof(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(BodyError::Truncated),
        }
    }

    fn data(&mut self, input: &[u8], after: State) -> BodyStep {
        let count = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len());
        self.remaining -= count as u64;
        if self.remaining == 0 {
            self.state = after;
        }
        BodyStep::Data(count)
    }

    /// Consumes framing up to content, the end of the body or the end of the input; says how much that was.
    fn framing(&mut self, input: &[u8]) -> Result<usize, BodyError> {
        if let Some(consumed) = self.plain_chunk_header(input) {
            return Ok(consumed);
        }
        for (at, byte) in input.iter().enumerate() {
            self.state = self.step(*byte)?;
            if matches!(self.state, State::Data | State::TrailerStart | State::Done) {
                return Ok(at + 1);
            }
        }
        Ok(input.len())
    }

    /// Consumes a trailer line, up to its end or that of the input.
    fn trailer_line(&mut self, input: &[u8]) -> Result<BodyStep, BodyError> {
        for (at, byte) in input.iter().enumerate() {
            self.state = self.step(*byte)?;
            if self.state == State::TrailerStart {
                return Ok(BodyStep::Trailer(at + 1));
            }
        }
        Ok(BodyStep::Trailer(input.len()))
    }

    /// The usual case at once: `[CRLF] size CRLF` is all there, and where the size is 0 the final CRLF too.
    fn plain_chunk_header(&mut self, input: &[u8]) -> Option<usize> {
        let rest = match self.state {
            State::DataCr => input.strip_prefix(b"\r\n")?,
            State::Size if self.digits == 0 => input,
            _ => return None,
        };
        let mut size = 0u64;
        let mut digits = 0;
        // Longer sizes go through the slow path, which knows the bound.
        for byte in rest.iter().take(8) {
            let Some(digit) = hex(*byte) else { break };
            size = size << 4 | u64::from(digit);
            digits += 1;
        }
        let rest = rest.get(digits..)?.strip_prefix(b"\r\n").filter(|_| digits > 0)?;
        if size > 0 {
            self.remaining = size;
            self.pay_for_extensions(size);
            self.state = State::Data;
            return Some(input.len() - rest.len());
        }
        let rest = rest.strip_prefix(b"\r\n")?;
        self.state = State::Done;
        Some(input.len() - rest.len())
    }

    fn step(&mut self, byte: u8) -> Result<State, BodyError> {
        match self.state {
            State::Size => self.size(byte),
            State::SizeLf if byte != b'\n' => Err(BodyError::BareLineEnd),
            State::SizeLf if self.remaining == 0 => Ok(State::TrailerStart),
            State::SizeLf => {
                self.pay_for_extensions(self.remaining);
                Ok(State::Data)
            }
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => {
                self.digits = 0;
                Ok(State::Size)
            }
            State::DataCr | State::DataLf => Err(BodyError::InvalidChunkEnd),
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => self.trailers.step(self.state, byte),
            _ => self.extension(byte),
        }
    }

    fn size(&mut self, byte: u8) -> Result<State, BodyError> {
        if let Some(digit) = hex(byte) {
            if self.digits == 0 {
                self.remaining = 0;
            }
            if self.digits == SIZE_DIGITS_MAX {
                return Err(BodyError::InvalidChunkSize);
            }
            self.digits += 1;
            // 16 digits fill 64 bits exactly.
            self.remaining = self.remaining << 4 | u64::from(digit);
            return Ok(State::Size);
        }
        if self.digits == 0 {
            return Err(if byte == b'\n' { BodyError::BareLineEnd } else { BodyError::InvalidChunkSize });
        }
        if i64::try_from(self.remaining).is_err() {
            return Err(BodyError::ChunkSizeTooLarge);
        }
        match byte {
            b'\r' => Ok(State::SizeLf),
            b';' => self.charge_extension(State::ExtensionStart),
            b'\n' => Err(BodyError::BareLineEnd),
            _ => Err(BodyError::InvalidChunkSize),
        }
    }

    /// RFC 9112 7.1.1: `*( ";" name [ "=" ( token / quoted-string ) ] )`.
    fn extension(&mut self, byte: u8) -> Result<State, BodyError> {
        let next = match (self.state, byte) {
            (State::ExtensionQuoted, b'"') => State::ExtensionQuoteEnd,
            (State::ExtensionQuoted, b'\\') => State::ExtensionEscape,
            (State::ExtensionQuoted | State::ExtensionEscape, b'\t' | b' '..=0x7e | 0x80..) => {
                State::ExtensionQuoted
            }
            (_, b'\n') => return Err(BodyError::BareLineEnd),
            (State::ExtensionStart | State::ExtensionName, byte) if is_token(byte) => State::ExtensionName,
            (State::ExtensionName, b'=') => State::ExtensionEquals,
            (State::ExtensionEquals, b'"') => State::ExtensionQuoted,
            (State::ExtensionEquals | State::ExtensionToken, byte) if is_token(byte) => State::ExtensionToken,
            (State::ExtensionName | State::ExtensionToken | State::ExtensionQuoteEnd, b';') => {
                State::ExtensionStart
            }
            (State::ExtensionName | State::ExtensionToken | State::ExtensionQuoteEnd, b'\r') => {
                return Ok(State::SizeLf);
            }
            _ => return Err(BodyError::InvalidChunkExtension),
        };
        self.charge_extension(next)
    }

    fn charge_extension(&mut self, next: State) -> Result<State, BodyError> {
        self.extension_excess += 1;
        if self.extension_excess > EXTENSION_EXCESS_MAX {
            return Err(BodyError::ChunkExtensionsTooLarge);
        }
        Ok(next)
    }

    fn pay_for_extensions(&mut self, content: u64) {
        if self.extension_excess > 0 {
            let paid = u32::try_from(content.saturating_mul(2)).unwrap_or(u32::MAX);
            self.extension_excess = self.extension_excess.saturating_sub(paid);
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The trailer section, of which only the name of the current field is remembered.
#[derive(Debug, Clone)]
struct Trailers {
    bytes_left: u32,
    fields_left: u16,
    /// The name's beginning, which is all that a forbidden name needs.
    name: [u8; 24],
    name_len: u8,
}

/// RFC 9110 6.5.1: what must be known before the content is.
pub(crate) const FORBIDDEN_TRAILERS: KindSet = KindSet::of(&[
    FieldKind::Host,
    FieldKind::ContentLength,
    FieldKind::TransferEncoding,
    FieldKind::FramingAlias,
    FieldKind::ForwardingAlias,
    FieldKind::Connection,
    FieldKind::KeepAlive,
    FieldKind::ProxyConnection,
    FieldKind::Te,
    FieldKind::Trailer,
    FieldKind::Upgrade,
    FieldKind::Http2Settings,
    FieldKind::Expect,
    FieldKind::Via,
    FieldKind::Age,
    FieldKind::Authorization,
    FieldKind::CacheControl,
    FieldKind::ContentEncoding,
    FieldKind::ContentRange,
    FieldKind::ContentType,
    FieldKind::Cookie,
    FieldKind::Date,
    FieldKind::IfModifiedSince,
    FieldKind::IfNoneMatch,
    FieldKind::Location,
    FieldKind::MaxForwards,
    FieldKind::ProxyAuthenticate,
    FieldKind::ProxyAuthorization,
    FieldKind::Range,
    FieldKind::SetCookie,
    FieldKind::Vary,
    FieldKind::WwwAuthenticate,
])
.union(KindSet::FORWARDING);

impl Trailers {
    fn step(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        match (state, byte) {
            (State::EndLf, b'\n') => return Ok(State::Done),
            (State::EndLf, _) => return Err(BodyError::BareLineEnd),
            (State::TrailerStart, b'\r') => return Ok(State::EndLf),
            _ => {}
        }
        self.bytes_left = self.bytes_left.checked_sub(1).ok_or(BodyError::TrailersTooLarge)?;
        match (state, byte) {
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (_, b'\n') | (State::TrailerLf, _) => Err(BodyError::BareLineEnd),
            (State::TrailerStart, byte) if is_token(byte) => {
                self.fields_left = self.fields_left.checked_sub(1).ok_or(BodyError::TooManyTrailers)?;
                self.name_len = 0;
                self.push(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => {
                let name = self.name.get(..usize::from(self.name_len)).unwrap_or_default();
                let forbidden = FORBIDDEN_TRAILERS.contains(FieldKind::of(name));
                if forbidden { Err(BodyError::ForbiddenTrailer) } else { Ok(State::TrailerValue) }
            }
            (State::TrailerName, byte) if is_token(byte) => {
                self.push(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\t' | b' '..=0x7e | 0x80..) => Ok(State::TrailerValue),
            _ => Err(BodyError::InvalidTrailer),
        }
    }

    fn push(&mut self, byte: u8) {
        if let Some(slot) = self.name.get_mut(usize::from(self.name_len)) {
            *slot = byte;
            self.name_len += 1;
        }
    }
}

#[cfg(test)]
mod tests;
