use super::*;

/// Extensions, each with its kind.
type Extensions<'a> = &'a [(u16, Vec<u8>)];

fn vector16(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    vector16(&[&[HOST_NAME][..], &vector16(name)].concat())
}

/// A message with these extensions.
fn message(extensions: Extensions<'_>) -> Vec<u8> {
    let each = extensions.iter().flat_map(|(kind, data)| [&kind.to_be_bytes()[..], &vector16(data)].concat());
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(vector16(&each.collect::<Vec<u8>>()));
    [&[CLIENT_HELLO][..], &(body.len() as u32).to_be_bytes()[1..], &body].concat()
}

/// Records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [&[HANDSHAKE, 3, 1][..], &vector16(piece)].concat()).collect()
}

fn read(bytes: &[u8], segment: usize) -> Result<Option<ClientHello>, HelloError> {
    let mut reader = HelloReader::default();
    for piece in bytes.chunks(segment) {
        if let Some(hello) = reader.feed(piece)? {
            return Ok(Some(hello));
        }
    }
    Ok(None)
}

#[test]
fn a_hello_is_read_however_it_is_cut_up() {
    let alpn = vector16(b"\x02h2\x08http/1.1");
    let message = message(&[(10, vec![0; 9]), (SERVER_NAME, server_name(b"Shop.Example.com")), (ALPN, alpn)]);
    let want = ClientHello {
        server_name: Some("shop.example.com".to_owned()),
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    for record in [1, 2, 3, 4, 5, 50, 16_384] {
        for segment in [1, 2, 5, 6, 7, 64, 100_000] {
            let bytes = records(&message, record);
            assert_eq!(read(&bytes, segment), Ok(Some(want.clone())), "{record} {segment}");
            let cut = &bytes[..bytes.len() - 1];
            assert_eq!(read(cut, segment), Ok(None), "a byte is missing: {record} {segment}");
        }
    }
}

#[test]
fn a_hello_without_a_name_has_none() {
    assert_eq!(read(&records(&message(&[]), 9_999), 9_999), Ok(Some(ClientHello::default())));
    // Without a list of extensions at all.
    let mut bare = message(&[]);
    bare.truncate(bare.len() - 2);
    bare[3] -= 2;
    assert_eq!(read(&records(&bare, 9_999), 9_999), Ok(Some(ClientHello::default())));
}

#[test]
fn what_is_not_tls_is_told_by_its_first_bytes() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x02",
        b"\x16\x03\x05",
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x01\x00\x02",
    ] {
        assert_eq!(read(bytes, 1), Err(HelloError::NotTls), "{bytes:?}");
    }
}

#[test]
fn names_that_are_not_one_host_name_are_refused() {
    let two_names =
        [&[HOST_NAME][..], &vector16(b"a.example"), &[HOST_NAME], &vector16(b"b.example")].concat();
    for (what, data) in [
        ("empty", server_name(b"")),
        ("a dot at the end", server_name(b"a.example.")),
        ("an empty label", server_name(b"a..example")),
        ("NUL", server_name(b"good.example\0.evil.example")),
        ("a blank", server_name(b"a example")),
        ("not ASCII", server_name("bücher.example".as_bytes())),
        ("IPv4", server_name(b"127.0.0.1")),
        ("IPv6", server_name(b"::1")),
        ("a wildcard", server_name(b"*.example")),
        ("a label of 64 bytes", server_name(&[b'a'; 64])),
        ("too long", server_name("a.".repeat(127).as_bytes())),
        ("two names", vector16(&two_names)),
        ("another kind", vector16(&[&[1][..], &vector16(b"a.example")].concat())),
        ("no list", Vec::new()),
        ("an empty list", vector16(b"")),
        ("bytes behind", [server_name(b"a.example"), vec![0]].concat()),
        ("cut off", server_name(b"a.example")[..8].to_vec()),
    ] {
        let got = read(&records(&message(&[(SERVER_NAME, data)]), 9_999), 9_999);
        assert!(matches!(got, Err(HelloError::Malformed(_))), "{what}: {got:?}");
    }
}

#[test]
fn rules_of_the_message_are_kept() {
    let name = (SERVER_NAME, server_name(b"a.example"));
    let good = message(std::slice::from_ref(&name));
    let with = |at: usize, byte: u8| {
        let mut changed = good.clone();
        changed[at] = byte;
        records(&changed, 9_999)
    };
    let twice = records(&message(&[name.clone(), name]), 9_999);
    let mut longer = good.clone();
    longer.push(0);
    longer[3] += 1;
    for (what, bytes) in [
        ("another message", with(0, 2)),
        ("another version", with(4, 2)),
        ("a session id of 33 bytes", with(38, 33)),
        ("an odd list of suites", with(40, 1)),
        ("no suites", with(40, 0)),
        ("no compression", with(43, 0)),
        ("two names", twice),
        ("bytes behind the extensions", records(&longer, 9_999)),
        ("an empty record", b"\x16\x03\x01\x00\x00".to_vec()),
        ("a record too large", b"\x16\x03\x01\x40\x01".to_vec()),
        ("an alert in the middle", [&records(&good[..20], 20)[..], b"\x15\x03\x03\x00\x02"].concat()),
    ] {
        let got = read(&bytes, 7);
        assert!(matches!(got, Err(HelloError::Malformed(_))), "{what}: {got:?}");
    }
}

#[test]
fn size_is_bounded_in_message_and_records() {
    let claims = [CLIENT_HELLO, 0, 0x40, 0x01];
    assert_eq!(read(&records(&claims, 9), 9), Err(HelloError::TooLarge), "a length beyond the bound");
    let large = message(&[(21, vec![0; HELLO_BYTES_MAX - 100]), (SERVER_NAME, server_name(b"a.example"))]);
    assert!(matches!(read(&records(&large, 9_999), 1_000), Ok(Some(_))), "within the bound");
    assert_eq!(read(&records(&large, 1), 1_000), Err(HelloError::TooLarge), "one byte a record");
}
