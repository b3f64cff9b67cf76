//! One exchange → one line.
//!
//! The three formats are one list of pieces, compiled once at start; `combined` and `json` are templates of ours.
//! What a peer sent is never copied unchecked: see [`super::escape`].

use std::time::{Duration, Instant};

use ringway_protocols::tls::rustls::ProtocolVersion;

use super::clock::Clock;
use super::escape::{push_json, push_text};
use super::number::{push_ip, push_number};
use crate::config::AccessLogFormat;
use crate::outcome::Outcome;
use crate::stats::Labels;

/// Bytes of one value that a line holds; what is beyond is cut and marked with the number of bytes cut.
pub const FIELD_BYTES_MAX: usize = 4096;

/// The combined log format of the Apache HTTP server.
const COMBINED: &str = "{client} - - [{time_local}] \"{method} {target} {protocol}\" {status} \
                        {response_body_bytes} \"{referer}\" \"{user_agent}\"";

/// A compiled format.
#[derive(Debug)]
pub struct Format {
    style: Style,
    pieces: Vec<Piece>,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// Absent values are `-`.
    Text,
    /// Absent values are `null`; text is quoted.
    Json,
}

#[derive(Debug)]
enum Piece {
    /// Text of at most [`SHORT`] bytes, filled up: copied as a whole and cut, which is cheaper than a copy of
    /// unknown length.
    Short {
        bytes: [u8; SHORT],
        length: usize,
    },
    Long(Box<str>),
    Variable(Variable),
}

const SHORT: usize = 32;

impl Piece {
    fn literal(text: &str) -> Piece {
        let mut bytes = [0; SHORT];
        match bytes.get_mut(..text.len()) {
            Some(short) => {
                short.copy_from_slice(text.as_bytes());
                Piece::Short { bytes, length: text.len() }
            }
            None => Piece::Long(text.into()),
        }
    }
}

macro_rules! variables {
    ($($variable:ident $name:literal $meaning:literal;)*) => {
        /// What a line can show.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        enum Variable { $($variable),* }

        /// Every variable: its name in a template, which is its key in `json` as well, and what it means.
        pub const VARIABLES: &[(&str, &str)] = &[$(($name, $meaning)),*];

        const ALL: &[Variable] = &[$(Variable::$variable),*];
    };
}

variables! {
    Time "time" "start of the exchange, RFC 3339 in UTC with milliseconds";
    TimeLocal "time_local" "start of the exchange as in the combined format, in UTC (not in `json`)";
    Client "client" "address of the client: the peer, or who the PROXY protocol or a trusted forwarder names";
    Method "method" "request method";
    Target "target" "request target as received";
    Host "host" "host that the request names";
    Protocol "protocol" "`HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`";
    Status "status" "status sent to the client; 499 where it went away before one was";
    Reason "reason" "reason code, where the proxy answered itself or cut the exchange";
    Listener "listener" "name of the listener";
    Route "route" "name of the route";
    Cluster "cluster" "name of the cluster";
    Endpoint "endpoint" "address of the endpoint";
    Worker "worker" "index of the worker";
    RequestId "request_id" "the exchange's `x-request-id`";
    UserAgent "user_agent" "`User-Agent` of the request";
    Referer "referer" "`Referer` of the request";
    RequestBodyBytes "request_body_bytes" "bytes of the request body, framing not counted";
    ResponseBodyBytes "response_body_bytes" "bytes of the response body, framing not counted";
    HeadUs "head_us" "microseconds from the first byte of the request to the end of its head";
    ConnectUs "connect_us" "microseconds from the end of the request head until an upstream connection was at hand";
    FirstByteUs "first_byte_us" "microseconds from the end of the request head to the first byte of the response";
    DurationUs "duration_us" "microseconds from the first byte of the request to the end of the exchange";
    Attempts "attempts" "requests sent upstream for this exchange (2 and more: it was retried)";
    UpstreamReused "upstream_reused" "whether the upstream connection came out of the pool: `true` or `false`";
    GrpcService "grpc_service" "service of a gRPC call, such as `package.Service`";
    GrpcMethod "grpc_method" "method of a gRPC call";
    GrpcStatus "grpc_status" "status of a gRPC call, such as `DEADLINE_EXCEEDED`";
    TlsVersion "tls_version" "version of TLS that the client speaks, such as `TLSv1.3`";
    TlsCipher "tls_cipher" "cipher suite";
    TlsGroup "tls_group" "group of the key exchange, such as `X25519MLKEM768`";
    TlsServerName "tls_server_name" "host that the client asked for in the handshake (SNI)";
    TlsResumed "tls_resumed" "whether the client resumed a session: `true` or `false`";
    ClientCertSubject "client_cert_subject" "subject of the client's certificate, verified";
    ClientCertNames "client_cert_names" "DNS names and URIs of the client's certificate, with blanks between them";
    ClientCertFingerprint "client_cert_fingerprint" "SHA-256 of the client's certificate, hexadecimal";
    ClientSpiffeId "client_spiffe_id" "SPIFFE ID of the client";
}

impl Format {
    /// Compiles a format; the error says what is wrong with a template, and where.
    pub fn compile(format: &AccessLogFormat) -> Result<Format, String> {
        match format {
            AccessLogFormat::Combined => Format::template(COMBINED),
            AccessLogFormat::Json => Ok(Format::json()),
            AccessLogFormat::Template(text) => Format::template(text),
        }
    }

    fn json() -> Format {
        let mut pieces = Vec::new();
        for (variable, (name, _)) in ALL.iter().zip(VARIABLES) {
            if *variable == Variable::TimeLocal {
                continue;
            }
            let separator = if pieces.is_empty() { '{' } else { ',' };
            pieces.push(Piece::literal(&format!("{separator}\"{name}\":")));
            pieces.push(Piece::Variable(*variable));
        }
        pieces.push(Piece::literal("}\n"));
        Format { style: Style::Json, pieces }
    }

    /// `{name}` is a variable, `{{` and `}}` are braces.
    fn template(text: &str) -> Result<Format, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.char_indices().peekable();
        while let Some((at, c)) = rest.next() {
            let doubled = rest.peek().is_some_and(|(_, next)| *next == c);
            match c {
                '{' | '}' if doubled => {
                    rest.next();
                    literal.push(c);
                }
                '{' => {
                    let name: String = rest.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                    if !text.get(at + 1 + name.len()..).is_some_and(|tail| tail.starts_with('}')) {
                        return Err(format!("expected }} after {{{name} (character {at} of the format)"));
                    }
                    let variable = find(&name).ok_or_else(|| unknown(&name))?;
                    if !literal.is_empty() {
                        pieces.push(Piece::literal(&std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Variable(variable));
                }
                '}' => {
                    return Err(format!(
                        "expected {{name}} or }}}} at character {at} of the format, found }}"
                    ));
                }
                c if c.is_control() && c != '\t' => {
                    return Err(format!(
                        "expected one line without control characters, found {c:?} at character {at}"
                    ));
                }
                c => literal.push(c),
            }
        }
        literal.push('\n');
        pieces.push(Piece::literal(&literal));
        Ok(Format { style: Style::Text, pieces })
    }

    /// Appends the line of `outcome`, its newline included.
    pub(super) fn push_line(
        &self,
        out: &mut Vec<u8>,
        clock: &mut Clock,
        labels: &Labels,
        outcome: &Outcome<'_>,
    ) {
        let mut line = Line { out, clock, labels, outcome, style: self.style };
        for piece in &self.pieces {
            match piece {
                Piece::Short { bytes, length } => {
                    let end = line.out.len() + length;
                    line.out.extend_from_slice(bytes);
                    line.out.truncate(end);
                }
                Piece::Long(text) => line.out.extend_from_slice(text.as_bytes()),
                Piece::Variable(variable) => line.push(*variable),
            }
        }
    }
}

fn find(name: &str) -> Option<Variable> {
    VARIABLES.iter().zip(ALL).find(|((known, _), _)| *known == name).map(|(_, variable)| *variable)
}

fn unknown(name: &str) -> String {
    let names: Vec<&str> = VARIABLES.iter().map(|(name, _)| *name).collect();
    format!("expected one of {}, found {{{name}}}", names.join(", "))
}

/// A line while it is written.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    clock: &'a mut Clock,
    labels: &'a Labels,
    outcome: &'a Outcome<'a>,
    style: Style,
}

impl Line<'_> {
    fn push(&mut self, variable: Variable) {
        let (outcome, labels) = (self.outcome, self.labels);
        let phases = &outcome.phases;
        match variable {
            Variable::Time => {
                let quote: &[u8] = if self.style == Style::Json { b"\"" } else { b"" };
                self.out.extend_from_slice(quote);
                self.clock.push_iso(self.out, phases.wall());
                self.out.extend_from_slice(quote);
            }
            Variable::TimeLocal => self.clock.push_clf(self.out, phases.wall()),
            Variable::Client => self.client(),
            Variable::Method => self.text(outcome.method),
            Variable::Target => self.text(outcome.target),
            Variable::Host => self.text(outcome.host),
            Variable::Protocol => self.text(outcome.protocol.as_bytes()),
            Variable::Status => self.number(u64::from(outcome.status)),
            Variable::Reason => self.text(outcome.reason.map_or("", |reason| reason.code()).as_bytes()),
            Variable::Listener => {
                self.text(labels.listeners.get(outcome.listener).map_or("", |label| &label.name).as_bytes());
            }
            Variable::Route => {
                let label = outcome.route.and_then(|index| labels.routes.get(index));
                self.text(label.map_or("", |label| &label.name).as_bytes());
            }
            Variable::Cluster => {
                let cluster = outcome.cluster.and_then(|index| labels.clusters.get(index));
                self.text(cluster.map_or("", |cluster| &cluster.label.name).as_bytes());
            }
            Variable::Endpoint => self.text(outcome.endpoint.as_bytes()),
            Variable::Worker => self.number(outcome.worker as u64),
            Variable::RequestId => self.text(outcome.request_id),
            Variable::UserAgent => self.text(outcome.user_agent),
            Variable::Referer => self.text(outcome.referer),
            Variable::RequestBodyBytes => self.number(outcome.request_body_bytes),
            Variable::ResponseBodyBytes => self.number(outcome.response_body_bytes),
            Variable::HeadUs => self.micros(phases.started, Some(phases.head_received)),
            Variable::ConnectUs => self.micros(phases.head_received, phases.connected),
            Variable::FirstByteUs => self.micros(phases.head_received, phases.first_byte),
            Variable::DurationUs => self.micros(phases.started, Some(phases.ended)),
            Variable::Attempts => self.number(u64::from(outcome.attempts)),
            Variable::GrpcService => self.text(outcome.grpc.map_or(b"", |call| call.service)),
            Variable::GrpcMethod => self.text(outcome.grpc.map_or(b"", |call| call.method)),
            Variable::GrpcStatus => self.text(outcome.grpc.map_or("", |call| call.status.name()).as_bytes()),
            Variable::TlsVersion
            | Variable::TlsCipher
            | Variable::TlsGroup
            | Variable::TlsServerName
            | Variable::TlsResumed
            | Variable::ClientCertSubject
            | Variable::ClientCertNames
            | Variable::ClientCertFingerprint
            | Variable::ClientSpiffeId => self.tls(variable),
            Variable::UpstreamReused => {
                self.out.extend_from_slice(if outcome.upstream_reused { b"true" } else { b"false" });
            }
        }
    }

    /// What is known where the client speaks TLS.
    fn tls(&mut self, variable: Variable) {
        let Some(facts) = self.outcome.tls else { return self.absent() };
        // Certificates are looked into for those variables only that show them.
        let peer = || facts.peer();
        match variable {
            Variable::TlsVersion => {
                let name = match facts.version {
                    ProtocolVersion::TLSv1_2 => "TLSv1.2",
                    ProtocolVersion::TLSv1_3 => "TLSv1.3",
                    _ => "",
                };
                self.text(name.as_bytes());
            }
            Variable::TlsCipher => {
                let name = format!("{:?}", facts.suite.suite()).replace("TLS13_", "TLS_");
                self.text(name.as_bytes());
            }
            Variable::TlsGroup => {
                let name = facts.group.map(|group| format!("{group:?}"));
                self.text(name.unwrap_or_default().as_bytes());
            }
            Variable::TlsServerName => self.text(facts.server_name.as_deref().unwrap_or("").as_bytes()),
            Variable::TlsResumed => {
                self.out.extend_from_slice(if facts.resumed { b"true" } else { b"false" });
            }
            Variable::ClientCertSubject => {
                self.text(peer().map_or("", |peer| &peer.facts.subject).as_bytes());
            }
            Variable::ClientCertNames => {
                let names = peer().map(|peer| [&peer.facts.dns[..], &peer.facts.uris].concat().join(" "));
                self.text(names.unwrap_or_default().as_bytes());
            }
            Variable::ClientCertFingerprint => {
                self.text(peer().map(|peer| peer.fingerprint()).unwrap_or_default().as_bytes());
            }
            _ => {
                let id = peer().and_then(|peer| peer.facts.spiffe_id.as_deref());
                self.text(id.unwrap_or("").as_bytes());
            }
        }
    }

    fn absent(&mut self) {
        self.out.extend_from_slice(if self.style == Style::Json { b"null" } else { b"-" });
    }

    fn text(&mut self, value: &[u8]) {
        if value.is_empty() {
            return self.absent();
        }
        match self.style {
            Style::Text => push_text(self.out, value, FIELD_BYTES_MAX),
            Style::Json => {
                self.out.push(b'"');
                push_json(self.out, value, FIELD_BYTES_MAX);
                self.out.push(b'"');
            }
        }
    }

    fn number(&mut self, value: u64) {
        push_number(self.out, value);
    }

    fn micros(&mut self, from: Instant, to: Option<Instant>) {
        let Some(to) = to else { return self.absent() };
        let waited: Duration = to.saturating_duration_since(from);
        self.number(waited.as_secs().wrapping_mul(1_000_000).wrapping_add(u64::from(waited.subsec_micros())));
    }

    fn client(&mut self) {
        let Some(client) = self.outcome.client else { return self.absent() };
        let quote: &[u8] = if self.style == Style::Json { b"\"" } else { b"" };
        self.out.extend_from_slice(quote);
        push_ip(self.out, client);
        self.out.extend_from_slice(quote);
    }
}

#[cfg(test)]
mod tests;
