//! `compress`: bodies of responses in fewer bytes, for clients that ask for it.
//!
//! What is compressed together can be told apart by its length: who can make a victim send requests and sees how long the
//! responses are finds out a secret that stands beside text of his choice (BREACH, 2013). Hence a response to somebody in
//! particular is left as it is, unless the operator says that its bodies hold no secrets.

mod encoder;
mod negotiate;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringway_protocols::message::{BodyLength, FieldKind, ResponseHead};

use crate::changes::HeaderChanges;
use crate::fields::{Field, Kind, Need, Problem, Values};
use crate::policy::{Configure, Hooks, ResponseContext, Scope};
pub use encoder::Encoder;

pub const HELP: &str = "Compresses the bodies of responses with gzip, brotli or zstd, as the client asks.";

/// What is text, or like it, and not compressed already.
const TYPES: &[&str] = &[
    "text/*",
    "application/json",
    "application/ld+json",
    "application/problem+json",
    "application/manifest+json",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/wasm",
    "image/svg+xml",
    "image/bmp",
    "image/x-icon",
    "font/ttf",
    "font/otf",
];

pub const FIELDS: &[Field] = &[
    Field {
        name: "codings",
        kind: Kind::Texts,
        need: Need::Optional,
        help: "What is offered, best first: `zstd`, `br`, `gzip`. Without it all three in this order.",
    },
    Field {
        name: "types",
        kind: Kind::Texts,
        need: Need::Optional,
        help: "Media types that are compressed, such as `application/json` or `text/*`. Without it text, JSON, XML, \
               scripts, WebAssembly, SVG and fonts that are not compressed already.",
    },
    Field {
        name: "min_size",
        kind: Kind::Bytes { min: 0, max: 1 << 30 },
        need: Need::Default("1KiB"),
        help: "Bodies known to be shorter are left as they are.",
    },
    Field {
        name: "gzip_level",
        kind: Kind::Count { min: 1, max: 9 },
        need: Need::Default("5"),
        help: "1 is fast, 9 is small.",
    },
    Field {
        name: "br_level",
        kind: Kind::Count { min: 0, max: 9 },
        need: Need::Default("4"),
        help: "0 is fast, 9 is small.",
    },
    Field {
        name: "zstd_level",
        kind: Kind::Count { min: 1, max: 12 },
        need: Need::Default("3"),
        help: "1 is fast, 12 is small.",
    },
    Field {
        name: "with_credentials",
        kind: Kind::Bool,
        need: Need::Default("false"),
        help: "Also compress what somebody in particular gets: requests with `Authorization`, a cookie, an API key or a \
               client certificate, and responses that set a cookie. Only where the body holds no secret beside text that \
               a stranger can choose.",
    },
    Field {
        name: "active_max",
        kind: Kind::Count { min: 1, max: 1_000_000 },
        need: Need::Default("256"),
        help: "Bodies that are compressed at a time, each of which takes up to 2 MiB. Others pass as they are.",
    },
];

/// A coding of response bodies (RFC 9110 8.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// As in `content-encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }
}

#[derive(Debug)]
pub struct CompressConfig {
    codings: Vec<(Coding, u32)>,
    types: Vec<String>,
    min_size: u64,
    with_credentials: bool,
    active_max: u64,
    active: Arc<AtomicU64>,
}

/// How a body is to be compressed. Counts as one that is, as long as it lives.
#[derive(Debug)]
pub struct Encode {
    pub coding: Coding,
    pub level: u32,
    active: Arc<AtomicU64>,
}

impl Drop for Encode {
    fn drop(&mut self) {
        self.active.fetch_sub(1, Relaxed);
    }
}

impl Configure for CompressConfig {
    fn build(values: &Values, _: Scope<'_>) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut codings = Vec::new();
        let level = |coding| match coding {
            Coding::Gzip => values.number("gzip_level") as u32,
            Coding::Brotli => values.number("br_level") as u32,
            Coding::Zstd => values.number("zstd_level") as u32,
        };
        for (index, text) in values.texts("codings").iter().enumerate() {
            let coding = [Coding::Gzip, Coding::Brotli, Coding::Zstd].into_iter().find(|c| c.name() == text);
            match coding {
                Some(coding) => codings.push((coding, level(coding))),
                None => {
                    let problem = Problem::new("codings", "zstd, br or gzip", format!("{text:?}"));
                    problems.push(problem.item(index));
                }
            }
        }
        if codings.is_empty() {
            codings =
                [Coding::Zstd, Coding::Brotli, Coding::Gzip].map(|coding| (coding, level(coding))).into();
        }
        for (index, text) in values.texts("types").iter().enumerate() {
            if !is_media_type(text) {
                let expected = "a media type such as application/json or text/*";
                problems.push(Problem::new("types", expected, format!("{text:?}")).item(index));
            }
        }
        let types = values.texts("types").iter().map(|text| text.to_ascii_lowercase()).collect::<Vec<_>>();
        let defaults = || TYPES.iter().map(|text| (*text).to_owned()).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(CompressConfig {
            codings,
            types: if types.is_empty() { defaults() } else { types },
            min_size: values.number("min_size"),
            with_credentials: values.flag("with_credentials"),
            active_max: values.number("active_max"),
            active: Arc::default(),
        })
    }

    fn adopt(&mut self, old: &Self) {
        self.active = Arc::clone(&old.active);
    }
}

fn is_media_type(text: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    text.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && (is_token(sub) || sub == "*"))
}

pub struct Compress(Arc<CompressConfig>);

impl Compress {
    pub fn new(config: &Arc<CompressConfig>) -> Self {
        Compress(Arc::clone(config))
    }
}

impl Hooks for Compress {
    fn on_response(&self, response: &mut ResponseContext<'_>) {
        let Some(head) = response.head else { return };
        if response.changes.encode.is_some() || !self.0.may_compress(response, head) {
            return;
        }
        // From here on the answer depends on what the client accepts, whatever that is (RFC 9110 12.5.5).
        if !varies(head, response.bytes) {
            response.changes.headers.add(b"vary", b"accept-encoding");
        }
        let lines = lines_of(response.facts.head, response.facts.bytes);
        response.changes.encode =
            negotiate::choose(lines, &self.0.codings).and_then(|(coding, level)| self.0.begin(coding, level));
    }
}

impl CompressConfig {
    fn begin(&self, coding: Coding, level: u32) -> Option<Encode> {
        if self.active.fetch_add(1, Relaxed) >= self.active_max {
            self.active.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Encode { coding, level, active: Arc::clone(&self.active) })
    }

    /// Whether the response may be compressed for a client that accepts it.
    fn may_compress(&self, response: &ResponseContext<'_>, head: &ResponseHead) -> bool {
        // Without a body, or a part of one: ranges count the bytes of the representation (RFC 9110 14.4).
        if response.status < 200 || matches!(response.status, 204 | 205 | 206 | 304) {
            return false;
        }
        let has = |kind| head.kinds.contains(kind);
        if has(FieldKind::ContentEncoding) || has(FieldKind::ContentRange) {
            return false;
        }
        if !self.with_credentials && is_personal(response, head) {
            return false;
        }
        if matches!(head.body, BodyLength::Exact(length) if length < self.min_size) {
            return false;
        }
        let media_type = head.lookup(FieldKind::ContentType).unwrap_or_default().of(response.bytes);
        self.has_type(media_type) && !is_fixed(head, response.bytes)
    }

    fn has_type(&self, field: &[u8]) -> bool {
        let essence = field.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.types.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => {
                // Lines of a stream of events are not to wait for each other in a compressor's window.
                let is_within =
                    essence.get(..start.len()).is_some_and(|e| e.eq_ignore_ascii_case(start.as_bytes()));
                is_within && !essence.eq_ignore_ascii_case(b"text/event-stream")
            }
            None => essence.eq_ignore_ascii_case(known.as_bytes()),
        })
    }
}

/// Whether the response is for somebody in particular.
fn is_personal(response: &ResponseContext<'_>, head: &ResponseHead) -> bool {
    let (facts, request) = (&response.facts, response.facts.head.kinds);
    facts.consumer.is_some()
        || facts.certificate.is_some()
        || request.contains(FieldKind::Authorization)
        || request.contains(FieldKind::Cookie)
        || head.kinds.contains(FieldKind::SetCookie)
}

/// Whether the body must arrive as it is: its sender says so (RFC 9111 5.2.2.6), or has sent a digest of it.
fn is_fixed(head: &ResponseHead, bytes: &[u8]) -> bool {
    const DIGESTS: [&[u8]; 4] = [b"content-digest", b"repr-digest", b"digest", b"content-md5"];
    head.fields.iter().any(|field| match field.kind {
        FieldKind::CacheControl => {
            let mut directives = field.value.of(bytes).split(|byte| *byte == b',');
            directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
        }
        FieldKind::Other => DIGESTS.iter().any(|name| field.name.of(bytes).eq_ignore_ascii_case(name)),
        _ => false,
    })
}

/// Whether caches know already that the response depends on what the client accepts.
fn varies(head: &ResponseHead, bytes: &[u8]) -> bool {
    head.fields.iter().filter(|field| field.kind == FieldKind::Vary).any(|field| {
        let mut names = field.value.of(bytes).split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"))
    })
}

fn lines_of<'a>(
    request: &'a ringway_protocols::message::RequestHead,
    bytes: &'a [u8],
) -> impl Iterator<Item = &'a [u8]> {
    let fields = request.fields.iter().filter(|field| field.kind == FieldKind::AcceptEncoding);
    fields.map(move |field| field.value.of(bytes))
}

/// What changes in the head of a response whose body is compressed on its way. Its length and framing are the caller's.
pub fn edit_head(headers: &mut HeaderChanges, coding: Coding, head: &ResponseHead, bytes: &[u8]) {
    headers.set(b"content-encoding", coding.name().as_bytes());
    // Bytes of the compressed body cannot be asked for.
    headers.remove(b"accept-ranges");
    if let Some(etag) = head.lookup(FieldKind::ETag).map(|etag| etag.of(bytes))
        && !etag.starts_with(b"W/")
    {
        // RFC 9110 8.8.1: a strong validator would promise the same bytes.
        headers.set(b"etag", &[b"W/", etag].concat());
    }
}
