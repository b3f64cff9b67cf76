//! What a request must have for a match: conditions besides the host, as values that are tested and shown.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use ringway_protocols::message::{FieldKind, Method, RequestHead};

use super::pattern::Pattern;
use super::template::Template;
use super::time::TimeWindow;
use crate::cidr::{Cidr, CidrSet};
use crate::split::cookie;

/// A request as routes see it.
#[derive(Debug, Clone, Copy)]
pub struct RouteRequest<'a> {
    /// Index of the listener.
    pub listener: usize,
    /// May have a port and a trailing dot, in any case of letters.
    pub host: &'a [u8],
    /// In normal form and without query.
    pub path: &'a [u8],
    pub head: &'a RequestHead,
    /// What the spans of `head` lie in.
    pub bytes: &'a [u8],
    pub client: Option<IpAddr>,
    pub unix_secs: u64,
    /// Fresh for each request: what shares are drawn from.
    pub random: u64,
}

/// One match of a route: all of it has to hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteMatch {
    pub path: PathMatch,
    /// Any of them; empty: every method.
    pub methods: Vec<String>,
    /// Names without case.
    pub headers: Vec<FieldMatch>,
    pub query: Vec<FieldMatch>,
    pub cookies: Vec<FieldMatch>,
    /// Blocks of client addresses; empty: every client.
    pub clients: Clients,
    pub time: Option<TimeWindow>,
    /// Millionths of the requests that fit otherwise.
    pub share: Option<u32>,
    /// Calls of gRPC only: POST with a content type of gRPC.
    pub grpc: bool,
}

/// What a path has to be. Paths are matched in normal form and without parameters (`;…`).
#[derive(Debug, Clone, PartialEq)]
pub enum PathMatch {
    /// A slash at the end counts.
    Exact(String),
    Template(Template),
    /// The whole path.
    Regex(Arc<Pattern>),
    /// Whole segments; `/` is every path, and a slash at the end means nothing.
    Prefix(String),
}

impl Default for PathMatch {
    fn default() -> Self {
        PathMatch::Prefix("/".to_owned())
    }
}

/// A header, a parameter of the query, or a cookie.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldMatch {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ValueMatch {
    Exact(String),
    /// The whole value.
    Regex(Arc<Pattern>),
    Present,
    Absent,
}

/// Address blocks, as they were written and as they are looked up.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Clients {
    pub blocks: Vec<Cidr>,
    set: CidrSet,
}

impl Clients {
    pub fn new(blocks: Vec<Cidr>) -> Clients {
        let set = CidrSet::new(&blocks);
        Clients { blocks, set }
    }
}

/// The first condition that a request does not meet; lists by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    Listener,
    Host,
    Path,
    Method,
    Grpc,
    Header(usize),
    Query(usize),
    Cookie(usize),
    Client,
    Time,
    Share,
}

impl RouteMatch {
    /// The match of every path below a prefix.
    pub fn prefix(prefix: &str) -> RouteMatch {
        RouteMatch { path: PathMatch::Prefix(prefix.to_owned()), ..RouteMatch::default() }
    }

    /// Whether nothing but the path is asked for.
    pub fn is_plain(&self) -> bool {
        self.methods.is_empty()
            && self.headers.is_empty()
            && self.query.is_empty()
            && self.cookies.is_empty()
            && self.clients.blocks.is_empty()
            && self.time.is_none()
            && self.share.is_none()
            && !self.grpc
    }

    /// The first condition besides listener, host and path that does not hold, cheap ones first. `salt` makes the shares
    /// of matches independent of each other.
    pub(super) fn misfit(&self, request: &RouteRequest<'_>, salt: u64) -> Option<Misfit> {
        let (head, bytes) = (request.head, request.bytes);
        if !self.methods.is_empty() && !self.has_method(head, bytes) {
            return Some(Misfit::Method);
        }
        if self.grpc && !is_grpc(head, bytes) {
            return Some(Misfit::Grpc);
        }
        if !self.clients.blocks.is_empty()
            && !request.client.is_some_and(|client| self.clients.set.contains(client))
        {
            return Some(Misfit::Client);
        }
        if self.time.is_some_and(|time| !time.holds(request.unix_secs)) {
            return Some(Misfit::Time);
        }
        if let Some(index) = self.headers.iter().position(|wanted| !wanted.fits_header(head, bytes)) {
            return Some(Misfit::Header(index));
        }
        let query = head.query.map(|query| query.of(bytes)).unwrap_or_default();
        if let Some(index) = self.query.iter().position(|wanted| !wanted.fits_query(query)) {
            return Some(Misfit::Query(index));
        }
        let fits_cookie = |wanted: &FieldMatch| wanted.value.fits(cookie(head, bytes, &wanted.name));
        if let Some(index) = self.cookies.iter().position(|wanted| !fits_cookie(wanted)) {
            return Some(Misfit::Cookie(index));
        }
        self.share.filter(|share| !drawn(request.random, salt, *share)).map(|_| Misfit::Share)
    }

    /// Methods are case-sensitive (RFC 9110 9.1).
    fn has_method(&self, head: &RequestHead, bytes: &[u8]) -> bool {
        // An extended CONNECT is shown as the GET that it is in HTTP/1.1, and its span has the word CONNECT.
        let name = match head.method {
            Method::Other => head.method_span.of(bytes),
            known => known.as_str().unwrap_or_default().as_bytes(),
        };
        self.methods.iter().any(|method| method.as_bytes() == name)
    }

    /// All conditions but the path, in one text that is the same for matches that mean the same.
    pub(super) fn conditions(&self) -> String {
        let mut text = String::new();
        let mut methods: Vec<&str> = self.methods.iter().map(String::as_str).collect();
        methods.sort_unstable();
        methods.dedup();
        // Writing to a String cannot fail.
        if !methods.is_empty() {
            let _ = write!(text, " {}", methods.join("|"));
        }
        if self.grpc {
            text.push_str(" grpc");
        }
        for (what, fields) in [("header", &self.headers), ("query", &self.query), ("cookie", &self.cookies)] {
            let mut shown: Vec<String> = fields.iter().map(ToString::to_string).collect();
            shown.sort_unstable();
            shown.iter().for_each(|field| {
                let _ = write!(text, " {what} {field}");
            });
        }
        if !self.clients.blocks.is_empty() {
            let mut blocks: Vec<String> = self.clients.blocks.iter().map(ToString::to_string).collect();
            blocks.sort_unstable();
            let _ = write!(text, " clients {}", blocks.join(","));
        }
        if let Some(time) = &self.time {
            let _ = write!(text, " time {time}");
        }
        if let Some(share) = self.share {
            let _ = write!(text, " {}%", f64::from(share) / 10_000.0);
        }
        text
    }
}

impl FieldMatch {
    fn fits_header(&self, head: &RequestHead, bytes: &[u8]) -> bool {
        self.value.fits(header_value(head, bytes, &self.name).as_deref())
    }

    fn fits_query(&self, query: &[u8]) -> bool {
        match (&self.value, encoded_query_value(query, &self.name)) {
            (ValueMatch::Exact(wanted), Some(value)) => decoded(value).eq(wanted.bytes()),
            (ValueMatch::Regex(pattern), Some(value)) => {
                pattern.is_match(&decoded(value).collect::<Vec<u8>>())
            }
            (wanted, value) => wanted.fits(value),
        }
    }
}

/// The value of a header. Several lines of one name are one list (RFC 9110 5.2).
pub(super) fn header_value<'b>(head: &RequestHead, bytes: &'b [u8], name: &str) -> Option<Cow<'b, [u8]>> {
    let name = name.as_bytes();
    let mut lines = head.fields.iter().filter(|field| field.name.of(bytes).eq_ignore_ascii_case(name));
    let first = lines.next().map(|field| field.value.of(bytes))?;
    let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
    // Rare enough to pay for a copy.
    let mut joined = first.to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.value.of(bytes));
    }
    Some(Cow::Owned(joined))
}

/// The first parameter of that name, decoded as forms are.
pub(super) fn query_value(query: &[u8], name: &str) -> Option<Vec<u8>> {
    encoded_query_value(query, name).map(|value| decoded(value).collect())
}

fn encoded_query_value<'b>(query: &'b [u8], name: &str) -> Option<&'b [u8]> {
    let mut pairs = query.split(|byte| *byte == b'&').map(|pair| {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    });
    pairs.find(|(found, _)| decoded(found).eq(name.bytes())).map(|(_, value)| value)
}

impl ValueMatch {
    /// Whether a value, or that there is none, is what is wanted.
    pub fn fits(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (ValueMatch::Exact(wanted), Some(value)) => wanted.as_bytes() == value,
            (ValueMatch::Regex(pattern), Some(value)) => pattern.is_match(value),
            (ValueMatch::Present, value) => value.is_some(),
            (ValueMatch::Absent, value) => value.is_none(),
            (_, None) => false,
        }
    }
}

/// The bytes of a name or value of a query (`application/x-www-form-urlencoded`). A `%` without digits stands for
/// itself.
fn decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        rest = after;
        let digit = |at: usize| after.get(at).and_then(|digit| (*digit as char).to_digit(16));
        match (*byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                rest = after.get(2..).unwrap_or_default();
                Some((high << 4 | low) as u8)
            }
            (b'+', ..) => Some(b' '),
            (byte, ..) => Some(byte),
        }
    })
}

/// gRPC over HTTP/2, and gRPC-Web: `application/grpc`, `application/grpc+proto`, `application/grpc-web`…
fn is_grpc(head: &RequestHead, bytes: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let kind = head.lookup(FieldKind::ContentType).map(|kind| kind.of(bytes)).unwrap_or_default();
    let (start, rest) = kind.split_at_checked(TYPE.len()).unwrap_or_default();
    head.method == Method::Post
        && start.eq_ignore_ascii_case(TYPE)
        && matches!(rest.first(), None | Some(b'+' | b'-' | b';' | b' '))
}

/// Whether a request falls into a share.
fn drawn(random: u64, salt: u64, share: u32) -> bool {
    // One random number serves all matches: the finaliser of MurmurHash3 makes them independent.
    let mut mixed = random ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^= mixed >> 33;
    ((u128::from(mixed) * 1_000_000) >> 64) < u128::from(share)
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMatch::Exact(path) => write!(f, "path {path}"),
            PathMatch::Template(template) => write!(f, "path template {template}"),
            PathMatch::Regex(pattern) => write!(f, "path ~ {}", pattern.text()),
            PathMatch::Prefix(prefix) if prefix == "/" => f.write_str("every path"),
            PathMatch::Prefix(prefix) => write!(f, "path prefix {prefix}"),
        }
    }
}

impl fmt::Display for FieldMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            ValueMatch::Exact(value) => write!(f, "{}={value:?}", self.name),
            ValueMatch::Regex(pattern) => write!(f, "{}~{}", self.name, pattern.text()),
            ValueMatch::Present => write!(f, "{} present", self.name),
            ValueMatch::Absent => write!(f, "{} absent", self.name),
        }
    }
}

/// The path and what else is asked for.
impl fmt::Display for RouteMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.path, self.conditions())
    }
}
