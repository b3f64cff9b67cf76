//! PROXY protocol headers: bounds, one verdict whatever the split, and writing as the inverse of reading.

use ringway_protocols::proxy_protocol::{Parsed, V2_BYTES_MAX, parse, write_v1, write_v2};

pub(crate) const SEEDS: &[&[u8]] = &[
    b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\nGET / HTTP/1.1\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 65535 0\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\nrest",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\x01\xbbrest",
    b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x2b0123456789abcdef0123456789ABCDEF\x04\xd2\x01\xbb\x03\0\x04crc!",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x13\x01\x02\x03\x04\x05\x06\x07\x08\x04\xd2\x01\xbb\x20\0\x04abcd",
];

pub(crate) fn run(data: &[u8]) {
    let whole = parse(data);
    match whole {
        Err(_) => {}
        Ok(Parsed::NeedMore) => assert!(data.len() < V2_BYTES_MAX),
        Ok(Parsed::Complete(header)) => {
            assert!(header.bytes > 0 && header.bytes <= data.len() && header.bytes <= V2_BYTES_MAX);
            assert_eq!(parse(&data[..header.bytes]), whole, "what follows does not matter");
            if let Some(addresses) = header.addresses {
                for write in [write_v1, write_v2] {
                    let mut out = Vec::new();
                    write(&mut out, addresses.source, addresses.destination);
                    let Ok(Parsed::Complete(again)) = parse(&out) else {
                        panic!("what is written is not read")
                    };
                    assert_eq!((again.addresses, again.bytes), (Some(addresses), out.len()));
                }
            }
        }
    }
    for end in 0..data.len().min(256) {
        let expected_at_most = matches!(whole, Ok(Parsed::Complete(header)) if end < header.bytes);
        match parse(&data[..end]) {
            Ok(Parsed::NeedMore) => {}
            Ok(Parsed::Complete(header)) => {
                assert_eq!(whole, Ok(Parsed::Complete(header)), "first {end} bytes")
            }
            Err(error) => {
                assert!(!expected_at_most, "the beginning of a good header is refused: {error:?}");
                assert!(whole.is_err(), "first {end} bytes");
            }
        }
    }
}
