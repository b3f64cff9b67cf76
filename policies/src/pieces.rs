//! Parts of a request that policies look at: all values of a field, a parameter of the query, a cookie; and the query
//! and the cookies without one of them.

use ringway_protocols::message::{FieldKind, RequestHead};

/// The values of all fields of this name, in their order.
pub fn values<'a>(head: &'a RequestHead, bytes: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let named = head.fields.iter().filter(move |field| field.name.of(bytes).eq_ignore_ascii_case(name));
    named.map(move |field| field.value.of(bytes))
}

/// The parameters of a query, in their order: name and value as they were sent.
pub fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| split_at_byte(pair, b'='))
}

/// The first parameter of this name. Neither is decoded.
pub fn parameter<'a>(query: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    parameters(query).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The query without the parameters of these names, however their characters are encoded.
pub fn without_parameters(query: &[u8], is_left_out: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(query.len());
    for pair in query.split(|byte| *byte == b'&') {
        if is_left_out(&decode(split_at_byte(pair, b'=').0)) {
            continue;
        }
        if !kept.is_empty() {
            kept.push(b'&');
        }
        kept.extend_from_slice(pair);
    }
    kept
}

/// All cookies of the request, in their order (RFC 6265 5.4; HTTP/2 may split them into lines, RFC 9113 8.2.3).
pub fn cookies<'a>(head: &'a RequestHead, bytes: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let lines = head.fields.iter().filter(|field| field.kind == FieldKind::Cookie);
    lines.flat_map(|field| cookie_pairs(field.value.of(bytes)))
}

/// The cookies of one line.
pub fn cookie_pairs(line: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    line.split(|byte| *byte == b';').map(|pair| {
        let (name, value) = split_at_byte(pair.trim_ascii(), b'=');
        (name.trim_ascii_end(), value.trim_ascii_start())
    })
}

/// The first cookie of this name.
pub fn cookie<'a>(head: &'a RequestHead, bytes: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    cookies(head, bytes).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The cookies without those of this name, as one line; empty where none is left.
pub fn without_cookie(head: &RequestHead, bytes: &[u8], name: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    for (known, value) in cookies(head, bytes).filter(|(known, _)| *known != name && !known.is_empty()) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(known);
        kept.push(b'=');
        kept.extend_from_slice(value);
    }
    kept
}

/// Percent-decodes, and takes `+` for a space, as forms are written. What is not an encoding stays.
pub fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, digit(after.first()), digit(after.get(1))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                rest = after.get(2..).unwrap_or_default();
            }
            (b'+', ..) => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    out
}

/// What is before and after the first such byte; all and nothing where there is none.
fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    let at = text.iter().position(|b| *b == byte).unwrap_or(text.len());
    (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixture::Request;

    #[test]
    fn a_parameter_is_left_out_however_it_is_spelt() {
        for (query, left) in [
            ("", ""),
            ("key=1", ""),
            ("a=1&key=2&b=3", "a=1&b=3"),
            ("a=1&%6bey=2", "a=1"),
            ("key&keys=1&KEY=2", "keys=1&KEY=2"),
            ("a=1&&b", "a=1&&b"),
            ("a=key", "a=key"),
        ] {
            let left_out = without_parameters(query.as_bytes(), |name| name == b"key");
            assert_eq!(String::from_utf8_lossy(&left_out), left, "{query}");
        }
    }

    #[test]
    fn cookies_are_found_over_all_lines() {
        let mut request = Request::get("/");
        request.field("cookie", "a=1;b=2 ; =x; c");
        request.field("Cookie", "d=4=5; a=6");
        let facts = request.facts();
        let of = |name: &str| cookie(facts.head, facts.bytes, name.as_bytes()).map(String::from_utf8_lossy);
        for (name, value) in
            [("a", Some("1")), ("b", Some("2")), ("c", Some("")), ("d", Some("4=5")), ("e", None)]
        {
            assert_eq!(of(name).as_deref(), value, "{name}");
        }
        assert_eq!(without_cookie(facts.head, facts.bytes, b"a"), b"b=2; c=; d=4=5");
    }

    #[test]
    fn what_is_not_an_encoding_stays() {
        for (text, decoded) in
            [("a%20b", "a b"), ("a+b", "a b"), ("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("%41%", "A%")]
        {
            assert_eq!(decode(text.as_bytes()), decoded.as_bytes(), "{text}");
        }
    }
}
