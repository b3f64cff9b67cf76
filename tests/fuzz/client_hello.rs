//! The ClientHello: what it says does not depend on how it was cut up, and another reader of TLS understands the same.

use ringway_protocols::tls::client_hello::{
    ClientHello, HELLO_BYTES_MAX, HelloError, HelloReader, RECORDS_BYTES_MAX,
};
use rustls::server::Acceptor;

pub(crate) const SEEDS: &[&[u8]] = &[
    // One record, with a name, ALPN, versions, groups, signatures and a key share.
    b"\x16\x03\x01\x00\x96\x01\x00\x00\x92\x03\x03\
      \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
      \x00\x00\x04\x13\x01\xc0\x2b\x01\x00\x00\x65\
      \x00\x00\x00\x0e\x00\x0c\x00\x00\x09\x73\x68\x6f\x70\x2e\x74\x65\x73\x74\
      \x00\x10\x00\x0e\x00\x0c\x02\x68\x32\x08\x68\x74\x74\x70\x2f\x31\x2e\x31\
      \x00\x2b\x00\x03\x02\x03\x04\
      \x00\x0a\x00\x04\x00\x02\x00\x1d\
      \x00\x0d\x00\x04\x00\x02\x04\x03\
      \x00\x33\x00\x26\x00\x24\x00\x1d\x00\x20\
      \x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09",
    // Without extensions.
    b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03\
      \x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
      \x00\x00\x02\x13\x01\x01\x00",
    // Records of few bytes, an alert, a record of data.
    b"\x16\x03\x01\x00\x01\x01\x16\x03\x01\x00\x02\x00\x00\x16\x03\x01\x00\x01\x29",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x17\x03\x03\x00\x04abcd",
];

pub(crate) fn run(data: &[u8]) {
    let whole = read(data, data.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(read(data, size), whole, "in pieces of {size}");
    }
    let Ok(Some(hello)) = &whole else { return };
    if let Some(name) = &hello.server_name {
        assert!((1..=253).contains(&name.len()), "{name:?}");
        assert!(name.bytes().all(|c| c.is_ascii_graphic() && !c.is_ascii_uppercase()), "{name:?}");
        assert!(name.parse::<std::net::IpAddr>().is_err(), "{name:?}");
    }
    if let Some(other) = by_rustls(data) {
        // It drops names that it does not like, where we refuse; what both accept is the same.
        let other = other.map(|name| name.to_ascii_lowercase());
        assert_eq!(other, hello.server_name);
    }
}

/// Whether both readers find the name in it.
pub(crate) fn is_read(data: &[u8]) -> bool {
    let name = read(data, data.len()).ok().flatten().and_then(|hello| hello.server_name);
    name.is_some() && by_rustls(data).flatten() == name
}

fn read(data: &[u8], size: usize) -> Result<Option<ClientHello>, HelloError> {
    let mut reader = HelloReader::default();
    for (index, piece) in data.chunks(size).enumerate() {
        if let Some(hello) = reader.feed(piece)? {
            return Ok(Some(hello));
        }
        assert!(index * size <= RECORDS_BYTES_MAX.max(HELLO_BYTES_MAX), "it reads on without end");
    }
    Ok(None)
}

/// The name that rustls reads, where it accepts the hello.
fn by_rustls(mut data: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    while !data.is_empty() {
        acceptor.read_tls(&mut data).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
    }
    None
}
