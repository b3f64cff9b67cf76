//! HPACK blocks of one connection: no panic, no more memory than the block accounts for, the fields that another
//! implementation reads, and a table that stays in step with one whose blocks were skipped.

use ringway_protocols::http1::TrailerLimits;
use ringway_protocols::http2::hpack::{CompressionError, Decoder, encoder};
use ringway_protocols::http2::{HeadDecoder, HeadEncoder};

use crate::mutate::Mutator;

/// Blocks, each behind a byte with its length; the rest is the last one.
pub(crate) const SEEDS: &[&[u8]] = &[
    // RFC 7541 C.3.
    b"\x14\x82\x86\x84\x41\x0fwww.example.com\x0e\x82\x86\x84\xbe\x58\x08no-cache",
    // C.4, Huffman coded.
    b"\x11\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\x0c\x82\x86\x84\xbe\x58\x86\xa8\xeb\x10\x64\x9c\xbf\
      \x82\x87\x85\xbf\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    // C.5, in a table of 256 bytes.
    b"\x21\x3f\xe1\x01\x48\x03302\x58\x07private\x6e\x0fhttps://a.test/\x08\x48\x03307\xc1\xc0\xbf\x01\x88\x88\xbe\xbf\xc0",
    // Never indexed, a name from the table, an entry that empties a small table.
    b"\x0b\x10\x03abc\x01d\x1f\x11\x01e\x0c\x20\x3f\x11\x40\x01x\x01y\xbe\x40\x01z\x02aa",
    b"\x04\x40\x01a\x00\x02\xbe\xbe\x05\x7f\x00\x01b\xbe\x04\x0f\x2f\x01c\xbe",
];

pub(crate) fn run(data: &[u8]) {
    let (mut ours, mut skipping) = (Decoder::new(4096), Decoder::new(4096));
    let mut theirs = fluke_hpack::Decoder::new();
    theirs.set_max_allowed_table_size(4096);
    for block in blocks(data) {
        let decoded = decode(&mut ours, block);
        let mut at = 0;
        let skipped = skipping.begin(block, &mut at).and_then(|()| skipping.skip_rest(block, at));
        assert_eq!(decoded.as_ref().err(), skipped.as_ref().err());
        let fields = match decoded {
            Ok(fields) => fields,
            Err(
                CompressionError::InvalidIndex
                | CompressionError::InvalidHuffman
                | CompressionError::TableTooLarge,
            ) => {
                assert!(theirs.decode(block).is_err(), "only we refuse it");
                return;
            }
            // The other one panics where a block ends too early, and takes table sizes anywhere.
            Err(_) => return,
        };
        match theirs.decode(block) {
            Ok(expected) => assert_eq!(fields, expected),
            // There is no rule that something has to follow an update.
            Err(fluke_hpack::decoder::DecoderError::SizeUpdateAtEnd) => assert!(fields.is_empty()),
            Err(error) => panic!("only we accept it: {error:?}"),
        }
    }
    assert_eq!(table(&mut ours), table(&mut skipping));
}

fn blocks(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first()?;
        let (block, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        Some(block)
    })
}

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, CompressionError> {
    let (mut at, mut out, mut fields) = (0, Vec::new(), Vec::new());
    decoder.begin(block, &mut at)?;
    while let Some(line) = decoder.next(block, &mut at, &mut out)? {
        let text = out[line.start..].strip_suffix(b"\r\n").expect("a line");
        let (name, value) = text.split_at(line.name_bytes);
        fields.push((name.to_vec(), value.strip_prefix(b": ").expect("a separator").to_vec()));
        // An entry of the table at most, or what the block has, Huffman coded.
        assert!(text.len() <= 4096 + block.len() * 8 / 5);
    }
    assert_eq!(at, block.len());
    Ok(fields)
}

/// What the dynamic table has, newest first.
fn table(decoder: &mut Decoder) -> Fields {
    (62..126).map_while(|index| decode(decoder, &[0x80 | index]).ok()).flatten().collect()
}

/// Blocks of random fields per property.
const BLOCKS: usize = 500;

fn random(name: &str) -> Mutator<'static> {
    let seed = crate::seed();
    println!("{name}: RINGWAY_FUZZ_SEED={seed}");
    Mutator::new(seed, &[])
}

/// Up to a dozen fields; names and values come back often enough to be found in tables.
fn fields(random: &mut Mutator<'_>) -> Fields {
    const NAMES: &[&str] =
        &["x", "accept", "cookie", "grpc-status", "content-type", "x-long-name-of-a-field", "age"];
    let count = random.below(13);
    let mut field = || {
        let name = NAMES[random.below(NAMES.len())].as_bytes().to_vec();
        let length = [0, 1, 3, 17, 126, 127, 128, 700][random.below(8)];
        let letters = [1, 2, 95][random.below(3)];
        let value: Vec<u8> = (0..length).map(|_| b'!' + random.below(letters).min(93) as u8).collect();
        (name, value)
    };
    (0..count).map(|_| field()).collect()
}

#[test]
fn what_another_encoder_writes_is_read_as_it_was_meant() {
    let mut random = random("http2_hpack_theirs");
    let mut theirs = fluke_hpack::Encoder::new();
    let mut ours = Decoder::new(4096);
    for _ in 0..BLOCKS {
        let fields = fields(&mut random);
        let block = theirs.encode(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())));
        assert_eq!(decode(&mut ours, &block).as_ref(), Ok(&fields), "{}", block.escape_ascii());
    }
}

#[test]
fn what_our_encoder_writes_is_read_by_another_decoder_as_it_was_meant() {
    let mut random = random("http2_hpack_ours");
    let limits = TrailerLimits { bytes_max: 65_536, fields_max: 100 };
    for _ in 0..BLOCKS {
        let fields: Fields = fields(&mut random).into_iter().filter(|(name, _)| name != b"cookie").collect();
        let mut lines = Vec::new();
        for (name, value) in &fields {
            lines.extend_from_slice(&[name, b": ".as_slice(), value, b"\r\n"].concat());
        }
        let mut block = Vec::new();
        HeadEncoder::default().trailers(&mut block, &lines);
        assert_eq!(
            fluke_hpack::Decoder::new().decode(&block).as_ref(),
            Ok(&fields),
            "{}",
            block.escape_ascii()
        );
        if !fields.iter().any(|(name, _)| matches!(name.as_slice(), b"content-type" | b"age")) {
            let mut again = Vec::new();
            HeadDecoder::new(4096).trailers(&block, &limits, &mut again).expect("trailers");
            assert_eq!(again, lines);
        }
    }
}

#[test]
fn any_bytes_go_through_the_huffman_code_of_two_implementations() {
    let mut random = random("http2_hpack_huffman");
    for _ in 0..BLOCKS {
        let length = random.below(300);
        let spread = [16, 64, 256][random.below(3)];
        let value: Vec<u8> = (0..length).map(|_| (b'a' as usize + random.below(spread)) as u8).collect();
        let mut block = b"\x00\x01x".to_vec();
        encoder::huffman_string(&mut block, &value);
        let expected = vec![(b"x".to_vec(), value)];
        assert_eq!(fluke_hpack::Decoder::new().decode(&block).as_ref(), Ok(&expected));
        assert_eq!(decode(&mut Decoder::new(4096), &block).as_ref(), Ok(&expected));
    }
}
