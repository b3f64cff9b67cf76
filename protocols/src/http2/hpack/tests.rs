//! The decoder, against the examples of RFC 7541 appendix C and rule by rule.

use super::{CompressionError, Decoder, huffman, integer};

/// Decodes one block into `name: value` lines; `!` before what is never indexed.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, CompressionError> {
    let (mut at, mut fields) = (0, Vec::new());
    decoder.begin(block, &mut at)?;
    let mut out = Vec::new();
    while let Some(line) = decoder.next(block, &mut at, &mut out)? {
        let text = String::from_utf8_lossy(&out[line.start..]);
        let text = text.strip_suffix("\r\n").expect("a line");
        assert_eq!(&text[line.name_bytes..line.name_bytes + 2], ": ");
        fields.push(format!("{}{text}", if line.never_indexed { "!" } else { "" }));
    }
    assert_eq!(at, block.len());
    Ok(fields)
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn assert_blocks(decoder: &mut Decoder, blocks: &[(&str, &[&str])]) {
    for (hex, fields) in blocks {
        assert_eq!(decode(decoder, &bytes(hex)).as_deref(), Ok(&fields.map_to_strings()[..]), "{hex}");
    }
}

trait MapToStrings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl MapToStrings for &[&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn c_2_single_fields() {
    for (hex, field) in [
        ("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", "custom-key: custom-header"),
        ("040c 2f73 616d 706c 652f 7061 7468", ":path: /sample/path"),
        ("1008 7061 7373 776f 7264 0673 6563 7265 74", "!password: secret"),
        ("82", ":method: GET"),
    ] {
        assert_blocks(&mut Decoder::new(4096), &[(hex, &[field])]);
    }
}

const REQUESTS: [&[&str]; 3] = [
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
    &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com", "cache-control: no-cache"],
    &[
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
    ],
];

#[test]
fn c_3_and_c_4_requests() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(4096);
        for (hex, fields) in blocks.into_iter().zip(REQUESTS) {
            assert_blocks(&mut decoder, &[(hex, fields)]);
        }
    }
}

const RESPONSES: [&[&str]; 3] = [
    &[
        ":status: 302",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 307",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:21 GMT",
        "location: https://www.example.com",
    ],
    &[
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ],
];

/// The table of these examples has 256 bytes, so that entries are evicted.
#[test]
fn c_5_and_c_6_responses() {
    let plain = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120
         474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738
         666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33
         3630 303b 2076 6572 7369 6f6e 3d31",
    ];
    let huffman = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718
         63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7
         b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new(4096);
        // RFC 7541 6.3: 256 is 31 and 225, which is 1 and 97 above a byte of seven bits.
        assert_blocks(&mut decoder, &[("3fe1 01", &[])]);
        for (hex, fields) in blocks.into_iter().zip(RESPONSES) {
            assert_blocks(&mut decoder, &[(hex, fields)]);
        }
        // 62 and 64 are the newest and the oldest of three entries.
        let left = [
            "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            "content-encoding: gzip",
            "date: Mon, 21 Oct 2013 20:13:22 GMT",
        ];
        assert_blocks(&mut decoder, &[("be bf c0", &left)]);
        assert_eq!(decode(&mut decoder, &[0xc1]), Err(CompressionError::InvalidIndex));
    }
}

#[test]
fn c_1_integers() {
    for (block, prefix_bits, value) in
        [(&[0b1110_1010][..], 5, 10), (&[0b0001_1111, 0b1001_1010, 0b0000_1010], 5, 1337), (&[42], 8, 42)]
    {
        let mut at = 0;
        assert_eq!(integer::decode(block, &mut at, prefix_bits), Ok(value));
        assert_eq!(at, block.len());
    }
}

#[test]
fn integers_are_read_as_they_are_written() {
    for prefix_bits in 4..=7 {
        for value in (0..1000).chain([16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
            let mut block = Vec::new();
            integer::encode(&mut block, 0, prefix_bits, value);
            let mut at = 0;
            assert_eq!(integer::decode(&block, &mut at, prefix_bits), Ok(value as u32));
            assert_eq!(at, block.len());
        }
    }
}

#[test]
fn blocks_that_break_a_rule_are_refused_with_its_name() {
    use CompressionError::*;
    for (hex, error) in [
        ("80", InvalidIndex),
        ("be", InvalidIndex),
        ("ff00", InvalidIndex),
        ("7f00 0161 0162", InvalidIndex),
        ("0f2f 0161", InvalidIndex),
        ("ff", Truncated),
        ("ff80", Truncated),
        ("ff80 8080 8000", IntegerOverflow),
        ("ffff ffff ff7f", IntegerOverflow),
        ("7f80 8080 8080 8080 8000", IntegerOverflow),
        ("00", Truncated),
        ("0001", Truncated),
        ("0001 61", Truncated),
        ("0001 6102 62", Truncated),
        ("0001 617f ff", Truncated),
        ("007f ffff ff0f", Truncated),
        ("40", Truncated),
        ("10", Truncated),
        ("82 20", MisplacedSizeUpdate),
        ("82 3fe1 01", MisplacedSizeUpdate),
        ("3fe2 1f", TableTooLarge),
        ("3fff ffff ff0f", IntegerOverflow),
        // Huffman: 8 bits of padding, padding of zeros, EOS within, EOS at the end, a code that is cut.
        ("0082 1fff 00", InvalidHuffman),
        ("0081 18 00", InvalidHuffman),
        ("0084 ffff ffff 00", InvalidHuffman),
        ("0085 3fff ffff ff 00", InvalidHuffman),
        ("0081 ff 00", InvalidHuffman),
        ("0081 00 00", InvalidHuffman),
        ("0083 1ff9 ff 00", InvalidHuffman),
    ] {
        assert_eq!(decode(&mut Decoder::new(4096), &bytes(hex)), Err(error), "{hex}");
    }
}

#[test]
fn a_table_size_update_is_bounded_by_what_we_announced() {
    for (announced, size, accepted) in
        [(4096, 4096, true), (4096, 4097, false), (65_536, 65_536, true), (65_536, 65_537, false)]
    {
        let mut block = Vec::new();
        integer::encode(&mut block, 0x20, 5, size);
        let decoded = decode(&mut Decoder::new(announced), &block);
        assert_eq!(decoded.is_ok(), accepted, "{announced} {size}");
    }
}

#[test]
fn a_smaller_table_has_to_be_followed_once_it_is_acknowledged() {
    let mut decoder = Decoder::new(1024);
    // Before that, the initial size holds.
    assert_eq!(decode(&mut decoder, &bytes("3fe1 1f 82")).map(|fields| fields.len()), Ok(1));
    decoder.settings_acknowledged();
    assert_eq!(decode(&mut decoder, &[0x82]), Err(CompressionError::MissingSizeUpdate));
    assert_eq!(decode(&mut decoder, &bytes("3fe1 1f 82")), Err(CompressionError::TableTooLarge));
    assert_eq!(decode(&mut decoder, &bytes("20 3fe1 07 82")).map(|fields| fields.len()), Ok(1));
    assert_eq!(decode(&mut decoder, &[0x82]).map(|fields| fields.len()), Ok(1));
}

#[test]
fn entries_leave_the_table_oldest_first() {
    let mut decoder = Decoder::new(4096);
    // Three entries of 34 bytes each fit into 102.
    assert_blocks(
        &mut decoder,
        &[("3f47", &[]), ("4001 6101 31 4001 6201 32 4001 6301 33", &["a: 1", "b: 2", "c: 3"])],
    );
    assert_blocks(&mut decoder, &[("be bf c0", &["c: 3", "b: 2", "a: 1"])]);
    assert_blocks(&mut decoder, &[("4001 6401 34", &["d: 4"]), ("be bf c0", &["d: 4", "c: 3", "b: 2"])]);
    // The name of an entry that is evicted by the very literal that uses it (RFC 7541 4.4).
    assert_blocks(&mut decoder, &[("7f 01 0135", &["b: 5"]), ("be bf c0", &["b: 5", "d: 4", "c: 3"])]);
    // An entry that is larger than the table empties it.
    assert_blocks(&mut decoder, &[("3f00 4001 6601 36", &["f: 6"])]);
    assert_eq!(decode(&mut decoder, &[0xbe]), Err(CompressionError::InvalidIndex));
}

#[test]
fn what_is_skipped_keeps_the_table_in_step() {
    let mut decoder = Decoder::new(4096);
    let block = bytes("82 4001 6101 31 be 0001 6201 32 4001 6301 33 1001 6401 34");
    decoder.skip_rest(&block, 0).unwrap();
    assert_blocks(&mut decoder, &[("be bf", &["c: 3", "a: 1"])]);
    assert_eq!(decoder.skip_rest(&[0xc0], 0), Err(CompressionError::InvalidIndex));
    assert_eq!(decoder.skip_rest(&[0x80], 0), Err(CompressionError::InvalidIndex));
    assert_eq!(decoder.skip_rest(&[0x20], 0), Err(CompressionError::MisplacedSizeUpdate));
}

/// A table that many entries went through still gives the right ones.
#[test]
fn a_table_that_turned_over_often_is_sound() {
    let mut decoder = Decoder::new(4096);
    for n in 0..5000 {
        let value = format!("{n:0width$}", width = n % 97);
        let mut block = vec![0x40, 1, b'a'];
        integer::encode(&mut block, 0, 7, value.len());
        block.extend_from_slice(value.as_bytes());
        block.push(0xbe);
        let field = format!("a: {value}");
        assert_eq!(decode(&mut decoder, &block).unwrap(), [field.clone(), field]);
    }
    let oldest = decode(&mut decoder, &[0xbe + 30]).unwrap();
    assert_eq!(oldest, [format!("a: {:0width$}", 4969, width = 4969 % 97)]);
}

#[test]
fn every_byte_goes_through_the_huffman_code() {
    let all: Vec<u8> = (0..=255).collect();
    for start in 0..=255 {
        for text in [&all[start..], &all[..start], &all[start..=start]] {
            let mut coded = Vec::new();
            huffman::encode(text, &mut coded);
            assert_eq!(coded.len(), huffman::encoded_len(text));
            let mut decoded = Vec::new();
            assert_eq!(huffman::decode(&coded, &mut decoded), Ok(()));
            assert_eq!(decoded, text);
        }
    }
}
