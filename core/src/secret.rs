//! Comparing secrets.

/// Compares in a time that depends on the lengths only.
pub fn equal(given: &[u8], expected: &[u8]) -> bool {
    let mut difference = given.len() ^ expected.len();
    for (index, byte) in expected.iter().enumerate() {
        // Beyond the end of what was given: compared with itself flipped, the same work.
        let other = given.get(index).copied().unwrap_or(!byte);
        difference |= usize::from(std::hint::black_box(byte ^ other));
    }
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bytes_are_equal() {
        for (given, expected, equals) in [
            ("secret", "secret", true),
            ("secreT", "secret", false),
            ("secre", "secret", false),
            ("secrets", "secret", false),
            ("", "secret", false),
            ("", "", true),
        ] {
            assert_eq!(equal(given.as_bytes(), expected.as_bytes()), equals, "{given:?} {expected:?}");
        }
    }
}
