//! Files of expectations: requests, each with what is to become of it. What `ringway test` reads.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use ringway_policies::route::FieldMatch;

use super::error::{ConfigError, Findings};
use super::file::Walk;
use super::include::read_file;
use super::inputs::Inputs;
use super::reference::{References, Secrets, Variables};
use super::tree::{self, FILE_BYTES_MAX, Node, Reading, SourceFile};

/// What one file expects.
#[derive(Debug, Default)]
pub struct Expectations {
    /// The configuration that it is about, where it says so.
    pub config: Option<PathBuf>,
    pub cases: Vec<Case>,
    /// What must not be shown.
    pub secrets: Secrets,
}

/// One request with what is expected of it.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// File and line.
    pub place: String,
    pub request: CaseRequest,
    /// What the origin answers: its status and its fields.
    pub origin: (u16, Vec<(String, String)>),
    pub expect: Expect,
}

/// A request in words.
#[derive(Debug, Default)]
pub struct CaseRequest {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub client_ip: Option<IpAddr>,
    pub listener: Option<String>,
    /// Seconds since 1970.
    pub at: Option<u64>,
    /// How often it is sent; what is expected is expected of the last.
    pub repeat: u32,
}

/// What is expected. What is not said is not looked at.
#[derive(Debug, Default)]
pub struct Expect {
    /// Names of all routes that may get it; none: no route does.
    pub route: Option<Vec<String>>,
    /// Which match of the route, from 1.
    pub matched: Option<usize>,
    /// Names of all clusters that may get it, each with its share in percent where that is said; none: it is not sent.
    pub cluster: Option<Vec<(String, Option<f64>)>>,
    pub endpoints: Option<Vec<String>>,
    /// Names of the clusters that copies may go to.
    pub mirrors: Option<Vec<String>>,
    /// Names of the policies that are asked, in their order.
    pub policies: Option<Vec<String>>,
    pub status: Option<u16>,
    /// The code of the proxy's refusal; `none`: it does not refuse.
    pub reason: Option<String>,
    /// Fields of the response.
    pub headers: Vec<FieldMatch>,
    pub sent: ExpectSent,
}

/// What the origin is to get.
#[derive(Debug, Default)]
pub struct ExpectSent {
    /// Path and query.
    pub target: Option<String>,
    pub host: Option<String>,
    pub headers: Vec<FieldMatch>,
}

impl Expectations {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path, variables: &Variables) -> Result<Expectations, Vec<ConfigError>> {
        let mut findings = Findings::default();
        let read = read(path, variables, &mut findings);
        match read {
            Some(expectations) if !findings.has_errors() => Ok(expectations),
            _ => Err(findings.into_sorted()),
        }
    }
}

fn read(path: &Path, variables: &Variables, findings: &mut Findings) -> Option<Expectations> {
    let name = path.display().to_string();
    let text = match read_file(path, FILE_BYTES_MAX).and_then(|bytes| tree::decode(&name, bytes)) {
        Ok(text) => text,
        Err(error) => {
            findings.push(error);
            return None;
        }
    };
    let file = SourceFile::new(&name, &text);
    let directory = path.parent().unwrap_or(Path::new(""));
    let (mut secrets, mut inputs, mut nodes) = (Secrets::default(), Inputs::default(), 0);
    let mut references = References { variables, directory, secrets: &mut secrets, inputs: &mut inputs };
    let reading = Reading { file: &file, number: 0, references: Some(&mut references), nodes: &mut nodes };
    let root: Option<Rc<Node>> = tree::read_file(reading, &text, findings)?;
    let Some(root) = root else {
        findings.push(ConfigError::mismatch(file.whole(), "", "a list of `tests`", "an empty file"));
        return None;
    };
    let mut read = Walk { file: &file, errors: findings }.expectations(&root);
    read.config = read.config.map(|config| directory.join(config));
    read.secrets = secrets;
    Some(read)
}

/// The schema of such a file.
pub fn schema() -> serde_json::Value {
    use serde_json::json;
    let text = || json!({ "type": "string" });
    let texts =
        || json!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
    let fields = || {
        json!({
            "type": "object",
            "additionalProperties": { "oneOf": [
                { "type": ["string", "number", "boolean"] },
                { "type": "object", "additionalProperties": false, "minProperties": 1, "maxProperties": 1, "properties": {
                    "exact": { "type": ["string", "number", "boolean"] },
                    "regex": { "type": "string" },
                    "present": { "type": "boolean" },
                } },
            ] },
        })
    };
    let plain_fields =
        || json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } });
    let object = |required: &[&str], properties: serde_json::Value| json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties });
    let request = object(
        &["url"],
        json!({
            "method": { "type": "string", "default": "GET" },
            "url": text(),
            "headers": plain_fields(),
            "client_ip": text(),
            "listener": text(),
            "at": text(),
            "repeat": { "type": "integer", "minimum": 1, "maximum": REPEAT_MAX, "default": 1 },
        }),
    );
    let expect = object(
        &[],
        json!({
            "route": texts(),
            "match": { "type": "integer", "minimum": 1 },
            "cluster": { "oneOf": [
                { "type": "string" },
                { "type": "array", "items": { "type": "string" } },
                { "type": "object", "additionalProperties": { "type": ["string", "number"] } },
            ] },
            "endpoints": texts(),
            "mirrors": texts(),
            "policies": { "type": "array", "items": { "type": "string" } },
            "status": { "type": "integer", "minimum": 100, "maximum": 599 },
            "reason": text(),
            "headers": fields(),
            "sent": object(&[], json!({ "target": text(), "host": text(), "headers": fields() })),
        }),
    );
    let case = object(
        &["request", "expect"],
        json!({
            "name": text(),
            "request": { "oneOf": [{ "type": "string" }, request] },
            "origin": object(&[], json!({
                "status": { "type": "integer", "minimum": 200, "maximum": 599, "default": 200 },
                "headers": plain_fields(),
            })),
            "expect": expect,
        }),
    );
    let mut schema = object(
        &["tests"],
        json!({
            "config": text(),
            "tests": { "type": "array", "minItems": 1, "items": case },
        }),
    );
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!("Expectations for ringway test"));
    }
    schema
}

/// How often one request may be sent.
pub(super) const REPEAT_MAX: u32 = 10_000;

/// Where something of a file is, in few words.
pub(super) fn place_text(file: &SourceFile, at: tree::Mark) -> String {
    let path: Arc<str> = file.path_of(at.file);
    format!("{path}:{}", at.line)
}
