use super::*;

/// The path that is matched and sent, or why it is refused.
fn normal(path: &str) -> Result<String, PathError> {
    normal_under(path, PathRules::default())
}

fn normal_under(path: &str, rules: PathRules) -> Result<String, PathError> {
    let mut out = b"left from before".to_vec();
    match check_or_normalise(path.as_bytes(), rules, &mut out)? {
        PathVerdict::Unchanged => Ok(path.to_owned()),
        PathVerdict::Normalised => {
            assert_ne!(out, path.as_bytes(), "{path} is said to have changed");
            Ok(String::from_utf8(out).expect("ASCII"))
        }
    }
}

#[test]
fn usual_paths_stay_as_they_are() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/a/b/c",
        "/index.html",
        "/a..b",
        "/a./b",
        "/...",
        "/.../x",
        "/.well-known/acme",
        "/a/.git",
        "/..a",
        "/%20",
        "/a%C3%A9",
        "/a;v=1",
        "/a;v=1/b;w",
        "/@scope/name",
        "/a:b",
        "/~user",
        "/a,b",
        "/a=b&c",
        "/a+b",
        "/a|b",
        "/{x}",
        "/100%25",
        "/%25a",
        "/a%2520b",
        "/%25",
        "/a%3Bb",
        "*",
        "",
    ] {
        assert_eq!(normal(path).as_deref(), Ok(path));
    }
}

#[test]
fn one_meaning_one_spelling() {
    for (path, expected) in [
        ("//", "/"),
        ("//a", "/a"),
        ("/a//b", "/a/b"),
        ("/a///", "/a/"),
        ("/./a", "/a"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/../..", "/"),
        ("/a/b/../../c", "/c"),
        ("/a//../b", "/b"),
        ("/%61dmin", "/admin"),
        ("/%41", "/A"),
        ("/%7euser", "/~user"),
        ("/a%2Db%5Fc%2Ed", "/a-b_c.d"),
        ("/a%c3%a9", "/a%C3%A9"),
        ("/a%3bb", "/a%3Bb"),
    ] {
        assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        assert_eq!(normal(expected).as_deref(), Ok(expected), "the normal form of {path} is not normal");
    }
}

#[test]
fn what_readers_differ_about_is_refused() {
    use PathError::*;
    for (path, error) in [
        ("a", NotAbsolute),
        ("*a", NotAbsolute),
        ("a/../b", NotAbsolute),
        ("/..", AboveRoot),
        ("/../a", AboveRoot),
        ("/a/../../b", AboveRoot),
        ("/%2e", HiddenDotSegment),
        ("/a/%2e%2e/b", HiddenDotSegment),
        ("/a/.%2E/b", HiddenDotSegment),
        ("/a/%2e./b", HiddenDotSegment),
        ("/a/..;/b", HiddenDotSegment),
        ("/a/..;x=y/b", HiddenDotSegment),
        ("/a/.;/b", HiddenDotSegment),
        ("/a/%2e%2e;/b", HiddenDotSegment),
        ("/a/..%3b/b", HiddenDotSegment),
        ("/;/a", EmptySegment),
        ("/;x=y", EmptySegment),
        ("/a/;b/c", EmptySegment),
        ("/%3B/a", EmptySegment),
        ("/a%2fb", EncodedSlash),
        ("/a%2Fb", EncodedSlash),
        ("/%2e%2e%2fa", EncodedSlash),
        ("/a\\b", Backslash),
        ("/a%5cb", Backslash),
        ("/..\\a", Backslash),
        ("/a%00", EncodedControl),
        ("/a%0d%0ab", EncodedControl),
        ("/a%09b", EncodedControl),
        ("/a%7f", EncodedControl),
        ("/a%", InvalidEncoding),
        ("/a%2", InvalidEncoding),
        ("/a%zz", InvalidEncoding),
        ("/a%u002e", InvalidEncoding),
        ("/a%+1", InvalidEncoding),
        ("/a b", InvalidByte),
        ("/a?b", InvalidByte),
        ("/a#b", InvalidByte),
        ("/a\u{e4}", InvalidByte),
        ("/a\0", InvalidByte),
        ("/%c0%af", OverlongEncoding),
        ("/%C0%AE%C0%AE/a", OverlongEncoding),
        ("/%c1%9c", OverlongEncoding),
        ("/%e0%80%af", OverlongEncoding),
        ("/%f0%80%80%af", OverlongEncoding),
        ("/%252e%252e/a", DoubleEncoding),
        ("/a%252fb", DoubleEncoding),
        ("/a%255cb", DoubleEncoding),
        ("/a%25252e", DoubleEncoding),
        ("/%2561dmin", DoubleEncoding),
        ("/%25%36%31dmin", DoubleEncoding),
        ("/a%2500", DoubleEncoding),
    ] {
        assert_eq!(normal(path), Err(error), "{path}");
    }
}

#[test]
fn an_encoded_slash_may_be_kept_but_hides_nothing() {
    let rules = PathRules { encoded_slash: EncodedSlash::Keep, ..PathRules::default() };
    let keep = |path| normal_under(path, rules);
    assert_eq!(keep("/group%2Fproject").as_deref(), Ok("/group%2Fproject"));
    assert_eq!(keep("/group%2fproject/x").as_deref(), Ok("/group%2Fproject/x"));
    for path in ["/a%2f..%2fb", "/a%2F%2e%2e", "/a%2f.", "/..%2fa"] {
        assert_eq!(keep(path), Err(PathError::HiddenDotSegment), "{path}");
    }
    for path in ["/%2fa", "/a%2f", "/a%2F%2Fb", "/a%2f;b"] {
        assert_eq!(keep(path), Err(PathError::EmptySegment), "{path}");
    }
}

#[test]
fn a_decoded_slash_is_one_like_any_other() {
    let rules = PathRules { encoded_slash: EncodedSlash::Decode, ..PathRules::default() };
    for (path, expected) in [
        ("/group%2Fproject", Ok("/group/project")),
        ("/a%2f%2Fb//c", Ok("/a/b/c")),
        ("/a%2f..%2fb", Ok("/b")),
        ("/%2fa%2f", Ok("/a/")),
        ("/..%2fa", Err(PathError::AboveRoot)),
        ("/a%2F%2e%2e", Err(PathError::HiddenDotSegment)),
        ("/a%2f;b", Err(PathError::EmptySegment)),
        ("/a%252fb", Err(PathError::DoubleEncoding)),
        ("%2fa", Err(PathError::NotAbsolute)),
    ] {
        assert_eq!(normal_under(path, rules), expected.map(str::to_owned), "{path}");
    }
}

#[test]
fn repeated_slashes_may_be_kept_or_refused() {
    let keep = PathRules { repeated_slashes: RepeatedSlashes::Keep, ..PathRules::default() };
    for (path, expected) in [
        ("/a//b", "/a//b"),
        ("/a///", "/a///"),
        ("//", "/"),
        ("///a//b", "/a//b"),
        ("/a//../b", "/a/b"),
        ("/a/..//b", "/b"),
        ("/a//./b", "/a//b"),
    ] {
        assert_eq!(normal_under(path, keep).as_deref(), Ok(expected), "{path}");
    }
    let refuse = PathRules { repeated_slashes: RepeatedSlashes::Refuse, ..PathRules::default() };
    for path in ["//", "//a", "/a//b", "/a//", "/a//../b"] {
        assert_eq!(normal_under(path, refuse), Err(PathError::RepeatedSlash), "{path}");
    }
    assert_eq!(normal_under("/a/b/", refuse).as_deref(), Ok("/a/b/"));
}

#[test]
fn what_is_usually_mended_may_be_refused() {
    let dots = PathRules { dot_segments: DotSegments::Refuse, ..PathRules::default() };
    let encoded = PathRules { encoded_unreserved: EncodedUnreserved::Refuse, ..PathRules::default() };
    let parameters = PathRules { parameters: Parameters::Refuse, ..PathRules::default() };
    for (path, rules, error) in [
        ("/a/../b", dots, PathError::DotSegment),
        ("/a/.", dots, PathError::DotSegment),
        ("/a/%2e/b", dots, PathError::HiddenDotSegment),
        ("/%61", encoded, PathError::EncodedUnreserved),
        ("/a%2E", encoded, PathError::EncodedUnreserved),
        ("/a;b", parameters, PathError::Parameters),
        ("/a;/b", parameters, PathError::Parameters),
        ("/a%3Bb", parameters, PathError::Parameters),
    ] {
        assert_eq!(normal_under(path, rules), Err(error), "{path}");
        assert!(normal(path).is_ok() || error == PathError::HiddenDotSegment, "{path} passes otherwise");
    }
    for path in ["/a..b/.c", "/a%20b", "/%c3%a9", "/a//b"] {
        for rules in [dots, encoded, parameters] {
            assert_eq!(normal_under(path, rules), normal(path), "{path}");
        }
    }
}

/// Every combination of rules.
fn all_rules() -> Vec<PathRules> {
    let mut all = Vec::new();
    for encoded_slash in [EncodedSlash::Refuse, EncodedSlash::Keep, EncodedSlash::Decode] {
        for repeated_slashes in [RepeatedSlashes::Merge, RepeatedSlashes::Refuse, RepeatedSlashes::Keep] {
            for dot_segments in [DotSegments::Resolve, DotSegments::Refuse] {
                for encoded_unreserved in [EncodedUnreserved::Decode, EncodedUnreserved::Refuse] {
                    for parameters in [Parameters::Keep, Parameters::Refuse] {
                        all.push(PathRules {
                            encoded_slash,
                            repeated_slashes,
                            dot_segments,
                            encoded_unreserved,
                            parameters,
                        });
                    }
                }
            }
        }
    }
    all
}

/// What paths of routes are compared with.
fn matched(path: &str) -> String {
    let mut key = Vec::new();
    match_key(path.as_bytes(), |byte| key.push(byte));
    assert!(needs_match_key(path.as_bytes()) || key == path.as_bytes(), "{path} is compared as it is");
    String::from_utf8(key).expect("ASCII")
}

#[test]
fn paths_are_matched_as_an_origin_may_take_them() {
    for (path, expected) in [
        ("/a/b", "/a/b"),
        ("/a//b", "/a/b"),
        ("/a///b//", "/a/b/"),
        ("/a;x//b", "/a/b"),
        ("/a%2Fb", "/a/b"),
        ("/a%3Bx/b", "/a/b"),
        ("/a%20b", "/a%20b"),
    ] {
        assert_eq!(matched(path), expected);
    }
}

#[test]
fn normalising_is_idempotent_for_random_paths() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let pieces = [
        "/", ".", "..", "%2e", "%2E", "a", "admin", ";", "%3b", "%25", "%41", "//", "x=y", "%c3", "~", "%20",
        "\\", "%2f",
    ];
    let all = all_rules();
    for round in 0..60_000 {
        let rules = all[round % all.len()];
        let mut path = String::from("/");
        for _ in 0..8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            path.push_str(pieces[(state % pieces.len() as u64) as usize]);
        }
        let Ok(once) = normal_under(&path, rules) else { continue };
        assert_eq!(normal_under(&once, rules).as_deref(), Ok(once.as_str()), "round {round}: {path}");
        let key = matched(&once);
        let dots = [&once, &key].iter().any(|path| path.split('/').any(|s| matches!(s, "." | "..")));
        assert!(
            !dots && !key.contains("//") && !once.starts_with("//"),
            "round {round}: {path} became {once}"
        );
        let kept = rules.repeated_slashes == RepeatedSlashes::Keep;
        assert!(kept || !once.contains("//"), "round {round}: {path} became {once}");
    }
}
