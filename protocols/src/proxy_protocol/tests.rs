use super::*;

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is no address"))
}

fn complete(bytes: &[u8]) -> Header {
    match parse(bytes) {
        Ok(Parsed::Complete(header)) => header,
        other => panic!("{other:?} for {}", bytes.escape_ascii()),
    }
}

/// A version 2 header with this command, family and payload.
fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    [V2_SIGNATURE, &[command, family], &length, payload].concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 2, 0x04, 0xd2, 0x01, 0xbb];

#[test]
fn lines_of_version_1_are_read() {
    for (line, addresses) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n", Some(("192.0.2.1:1234", "198.51.100.2:443"))),
        ("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n", Some(("[2001:db8::1]:65535", "[::1]:0"))),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    ] {
        let header = complete(format!("{line}GET /").as_bytes());
        assert_eq!(header.bytes, line.len(), "{line:?}");
        let expected = addresses.map(|(from, to)| (socket(from), socket(to)));
        assert_eq!(header.addresses.map(|a| (a.source, a.destination)), expected, "{line:?}");
    }
}

#[test]
fn lines_that_break_the_grammar_are_refused() {
    for (line, error) in [
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n", Error::InvalidLine),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Error::InvalidLine),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n", Error::InvalidLine),
        ("PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidLine),
        ("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidLine),
        ("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidLine),
        ("PROXY \r\n", Error::InvalidLine),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", Error::InvalidAddress),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", Error::InvalidAddress),
        ("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n", Error::InvalidAddress),
        ("PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n", Error::InvalidAddress),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Error::InvalidAddress),
        ("PROXY TCP6 1.2.3.4 ::1 1 2\r\n", Error::InvalidAddress),
        ("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n", Error::NoSignature),
        ("GET / HTTP/1.1\r\n", Error::NoSignature),
        ("PROXX", Error::NoSignature),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(error), "{line:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(200));
    assert_eq!(parse(endless.as_bytes()), Err(Error::InvalidLine));
    assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(Error::InvalidLine));
}

#[test]
fn headers_of_version_2_are_read() {
    let header = complete(&[v2(0x21, 0x11, V4), b"GET /".to_vec()].concat());
    assert_eq!(header.bytes, 28);
    let addresses = header.addresses.expect("addresses");
    assert_eq!(
        (addresses.source, addresses.destination),
        (socket("192.0.2.1:1234"), socket("198.51.100.2:443"))
    );
    let tlvs = [V4, &[0x03, 0, 4, 1, 2, 3, 4], &[0x04, 0, 0]].concat();
    assert_eq!(complete(&v2(0x21, 0x11, &tlvs)).bytes, 16 + tlvs.len());
    // LOCAL and families without IP addresses say nothing about the client.
    for (command, family, payload) in
        [(0x20, 0x00, &[][..]), (0x20, 0x11, V4), (0x21, 0x00, &[]), (0x21, 0x31, &[0; 216])]
    {
        assert_eq!(complete(&v2(command, family, payload)).addresses, None, "{command:x} {family:x}");
    }
}

#[test]
fn headers_of_version_2_with_wrong_lengths_are_refused() {
    for (bytes, error) in [
        (v2(0x11, 0x11, V4), Error::UnknownVersion),
        (v2(0x22, 0x11, V4), Error::UnknownVersion),
        (v2(0x21, 0x13, V4), Error::UnknownVersion),
        (v2(0x21, 0x41, V4), Error::UnknownVersion),
        (v2(0x21, 0x11, &V4[..11]), Error::InvalidLength),
        (v2(0x21, 0x21, V4), Error::InvalidLength),
        (v2(0x20, 0x21, &[]), Error::InvalidLength),
        // TLVs that go on beyond the header, into the payload of the connection.
        (v2(0x21, 0x11, &[V4, &[0x03]].concat()), Error::InvalidTlv),
        (v2(0x21, 0x11, &[V4, &[0x03, 0]].concat()), Error::InvalidTlv),
        (v2(0x21, 0x11, &[V4, &[0x03, 0, 5, 1, 2, 3, 4]].concat()), Error::InvalidTlv),
        (v2(0x21, 0x11, &[V4, &[0x03, 0xff, 0xff]].concat()), Error::InvalidTlv),
    ] {
        let followed = [bytes.clone(), vec![0; 64]].concat();
        assert_eq!(parse(&followed), Err(error), "{}", bytes.escape_ascii());
    }
    // Refused by its length alone, before the bytes are there.
    let long = [V2_SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(parse(&long), Err(Error::TooLong));
}

#[test]
fn every_incomplete_beginning_needs_more() {
    for header in [b"PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n".to_vec(), v2(0x21, 0x11, V4)] {
        for end in 0..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Parsed::NeedMore), "{}", header[..end].escape_ascii());
        }
    }
}

#[test]
fn what_is_written_is_read() {
    for (source, destination) in [("1.2.3.4:1", "5.6.7.8:65535"), ("[2001:db8::1]:80", "[::1]:0")] {
        for write in [write_v1, write_v2] {
            let mut out = Vec::new();
            write(&mut out, socket(source), socket(destination));
            let header = complete(&out);
            let addresses = header.addresses.expect("addresses");
            assert_eq!((addresses.source, addresses.destination), (socket(source), socket(destination)));
            assert_eq!(header.bytes, out.len());
        }
    }
    let mut mixed = Vec::new();
    write_v1(&mut mixed, socket("1.2.3.4:1"), socket("[::1]:2"));
    assert_eq!(mixed, b"PROXY UNKNOWN\r\n");
    mixed.clear();
    write_v2(&mut mixed, socket("1.2.3.4:1"), socket("[::1]:2"));
    let addresses = complete(&mixed).addresses.expect("addresses");
    assert_eq!(addresses.source, socket("[::ffff:1.2.3.4]:1"));
}
