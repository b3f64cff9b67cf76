//! Who a client is: what policies that find it out have in common.

use std::path::PathBuf;

use crate::changes::RequestChanges;
use crate::credentials::Credentials;
use crate::fields::{Field, Kind, Need, Problem, Value, Values};
use crate::policy::Consumer;
use crate::watched::Watched;

pub const REALM: Field = Field {
    name: "realm",
    kind: Kind::Text,
    need: Need::Default("ringway"),
    help: "What clients are told they are asked for.",
};

const NAME: &[u8] = b"x-consumer-name";
const GROUPS: &[u8] = b"x-consumer-groups";

/// Tells the origin, whatever the client says of it.
pub fn tell(consumer: &Consumer, changes: &mut RequestChanges) {
    remove(changes);
    changes.headers.add(NAME, consumer.name.as_bytes());
    if !consumer.groups.is_empty() {
        changes.headers.add(GROUPS, consumer.groups.join(",").as_bytes());
    }
}

/// Nobody is known: the origin is not to believe that somebody is.
pub fn remove(changes: &mut RequestChanges) {
    changes.headers.remove(NAME);
    changes.headers.remove(GROUPS);
}

/// Whether a consumer is of one of these groups; all are where none is named.
pub fn is_of(consumer: &Consumer, groups: &[String]) -> bool {
    groups.is_empty() || consumer.groups.iter().any(|group| groups.contains(group))
}

/// The line that says what is asked for (RFC 9110 11.6.1).
pub fn challenge(scheme: &str, values: &Values, problems: &mut Vec<Problem>) -> Vec<u8> {
    let realm = values.text("realm");
    if !realm.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\')) {
        problems.push(Problem::new("realm", "plain text without quotes", format!("{realm:?}")));
    }
    let charset = if scheme == "Basic" { ", charset=\"UTF-8\"" } else { "" };
    format!("www-authenticate: {scheme} realm=\"{realm}\"{charset}\r\n").into_bytes()
}

/// The credentials of a file.
pub fn file(field: &str, values: &Values, problems: &mut Vec<Problem>) -> Option<Watched<Credentials>> {
    let (path, table): (PathBuf, &Values) = match values.get(field) {
        Some(Value::Table { path, values }) => (path.clone(), values),
        _ => {
            problems.push(Problem::new(field, "the path of a file", "none"));
            return None;
        }
    };
    match Credentials::build(table) {
        Ok(credentials) => Some(Watched::new(path, credentials)),
        Err(wrong) => {
            problems.extend(
                wrong
                    .into_iter()
                    .map(|problem| Problem { field: format!("{field}.{}", problem.field), ..problem }),
            );
            None
        }
    }
}

/// What follows a scheme of `Authorization` (RFC 9110 11.4).
pub fn after_scheme<'a>(value: &'a [u8], scheme: &[u8]) -> Option<&'a [u8]> {
    let (name, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ").filter(|_| name.eq_ignore_ascii_case(scheme))?;
    Some(rest.trim_ascii())
}
