//! Reading the server name out of a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3) without taking part in the handshake.
//!
//! The hello may come in any pieces: records may be split over segments, and the message over records (RFC 8446 5.1). The
//! reader looks at each byte once and holds no more than [`HELLO_BYTES_MAX`]. **Invariant:** what it accepts has one meaning; a
//! hello that two readers could take for different names is refused.

use std::fmt;

/// Bytes of one ClientHello message. With post-quantum key shares they have about 2 KiB.
pub const HELLO_BYTES_MAX: usize = 16 << 10;
/// Bytes of all records of a hello. One byte a record is allowed, but not for a message of any size.
pub const RECORDS_BYTES_MAX: usize = 32 << 10;

/// Content of a record (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;
/// Largest record of plaintext (RFC 8446 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;
const RECORD_HEADER_BYTES: usize = 5;
/// Type of a handshake message (RFC 8446 4).
const CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER_BYTES: usize = 4;
/// Extensions (RFC 6066 3, RFC 7301 3.1).
const SERVER_NAME: u16 = 0;
const ALPN: u16 = 16;
/// Kind of a server name; there are no others.
const HOST_NAME: u8 = 0;
const NAME_BYTES_MAX: usize = 253;

/// What a ClientHello says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientHello {
    /// The name asked for, in lower case.
    pub server_name: Option<String>,
    /// Protocols offered, in the client's order.
    pub alpn: Vec<Vec<u8>>,
}

/// Why bytes are no ClientHello that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloError {
    /// The first bytes are none of TLS.
    NotTls,
    /// It is TLS that does not begin with a ClientHello, or one that breaks a rule; the rule.
    Malformed(&'static str),
    /// The message or its records are larger than anybody needs.
    TooLarge,
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::NotTls => f.write_str("the connection does not begin with a TLS handshake"),
            HelloError::Malformed(rule) => write!(f, "malformed ClientHello: {rule}"),
            HelloError::TooLarge => f.write_str("the ClientHello is too large"),
        }
    }
}

impl std::error::Error for HelloError {}

/// Puts a ClientHello together.
#[derive(Debug, Default)]
pub struct HelloReader {
    header: [u8; RECORD_HEADER_BYTES],
    header_bytes: usize,
    /// Bytes of the record that are still to come.
    record_left: usize,
    received: usize,
    message: Vec<u8>,
}

impl HelloReader {
    /// Takes in the next bytes of the connection. `Some`: the hello was complete, and the reader is done.
    ///
    /// # Errors
    /// When there can be no hello any more.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        while !input.is_empty() {
            if self.record_left == 0 {
                input = self.feed_header(input)?;
                continue;
            }
            let (fragment, rest) = input.split_at(input.len().min(self.record_left));
            input = rest;
            self.record_left -= fragment.len();
            self.count(fragment.len())?;
            self.message.extend_from_slice(fragment);
            if let Some(hello) = self.parse()? {
                return Ok(Some(hello));
            }
        }
        Ok(None)
    }

    fn feed_header<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], HelloError> {
        let (byte, rest) = input.split_first().ok_or(HelloError::NotTls)?;
        if let Some(place) = self.header.get_mut(self.header_bytes) {
            *place = *byte;
        }
        self.header_bytes += 1;
        self.count(1)?;
        // Each byte is looked at as it comes, so that what is not TLS does not wait for more.
        let first_record = self.message.is_empty();
        let fits = match self.header_bytes {
            1 => *byte == HANDSHAKE,
            // Versions 3.1 to 3.4 have been seen on hellos; the minor one has no meaning (RFC 8446 5.1).
            2 => *byte == 3,
            3 => *byte <= 4,
            _ => true,
        };
        if !fits {
            return Err(match first_record {
                true => HelloError::NotTls,
                false => HelloError::Malformed("another record comes before its end"),
            });
        }
        if self.header_bytes == RECORD_HEADER_BYTES {
            let [.., high, low] = self.header;
            self.record_left = usize::from(u16::from_be_bytes([high, low]));
            self.header_bytes = 0;
            if self.record_left == 0 {
                return Err(HelloError::Malformed("a record of a handshake is empty"));
            }
            if self.record_left > RECORD_BYTES_MAX {
                return Err(HelloError::Malformed("a record is larger than 16 KiB"));
            }
        }
        Ok(rest)
    }

    fn count(&mut self, bytes: usize) -> Result<(), HelloError> {
        self.received += bytes;
        if self.received > RECORDS_BYTES_MAX { Err(HelloError::TooLarge) } else { Ok(()) }
    }

    /// Reads the message once all of it is there.
    fn parse(&self) -> Result<Option<ClientHello>, HelloError> {
        if self.message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(HelloError::Malformed("the first message is another one"));
        }
        let Some((&[_, a, b, c], body)) = self.message.split_first_chunk::<MESSAGE_HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        if length > HELLO_BYTES_MAX {
            return Err(HelloError::TooLarge);
        }
        // What follows in the same record is the server's business.
        body.get(..length).map(parse_body).transpose()
    }
}

/// The body of a ClientHello (RFC 8446 4.1.2).
fn parse_body(body: &[u8]) -> Result<ClientHello, HelloError> {
    let mut reader = Reader(body);
    let [major, _] = reader.array("it has no version")?;
    if major != 3 {
        return Err(HelloError::Malformed("its version is none of TLS"));
    }
    reader.array::<32>("it has no random")?;
    if reader.vector8("its session id is cut off")?.len() > 32 {
        return Err(HelloError::Malformed("its session id is longer than 32 bytes"));
    }
    let suites = reader.vector16("its cipher suites are cut off")?;
    if suites.is_empty() || !suites.len().is_multiple_of(2) {
        return Err(HelloError::Malformed("its cipher suites are no list of pairs"));
    }
    if reader.vector8("its compression methods are cut off")?.is_empty() {
        return Err(HelloError::Malformed("it has no compression method"));
    }
    let mut hello = ClientHello::default();
    // TLS 1.2 allows a hello without any extension (RFC 5246 7.4.1.2).
    if reader.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = Reader(reader.vector16("its extensions are cut off")?);
    if !reader.0.is_empty() {
        return Err(HelloError::Malformed("bytes follow its extensions"));
    }
    let (mut named, mut offered) = (false, false);
    while !extensions.0.is_empty() {
        let kind = u16::from_be_bytes(extensions.array("an extension is cut off")?);
        let data = extensions.vector16("an extension is cut off")?;
        // One of a kind (RFC 8446 4.2).
        match kind {
            SERVER_NAME if std::mem::replace(&mut named, true) => {
                return Err(HelloError::Malformed("it has two server_name extensions"));
            }
            SERVER_NAME => hello.server_name = Some(parse_server_name(data)?),
            ALPN if std::mem::replace(&mut offered, true) => {
                return Err(HelloError::Malformed("it has two ALPN extensions"));
            }
            ALPN => hello.alpn = parse_alpn(data)?,
            _ => {}
        }
    }
    Ok(hello)
}

/// A ServerNameList (RFC 6066 3), of which only one form is left: a single host name.
fn parse_server_name(data: &[u8]) -> Result<String, HelloError> {
    const RULE: HelloError = HelloError::Malformed("its server name is not one host name");
    let mut reader = Reader(data);
    let mut list = Reader(reader.vector16("its server names are cut off")?);
    if !reader.0.is_empty() || list.array::<1>("its list of server names is empty")? != [HOST_NAME] {
        return Err(RULE);
    }
    let name = list.vector16("its server name is cut off")?;
    if !list.0.is_empty() || !is_host_name(name) {
        return Err(RULE);
    }
    let text = std::str::from_utf8(name).map_err(|_| RULE)?;
    Ok(text.to_ascii_lowercase())
}

/// A name of the DNS in ASCII, without a dot at its end; never an address (RFC 6066 3).
fn is_host_name(name: &[u8]) -> bool {
    let label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'-' || *c == b'_')
    };
    let last = name.rsplit(|c| *c == b'.').next().unwrap_or_default();
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.split(|c| *c == b'.').all(label)
        // An address of IPv4; those of IPv6 have colons.
        && !last.iter().all(u8::is_ascii_digit)
}

/// A ProtocolNameList (RFC 7301 3.1).
fn parse_alpn(data: &[u8]) -> Result<Vec<Vec<u8>>, HelloError> {
    let mut reader = Reader(data);
    let mut list = Reader(reader.vector16("its ALPN is cut off")?);
    let mut names = Vec::new();
    while !list.0.is_empty() {
        let name = list.vector8("a protocol name is cut off")?;
        if name.is_empty() {
            return Err(HelloError::Malformed("a protocol name is empty"));
        }
        names.push(name.to_vec());
    }
    if names.is_empty() || !reader.0.is_empty() {
        return Err(HelloError::Malformed("its ALPN is no list of names"));
    }
    Ok(names)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self, rule: &'static str) -> Result<[u8; N], HelloError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(HelloError::Malformed(rule))?;
        self.0 = rest;
        Ok(*head)
    }

    fn bytes(&mut self, length: usize, rule: &'static str) -> Result<&'a [u8], HelloError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(HelloError::Malformed(rule))?;
        self.0 = rest;
        Ok(head)
    }

    fn vector8(&mut self, rule: &'static str) -> Result<&'a [u8], HelloError> {
        let [length] = self.array(rule)?;
        self.bytes(usize::from(length), rule)
    }

    fn vector16(&mut self, rule: &'static str) -> Result<&'a [u8], HelloError> {
        let length = u16::from_be_bytes(self.array(rule)?);
        self.bytes(usize::from(length), rule)
    }
}

#[cfg(test)]
mod tests;
