//! Request ids: UUID version 7 (RFC 9562 5.7), which sort by time.

/// Length of an id as text.
pub const REQUEST_ID_BYTES: usize = 36;

/// Longest id that is kept from a trusted client.
pub const KEPT_BYTES_MAX: usize = 128;

/// Formats an id from milliseconds since the UNIX epoch and 74 of the random bits.
pub fn uuid_v7(unix_ms: u64, random: u128) -> [u8; REQUEST_ID_BYTES] {
    let time = u128::from(unix_ms & 0xffff_ffff_ffff) << 80;
    let rand_a = (random >> 62) & 0xfff;
    let rand_b = random & 0x3fff_ffff_ffff_ffff;
    let value = time | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b;
    let mut text = [b'-'; REQUEST_ID_BYTES];
    for (at, byte) in BYTE_AT.into_iter().zip(value.to_be_bytes()) {
        if let Some(slot) = text.get_mut(at..at + 2) {
            slot.copy_from_slice(&HEX[usize::from(byte)]);
        }
    }
    text
}

/// Where the digits of each byte stand: 8-4-4-4-12.
const BYTE_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

/// The two digits of every byte.
const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [digits[byte >> 4], digits[byte & 0xf]];
        byte += 1;
    }
    table
};

/// Whether a client's id may be kept: short, and of characters that no log or header has to escape.
pub fn may_be_kept(id: &[u8]) -> bool {
    let plain =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=');
    !id.is_empty() && id.len() <= KEPT_BYTES_MAX && id.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_example_of_rfc_9562() {
        // RFC 9562 A.6: 2022-02-22 14:22:22 GMT-05:00, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F.
        let random = 0xcc3 << 62 | 0x18c4_dc0c_0c07_398f;
        assert_eq!(&uuid_v7(0x017f_22e2_79b0, random), b"017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    }

    #[test]
    fn version_and_variant_hold_for_any_bits() {
        for random in [0, u128::MAX] {
            let id = uuid_v7(u64::MAX, random);
            assert_eq!(id[14], b'7');
            assert!(matches!(id[19], b'8' | b'9' | b'a' | b'b'));
            assert!(may_be_kept(&id));
        }
    }

    #[test]
    fn ids_that_need_escaping_are_not_kept() {
        for id in ["", "a b", "a\"b", "a\nb", "a,b", "ä", "a;b", "{}"] {
            assert!(!may_be_kept(id.as_bytes()), "{id:?}");
        }
        assert!(!may_be_kept(&[b'a'; KEPT_BYTES_MAX + 1]));
        assert!(may_be_kept(b"Root=1-67891233-abcdef012345678912345678"));
    }
}
