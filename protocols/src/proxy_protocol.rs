//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`), read and written.
//!
//! Strict where the specification leaves room: the header must be the first bytes of the connection, its TLVs must
//! end exactly where it does, and a version 2 header may not be longer than [`V2_BYTES_MAX`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a PROXY header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Who connected to the sender, and where. `None`: a connection of the sender's own (LOCAL), or of a family
    /// that has no IP address (UNKNOWN, UNSPEC, AF_UNIX); the real peer counts.
    pub addresses: Option<Addresses>,
    /// Length of the header; what follows belongs to the connection.
    pub bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    Complete(Header),
    NeedMore,
}

/// Why a header is refused. The connection is closed: nothing it says can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Error {
    /// Neither the text nor the binary signature.
    NoSignature,
    /// A version 1 line that breaks the grammar, or is longer than 107 bytes.
    InvalidLine,
    /// An address or port of a version 1 line.
    InvalidAddress,
    /// A version, command or family that version 2 does not define.
    UnknownVersion,
    /// A version 2 length that is too small for the family's addresses.
    InvalidLength,
    /// A version 2 header longer than [`V2_BYTES_MAX`].
    TooLong,
    /// The TLVs do not end where the header does.
    InvalidTlv,
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid PROXY protocol header: {self:?}")
    }
}

/// The longest version 2 header that is accepted: addresses, and TLVs with a certificate's names.
pub const V2_BYTES_MAX: usize = 4096;

const V1_BYTES_MAX: usize = 107;
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;

/// Reads a header from the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Error> {
    if is_start_of(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if is_start_of(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        Err(Error::NoSignature)
    }
}

/// Whether `bytes` start with the signature, as far as they go.
fn is_start_of(bytes: &[u8], signature: &[u8]) -> bool {
    let common = bytes.len().min(signature.len());
    bytes.get(..common) == signature.get(..common)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, Error> {
    let window = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(lf) = window.iter().position(|b| *b == b'\n') else {
        return if window.len() == V1_BYTES_MAX { Err(Error::InvalidLine) } else { Ok(Parsed::NeedMore) };
    };
    let line = window.get(..lf).and_then(|line| line.strip_suffix(b"\r")).ok_or(Error::InvalidLine)?;
    let text = std::str::from_utf8(line).map_err(|_| Error::InvalidLine)?;
    let mut words = text.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        // What follows UNKNOWN is to be ignored.
        return Ok(Parsed::Complete(Header { addresses: None, bytes: lf + 1 }));
    }
    let [Some(source), Some(destination), Some(source_port), Some(destination_port), None] =
        [(); 5].map(|()| words.next())
    else {
        return Err(Error::InvalidLine);
    };
    let address = |ip: &str, port: &str| -> Result<SocketAddr, Error> {
        let ip = match family {
            "TCP4" => ip.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
            "TCP6" => ip.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
            _ => return Err(Error::InvalidLine),
        };
        Ok(SocketAddr::new(ip.ok_or(Error::InvalidAddress)?, v1_port(port)?))
    };
    let addresses = Addresses {
        source: address(source, source_port)?,
        destination: address(destination, destination_port)?,
    };
    Ok(Parsed::Complete(Header { addresses: Some(addresses), bytes: lf + 1 }))
}

/// Decimal digits without sign or leading zeros.
fn v1_port(text: &str) -> Result<u16, Error> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(Error::InvalidAddress)
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, Error> {
    // Each byte is judged as soon as it is there.
    let command = match bytes.get(12) {
        None => return Ok(Parsed::NeedMore),
        Some(byte @ (0x20 | 0x21)) => byte & 0x0f,
        Some(_) => return Err(Error::UnknownVersion),
    };
    let Some([family, high, low]) = bytes.get(13..V2_FIXED_BYTES) else { return Ok(Parsed::NeedMore) };
    let address_bytes = match family {
        0x00 => 0,
        // Over a stream or a datagram.
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Error::UnknownVersion),
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let total = V2_FIXED_BYTES + length;
    if total > V2_BYTES_MAX {
        return Err(Error::TooLong);
    }
    if length < address_bytes {
        return Err(Error::InvalidLength);
    }
    let Some(payload) = bytes.get(V2_FIXED_BYTES..total) else { return Ok(Parsed::NeedMore) };
    let (addresses, tlvs) = payload.split_at_checked(address_bytes).ok_or(Error::InvalidLength)?;
    check_tlvs(tlvs)?;
    let addresses = if command == 0 { None } else { v2_addresses(addresses) };
    Ok(Parsed::Complete(Header { addresses, bytes: total }))
}

fn v2_addresses(payload: &[u8]) -> Option<Addresses> {
    let port = |at: usize| {
        let pair = payload.get(at..at + 2)?;
        Some(u16::from_be_bytes(pair.try_into().ok()?))
    };
    let pair = |width: usize| -> Option<Addresses> {
        let ip = |at: usize| -> Option<IpAddr> {
            let octets = payload.get(at..at + width)?;
            match width {
                4 => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
                _ => Some(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?)),
            }
        };
        Some(Addresses {
            source: SocketAddr::new(ip(0)?, port(2 * width)?),
            destination: SocketAddr::new(ip(width)?, port(2 * width + 2)?),
        })
    };
    match payload.len() {
        12 => pair(4),
        36 => pair(16),
        // AF_UNIX and AF_UNSPEC have no IP address.
        _ => None,
    }
}

/// Every TLV lies within the header and the last ends with it (HAProxy a32f99f).
fn check_tlvs(tlvs: &[u8]) -> Result<(), Error> {
    let mut rest = tlvs;
    while !rest.is_empty() {
        let [_, high, low, after @ ..] = rest else { return Err(Error::InvalidTlv) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).ok_or(Error::InvalidTlv)?;
    }
    Ok(())
}

/// Appends a version 1 header; of two families, UNKNOWN.
pub fn write_v1(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    let family = match (source.is_ipv4(), destination.is_ipv4()) {
        (true, true) => "TCP4",
        (false, false) => "TCP6",
        _ => {
            out.extend_from_slice(b"PROXY UNKNOWN\r\n");
            return;
        }
    };
    let (source_ip, source_port) = (source.ip(), source.port());
    let (destination_ip, destination_port) = (destination.ip(), destination.port());
    let line = format!("PROXY {family} {source_ip} {destination_ip} {source_port} {destination_port}\r\n");
    out.extend_from_slice(line.as_bytes());
}

/// Appends a version 2 header of a proxied stream; of two families, both as IPv6.
pub fn write_v2(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) {
    out.extend_from_slice(V2_SIGNATURE);
    out.push(0x21);
    if let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) {
        out.extend_from_slice(&[0x11, 0, 12]);
        out.extend_from_slice(&from.octets());
        out.extend_from_slice(&to.octets());
    } else {
        out.extend_from_slice(&[0x21, 0, 36]);
        for ip in [source.ip(), destination.ip()] {
            let ip = match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
}

#[cfg(test)]
mod tests;
