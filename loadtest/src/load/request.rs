//! The requests that are sent: what a user asks for, rendered.

use std::io;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ringway_protocols::http1::{HeadLimits, Parsed, parse_request};
use ringway_protocols::message::RequestHead;

use super::codec::Protocol;
use super::proto::Call;
use super::random::Random;
use super::target::Target;
use super::template::{Data, Fill, Template};

/// One kind of request.
#[derive(Clone, Debug)]
pub struct RequestConfig {
    pub name: String,
    /// Its share among the kinds.
    pub weight: u32,
    pub method: String,
    /// `None`: the path of the target's URL.
    pub path: Option<Template>,
    pub headers: Vec<(String, Template)>,
    pub body: Template,
    pub has_body: bool,
    pub data: Data,
    /// How long a connection rests after the answer.
    pub think: Duration,
    pub expect: Expect,
    /// Messages of a gRPC call.
    pub messages: u32,
    /// The method that makes messages from a body of JSON; without it, the body is the encoded message.
    pub call: Option<Call>,
}

/// What an answer must be; another one counts as an error.
#[derive(Clone, Debug, Default)]
pub struct Expect {
    /// Empty: anything below 400.
    pub statuses: Vec<u16>,
    pub body_contains: Option<String>,
    pub latency_max: Option<Duration>,
}

impl Default for RequestConfig {
    fn default() -> RequestConfig {
        RequestConfig {
            name: "request".into(),
            weight: 1,
            method: "GET".into(),
            path: None,
            headers: Vec::new(),
            body: Template::default(),
            has_body: false,
            data: Data::default(),
            think: Duration::ZERO,
            expect: Expect::default(),
            messages: 1,
            call: None,
        }
    }
}

impl RequestConfig {
    /// Makes the messages once, so that JSON that does not fit is refused before anything is sent.
    pub fn check_messages(&self) -> io::Result<()> {
        let (counter, mut random) = (AtomicU64::new(0), Random::new(1));
        let mut fill = Fill { counter: &counter, random: &mut random, data: &self.data, row: 0 };
        self.render_messages(&mut Vec::new(), &mut fill)
    }

    fn render_messages(&self, out: &mut Vec<u8>, fill: &mut Fill<'_>) -> io::Result<()> {
        if let Some(call) = &self.call {
            let mut json = Vec::new();
            self.body.render(&mut json, fill);
            let json = String::from_utf8(json).map_err(io::Error::other)?;
            return call.encode(&json, self.messages, out).map_err(io::Error::other);
        }
        for _ in 0..self.messages {
            let start = out.len();
            out.extend_from_slice(&[0; 5]);
            self.body.render(out, fill);
            let length = (out.len() - start - 5) as u32;
            if let Some(prefix) = out.get_mut(start + 1..start + 5) {
                prefix.copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(())
    }
}

/// The bytes of one request, as HTTP/1.1 sends it, and what HTTP/2 makes its own head from.
#[derive(Clone, Debug, Default)]
pub struct Rendered {
    bytes: Vec<u8>,
    head_bytes: usize,
    parsed: RequestHead,
    is_head: bool,
}

impl Rendered {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.head_bytes..).unwrap_or_default()
    }

    pub fn parsed(&self) -> &RequestHead {
        &self.parsed
    }

    pub fn is_head(&self) -> bool {
        self.is_head
    }
}

/// The requests of one worker.
pub struct Requests<'a> {
    configs: &'a [RequestConfig],
    targets: &'a [Target],
    counter: &'a AtomicU64,
    protocol: Protocol,
    new_connection: bool,
    /// By target, then by kind.
    rendered: Vec<Vec<Rendered>>,
    constant: Vec<bool>,
    weights: u64,
    body: Vec<u8>,
    pub random: Random,
}

const HEAD_LIMITS: HeadLimits =
    HeadLimits { bytes_max: 256 << 10, fields_max: 1000, target_bytes_max: 64 << 10 };
const USER_AGENT: &str = concat!("ringway-load/", env!("CARGO_PKG_VERSION"));

impl<'a> Requests<'a> {
    /// Renders each kind once, so that what cannot be sent is refused before anything is.
    pub fn new(
        configs: &'a [RequestConfig],
        targets: &'a [Target],
        counter: &'a AtomicU64,
        protocol: Protocol,
        new_connection: bool,
        random: Random,
    ) -> io::Result<Requests<'a>> {
        let is_constant = |config: &RequestConfig| {
            let parts =
                config.headers.iter().map(|(_, value)| value).chain(&config.path).chain([&config.body]);
            parts.into_iter().all(Template::is_constant)
        };
        let mut requests = Requests {
            configs,
            targets,
            counter,
            protocol,
            new_connection,
            rendered: vec![vec![Rendered::default(); configs.len()]; targets.len()],
            constant: configs.iter().map(is_constant).collect(),
            weights: configs.iter().map(|config| u64::from(config.weight)).sum(),
            body: Vec::new(),
            random,
        };
        for target in 0..targets.len() {
            for kind in 0..configs.len() {
                if requests.constant.get(kind) == Some(&true) {
                    requests.render(target, kind)?;
                }
            }
        }
        Ok(requests)
    }

    /// The path and the fields of a WebSocket's handshake, which are those of the first kind.
    pub fn handshake(&mut self, target: &Target) -> (String, Vec<(String, String)>) {
        let Some(config) = self.configs.first() else { return (target.path.clone(), Vec::new()) };
        let row = self.random.below(config.data.rows.len() as u64) as usize;
        let mut fill = Fill { counter: self.counter, random: &mut self.random, data: &config.data, row };
        let mut text = |template: &Template| {
            let mut out = Vec::new();
            template.render(&mut out, &mut fill);
            String::from_utf8_lossy(&out).into_owned()
        };
        let path = config.path.as_ref().map_or_else(|| target.path.clone(), &mut text);
        let fields = config.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        (path, fields)
    }

    /// The kind of the next request, by weight.
    pub fn pick(&mut self) -> usize {
        if self.configs.len() == 1 {
            return 0;
        }
        let mut left = self.random.below(self.weights);
        for (kind, config) in self.configs.iter().enumerate() {
            match left.checked_sub(u64::from(config.weight)) {
                Some(rest) => left = rest,
                None => return kind,
            }
        }
        0
    }

    /// The bytes of a request of this kind to this target.
    pub fn get(&mut self, target: usize, kind: usize) -> io::Result<&Rendered> {
        if self.constant.get(kind) == Some(&false) {
            self.render(target, kind)?;
        }
        let rendered = self.rendered.get(target).and_then(|kinds| kinds.get(kind));
        rendered.ok_or_else(|| io::Error::other("no such kind of request"))
    }

    fn render(&mut self, target: usize, kind: usize) -> io::Result<()> {
        let (Some(config), Some(to)) = (self.configs.get(kind), self.targets.get(target)) else {
            return Ok(());
        };
        let Some(rendered) = self.rendered.get_mut(target).and_then(|kinds| kinds.get_mut(kind)) else {
            return Ok(());
        };
        let row = self.random.below(config.data.rows.len() as u64) as usize;
        let mut fill = Fill { counter: self.counter, random: &mut self.random, data: &config.data, row };
        self.body.clear();
        if self.protocol == Protocol::Grpc {
            config.render_messages(&mut self.body, &mut fill)?;
        } else {
            config.body.render(&mut self.body, &mut fill);
        }
        let out = &mut rendered.bytes;
        out.clear();
        out.extend_from_slice(config.method.as_bytes());
        out.push(b' ');
        match &config.path {
            Some(path) => path.render(out, &mut fill),
            None => out.extend_from_slice(to.path.as_bytes()),
        }
        // A space would end the target, and the rest would be the version (RFC 9112 3).
        let path = out.get(config.method.len() + 1..).unwrap_or_default();
        if path.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            let path = String::from_utf8_lossy(path).into_owned();
            return Err(io::Error::other(format!(
                "the path {path:?} has a space or a control character: write %20"
            )));
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        let given = |name: &str| config.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let mut field = |name: &str, value: &str| {
            if !given(name) {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
        };
        field("Host", &to.authority);
        field("User-Agent", USER_AGENT);
        if self.protocol == Protocol::Grpc {
            field("Content-Type", "application/grpc");
            field("TE", "trailers");
        } else if config.has_body || matches!(config.method.as_str(), "POST" | "PUT" | "PATCH") {
            field("Content-Length", &self.body.len().to_string());
        }
        if self.new_connection {
            field("Connection", "close");
        }
        for (name, value) in &config.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            value.render(out, &mut fill);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        rendered.head_bytes = out.len();
        rendered.is_head = config.method == "HEAD";
        if matches!(self.protocol, Protocol::Http2 | Protocol::Grpc) {
            match parse_request(out, &HEAD_LIMITS, &mut rendered.parsed) {
                Ok(Parsed::Complete) => {}
                other => {
                    return Err(io::Error::other(format!("{}: not a valid request: {other:?}", config.name)));
                }
            }
        }
        out.extend_from_slice(&self.body);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(config: RequestConfig, protocol: Protocol) -> String {
        let targets = [Target::parse("http://127.0.0.1:1/a").expect("a target")];
        let counter = AtomicU64::new(0);
        let configs = [config];
        let mut requests =
            Requests::new(&configs, &targets, &counter, protocol, false, Random::new(1)).expect("valid");
        let rendered = requests.get(0, 0).expect("rendered");
        String::from_utf8(rendered.bytes().to_vec()).expect("text")
    }

    #[test]
    fn a_request_has_its_host_length_and_own_headers() {
        let data = Data::default();
        let config = RequestConfig {
            method: "POST".into(),
            headers: vec![
                ("X-Id".into(), Template::parse("{counter}", &data).expect("valid")),
                ("host".into(), Template::literal(b"shop.test".to_vec())),
            ],
            body: Template::literal(b"hello".to_vec()),
            has_body: true,
            ..RequestConfig::default()
        };
        let expected = format!(
            "POST /a HTTP/1.1\r\nUser-Agent: {USER_AGENT}\r\nContent-Length: 5\r\nX-Id: 1\r\nhost: shop.test\r\n\r\nhello"
        );
        assert_eq!(text(config, Protocol::Http1), expected);
    }

    #[test]
    fn a_path_that_would_end_the_request_line_is_refused() {
        let targets = [Target::parse("http://127.0.0.1:1/a b").expect("a target")];
        let (configs, counter) = ([RequestConfig::default()], AtomicU64::new(0));
        let requests = Requests::new(&configs, &targets, &counter, Protocol::Http1, false, Random::new(1));
        assert!(requests.is_err_and(|error| error.to_string().contains("%20")));
    }

    #[test]
    fn grpc_messages_have_their_prefix() {
        let config = RequestConfig {
            method: "POST".into(),
            body: Template::literal(b"ab".to_vec()),
            has_body: true,
            messages: 2,
            ..RequestConfig::default()
        };
        assert!(text(config, Protocol::Grpc).ends_with("\r\n\r\n\0\0\0\0\x02ab\0\0\0\0\x02ab"));
    }

    #[test]
    fn kinds_are_picked_by_weight() {
        let kind = |weight| RequestConfig { weight, ..RequestConfig::default() };
        let configs = [kind(1), kind(0), kind(3)];
        let (targets, counter) = ([Target::parse("127.0.0.1:1").expect("a target")], AtomicU64::new(0));
        let mut requests =
            Requests::new(&configs, &targets, &counter, Protocol::Http1, false, Random::new(9))
                .expect("valid");
        let mut counts = [0; 3];
        (0..4000).for_each(|_| counts[requests.pick()] += 1);
        assert_eq!(counts[1], 0);
        assert!((900..1100).contains(&counts[0]), "seed 9: {counts:?}");
    }
}
