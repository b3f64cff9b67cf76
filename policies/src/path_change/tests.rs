use super::*;
use crate::fields::Value;
use crate::policy::fixture::{Request, text, values};

const BYTES_MAX: usize = 1024;

fn change(fields: Values) -> PathChange {
    let mut problems = Vec::new();
    PathChange::build(&fields, &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

fn group(name: &'static str, fields: [(&'static str, &str); 2]) -> Values {
    values([(name, Value::Group(values(fields.map(|(name, value)| (name, text(value))))))])
}

fn by_prefix(from: &str, to: &str) -> PathChange {
    change(group("prefix", [("from", from), ("to", to)]))
}

fn by_regex(pattern: &str, with: &str) -> PathChange {
    change(group("regex", [("pattern", pattern), ("with", with)]))
}

fn applied(change: &PathChange, path: &str) -> Result<Option<String>, ChangeError> {
    let request = Request::get("/");
    let changed = change.apply(path.as_bytes(), &request.facts(), BYTES_MAX)?;
    Ok(changed.map(|path| String::from_utf8(path).expect("a path")))
}

/// The table of the Gateway API for ReplacePrefixMatch, and what hides in paths.
#[test]
fn a_prefix_is_replaced_by_whole_segments() {
    for (from, to, path, expected) in [
        ("/foo", "/xyz", "/foo/bar", Some("/xyz/bar")),
        ("/foo", "/xyz/", "/foo/bar", Some("/xyz/bar")),
        ("/foo/", "/xyz", "/foo/bar", Some("/xyz/bar")),
        ("/foo/", "/xyz/", "/foo/bar", Some("/xyz/bar")),
        ("/foo", "/xyz", "/foo", Some("/xyz")),
        ("/foo/", "/xyz", "/foo", Some("/xyz")),
        ("/foo", "/xyz", "/foo/", Some("/xyz/")),
        ("/foo", "/", "/foo", Some("/")),
        ("/foo", "/", "/foo/", Some("/")),
        ("/foo", "/", "/foo/bar", Some("/bar")),
        ("/", "/v2", "/foo", Some("/v2/foo")),
        ("/", "/v2", "/", Some("/v2/")),
        ("/foo", "/xyz", "/foobar", None),
        ("/foo", "/xyz", "/fo", None),
        ("/foo", "/xyz", "/Foo/bar", None),
        ("/foo/bar", "/x", "/foo", None),
        ("/foo", "/foo", "/foo/bar", None),
        // Parameters of a matched segment go with it.
        ("/foo", "/xyz", "/foo;v=1/bar", Some("/xyz/bar")),
        ("/foo", "/xyz", "/foo;v=1", Some("/xyz")),
        ("/foo", "/xyz", "/foo%3Bv=1/bar", Some("/xyz/bar")),
        ("/foo", "/xyz", "/foo%2Fbar", Some("/xyz%2Fbar")),
        ("/foo/bar", "/xyz", "/foo%2Fbar/z", Some("/xyz/z")),
        // Slashes that were kept are kept, but at the start, where they would name a host.
        ("/foo", "/xyz", "/foo//bar", Some("/xyz//bar")),
        ("/foo/bar", "/xyz", "/foo//bar/z", Some("/xyz/z")),
        ("/foo", "/", "/foo//bar//z", Some("/bar//z")),
    ] {
        assert_eq!(
            applied(&by_prefix(from, to), path),
            Ok(expected.map(str::to_owned)),
            "{from} → {to}: {path}"
        );
    }
    let strip = change(values([("strip_prefix", text("/api"))]));
    assert_eq!(applied(&strip, "/api/v1"), Ok(Some("/v1".to_owned())));
    // Without its prefix nothing is left that starts with a slash.
    assert!(applied(&strip, "/api%2Fv1").is_err());
}

#[test]
fn every_match_of_an_expression_is_replaced() {
    for (pattern, with, path, expected) in [
        ("^/users/([0-9]+)/(.*)$", "/u/{2}/{1}", "/users/7/a/b", Some("/u/a/b/7")),
        ("^/(?<lang>[a-z]{2})/", "/{lang}-x/", "/de/a", Some("/de-x/a")),
        ("o", "0", "/foo/o", Some("/f00/0")),
        ("^/a(b)?", "/x{1}", "/a/c", Some("/x/c")),
        ("^/a", "/${{1}}", "/a", Some("/${1}")),
        ("^/a", "/b", "/c", None),
        ("\\d+", "n", "/1/22", Some("/n/n")),
        // The outcome is brought into normal form.
        ("^/a", "/b/", "/a/c", Some("/b/c")),
    ] {
        assert_eq!(
            applied(&by_regex(pattern, with), path),
            Ok(expected.map(str::to_owned)),
            "{pattern}: {path}"
        );
    }
}

/// CVE-2026-42945, CVE-2026-9256, CVE-2023-25690: what is captured is neither decoded nor without a bound.
#[test]
fn captures_cannot_break_out_of_the_path() {
    let whole = by_regex("^/a/(.*)$", "/{1}");
    for path in ["/a/x%0D%0AHost:%20evil", "/a/%2e%2e/admin", "/a/..;/admin", "/a/x%00"] {
        assert!(matches!(applied(&whole, path), Err(ChangeError::Ambiguous(_))), "{path}");
    }
    assert!(applied(&by_regex("^/a(.*)$", "/x{1}{1}"), "/a%0dx").is_err());
    let many = by_regex("(.*)", "{1}{1}{1}{1}{1}{1}{1}{1}");
    assert_eq!(applied(&many, &format!("/{}", "x".repeat(BYTES_MAX))), Err(ChangeError::TooLong));
    let each = by_regex("x", "{0}{0}{0}{0}");
    assert_eq!(applied(&each, &format!("/{}", "x".repeat(65_000))), Err(ChangeError::TooLong));
    assert!(applied(&by_regex("/", ""), "/a/b").is_err(), "a path starts with a slash");
    assert!(applied(&by_regex("x", "."), "/a/x./b").is_err());
}

#[test]
fn a_whole_path_is_made_of_variables() {
    let mut request = Request::get("/users/7?to=/../../admin&dots=..");
    request.captures.push("id", b"7");
    for (template, expected) in [
        ("/v2/{capture.id}", Ok(Some("/v2/7"))),
        ("/v2{path}", Ok(Some("/v2/users/7"))),
        ("{path}/x", Ok(Some("/users/7/x"))),
        ("/a/{capture.none}/b", Ok(Some("/a/b"))),
        ("/fixed", Ok(Some("/fixed"))),
        ("/users/7", Ok(None)),
        // What the client says is no segment of its own.
        ("/a/{query.to}", Err(())),
        ("/a/x{query.dots}", Ok(Some("/a/x.."))),
    ] {
        let change = change(values([("path", text(template))]));
        let changed = change.apply(request.facts().path, &request.facts(), BYTES_MAX).map_err(|_| ());
        let changed = changed.map(|path| path.map(|path| String::from_utf8_lossy(&path).into_owned()));
        assert_eq!(changed, expected.map(|path| path.map(str::to_owned)), "{template}");
    }
}

/// Two dots from the client, alone in a segment, would go up.
#[test]
fn a_variable_never_climbs() {
    let request = Request::get("/x?dots=..");
    let change = change(values([("path", text("/tenants/7/{query.dots}/admin"))]));
    let changed = change.apply(b"/x", &request.facts(), BYTES_MAX);
    assert!(changed.is_err(), "{changed:?}");
    assert!(applied(&by_regex("^/(.*)x$", "/tenants/7/{1}/admin"), "/..x").is_err());
}

#[test]
fn what_is_wrong_is_named_with_its_field() {
    for (fields, expected) in [
        (values([("path", text("v2"))]), "path"),
        (values([("path", text("/v2?a=b"))]), "path"),
        (values([("path", text("/v2/{nobody}"))]), "path"),
        (values([("strip_prefix", text("api"))]), "strip_prefix"),
        (values([("strip_prefix", text("/a/../b"))]), "strip_prefix"),
        (values([("strip_prefix", text("/a;b"))]), "strip_prefix"),
        (values([("path", text("/a")), ("strip_prefix", text("/b"))]), "strip_prefix"),
        (group("prefix", [("from", "/a"), ("to", "b")]), "prefix.to"),
        (group("prefix", [("from", "a"), ("to", "/b")]), "prefix.from"),
        (group("regex", [("pattern", "("), ("with", "/")]), "regex.pattern"),
        (group("regex", [("pattern", "\\w{1000}{1000}"), ("with", "/")]), "regex.pattern"),
        (group("regex", [("pattern", "(a)"), ("with", "{2}")]), "regex.with"),
        (group("regex", [("pattern", "(a)"), ("with", "{b}")]), "regex.with"),
        (group("regex", [("pattern", "(a)"), ("with", "/{1")]), "regex.with"),
    ] {
        let mut problems = Vec::new();
        assert_eq!(PathChange::build(&fields, &mut problems), None, "{expected}");
        assert_eq!(problems.iter().map(|problem| problem.field.as_str()).collect::<Vec<_>>(), [expected]);
    }
}
