//! Paths: the normal form is normal, and no forgiving reader leaves the place that was matched.

use ringway_policies::path::{EncodedSlash, PathRules, PathVerdict, RepeatedSlashes, check_or_normalise};

pub(crate) const SEEDS: &[&[u8]] = &[
    b"/",
    b"/a/b/../c/./d//e",
    b"/%61dmin/%7euser/a%c3%a9",
    b"/a;b=c/d;e/f%3bg",
    b"/x/%2e%2e/admin",
    b"/group%2Fproject/x",
    b"/a/..;/b",
    b"/100%25/%2520",
];

pub(crate) fn run(data: &[u8]) {
    let kept = PathRules {
        encoded_slash: EncodedSlash::Keep,
        repeated_slashes: RepeatedSlashes::Keep,
        ..PathRules::default()
    };
    let decoded = PathRules { encoded_slash: EncodedSlash::Decode, ..PathRules::default() };
    for rules in [PathRules::default(), kept, decoded] {
        let mut out = b"left from before".to_vec();
        let Ok(verdict) = check_or_normalise(data, rules, &mut out) else { continue };
        let normal = if verdict == PathVerdict::Normalised { out.clone() } else { data.to_vec() };
        if normal.is_empty() || normal == b"*" {
            continue;
        }
        assert_eq!(normal.first(), Some(&b'/'));
        assert!(normal.iter().all(|b| (0x21..0x7f).contains(b) && !b"\\#?".contains(b)), "{normal:?}");
        let repeated = normal.windows(2).any(|pair| pair == b"//");
        assert!(!repeated || rules.repeated_slashes == RepeatedSlashes::Keep && !normal.starts_with(b"//"));
        let again = check_or_normalise(&normal, rules, &mut out);
        assert_eq!(again, Ok(PathVerdict::Unchanged), "{}", normal.escape_ascii());
        for segment in decoded_segments(&normal) {
            assert!(segment != b"." && segment != b"..", "{}", normal.escape_ascii());
        }
    }
}

/// Segments as a reader sees them that decodes first, takes backslashes for slashes and cuts parameters.
fn decoded_segments(path: &[u8]) -> Vec<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        rest = after;
        let pair = after.get(..2).filter(|_| *byte == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                rest = &after[2..];
            }
            None => decoded.push(*byte),
        }
    }
    decoded
        .split(|b| matches!(b, b'/' | b'\\'))
        .map(|segment| segment.split(|b| *b == b';').next().unwrap_or_default().to_vec())
        .collect()
}
