//! What request and response heads share: limits, when to look again at an incomplete head, and the field section.

use std::mem::MaybeUninit;

use httparse::Header;

use super::diagnose::is_token;
use crate::message::{Field, FieldKind, FramingRewrite, KindSet, Span, Version};

/// Bounds of one head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, from the first byte to the final CRLF.
    pub bytes_max: u32,
    /// Field lines.
    pub fields_max: u16,
    /// Bytes of a request target; not used for responses.
    pub target_bytes_max: u32,
}

/// Whether the head is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    Complete,
    NeedMore,
}

/// What is known of an incomplete head, so that a peer that sends it byte by byte does not buy quadratic work.
///
/// Between calls only new bytes are searched for the end of the head. The bytes are tokenised again when the end
/// is in sight or when their number has doubled, so that all work on one head together is at most three times
/// what one look at the whole of it costs. Keep one per connection and reset it (`default()`) for each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadProgress {
    scanned: u32,
    tokenised: u32,
}

impl HeadProgress {
    /// Whether a look at these bytes, which begin with those of the last call, can say anything new.
    pub(super) fn is_worth_parsing(&mut self, bytes: &[u8], bytes_max: u32) -> bool {
        // The window is at most `bytes_max` long, so that its length fits.
        let len = bytes.len() as u32;
        let again = self.tokenised == 0
            || len >= bytes_max
            || len / 2 >= self.tokenised
            // An empty line may have started within the last call's bytes.
            || bytes.get((self.scanned as usize).saturating_sub(2)..).is_some_and(has_empty_line);
        self.scanned = len;
        if again {
            self.tokenised = len;
        }
        again
    }
}

/// A line end that is followed by another, whether or not a CR belongs to it: what is not CRLF is refused.
fn has_empty_line(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|b| *b == b'\n') {
        rest = rest.get(at + 1..).unwrap_or_default();
        if matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]) {
            return true;
        }
    }
    false
}

/// The rules that request and response heads share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    InvalidStartLine,
    BareLineEnd,
    LineFolding,
    SpaceBeforeColon,
    InvalidFieldName,
    InvalidFieldValue,
    BothLengthAndChunked,
    InvalidContentLength,
    DuplicateContentLength,
    InvalidTransferEncoding,
    DuplicateTransferEncoding,
    TransferEncodingInHttp10,
    FramingAlias,
    ConnectionNamesFraming,
    InvalidConnection,
}

/// Field lines that fit on the stack; more are asked of the heap, where a configuration allows them.
const FIELDS_ON_STACK: usize = 128;

/// Gives `parse` room for `fields_max` fields.
pub(super) fn with_field_room<'b, R>(
    fields_max: u16,
    parse: impl FnOnce(&mut [MaybeUninit<Header<'b>>]) -> R,
) -> R {
    let fields_max = usize::from(fields_max);
    let mut stack = [const { MaybeUninit::<Header<'b>>::uninit() }; FIELDS_ON_STACK];
    if let Some(room) = stack.get_mut(..fields_max) {
        return parse(room);
    }
    let mut heap = Vec::new();
    heap.resize_with(fields_max, MaybeUninit::uninit);
    parse(&mut heap)
}

/// The fields that decide about framing and the connection.
#[derive(Default)]
pub(super) struct Found {
    pub(super) kinds: KindSet,
    pub(super) host: Option<Span>,
    pub(super) host_repeated: bool,
    pub(super) content_length: Option<Span>,
    pub(super) transfer_encoding: Option<Span>,
    pub(super) hop_by_hop_fields: bool,
    /// A framing field or `Host` is spelt in an unusual way, and was marked so that it is left out.
    unusual_framing: bool,
    pub(super) unusual_host: bool,
}

/// Standard fields that are never forwarded (RFC 9110 7.6.1). `Proxy-Authenticate` and `Proxy-Authorization`
/// are for the next proxy (RFC 9110 11.7), which a gateway is: they end here.
pub(crate) const HOP_BY_HOP: KindSet = KindSet::of(&[
    FieldKind::Connection,
    FieldKind::KeepAlive,
    FieldKind::ProxyConnection,
    FieldKind::Te,
    FieldKind::Upgrade,
    FieldKind::Http2Settings,
    FieldKind::ProxyAuthenticate,
    FieldKind::ProxyAuthorization,
    FieldKind::ForwardingAlias,
]);

/// Fills `fields` with ranges over `bytes`, whose head ends at `head_end`, and checks what `httparse` lets pass.
pub(super) fn collect_fields(
    bytes: &[u8],
    headers: &[Header<'_>],
    head_end: usize,
    fields: &mut Vec<Field>,
) -> Result<Found, HeadError> {
    let base = bytes.as_ptr().addr();
    let span = |part: &[u8]| {
        // Both slices lie within `bytes`, whose head is at most `u32` long.
        let start = part.as_ptr().addr().wrapping_sub(base) as u32;
        Span { start, end: start.wrapping_add(part.len() as u32) }
    };
    let mut found = Found::default();
    for header in headers {
        let name = span(header.name.as_bytes());
        // RFC 9112 2.2: `httparse` takes LF alone for a line end. A name starts right after one, so the two bytes
        // before it are the CRLF of the line above or the line above is refused.
        if !ends_with_crlf(bytes, name.start as usize) {
            return Err(HeadError::BareLineEnd);
        }
        let value = span(header.value);
        let kind = FieldKind::of(header.name.as_bytes());
        let hop_by_hop = if DECISIVE.contains(kind) {
            found.note(bytes, name, value, kind)?
        } else {
            HOP_BY_HOP.contains(kind)
        };
        found.hop_by_hop_fields |= hop_by_hop;
        found.kinds.insert(kind);
        fields.push(Field { name, value, kind, hop_by_hop, never_indexed: false });
    }
    // The last line and the empty line after it.
    if !ends_with_crlf(bytes, head_end) || !ends_with_crlf(bytes, head_end.saturating_sub(2)) {
        return Err(HeadError::BareLineEnd);
    }
    Ok(found)
}

/// Fields that decide where the message goes and where it ends.
const DECISIVE: KindSet = KindSet::of(&[
    FieldKind::Host,
    FieldKind::ContentLength,
    FieldKind::TransferEncoding,
    FieldKind::FramingAlias,
]);

impl Found {
    /// Remembers a decisive field; says whether its line must be left out because it is written anew.
    fn note(&mut self, bytes: &[u8], name: Span, value: Span, kind: FieldKind) -> Result<bool, HeadError> {
        let unusual = !is_usual_spelling(bytes, name, value, kind);
        match kind {
            FieldKind::Host => {
                self.host_repeated |= self.host.replace(value).is_some();
                self.unusual_host |= unusual;
            }
            FieldKind::ContentLength if self.content_length.replace(value).is_some() => {
                return Err(HeadError::DuplicateContentLength);
            }
            FieldKind::TransferEncoding if self.transfer_encoding.replace(value).is_some() => {
                return Err(HeadError::DuplicateTransferEncoding);
            }
            FieldKind::FramingAlias => return Err(HeadError::FramingAlias),
            _ => self.unusual_framing |= unusual,
        }
        Ok(unusual)
    }
}

/// Whether every reader there ever was reads this line alike: one space or none before the value, nothing after it,
/// `chunked` in lower case, no leading zeros.
fn is_usual_spelling(bytes: &[u8], name: Span, value: Span, kind: FieldKind) -> bool {
    let between = Span { start: name.end, end: value.start };
    let after = Span { start: value.end, end: value.end.saturating_add(1) };
    matches!(between.of(bytes), b":" | b": ")
        && after.of(bytes) == b"\r"
        && match (kind, value.of(bytes)) {
            (FieldKind::TransferEncoding, coding) => coding == b"chunked",
            (FieldKind::ContentLength, length) => !matches!(length, [b'0', _, ..]),
            _ => true,
        }
}

fn ends_with_crlf(bytes: &[u8], end: usize) -> bool {
    end >= 2 && bytes.get(end - 2..end) == Some(b"\r\n")
}

/// The framing that the fields declare (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Declared {
    Nothing,
    Length(u64),
    Chunked,
}

pub(super) fn declared_length(bytes: &[u8], version: Version, found: &Found) -> Result<Declared, HeadError> {
    match (found.content_length, found.transfer_encoding) {
        (None, None) => Ok(Declared::Nothing),
        (Some(_), Some(_)) => Err(HeadError::BothLengthAndChunked),
        (Some(length), None) => content_length(length.of(bytes)).map(Declared::Length),
        (None, Some(_)) if version == Version::Http10 => Err(HeadError::TransferEncodingInHttp10),
        // RFC 9112 6.1 knows other codings; a proxy that undid one would have to undo all, so there is one.
        (None, Some(coding)) if coding.of(bytes).eq_ignore_ascii_case(b"chunked") => Ok(Declared::Chunked),
        (None, Some(_)) => Err(HeadError::InvalidTransferEncoding),
    }
}

/// What has to be written in place of an unusual framing line.
pub(super) fn framing_rewrite(found: &Found, declared: Declared) -> FramingRewrite {
    match declared {
        Declared::Length(length) if found.unusual_framing => FramingRewrite::Length(length),
        Declared::Chunked if found.unusual_framing => FramingRewrite::Chunked,
        _ => FramingRewrite::None,
    }
}

/// RFC 9110 8.6: digits only. Lengths above what a signed 64-bit integer holds are refused, as readers differ there.
pub(crate) fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    const DIGITS_MAX: usize = 19;
    if value.is_empty() || value.len() > DIGITS_MAX {
        return Err(HeadError::InvalidContentLength);
    }
    let mut length = 0u64;
    for byte in value {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(HeadError::InvalidContentLength);
        }
        // 19 digits are less than 10^19, which an unsigned 64-bit integer holds.
        length = length * 10 + u64::from(digit);
    }
    if i64::try_from(length).is_err() { Err(HeadError::InvalidContentLength) } else { Ok(length) }
}

/// What `Connection` says.
#[derive(Default)]
pub(super) struct ConnectionOptions {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl ConnectionOptions {
    /// Whether the option is one of the connection's own, and not the name of a field.
    fn note(&mut self, option: &[u8]) -> bool {
        if option.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
        } else if option.eq_ignore_ascii_case(b"close") {
            self.close = true;
        } else if option.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else {
            return false;
        }
        true
    }
}

/// Options of all `Connection` fields of one head. Each is compared with every field name.
const CONNECTION_OPTIONS_MAX: usize = 32;

/// Reads every `Connection` field and marks the fields that it names (RFC 9110 7.6.1).
pub(super) fn connection_options(bytes: &[u8], fields: &mut [Field]) -> Result<ConnectionOptions, HeadError> {
    let mut options = ConnectionOptions::default();
    let mut count = 0;
    for index in 0..fields.len() {
        let Some(field) = fields.get(index).filter(|field| field.kind == FieldKind::Connection) else {
            continue;
        };
        let value = field.value.of(bytes);
        // Nearly always there is one option.
        if options.note(value) {
            continue;
        }
        for option in list(value) {
            count += 1;
            if count > CONNECTION_OPTIONS_MAX {
                return Err(HeadError::InvalidConnection);
            }
            if !option.is_empty() && !options.note(option) {
                mark_named(bytes, fields, option)?;
            }
        }
    }
    Ok(options)
}

/// Elements of a comma-separated list without the white space around them (RFC 9110 5.6.1); some may be empty.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(|element| {
        let start = element.iter().position(|b| !matches!(b, b' ' | b'\t')).unwrap_or(element.len());
        let end = element.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(start, |last| last + 1);
        element.get(start..end).unwrap_or_default()
    })
}

fn mark_named(bytes: &[u8], fields: &mut [Field], option: &[u8]) -> Result<(), HeadError> {
    if !option.iter().all(|b| is_token(*b)) {
        return Err(HeadError::InvalidConnection);
    }
    match FieldKind::of(option) {
        FieldKind::Other => {
            for field in fields.iter_mut().filter(|field| field.kind == FieldKind::Other) {
                if field.name.of(bytes).eq_ignore_ascii_case(option) {
                    field.hop_by_hop = true;
                }
            }
            Ok(())
        }
        FieldKind::Host
        | FieldKind::ContentLength
        | FieldKind::TransferEncoding
        | FieldKind::FramingAlias => Err(HeadError::ConnectionNamesFraming),
        // Fields for all recipients (Authorization, Cookie, X-Forwarded-For, …) are never options of one
        // connection: a client that names them wants them removed behind the back of whoever set them.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dribbled_bytes_are_tokenised_a_logarithmic_number_of_times() {
        let head = vec![b'a'; 65_536];
        let mut progress = HeadProgress::default();
        let looks = (1..=head.len()).filter(|n| progress.is_worth_parsing(&head[..*n], 1 << 20)).count();
        assert!(looks <= 18, "{looks}");
    }

    #[test]
    fn the_end_of_a_head_is_seen_however_it_is_split() {
        for end in ["\r\n\r\n", "\n\n", "\r\n\n", "\n\r\n"] {
            let head = format!("GET / HTTP/1.1\r\nhost: a{end}");
            for split in 1..head.len() {
                let mut progress = HeadProgress::default();
                assert!(progress.is_worth_parsing(&head.as_bytes()[..split], 1000));
                assert!(progress.is_worth_parsing(head.as_bytes(), 1000), "{end:?} {split}");
            }
        }
    }
}
