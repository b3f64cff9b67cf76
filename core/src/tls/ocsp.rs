//! What an OCSP response from a file says (RFC 6960): about which certificates, and until when.
//!
//! Whoever asked for it verifies its signature; here it is only read, so that what no client would take is not sent.

use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// What a response says about one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OcspFacts {
    pub status: OcspStatus,
    /// When another one will be there, in seconds since 1970; `None`: at any time.
    pub next_update: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OcspStatus {
    Good,
    Revoked,
    /// The authority does not know the certificate.
    Unknown,
}

/// Why a response is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OcspError {
    /// It is none, or says only that there is none.
    Unreadable,
    /// It is about other certificates.
    OtherCertificate,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, with something in it.
const FIRST: u8 = 0xa0;
/// Bytes that are not worth a look: responses have about two thousand.
const BYTES_MAX: usize = 64 * 1024;

/// Reads what a response says about the certificate with a serial number (hexadecimal, as in
/// [`CertificateFacts`](super::CertificateFacts)).
pub(super) fn read(der: &[u8], serial: &str) -> Result<OcspFacts, OcspError> {
    let mut responses = responses(der).ok_or(OcspError::Unreadable)?;
    while !responses.is_empty() {
        let single = responses.take(SEQUENCE).ok_or(OcspError::Unreadable)?;
        let (about, facts) = single_response(single).ok_or(OcspError::Unreadable)?;
        if hex(about) == serial {
            return Ok(facts);
        }
    }
    Err(OcspError::OtherCertificate)
}

/// The `responses` within an `OCSPResponse` (RFC 6960 4.2.1).
fn responses(der: &[u8]) -> Option<Der<'_>> {
    let mut response = Der(der.get(..der.len().min(BYTES_MAX))?).take(SEQUENCE)?;
    // Anything but `successful` comes without a response.
    if response.take(ENUMERATED)?.0 != [0] {
        return None;
    }
    let mut bytes = response.take(FIRST)?.take(SEQUENCE)?;
    let _basic = bytes.next()?;
    let mut basic = bytes.take(OCTET_STRING)?.take(SEQUENCE)?;
    let mut data = basic.take(SEQUENCE)?;
    if data.0.first() == Some(&FIRST) {
        let _version = data.next()?;
    }
    let _responder = data.next()?;
    let _produced_at = data.take(GENERALIZED_TIME)?;
    data.take(SEQUENCE)
}

/// The serial number that a `SingleResponse` is about, and what it says.
fn single_response(mut single: Der<'_>) -> Option<(&[u8], OcspFacts)> {
    let mut id = single.take(SEQUENCE)?;
    let (_algorithm, _name, _key) = (id.take(SEQUENCE)?, id.take(OCTET_STRING)?, id.take(OCTET_STRING)?);
    let serial = id.take(INTEGER)?.0;
    let status = match single.next()?.tag & 0x1f {
        0 => OcspStatus::Good,
        1 => OcspStatus::Revoked,
        2 => OcspStatus::Unknown,
        _ => return None,
    };
    let _this_update = single.take(GENERALIZED_TIME)?;
    let next_update = match single.0.first() {
        Some(&FIRST) => Some(time(single.take(FIRST)?)?),
        _ => None,
    };
    Some((serial, OcspFacts { status, next_update }))
}

fn time(mut from: Der<'_>) -> Option<i64> {
    let element = from.next().filter(|element| element.tag == GENERALIZED_TIME)?;
    ASN1Time::from_der(element.whole).ok().map(|(_, time)| time.timestamp())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Elements in DER, one behind the other.
struct Der<'a>(&'a [u8]);

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Der<'a> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content of the next element, which has this tag.
    fn take(&mut self, tag: u8) -> Option<Der<'a>> {
        self.next().filter(|element| element.tag == tag).map(|element| Der(element.content))
    }

    /// The next element. Lengths have one to three bytes here (X.690 8.1.3).
    fn next(&mut self) -> Option<Element<'a>> {
        let (tag, length, header) = match *self.0 {
            [tag, length @ 0..=0x7f, ..] => (tag, usize::from(length), 2),
            [tag, 0x81, length, ..] => (tag, usize::from(length), 3),
            [tag, 0x82, high, low, ..] => (tag, usize::from(u16::from_be_bytes([high, low])), 4),
            _ => return None,
        };
        let (whole, rest) = self.0.split_at_checked(header + length)?;
        self.0 = rest;
        Some(Element { tag, content: whole.get(header..)?, whole })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let header = match length {
            0..0x80 => vec![tag, length as u8],
            _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
        };
        [header, content.to_vec()].concat()
    }

    /// A `SingleResponse`; `status` is the number of its choice.
    pub(in crate::tls) fn single(serial: &[u8], status: u8, next: Option<&str>) -> Vec<u8> {
        let id = [der(0x30, &[]), der(4, &[1; 20]), der(4, &[2; 20]), der(2, serial)].concat();
        let status =
            if status == 1 { der(0xa1, &der(0x18, b"20200101000000Z")) } else { der(0x80 | status, &[]) };
        let next = next.map(|time| der(0xa0, &der(0x18, time.as_bytes()))).unwrap_or_default();
        der(0x30, &[der(0x30, &id), status, der(0x18, b"20200101000000Z"), next].concat())
    }

    pub(in crate::tls) fn response(singles: &[Vec<u8>], version: bool) -> Vec<u8> {
        let version = if version { der(0xa0, &der(2, &[0])) } else { Vec::new() };
        let singles = der(0x30, &singles.concat());
        let data = [version, der(0xa2, &der(4, &[3; 20])), der(0x18, b"20200101000000Z"), singles].concat();
        let basic = der(0x30, &[der(0x30, &data), der(0x30, &[]), der(3, &[0; 64])].concat());
        let bytes = der(0x30, &[der(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]), der(4, &basic)].concat());
        der(0x30, &[der(0x0a, &[0]), der(0xa0, &bytes)].concat())
    }

    #[test]
    fn what_a_response_says_about_one_certificate_is_found() {
        let singles = [
            single(&[1], 0, Some("20300102030405Z")),
            single(&[0, 0xff], 1, None),
            single(&[7], 2, Some("19700101000001Z")),
        ];
        for version in [false, true] {
            let bytes = response(&singles, version);
            let facts = |status, next_update| Ok(OcspFacts { status, next_update });
            for (serial, want) in [
                ("01", facts(OcspStatus::Good, Some(1_893_553_445))),
                ("00ff", facts(OcspStatus::Revoked, None)),
                ("07", facts(OcspStatus::Unknown, Some(1))),
                ("ff", Err(OcspError::OtherCertificate)),
                ("", Err(OcspError::OtherCertificate)),
            ] {
                assert_eq!(read(&bytes, serial), want, "{serial}");
            }
        }
    }

    #[test]
    fn what_is_no_response_is_refused_and_never_more() {
        let whole = response(&[single(&[1], 0, Some("20300102030405Z"))], true);
        let try_later = der(0x30, &der(0x0a, &[3]));
        for bytes in [&b""[..], b"hello", &[0x30, 0x80], &[0x30, 0x84, 0, 0, 0, 0], &try_later] {
            assert_eq!(read(bytes, "01"), Err(OcspError::Unreadable), "{bytes:?}");
        }
        // Cut anywhere, and with any one byte changed: an answer or an error.
        for end in 0..whole.len() {
            assert!(read(&whole[..end], "01").is_err(), "cut at {end}");
            for byte in [0, 0x30, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[end] = byte;
                let _ = read(&changed, "01");
            }
        }
    }
}
