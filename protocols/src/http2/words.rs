//! Bytes looked at eight at a time, for what runs over every head. (Hacker's Delight 6-1: which byte of a word is zero.)

const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);

/// Whether all bytes are printable ASCII, a space or above ASCII: what a field value usually has.
#[inline]
pub(super) fn is_text(bytes: &[u8]) -> bool {
    !any_word(bytes, |word| below(word, b' ') | equal(word, 0x7f))
}

/// Whether all bytes are visible ASCII, without `#`: what a path may have.
#[inline]
pub(super) fn is_path(bytes: &[u8]) -> bool {
    !any_word(bytes, |word| below(word, b'!') | equal(word, 0x7f) | equal(word, b'#') | word & HIGH)
}

/// Where the first LF is.
#[inline]
pub(super) fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let found = equal(u64::from_le_bytes(*word), b'\n');
        if found != 0 {
            // The lowest mark is exact; only above it a byte may be marked in error.
            return Some(at * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    tail.iter().position(|b| *b == b'\n').map(|at| words.len() * 8 + at)
}

#[inline]
fn any_word(bytes: &[u8], marks: impl Fn(u64) -> u64) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    let mut found = words.iter().fold(0, |found, word| found | marks(u64::from_le_bytes(*word)));
    if !tail.is_empty() {
        // The last eight bytes, some of them for the second time; or all there are, behind letters.
        let last = match bytes.last_chunk::<8>() {
            Some(last) => *last,
            None => {
                let mut last = [b'a'; 8];
                last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
                last
            }
        };
        found |= marks(u64::from_le_bytes(last));
    }
    found != 0
}

/// Not zero where a byte is less than `bound`, which is at most 128.
#[inline]
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(LOW * bound as u64) & !word & HIGH
}

/// Not zero where a byte is `byte`; the lowest mark stands at the first.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (LOW * byte as u64), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of texts of many lengths.
    fn texts() -> impl Iterator<Item = Vec<u8>> {
        (0..=40usize).flat_map(|length| {
            (0..length.max(1)).flat_map(move |at| {
                (0..=255u8).map(move |byte| {
                    let mut text = vec![b'a'; length];
                    text.iter_mut().skip(at).take(1).for_each(|b| *b = byte);
                    text
                })
            })
        })
    }

    #[test]
    fn every_byte_is_judged_alike_wherever_it_stands() {
        for text in texts() {
            let is_text_byte = |b: &u8| !matches!(b, 0..0x20 | 0x7f);
            assert_eq!(is_text(&text), text.iter().all(is_text_byte), "{text:?}");
            let is_path_byte = |b: &u8| matches!(b, 0x21..=0x7e) && *b != b'#';
            assert_eq!(is_path(&text), text.iter().all(is_path_byte), "{text:?}");
            assert_eq!(find_line_feed(&text), text.iter().position(|b| *b == b'\n'), "{text:?}");
        }
    }

    #[test]
    fn the_first_line_feed_is_found_among_bytes_that_differ_by_little() {
        for text in
            [b"\x0b\n\x0b\n\x0b\n\x0b\n\n".as_slice(), b"abcdefgh\x0b\x0b\n", b"\x0b\x0b\x0b", b"", b"\n"]
        {
            assert_eq!(find_line_feed(text), text.iter().position(|b| *b == b'\n'));
        }
    }
}
