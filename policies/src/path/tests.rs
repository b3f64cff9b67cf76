use super::*;

/// The path that is matched and sent, or why it is refused.
fn normal(path: &str) -> Result<String, PathError> {
    normal_under(path, EncodedSlash::Refuse)
}

fn normal_under(path: &str, encoded_slash: EncodedSlash) -> Result<String, PathError> {
    let mut out = b"left from before".to_vec();
    match check_or_normalise(path.as_bytes(), PathRules { encoded_slash }, &mut out)? {
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
    let keep = |path| normal_under(path, EncodedSlash::Keep);
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
fn normalising_is_idempotent_for_random_paths() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let pieces = [
        "/", ".", "..", "%2e", "%2E", "a", "admin", ";", "%3b", "%25", "%41", "//", "x=y", "%c3", "~", "%20",
        "\\",
    ];
    for round in 0..20_000 {
        let mut path = String::from("/");
        for _ in 0..8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            path.push_str(pieces[(state % pieces.len() as u64) as usize]);
        }
        let Ok(once) = normal(&path) else { continue };
        assert_eq!(normal(&once).as_deref(), Ok(once.as_str()), "round {round}: {path}");
        let dots = once.split('/').any(|s| matches!(s.split(';').next(), Some("." | "..")));
        assert!(!dots && !once.contains("//"), "round {round}: {path} became {once}");
    }
}
