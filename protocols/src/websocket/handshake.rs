//! The two fields by which both ends of a WebSocket handshake of HTTP/1.1 know that they mean it (RFC 6455 4.1 and 4.2.2).
//! HTTP/2 has neither (RFC 8441 5), so whoever translates makes one and checks or answers the other.

/// Characters of a `Sec-WebSocket-Key`.
pub const KEY_BYTES: usize = 24;
/// Characters of a `Sec-WebSocket-Accept`.
pub const ACCEPT_BYTES: usize = 28;

/// RFC 6455 1.3.
const GUID: &[u8; 36] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A `Sec-WebSocket-Key`, of bytes that are different each time.
pub fn key_of(random: u128) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    encode_base64(&random.to_be_bytes(), &mut key);
    key
}

/// The `Sec-WebSocket-Accept` that answers a key.
pub fn accept_of(key: &[u8]) -> [u8; ACCEPT_BYTES] {
    let mut accept = [0; ACCEPT_BYTES];
    encode_base64(&sha1(&[key, GUID]), &mut accept);
    accept
}

/// RFC 4648 4. `out` is as long as the code.
fn encode_base64(bytes: &[u8], out: &mut [u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (three, four) in bytes.chunks(3).zip(out.chunks_mut(4)) {
        let group = three.iter().fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        // What is missing of the last group are zeros.
        let group = group << (8 * (3 - three.len()));
        for (at, code) in four.iter_mut().enumerate() {
            let index = (group >> (18 - 6 * at)) & 63;
            let is_padding = at > three.len();
            *code = if is_padding { b'=' } else { ALPHABET.get(index as usize).copied().unwrap_or(b'=') };
        }
    }
}

/// SHA-1 (FIPS 180-4). It proves nothing here and guards nothing: it only shows that the other end read the field.
fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let mut state = [0x6745_2301u32, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut block = [0u8; 64];
    let (mut filled, mut length) = (0usize, 0u64);
    let mut push = |byte: u8| {
        if let Some(place) = block.get_mut(filled) {
            *place = byte;
        }
        filled += 1;
        if filled == block.len() {
            compress(&mut state, &block);
            filled = 0;
        }
        filled
    };
    for byte in parts.iter().flat_map(|part| part.iter()) {
        push(*byte);
        length += 8;
    }
    let mut at = push(0x80);
    while at != 56 {
        at = push(0);
    }
    for byte in length.to_be_bytes() {
        push(byte);
    }
    let mut digest = [0; 20];
    for (word, bytes) in state.iter().zip(digest.chunks_mut(4)) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

fn compress(state: &mut [u32; 5], block: &[u8; 64]) {
    let mut words = [0u32; 80];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for at in 16..80 {
        words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
    }
    let [mut a, mut b, mut c, mut d, mut e] = *state;
    for (round, word) in words.iter().enumerate() {
        let (mix, constant) = match round / 20 {
            0 => ((b & c) | (!b & d), 0x5a82_7999u32),
            1 => (b ^ c ^ d, 0x6ed9_eba1),
            2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
            _ => (b ^ c ^ d, 0xca62_c1d6),
        };
        let next = a.rotate_left(5);
        let next = next.wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
        (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
    }
    for (word, change) in state.iter_mut().zip([a, b, c, d, e]) {
        *word = word.wrapping_add(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_digest_is_that_of_the_standard() {
        // FIPS 180 examples, and every place at which the padding can fall.
        for (text, expected) in [
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "84983e441c3bd26ebaae4aa1f95129e5e54670f1",
            ),
        ] {
            assert_eq!(hex(&sha1(&[text.as_bytes()])), expected, "{text}");
        }
        let million = vec![b'a'; 1_000_000];
        assert_eq!(hex(&sha1(&[&million])), "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    }

    #[test]
    fn the_digest_does_not_depend_on_where_the_parts_meet() {
        let text: Vec<u8> = (0..130).collect();
        let whole = sha1(&[&text]);
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(sha1(&[head, tail]), whole, "split at {at}");
        }
    }

    #[test]
    fn base64_pads_what_is_short() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{fb}\u{ff}", "w7vDvw=="),
        ] {
            let mut out = vec![0; text.len().div_ceil(3) * 4];
            encode_base64(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), expected, "{text}");
        }
    }

    #[test]
    fn the_example_of_the_rfc_is_answered() {
        // RFC 6455 1.3.
        assert_eq!(&accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64() {
        assert_eq!(&key_of(0), b"AAAAAAAAAAAAAAAAAAAAAA==");
        assert_eq!(&key_of(u128::from_be_bytes(*b"the sample nonce")), b"dGhlIHNhbXBsZSBub25jZQ==");
    }
}
