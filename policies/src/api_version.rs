//! `api_version`: which version of an API a request asks for, and what clients of old ones are told
//! (`Deprecation`, RFC 9745; `Sunset`, RFC 8594).
//!
//! Routes choose by version: by path, header or media type, as they match anything else. This policy knows which versions
//! there are, tells the origin in one field, and tells clients what becomes of theirs.

use std::io::Write;
use std::sync::Arc;

use ringway_protocols::message::FieldKind;

use crate::date;
use crate::field_name;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::pieces;
use crate::policy::{Configure, Denial, Denied, Hooks, RequestContext, ResponseContext, Scope, Verdict};
use crate::template::Facts;

pub const HELP: &str = "Finds the version of the API that a request asks for, refuses those that there are not, and says which \
                        are deprecated.";

pub const FIELDS: &[Field] = &[
    Field {
        name: "from",
        kind: Kind::Choice(&["path", "header", "media_type"]),
        need: Need::Required,
        help: "`path`: the first segment that is the name of a version; `header`: the field `header`; `media_type`: \
               `Accept: application/vnd.shop.v2+json`, or a parameter `version=2`.",
    },
    Field {
        name: "header",
        kind: Kind::Name,
        need: Need::Default("x-api-version"),
        help: "The field that says the version, and in which the origin gets it whatever `from` is.",
    },
    Field {
        name: "versions",
        kind: Kind::List(&[
            Field {
                name: "name",
                kind: Kind::Text,
                need: Need::Required,
                help: "Such as v1, 2 or 2026-11-01.",
            },
            Field {
                name: "deprecated",
                kind: Kind::Text,
                need: Need::Optional,
                help: "Since or from when, as 2026-11-30 or 2026-11-30T12:00:00Z.",
            },
            Field {
                name: "sunset",
                kind: Kind::Text,
                need: Need::Optional,
                help: "When it stops, as 2027-06-30 or 2027-06-30T12:00:00Z.",
            },
            Field {
                name: "link",
                kind: Kind::Text,
                need: Need::Optional,
                help: "Where a person can read about it.",
            },
        ]),
        need: Need::Required,
        help: "The versions that there are.",
    },
    Field {
        name: "default",
        kind: Kind::Text,
        need: Need::Optional,
        help: "The version of requests that name none. Without it they are refused.",
    },
    Field {
        name: "after_sunset",
        kind: Kind::Choice(&["serve", "refuse"]),
        need: Need::Default("serve"),
        help: "What becomes of requests for a version after its sunset: `refuse` answers 410.",
    },
];

#[derive(Debug, PartialEq)]
pub struct ApiVersionConfig {
    from: From,
    header: Box<[u8]>,
    versions: Vec<Version>,
    /// Index of a version.
    default: Option<usize>,
    refuse_after_sunset: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Path,
    Header,
    MediaType,
}

#[derive(Debug, PartialEq)]
struct Version {
    name: Box<[u8]>,
    sunset: Option<u64>,
    /// `deprecation`, `sunset` and `link`, rendered.
    lines: Vec<u8>,
}

impl Configure for ApiVersionConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let header = values.text("header");
        if let Err(problem) = field_name::check_request("header", header) {
            problems.push(problem);
        }
        let mut versions: Vec<Version> = Vec::new();
        for (index, item) in values.list("versions").iter().enumerate() {
            match Version::build(item) {
                Ok(version) if versions.iter().any(|other| other.name == version.name) => {
                    let found = format!("`{}` twice", item.text("name"));
                    problems.push(Problem::new("versions", "each version once", found).item(index));
                }
                Ok(version) => versions.push(version),
                Err(problem) => problems.push(problem.item(index)),
            }
        }
        if values.list("versions").is_empty() {
            problems.push(Problem::new("versions", "at least one version", "none"));
        }
        let default = values.opt_text("default").and_then(|name| {
            let found = versions.iter().position(|version| *version.name == *name.as_bytes());
            if found.is_none() && problems.is_empty() {
                problems.push(Problem::new("default", "one of `versions`", format!("`{name}`")));
            }
            found
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(ApiVersionConfig {
            from: match values.text("from") {
                "path" => From::Path,
                "header" => From::Header,
                _ => From::MediaType,
            },
            header: header.to_ascii_lowercase().into_bytes().into(),
            versions,
            default,
            refuse_after_sunset: values.text("after_sunset") == "refuse",
        })
    }
}

impl Version {
    fn build(item: &Values) -> Result<Version, Problem> {
        let name = item.text("name");
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Problem::new("versions", "a name such as v1, 2 or 2026-11-01", format!("`{name}`")));
        }
        let moment = |field: &str| match item.opt_text(field) {
            None => Ok(None),
            Some(text) => date::parse(text).map(Some).ok_or_else(|| {
                Problem::new("versions", format!("a {field} date such as 2026-11-30"), format!("`{text}`"))
            }),
        };
        let (deprecated, sunset) = (moment("deprecated")?, moment("sunset")?);
        if let (Some(deprecated), Some(sunset)) = (deprecated, sunset)
            && sunset < deprecated
        {
            // RFC 9745 4.
            let found = format!("`{}` before `{}`", item.text("sunset"), item.text("deprecated"));
            return Err(Problem::new("versions", "a sunset that is not before the deprecation", found));
        }
        let mut lines = Vec::new();
        // Writing to a vector cannot fail.
        if let Some(deprecated) = deprecated {
            let _ = write!(lines, "deprecation: @{deprecated}\r\n");
        }
        if let Some(sunset) = sunset {
            let _ = write!(lines, "sunset: {}\r\n", date::http(sunset));
        }
        if let Some(link) = item.opt_text("link") {
            if !link.bytes().all(|b| b.is_ascii_graphic() && !b"<>\"".contains(&b)) || link.is_empty() {
                return Err(Problem::new(
                    "versions",
                    "a link such as https://example.com/v1",
                    format!("`{link}`"),
                ));
            }
            let relation = if deprecated.is_some() || sunset.is_none() { "deprecation" } else { "sunset" };
            let _ = write!(lines, "link: <{link}>; rel=\"{relation}\"; type=\"text/html\"\r\n");
        }
        Ok(Version { name: name.as_bytes().into(), sunset, lines })
    }
}

pub struct ApiVersion(Arc<ApiVersionConfig>);

impl ApiVersion {
    pub fn new(config: &Arc<ApiVersionConfig>) -> Self {
        ApiVersion(Arc::clone(config))
    }
}

impl Hooks for ApiVersion {
    fn on_request(&self, request: &mut RequestContext<'_>) -> Verdict {
        let config = &*self.0;
        let unix_secs = request.unix_secs;
        let (facts, changes) = Facts::beside(request);
        let Ok(version) = config.version_of(&facts) else {
            return refuse(Denied::UnknownVersion, "the version is not one that there is");
        };
        let Some(version) = version else {
            return refuse(Denied::UnknownVersion, "the request names no version");
        };
        if config.refuse_after_sunset && version.sunset.is_some_and(|sunset| unix_secs >= sunset) {
            return refuse(Denied::VersionGone, "this version has been switched off");
        }
        changes.headers.set(&config.header, &version.name);
        Verdict::Continue
    }

    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let facts = response.facts;
        let headers = &mut response.changes.headers;
        match self.0.from {
            // Caches must not give one version for another.
            From::Header => headers.add(b"vary", &self.0.header),
            From::MediaType => headers.add(b"vary", b"accept"),
            From::Path => {}
        }
        if let Ok(Some(version)) = self.0.version_of(&facts) {
            headers.add_lines(&version.lines);
        }
    }
}

fn refuse(kind: Denied, detail: &str) -> Verdict {
    Verdict::Deny(Denial { kind, detail: detail.to_owned(), lines: Vec::new() })
}

/// A version is named that there is not, or two.
struct Unknown;

impl ApiVersionConfig {
    /// The version that the request names, else the default one.
    fn version_of(&self, facts: &Facts<'_>) -> Result<Option<&Version>, Unknown> {
        let default = || self.default.and_then(|index| self.versions.get(index));
        let known = |name: &[u8]| self.versions.iter().find(|version| *version.name == *name);
        match self.from {
            From::Path => Ok(facts.path.split(|byte| *byte == b'/').find_map(known).or_else(default)),
            From::Header => {
                let mut named = pieces::values(facts.head, facts.bytes, &self.header);
                match (named.next(), named.next()) {
                    (None, _) => Ok(default()),
                    (Some(name), None) => known(name).map(Some).ok_or(Unknown),
                    // Which one would the origin take?
                    (Some(_), Some(_)) => Err(Unknown),
                }
            }
            From::MediaType => {
                let lines = facts.head.fields.iter().filter(|field| field.kind == FieldKind::Accept);
                let mut ranges =
                    lines.flat_map(|field| field.value.of(facts.bytes).split(|byte| *byte == b','));
                match ranges.find_map(media_version) {
                    Some(name) => known(name).or_else(|| known(after_v(name)?)).map(Some).ok_or(Unknown),
                    None => Ok(default()),
                }
            }
        }
    }
}

/// `v2` of `application/vnd.shop.v2+json`, or `2` of `application/json; version=2`.
fn media_version(range: &[u8]) -> Option<&[u8]> {
    let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let media = parts.next()?;
    let parameter = parts.find_map(|part| {
        let (name, value) = part.split_at_checked(8)?;
        name.eq_ignore_ascii_case(b"version=").then_some(value)
    });
    if let Some(version) = parameter {
        return Some(version.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(version));
    }
    let subtype = media.split(|byte| *byte == b'/').nth(1)?;
    let name = subtype.split(|byte| *byte == b'+').next()?;
    let tail = name.strip_prefix(b"vnd.")?.rsplit(|byte| matches!(byte, b'.' | b'-')).next()?;
    after_v(tail).map(|_| tail)
}

/// The number of `v2`.
fn after_v(name: &[u8]) -> Option<&[u8]> {
    let number = name.strip_prefix(b"v").or_else(|| name.strip_prefix(b"V"))?;
    number.first().is_some_and(u8::is_ascii_digit).then_some(number)
}

#[cfg(test)]
mod tests;
