//! Heads into header blocks (RFC 9113 8): the edits are those of `http1::write_request` and `http1::write_response`.
//!
//! Every field is a literal, with the name of the static table where there is one, and without Huffman coding. A
//! dynamic table would have to be searched for each field, and Huffman code be made of each byte; measured against
//! what the shorter block saves, both cost more than they give (`bench/benches/hpack.rs`).

use super::hpack::encoder;
use super::words;
use crate::http1::{ConnectionField, RequestEdits, ResponseEdits};
use crate::message::{
    Field, FieldKind, FramingRewrite, KindSet, Method, RequestHead, ResponseHead, TargetForm,
};

/// Encodes the header blocks of one connection, in the order in which they are sent.
#[derive(Debug, Default)]
pub struct HeadEncoder {
    table: PeerTable,
}

/// What the peer's decoder knows of the size of our table, which is empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum PeerTable {
    /// The initial size, which is as good as any while the peer allows it.
    #[default]
    Initial,
    /// The peer allows less: the next block has to say that we follow (RFC 7541 4.2).
    MustShrink,
    /// We said that it is zero. The peer's limit cannot go below.
    Zero,
}

impl HeadEncoder {
    /// The peer's SETTINGS_HEADER_TABLE_SIZE has changed. To be called before the settings are acknowledged.
    pub fn set_table_bytes_max(&mut self, table_bytes_max: u32) {
        if self.table == PeerTable::Initial && table_bytes_max < super::hpack::INITIAL_TABLE_BYTES {
            self.table = PeerTable::MustShrink;
        }
    }

    /// Appends the block of a request. With `ConnectionField::Upgrade` it is an extended CONNECT for that protocol
    /// (RFC 8441), whatever the version it came in.
    pub fn request(
        &mut self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        head: &RequestHead,
        edits: &RequestEdits<'_>,
        scheme: &str,
    ) {
        self.begin(out);
        out.reserve(bytes.len() + edits.append.len());
        write_pseudo(out, bytes, head, edits, scheme);
        let upgrade = matches!(edits.connection, ConnectionField::Upgrade(_));
        let drop = edits.drop.union(NOT_IN_REQUESTS);
        for field in head.fields.iter().filter(|field| !field.is_left_out(bytes, drop, edits.drop_names)) {
            // RFC 8441 5: the handshake of WebSocket needs no key.
            if upgrade && is_named(field, bytes, b"sec-websocket-key") {
                continue;
            }
            write_field(out, bytes, field);
        }
        write_length(out, head.framing_rewrite, head.kinds, edits.drop);
        write_lines(out, edits.append);
        if edits.te_trailers {
            encoder::literal(out, b"te", b"trailers", false);
        }
    }

    /// Appends the block of a response. 101 becomes the 200 that answers an extended CONNECT (RFC 8441 5).
    pub fn response(
        &mut self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        head: &ResponseHead,
        edits: &ResponseEdits<'_>,
    ) {
        self.begin(out);
        out.reserve(bytes.len() + edits.append.len());
        let switched = head.status == 101;
        write_status(out, if switched { 200 } else { head.status });
        let drop = edits.drop.union(CONNECTION_SPECIFIC);
        for field in head.fields.iter().filter(|field| !field.is_left_out(bytes, drop, edits.drop_names)) {
            if switched && is_named(field, bytes, b"sec-websocket-accept") {
                continue;
            }
            write_field(out, bytes, field);
        }
        write_length(out, head.framing_rewrite, head.kinds, edits.drop);
        write_lines(out, edits.append);
    }

    /// Appends the block of trailers, given as `name: value\r\n` lines.
    pub fn trailers(&mut self, out: &mut Vec<u8>, lines: &[u8]) {
        self.begin(out);
        write_lines(out, lines);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.table == PeerTable::MustShrink {
            encoder::no_table(out);
            self.table = PeerTable::Zero;
        }
    }
}

/// RFC 9113 8.2.2. Most of these are marked hop-by-hop where they came in; what is appended is not.
const CONNECTION_SPECIFIC: KindSet = KindSet::of(&[
    FieldKind::Connection,
    FieldKind::KeepAlive,
    FieldKind::ProxyConnection,
    FieldKind::TransferEncoding,
    FieldKind::Upgrade,
    FieldKind::Te,
    FieldKind::Http2Settings,
]);

/// `host` is said by `:authority`.
const NOT_IN_REQUESTS: KindSet = CONNECTION_SPECIFIC.union(KindSet::of(&[FieldKind::Host]));

/// RFC 9113 8.3.1, 8.5; RFC 8441 4.
fn write_pseudo(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, edits: &RequestEdits<'_>, scheme: &str) {
    let authority = edits.host.unwrap_or_else(|| head.authority.of(bytes));
    if let ConnectionField::Upgrade(protocol) = edits.connection {
        encoder::literal_indexed(out, encoder::METHOD, b"CONNECT", false);
        encoder::literal(out, b":protocol", protocol, false);
    } else {
        match head.method {
            Method::Get => encoder::indexed(out, encoder::METHOD),
            Method::Post => encoder::indexed(out, encoder::METHOD_POST),
            _ => encoder::literal_indexed(out, encoder::METHOD, head.method_span.of(bytes), false),
        }
        if head.form == TargetForm::Authority {
            let target = edits.target.unwrap_or_else(|| head.target.of(bytes));
            encoder::literal_indexed(out, encoder::AUTHORITY, target, false);
            return;
        }
    }
    match scheme {
        "http" => encoder::indexed(out, encoder::SCHEME),
        "https" => encoder::indexed(out, encoder::SCHEME_HTTPS),
        other => encoder::literal_indexed(out, encoder::SCHEME, other.as_bytes(), false),
    }
    // HTTP/1.0 may come without one; an empty one would be malformed.
    if !authority.is_empty() {
        encoder::literal_indexed(out, encoder::AUTHORITY, authority, false);
    }
    write_path(out, bytes, head, edits.target);
}

fn write_path(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead, target: Option<&[u8]>) {
    let whole = match (target, head.form) {
        (Some(target), _) => target,
        (None, TargetForm::Absolute) => {
            let path = head.path_of(bytes);
            match head.query {
                Some(query) => {
                    encoder::literal_indexed_parts(out, encoder::PATH, [path, b"?", query.of(bytes)]);
                    return;
                }
                // RFC 9113 8.3.1: OPTIONS for the authority itself.
                None if head.path.is_empty() && head.method == Method::Options => b"*",
                None => path,
            }
        }
        (None, _) => head.target.of(bytes),
    };
    if whole == b"/" {
        encoder::indexed(out, encoder::PATH);
    } else {
        encoder::literal_indexed(out, encoder::PATH, whole, false);
    }
}

fn write_status(out: &mut Vec<u8>, status: u16) {
    // The seven that the static table has, from index 8.
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    if let Some(at) = INDEXED.iter().position(|indexed| *indexed == status) {
        encoder::indexed(out, encoder::STATUS + at as u8);
        return;
    }
    let digit = |value: u16| b'0' + (value % 10) as u8;
    let digits = [digit(status / 100), digit(status / 10), digit(status)];
    encoder::literal_indexed(out, encoder::STATUS, &digits, false);
}

#[inline]
fn write_field(out: &mut Vec<u8>, bytes: &[u8], field: &Field) {
    let value = field.value.of(bytes);
    let never_indexed = field.never_indexed || is_secret(field.kind, value);
    encoder::field(out, field.kind, field.name.of(bytes), value, never_indexed);
}

/// RFC 7541 7.1.3: what could be guessed byte by byte, if a hop behind us put it into a table that an attacker shares.
fn is_secret(kind: FieldKind, value: &[u8]) -> bool {
    /// Longer cookies have more in them than can be guessed.
    const SHORT_COOKIE_BYTES: usize = 20;
    match kind {
        FieldKind::Authorization | FieldKind::ProxyAuthorization => true,
        FieldKind::Cookie => value.len() < SHORT_COOKIE_BYTES,
        _ => false,
    }
}

/// `content-length` in its one spelling, where it was received in another. Where it was not received at all, the end of
/// the stream says it.
fn write_length(out: &mut Vec<u8>, rewrite: FramingRewrite, kinds: KindSet, drop: KindSet) {
    if let FramingRewrite::Length(length) = rewrite
        && kinds.contains(FieldKind::ContentLength)
        && !drop.contains(FieldKind::ContentLength)
    {
        encoder::field(
            out,
            FieldKind::ContentLength,
            b"content-length",
            length.to_string().as_bytes(),
            false,
        );
    }
}

/// `name: value\r\n` lines.
fn write_lines(out: &mut Vec<u8>, lines: &[u8]) {
    let mut rest = lines;
    while let Some(line) = next_line(&mut rest) {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let kind = FieldKind::of(name);
        if !CONNECTION_SPECIFIC.contains(kind) {
            encoder::field(out, kind, name, value, is_secret(kind, value));
        }
    }
}

/// Takes a line, without its LF, from the front of `rest`.
fn next_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (line, after) = rest.split_at_checked(words::find_line_feed(rest)?)?;
    *rest = after.get(1..).unwrap_or_default();
    Some(line)
}

fn is_named(field: &Field, bytes: &[u8], name: &[u8]) -> bool {
    field.kind == FieldKind::Other && field.name.of(bytes).eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests;
