//! One value of a setting: how it is written, which values it may have, how it is shown.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringway_policies::retry;
use ringway_policies::spiffe::SpiffePattern;
use ringway_protocols::grpc;

use super::Cidr;
use super::balance::{HashKey, is_token_byte};
use super::health;
use super::units::{self, format_duration, format_size};

/// Where servers of names listen (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// The type of a setting with its bounds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Bool,
    /// A whole number; `zero` says what 0 means where that is below the minimum.
    Count {
        min: u64,
        max: u64,
        zero: Option<&'static str>,
    },
    PowerOfTwo {
        min: u64,
        max: u64,
    },
    Size {
        min: u64,
        max: u64,
        zero: Option<&'static str>,
    },
    Duration {
        min: Duration,
        max: Duration,
        zero: Option<&'static str>,
    },
    /// A whole percentage, at least 1.
    Percent,
    /// Only the words of the setting.
    Choice,
    SocketAddr,
    Path,
    Text,
    /// A text that is never shown.
    Secret,
    Cidrs,
    /// A list of HTTP tokens (RFC 9110, 5.6.2), compared without regard to case.
    Tokens,
    /// A list of gRPC statuses, by name such as `unavailable`.
    Statuses,
    /// A list of what a request is sent again after: words, classes such as `5xx`, statuses such as `503`.
    Conditions,
    /// A list of gRPC methods, as `package.Service/Method`.
    Methods,
    /// A list of origins of web pages (RFC 6454), or `*`.
    Origins,
    /// A list of some of these names, in the order of preference.
    Names(&'static [&'static str]),
    /// A list of paths.
    Paths,
    /// A list of SPIFFE IDs, or of patterns of them.
    Identities,
    /// A list of servers that are asked for names.
    Servers,
    /// What requests are told apart by.
    HashKey,
    /// A path of a URL, with or without a query.
    UrlPath,
    /// Statuses and ranges of them.
    StatusRanges,
    /// A name of a header or cookie.
    Token,
}

/// A value that fits its [`Kind`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One of the words of the setting, such as `auto` or `off`.
    Word(&'static str),
    Bool(bool),
    Count(u64),
    Size(u64),
    Duration(Duration),
    Percent(u8),
    SocketAddr(SocketAddr),
    Path(PathBuf),
    Text(String),
    Cidrs(Vec<Cidr>),
    Tokens(Vec<String>),
}

/// Why a text is not a value of a setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    pub expected: String,
    pub hint: Option<String>,
}

impl Kind {
    /// Whether the file writes this as a list (flags and variables write it with commas).
    pub fn is_list(&self) -> bool {
        matches!(
            self,
            Kind::Cidrs
                | Kind::Tokens
                | Kind::Statuses
                | Kind::Conditions
                | Kind::Methods
                | Kind::Origins
                | Kind::Names(_)
                | Kind::Paths
                | Kind::Identities
                | Kind::Servers
        )
    }

    /// Reads one value; `words` are the words that the setting takes besides.
    pub fn parse(&self, words: &[&'static str], text: &str) -> Result<Value, Mismatch> {
        let word = |text: &str| words.iter().find(|word| **word == text).copied();
        if let Some(word) = word(text) {
            return Ok(Value::Word(word));
        }
        if self.is_list()
            && let Some(word) = split_list(text).find_map(word)
        {
            return Err(Mismatch {
                expected: self.expected(words),
                hint: Some(format!("`{word}` stands alone")),
            });
        }
        self.parse_plain(text).map_err(|hint| Mismatch {
            expected: self.expected(words),
            hint: hint.or_else(|| super::error::did_you_mean(text, words.iter().copied())),
        })
    }

    fn parse_plain(&self, text: &str) -> Result<Value, Option<String>> {
        match *self {
            Kind::Bool => match text {
                "true" | "on" => Ok(Value::Bool(true)),
                "false" | "off" => Ok(Value::Bool(false)),
                "yes" | "Yes" | "YES" | "True" | "TRUE" | "1" => Err(Some("write `true`".to_owned())),
                "no" | "No" | "NO" | "False" | "FALSE" | "0" => Err(Some("write `false`".to_owned())),
                _ => Err(None),
            },
            Kind::Count { min, max, zero } => {
                let number = whole_number(text)?;
                in_range(number, min, max, zero).map(Value::Count)
            }
            Kind::PowerOfTwo { min, max } => match whole_number(text)? {
                number if !(min..=max).contains(&number) => Err(None),
                number if number.is_power_of_two() => Ok(Value::Count(number)),
                number => Err(Some(format!("the nearest is {}", number.next_power_of_two().min(max)))),
            },
            Kind::Size { min, max, zero } => {
                in_range(units::parse_size(text)?, min, max, zero).map(Value::Size)
            }
            Kind::Duration { min, max, zero } => match units::parse_duration(text)? {
                Duration::ZERO if zero.is_some() => Ok(Value::Duration(Duration::ZERO)),
                duration if duration >= min && duration <= max => Ok(Value::Duration(duration)),
                _ => Err(None),
            },
            Kind::Percent => match units::parse_percent(text)? {
                0 => Err(None),
                percent => Ok(Value::Percent(percent)),
            },
            Kind::Choice => Err(None),
            Kind::SocketAddr => parse_socket_addr(text).map(Value::SocketAddr),
            Kind::Path if text.is_empty() || text.contains('\0') => Err(None),
            Kind::Path => Ok(Value::Path(PathBuf::from(text))),
            Kind::Text | Kind::Secret
                if text.is_empty() || text.chars().any(|c| c.is_control() && c != '\t') =>
            {
                Err(None)
            }
            Kind::Text | Kind::Secret => Ok(Value::Text(text.to_owned())),
            Kind::HashKey if HashKey::parse(text).is_none() => Err(None),
            Kind::Token if text.is_empty() || !text.bytes().all(is_token_byte) => Err(None),
            Kind::UrlPath if !health::is_path(text) => Err(None),
            Kind::StatusRanges if health::statuses(text).is_none() => Err(None),
            Kind::HashKey | Kind::Token | Kind::UrlPath | Kind::StatusRanges => {
                Ok(Value::Text(text.to_owned()))
            }
            Kind::Cidrs => split_list(text).map(parse_cidr).collect_list(Value::Cidrs),
            Kind::Tokens => {
                split_list(text).map(|item| parse_token(item).ok_or(None)).collect_list(Value::Tokens)
            }
            Kind::Statuses => split_list(text).map(parse_status).collect_list(Value::Tokens),
            Kind::Conditions => split_list(text).map(parse_condition).collect_list(Value::Tokens),
            Kind::Methods => split_list(text)
                .map(|item| match grpc::split_path(format!("/{item}").as_bytes()) {
                    Some(_) => Ok(item.to_owned()),
                    None => Err(None),
                })
                .collect_list(Value::Tokens),
            Kind::Origins => split_list(text).map(parse_origin).collect_list(Value::Tokens),
            Kind::Names(known) => {
                split_list(text).map(|item| parse_known(item, known)).collect_list(Value::Tokens)
            }
            Kind::Paths if text.contains('\0') => Err(None),
            Kind::Paths => split_list(text).map(|item| Ok(item.to_owned())).collect_list(Value::Tokens),
            Kind::Servers => split_list(text).map(parse_server).collect_list(Value::Tokens),
            Kind::Identities => split_list(text)
                .map(|item| SpiffePattern::parse(item).map(|pattern| pattern.to_string()))
                .collect_list(Value::Tokens),
        }
    }

    /// What is expected, with bounds and an example.
    pub fn expected(&self, words: &[&str]) -> String {
        let plain = match *self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Count { min, max, zero } => {
                format!("a whole number from {min} to {max}{}", zero_text(zero))
            }
            Kind::PowerOfTwo { min, max } => format!("a power of two from {min} to {max}"),
            Kind::Size { min, max, zero } => {
                let (min, max) = (format_size(min), format_size(max));
                format!("a size from {min} to {max} such as 64KiB{}", zero_text(zero))
            }
            Kind::Duration { min, max, zero } => {
                let (min, max) = (format_duration(min), format_duration(max));
                format!("a duration from {min} to {max} such as 1m30s or 500ms{}", zero_text(zero))
            }
            Kind::Percent => "a percentage from 1% to 100%".to_owned(),
            Kind::Choice => return words.join(", "),
            Kind::SocketAddr => "ADDRESS:PORT such as 127.0.0.1:9901 or [::1]:9901".to_owned(),
            Kind::Path => "a path".to_owned(),
            Kind::Text | Kind::Secret => "text without control characters".to_owned(),
            Kind::Cidrs => "address blocks such as 10.0.0.0/8, fd00::/8 or 192.0.2.1".to_owned(),
            Kind::Tokens => "names of protocols such as websocket".to_owned(),
            Kind::Statuses => "gRPC statuses such as unavailable".to_owned(),
            Kind::Conditions => format!("{}, 5xx, 4xx, or statuses such as 503", retry::WORDS.join(", ")),
            Kind::Methods => "gRPC methods such as package.Service/Method".to_owned(),
            Kind::Origins => "origins such as https://app.example.com, or *".to_owned(),
            Kind::Names(known) => format!("some of {}", known.join(", ")),
            Kind::Paths => "paths of files".to_owned(),
            Kind::Servers => "addresses such as 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:53".to_owned(),
            Kind::UrlPath => "a path such as /healthz".to_owned(),
            Kind::StatusRanges => "statuses such as 200-299 or 200,204".to_owned(),
            Kind::HashKey => "client, path, header:NAME or cookie:NAME".to_owned(),
            Kind::Token => "a name of letters, digits and `-_.`".to_owned(),
            Kind::Identities => {
                "SPIFFE IDs such as spiffe://shop/ns/prod/sa/payments, or patterns such as spiffe://shop/ns/prod/**"
                    .to_owned()
            }
        };
        if words.is_empty() { plain } else { format!("{plain}, or {}", words.join(", ")) }
    }

    /// The type in a word or two, for tables.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Count { .. } => "number",
            Kind::PowerOfTwo { .. } => "power of two",
            Kind::Size { .. } => "size",
            Kind::Duration { .. } => "duration",
            Kind::Percent => "percent",
            Kind::Choice => "choice",
            Kind::SocketAddr => "address",
            Kind::Path => "path",
            Kind::Text => "text",
            Kind::Secret => "secret",
            Kind::Cidrs => "address blocks",
            Kind::Tokens => "tokens",
            Kind::Statuses => "statuses",
            Kind::Conditions => "conditions",
            Kind::Methods => "methods",
            Kind::Origins => "origins",
            Kind::Names(_) => "names",
            Kind::Paths => "paths",
            Kind::Servers => "addresses",
            Kind::Identities => "SPIFFE IDs",
            Kind::HashKey => "key",
            Kind::UrlPath => "path",
            Kind::StatusRanges => "statuses",
            Kind::Token => "name",
        }
    }

    /// What stands for a value in the help of a flag.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Kind::Bool => "BOOL",
            Kind::Count { .. } | Kind::PowerOfTwo { .. } => "N",
            Kind::Size { .. } => "SIZE",
            Kind::Duration { .. } => "DURATION",
            Kind::Percent => "PERCENT",
            Kind::Choice => "WORD",
            Kind::SocketAddr => "ADDRESS",
            Kind::Path => "PATH",
            Kind::Text | Kind::Secret => "TEXT",
            Kind::Cidrs => "BLOCKS",
            Kind::Tokens | Kind::Statuses | Kind::Conditions | Kind::Methods | Kind::Names(_) => "NAMES",
            Kind::Origins => "ORIGINS",
            Kind::Paths => "PATHS",
            Kind::Servers => "ADDRESSES",
            Kind::Identities => "IDS",
            Kind::HashKey => "KEY",
            Kind::UrlPath => "PATH",
            Kind::StatusRanges => "STATUSES",
            Kind::Token => "NAME",
        }
    }

    /// The smallest and largest value, for tables; `None` where it has none.
    pub fn range(&self) -> Option<(String, String)> {
        match *self {
            Kind::Count { min, max, .. } | Kind::PowerOfTwo { min, max } => {
                Some((min.to_string(), max.to_string()))
            }
            Kind::Size { min, max, .. } => Some((format_size(min), format_size(max))),
            Kind::Duration { min, max, .. } => Some((format_duration(min), format_duration(max))),
            Kind::Percent => Some(("1%".to_owned(), "100%".to_owned())),
            _ => None,
        }
    }

    /// What 0 means, where it is allowed as an exception.
    pub fn zero(&self) -> Option<&'static str> {
        match *self {
            Kind::Count { zero, .. } | Kind::Size { zero, .. } | Kind::Duration { zero, .. } => zero,
            _ => None,
        }
    }
}

impl Value {
    /// As it would be written in a flag.
    pub fn show(&self) -> String {
        match self {
            Value::Word(word) => (*word).to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Count(value) => value.to_string(),
            Value::Size(value) => format_size(*value),
            Value::Duration(value) => format_duration(*value),
            Value::Percent(value) => format!("{value}%"),
            Value::SocketAddr(value) => value.to_string(),
            Value::Path(value) => value.display().to_string(),
            Value::Text(value) => value.clone(),
            Value::Cidrs(value) => value.iter().map(Cidr::to_string).collect::<Vec<_>>().join(","),
            Value::Tokens(value) => value.join(","),
        }
    }
}

/// Reads an address block; where bits lie beyond the prefix, the hint is what was probably meant.
fn parse_cidr(text: &str) -> Result<Cidr, Option<String>> {
    text.parse().map_err(|error: String| {
        let meant = error.split_once("did you mean ")?.1.trim_end_matches('?');
        Some(format!("did you mean `{meant}`?"))
    })
}

/// Reads an HTTP token, in lower case.
pub(in crate::config) fn parse_token(text: &str) -> Option<String> {
    let is_tchar = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    (!text.is_empty() && text.bytes().all(is_tchar)).then(|| text.to_ascii_lowercase())
}

/// One of the known names, whatever the case.
fn parse_known(text: &str, known: &[&str]) -> Result<String, Option<String>> {
    match known.iter().find(|name| name.eq_ignore_ascii_case(text)) {
        Some(name) => Ok((*name).to_owned()),
        None => Err(super::error::did_you_mean(text, known.iter().copied())),
    }
}

fn parse_status(text: &str) -> Result<String, Option<String>> {
    let words = || grpc::STATUSES.iter().map(|(.., word)| *word);
    match words().find(|word| *word == text) {
        Some("ok") => Err(Some("a call that succeeded is not repeated".to_owned())),
        Some(word) => Ok(word.to_owned()),
        None => Err(super::error::did_you_mean(text, words())),
    }
}

fn parse_condition(text: &str) -> Result<String, Option<String>> {
    if retry::Conditions::default().add(text) {
        return Ok(text.to_owned());
    }
    let words = retry::WORDS.iter().copied().chain(["5xx", "4xx"]);
    Err(super::error::did_you_mean(text, words))
}

/// An origin as browsers send it: lower case, without a path.
fn parse_origin(text: &str) -> Result<String, Option<String>> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let valid = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    };
    match host {
        _ if text == "*" => Ok(text.to_owned()),
        Some(host) if valid(host) => Ok(text.to_ascii_lowercase()),
        Some(host) if host.ends_with('/') => Err(Some("leave the path out".to_owned())),
        _ => Err(None),
    }
}

fn parse_socket_addr(text: &str) -> Result<SocketAddr, Option<String>> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| {
        let port = whole_number(text).ok().filter(|port| *port <= 65535)?;
        Some(format!("write `127.0.0.1:{port}`"))
    })
}

/// An address with or without a port, written with it.
fn parse_server(text: &str) -> Result<String, Option<String>> {
    let full = text.parse::<SocketAddr>().ok();
    let bare = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, DNS_PORT));
    match full.or_else(bare) {
        Some(address) if address.port() != 0 => Ok(address.to_string()),
        Some(_) => Err(None),
        None => Err(Some("servers of names have no names themselves: write their addresses".to_owned())),
    }
}

fn whole_number(text: &str) -> Result<u64, Option<String>> {
    match units::split_number(text) {
        Some((number, "")) => Ok(number),
        _ => Err(None),
    }
}

fn in_range(number: u64, min: u64, max: u64, zero: Option<&str>) -> Result<u64, Option<String>> {
    let fits = (min..=max).contains(&number) || (number == 0 && zero.is_some());
    if fits { Ok(number) } else { Err(None) }
}

fn zero_text(zero: Option<&str>) -> String {
    zero.map(|meaning| format!(", or 0 ({meaning})")).unwrap_or_default()
}

fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Collects the items of a list, or the first failure.
trait CollectList<T> {
    fn collect_list(self, into: impl FnOnce(Vec<T>) -> Value) -> Result<Value, Option<String>>;
}

impl<T, I: Iterator<Item = Result<T, Option<String>>>> CollectList<T> for I {
    fn collect_list(self, into: impl FnOnce(Vec<T>) -> Value) -> Result<Value, Option<String>> {
        self.collect::<Result<Vec<T>, _>>().map(into)
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::SETTINGS;
    use super::super::{grammar, units};

    /// Flags, variables and files hold anything: reading it never panics, and what is shown is read again.
    #[test]
    fn any_text_is_read_or_refused() {
        let seed = u64::from(std::process::id()) | 1;
        println!("seed {seed}");
        let mut state = seed;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        };
        let pieces = [
            "1",
            "0",
            "99999999999",
            "s",
            "ms",
            "m",
            "KiB",
            "%",
            ":",
            "/",
            "[",
            "]",
            ".",
            ",",
            "-",
            "*",
            "unix:",
            "http://",
            "@",
            "auto",
            "off",
            "true",
            "fd00::",
            "10.0.0.0",
            "é",
            "\u{0}",
            " ",
            "\t",
            "%2F",
            ";",
            "x",
        ];
        for _ in 0..5_000 {
            let text: String = (0..random(6)).map(|_| pieces[random(pieces.len())]).collect();
            for setting in SETTINGS {
                if let Ok(value) = setting.kind.parse(setting.words, &text) {
                    let again = setting.kind.parse(setting.words, &value.show());
                    assert_eq!(again, Ok(value), "seed {seed}: {} from {text:?}", setting.key);
                }
            }
            let _ = (grammar::endpoint(&text), grammar::origin(&text), units::parse_percent(&text));
            if let Ok(prefix) = grammar::path_prefix(&text) {
                assert_eq!(grammar::path_prefix(&prefix).as_ref(), Ok(&prefix), "seed {seed}: {text:?}");
            }
            if let Ok(host) = grammar::host_pattern(&text) {
                assert_eq!(grammar::host_pattern(&host).as_ref(), Ok(&host), "seed {seed}: {text:?}");
            }
        }
    }
}
