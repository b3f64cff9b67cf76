//! A strict reader of HTTP/1.1 messages (RFC 9112), written for these tests alone: what it accepts, every parser
//! frames in the same way.

use std::ops::Deref;

use crate::wire::{Broken, Wire};

/// A request as an origin received it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which connection of the origin it came over, from 0.
    pub connection: usize,
    pub method: String,
    pub target: String,
    pub version: String,
    message: Message,
}

/// A response as a client received it.
#[derive(Debug, Clone)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    message: Message,
}

/// What requests and responses have in common; both give it by `Deref`.
#[derive(Debug, Clone)]
pub struct Message {
    pub fields: Vec<(String, String)>,
    /// The head as it was on the wire.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    /// The body as it was on the wire, chunk framing and trailers included.
    pub body_on_wire: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Exact(usize),
    Chunked,
    UntilClose,
}

#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    on_wire: Vec<u8>,
    trailers: Vec<(String, String)>,
}

impl Message {
    /// The first field of that name, whatever its case.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// Every field of that name, in order.
    pub fn fields_named(&self, name: &str) -> Vec<&str> {
        fields_named(&self.fields, name)
    }

    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn read(
        wire: &mut Wire,
        head: Vec<u8>,
        fields: Vec<(String, String)>,
        length: Length,
    ) -> Result<Message, Broken> {
        let Body { bytes, on_wire, trailers } = read_body(wire, length)?;
        Ok(Message { fields, head, body: bytes, body_on_wire: on_wire, trailers })
    }
}

impl Response {
    /// The reason code of a local reply; an origin's never has one.
    pub fn reason_code(&self) -> Option<&str> {
        self.field("x-ringway-reason")
    }

    /// Whether the sender says that the connection ends after this response.
    pub fn says_close(&self) -> bool {
        let close = |value: &str| value.split(',').any(|token| token.trim().eq_ignore_ascii_case("close"));
        self.fields_named("connection").into_iter().any(close)
    }
}

impl Deref for Request {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl Deref for Response {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

pub(crate) fn read_request(wire: &mut Wire) -> Result<Request, Broken> {
    let head = wire.head()?;
    let (start, fields) = parse_head(&head)?;
    let parts: Vec<&str> = start.split(' ').collect();
    let [method, target, version] = parts[..] else {
        return malformed(format!("request line {start:?}"));
    };
    if !method.bytes().all(is_token_byte) || target.is_empty() || version != "HTTP/1.1" {
        return malformed(format!("request line {start:?}"));
    }
    let (method, target, version) = (method.to_owned(), target.to_owned(), version.to_owned());
    if fields_named(&fields, "host").len() != 1 {
        return malformed(format!("not exactly one Host in {fields:?}"));
    }
    let length = match declared_length(&fields)? {
        Some(length) => length,
        None => Length::Exact(0),
    };
    let message = Message::read(wire, head, fields, length)?;
    Ok(Request { connection: 0, method, target, version, message })
}

pub(crate) fn read_response(wire: &mut Wire, method: &str) -> Result<Response, Broken> {
    let head = wire.head()?;
    let (start, fields) = parse_head(&head)?;
    let mut parts = start.splitn(3, ' ');
    let (version, status, reason) = (parts.next(), parts.next(), parts.next());
    let (Some(version @ ("HTTP/1.0" | "HTTP/1.1")), Some(status), Some(reason)) = (version, status, reason)
    else {
        return malformed(format!("status line {start:?}"));
    };
    let status = match status.parse::<u16>() {
        Ok(code @ 100..=599) if status.len() == 3 => code,
        _ => return malformed(format!("status line {start:?}")),
    };
    let (version, reason) = (version.to_owned(), reason.to_owned());
    // RFC 9112 section 6.3: these never have a body, whatever their fields say.
    let never = method == "HEAD" || status < 200 || status == 204 || status == 304;
    let declared = declared_length(&fields)?;
    let tunnel = method == "CONNECT" && (200..300).contains(&status);
    let length = match declared {
        _ if never || tunnel => Length::Exact(0),
        Some(length) => length,
        None => Length::UntilClose,
    };
    let message = Message::read(wire, head, fields, length)?;
    Ok(Response { version, status, reason, message })
}

fn declared_length(fields: &[(String, String)]) -> Result<Option<Length>, Broken> {
    let lengths = fields_named(fields, "content-length");
    let codings = fields_named(fields, "transfer-encoding");
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Length::Chunked)),
        ([digits], []) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .map(|count| Some(Length::Exact(count)))
            .or_else(|_| malformed(format!("length {digits}"))),
        _ => {
            malformed(format!("ambiguous framing: Content-Length {lengths:?}, Transfer-Encoding {codings:?}"))
        }
    }
}

fn read_body(wire: &mut Wire, length: Length) -> Result<Body, Broken> {
    match length {
        Length::Exact(count) => {
            let bytes = wire.exactly(count)?;
            Ok(Body { on_wire: bytes.clone(), bytes, trailers: Vec::new() })
        }
        Length::UntilClose => {
            let bytes = wire.rest()?;
            Ok(Body { on_wire: bytes.clone(), bytes, trailers: Vec::new() })
        }
        Length::Chunked => read_chunked(wire),
    }
}

fn read_chunked(wire: &mut Wire) -> Result<Body, Broken> {
    let mut body = Body::default();
    loop {
        let line = crlf_line(wire, &mut body.on_wire)?;
        let size = line.split(';').next().unwrap_or_default().trim_end_matches([' ', '\t']);
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return malformed(format!("chunk line {line:?}"));
        }
        let size = usize::from_str_radix(size, 16).or_else(|_| malformed(format!("chunk line {line:?}")))?;
        if size == 0 {
            break;
        }
        let data = wire.exactly(size)?;
        body.on_wire.extend_from_slice(&data);
        body.bytes.extend_from_slice(&data);
        let end = crlf_line(wire, &mut body.on_wire)?;
        if !end.is_empty() {
            return malformed(format!("{end:?} after a chunk"));
        }
    }
    loop {
        let line = crlf_line(wire, &mut body.on_wire)?;
        if line.is_empty() {
            return Ok(body);
        }
        body.trailers.push(parse_field(&line)?);
    }
}

/// A line without its CRLF; a bare CR or LF is malformed.
fn crlf_line(wire: &mut Wire, on_wire: &mut Vec<u8>) -> Result<String, Broken> {
    let line = wire.line()?;
    on_wire.extend_from_slice(&line);
    let Some(text) = line.strip_suffix(b"\r\n") else {
        return malformed(format!("line without CRLF: {:?}", String::from_utf8_lossy(&line)));
    };
    if text.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return malformed(format!("control byte in line {:?}", String::from_utf8_lossy(text)));
    }
    Ok(latin1(text))
}

fn parse_head(head: &[u8]) -> Result<(String, Vec<(String, String)>), Broken> {
    let text = head.strip_suffix(b"\r\n\r\n").unwrap_or(head);
    let mut lines = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        lines.push(line);
    }
    // As many LF as CRLF, and no CR, LF or NUL elsewhere.
    let crlf = text.windows(2).filter(|two| two == b"\r\n").count();
    if lines.len() != crlf + 1 || lines.iter().any(|line| line.iter().any(|b| matches!(b, 0 | b'\r'))) {
        return malformed(format!("bare CR, LF or NUL in head {:?}", String::from_utf8_lossy(head)));
    }
    let mut lines = lines.into_iter().map(latin1);
    let start = lines.next().unwrap_or_default();
    let fields = lines.map(|line| parse_field(&line)).collect::<Result<_, _>>()?;
    Ok((start, fields))
}

fn parse_field(line: &str) -> Result<(String, String), Broken> {
    match line.split_once(':') {
        Some((name, value)) if !name.is_empty() && name.bytes().all(is_token_byte) => {
            let value = value.trim_matches([' ', '\t']);
            if value.bytes().any(|byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
                return malformed(format!("control byte in field {line:?}"));
            }
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => malformed(format!("field line {line:?}")),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// One character per byte, so that no byte is lost.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn field<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn fields_named<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

fn malformed<T>(what: String) -> Result<T, Broken> {
    Err(Broken::Malformed(what))
}
