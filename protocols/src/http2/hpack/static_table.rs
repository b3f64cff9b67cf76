//! The static table (RFC 7541 appendix A).

use super::rules::Name;
use crate::message::FieldKind;

/// An entry, with its text as the line of a head.
pub(super) struct StaticEntry {
    pub(super) line: &'static [u8],
    pub(super) name_bytes: u32,
    pub(super) name: Name,
}

/// The entry at an index from 1 to [`LEN`].
#[inline]
pub(super) fn get(index: u32) -> Option<&'static StaticEntry> {
    ENTRIES.get((index as usize).wrapping_sub(1))
}

/// Entries; the dynamic table's indices follow.
pub(super) const LEN: u32 = ENTRIES.len() as u32;

/// The index of the first entry with the name of this kind; 0 where there is none.
pub(super) fn index_of(kind: FieldKind) -> u8 {
    INDICES.get(kind as usize).copied().unwrap_or(0)
}

static INDICES: [u8; 64] = {
    let mut indices = [0; 64];
    let mut at = ENTRIES.len();
    // From the end, so that the first entry of a name stays.
    while at > 0 {
        at -= 1;
        if let Name::Field(kind) = ENTRIES[at].name
            && !matches!(kind, FieldKind::Other)
        {
            indices[kind as usize] = at as u8 + 1;
        }
    }
    indices
};

const fn entry(line: &'static [u8], name: Name) -> StaticEntry {
    // From the second byte on, as the name of a pseudo-header field starts with a colon.
    let mut end = 1;
    while line[end] != b':' {
        end += 1;
    }
    StaticEntry { line, name_bytes: end as u32, name }
}

const fn field(line: &'static [u8], kind: FieldKind) -> StaticEntry {
    entry(line, Name::Field(kind))
}

static ENTRIES: [StaticEntry; 61] = [
    entry(b":authority: \r\n", Name::Authority),
    entry(b":method: GET\r\n", Name::Method),
    entry(b":method: POST\r\n", Name::Method),
    entry(b":path: /\r\n", Name::Path),
    entry(b":path: /index.html\r\n", Name::Path),
    entry(b":scheme: http\r\n", Name::Scheme),
    entry(b":scheme: https\r\n", Name::Scheme),
    entry(b":status: 200\r\n", Name::Status),
    entry(b":status: 204\r\n", Name::Status),
    entry(b":status: 206\r\n", Name::Status),
    entry(b":status: 304\r\n", Name::Status),
    entry(b":status: 400\r\n", Name::Status),
    entry(b":status: 404\r\n", Name::Status),
    entry(b":status: 500\r\n", Name::Status),
    field(b"accept-charset: \r\n", FieldKind::Other),
    field(b"accept-encoding: gzip, deflate\r\n", FieldKind::AcceptEncoding),
    field(b"accept-language: \r\n", FieldKind::AcceptLanguage),
    field(b"accept-ranges: \r\n", FieldKind::Other),
    field(b"accept: \r\n", FieldKind::Accept),
    field(b"access-control-allow-origin: \r\n", FieldKind::Other),
    field(b"age: \r\n", FieldKind::Age),
    field(b"allow: \r\n", FieldKind::Allow),
    field(b"authorization: \r\n", FieldKind::Authorization),
    field(b"cache-control: \r\n", FieldKind::CacheControl),
    field(b"content-disposition: \r\n", FieldKind::Other),
    field(b"content-encoding: \r\n", FieldKind::ContentEncoding),
    field(b"content-language: \r\n", FieldKind::Other),
    field(b"content-length: \r\n", FieldKind::ContentLength),
    field(b"content-location: \r\n", FieldKind::Other),
    field(b"content-range: \r\n", FieldKind::ContentRange),
    field(b"content-type: \r\n", FieldKind::ContentType),
    field(b"cookie: \r\n", FieldKind::Cookie),
    field(b"date: \r\n", FieldKind::Date),
    field(b"etag: \r\n", FieldKind::ETag),
    field(b"expect: \r\n", FieldKind::Expect),
    field(b"expires: \r\n", FieldKind::Other),
    field(b"from: \r\n", FieldKind::Other),
    field(b"host: \r\n", FieldKind::Host),
    field(b"if-match: \r\n", FieldKind::Other),
    field(b"if-modified-since: \r\n", FieldKind::IfModifiedSince),
    field(b"if-none-match: \r\n", FieldKind::IfNoneMatch),
    field(b"if-range: \r\n", FieldKind::Other),
    field(b"if-unmodified-since: \r\n", FieldKind::Other),
    field(b"last-modified: \r\n", FieldKind::LastModified),
    field(b"link: \r\n", FieldKind::Other),
    field(b"location: \r\n", FieldKind::Location),
    field(b"max-forwards: \r\n", FieldKind::MaxForwards),
    field(b"proxy-authenticate: \r\n", FieldKind::ProxyAuthenticate),
    field(b"proxy-authorization: \r\n", FieldKind::ProxyAuthorization),
    field(b"range: \r\n", FieldKind::Range),
    field(b"referer: \r\n", FieldKind::Referer),
    field(b"refresh: \r\n", FieldKind::Other),
    field(b"retry-after: \r\n", FieldKind::Other),
    field(b"server: \r\n", FieldKind::Server),
    field(b"set-cookie: \r\n", FieldKind::SetCookie),
    field(b"strict-transport-security: \r\n", FieldKind::StrictTransportSecurity),
    field(b"transfer-encoding: \r\n", FieldKind::TransferEncoding),
    field(b"user-agent: \r\n", FieldKind::UserAgent),
    field(b"vary: \r\n", FieldKind::Vary),
    field(b"via: \r\n", FieldKind::Via),
    field(b"www-authenticate: \r\n", FieldKind::WwwAuthenticate),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_have_the_kind_and_the_length_of_their_names() {
        for (at, entry) in ENTRIES.iter().enumerate() {
            let name = &entry.line[..entry.name_bytes as usize];
            assert_eq!(entry.name, Name::of(name), "{}", at + 1);
            assert_eq!(&entry.line[name.len()..][..2], b": ");
        }
    }

    #[test]
    fn a_kind_leads_to_the_first_entry_of_its_name() {
        for (kind, index) in [
            (FieldKind::AcceptEncoding, 16),
            (FieldKind::Cookie, 32),
            (FieldKind::Date, 33),
            (FieldKind::SetCookie, 55),
            (FieldKind::WwwAuthenticate, 61),
            (FieldKind::Other, 0),
            (FieldKind::XForwardedFor, 0),
        ] {
            assert_eq!(index_of(kind), index, "{kind:?}");
        }
    }
}
