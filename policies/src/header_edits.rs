//! `set`, `add`, `remove` (and `default`) of header fields: what the policies `request_headers` and `response_headers`
//! share, and others with fields of their own.

use ringway_protocols::message::FieldKind;

use crate::changes::HeaderChanges;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::template::{Facts, Template};

pub const SET: Field = Field {
    name: "set",
    kind: Kind::Pairs,
    need: Need::Optional,
    help: "Fields that have this value and no other. Values may have variables.",
};
pub const ADD: Field = Field {
    name: "add",
    kind: Kind::Pairs,
    need: Need::Optional,
    help: "Fields that are added to those of the same name. Values may have variables.",
};
pub const REMOVE: Field = Field {
    name: "remove",
    kind: Kind::Texts,
    need: Need::Optional,
    help: "Names of fields that are left out, in any case and with `_` for `-`.",
};

/// Checks a name: [`crate::field_name::check_request`] or [`crate::field_name::check_response`].
pub type Check = fn(&str, &str) -> Result<(), Problem>;

/// Names, each with its value.
pub type Lines = Vec<(Box<[u8]>, Template)>;

/// Edits in the order in which they are made.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HeaderEdits {
    /// Names with their kinds, which are found once.
    remove: Vec<(FieldKind, Box<[u8]>)>,
    set: Vec<(FieldKind, Box<[u8]>, Template)>,
    add: Lines,
}

impl HeaderEdits {
    /// Reads the fields `set`, `add` and `remove`; adds what is wrong to `problems`.
    pub fn build(values: &Values, check: Check, problems: &mut Vec<Problem>) -> HeaderEdits {
        let mut remove = Vec::new();
        for (index, name) in values.texts("remove").iter().enumerate() {
            match check("remove", name) {
                Ok(()) => {
                    let name: Box<[u8]> = name.to_ascii_lowercase().into_bytes().into();
                    remove.push((FieldKind::of(&name), name));
                }
                Err(problem) => problems.push(problem.item(index)),
            }
        }
        let set = lines(values, "set", check, problems);
        let set = set.into_iter().map(|(name, value)| (FieldKind::of(&name), name, value)).collect();
        HeaderEdits { remove, set, add: lines(values, "add", check, problems) }
    }

    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub fn apply(&self, facts: &Facts<'_>, changes: &mut HeaderChanges) {
        self.remove.iter().for_each(|(kind, name)| changes.remove_kind(*kind, name));
        self.set.iter().for_each(|(kind, name, value)| changes.set_kind(*kind, name, &value.value(facts)));
        self.add.iter().for_each(|(name, value)| changes.add(name, &value.value(facts)));
    }
}

/// Reads a mapping from names of fields to their values.
pub fn lines(values: &Values, field: &'static str, check: Check, problems: &mut Vec<Problem>) -> Lines {
    let mut lines = Lines::new();
    for (index, (name, value)) in values.pairs(field).iter().enumerate() {
        let checked = check(field, name).and_then(|()| checked_value(field, value));
        match checked {
            // Lower case: what an origin of HTTP/2 has to get (RFC 9113 8.2.1).
            Ok(value) => lines.push((name.to_ascii_lowercase().into_bytes().into(), value)),
            Err(problem) => problems.push(problem.item(index)),
        }
    }
    lines
}

/// RFC 9110 5.5: what a value is made of.
fn checked_value(field: &str, value: &str) -> Result<Template, Problem> {
    if value.bytes().any(|byte| byte == 0x7f || (byte < 0x20 && byte != b'\t')) {
        return Err(Problem::new(field, "the value of a field, in one line", format!("{value:?}")));
    }
    Template::parse(field, value.trim_matches([' ', '\t']))
}
