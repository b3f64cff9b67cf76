//! Just enough of HTTP/1.1 heads for a tester: where a head ends, and what frames the body.
//!
//! **Invariant:** not a parser to put before untrusted peers; both ends of the tester are ours.

/// What the client needs of a response head.
#[derive(Debug, PartialEq, Eq)]
pub struct ResponseHead {
    pub status: u16,
    /// Length of the head with its final CRLF CRLF.
    pub bytes: usize,
    /// `None`: no Content-Length, which this tester does not accept.
    pub content_length: Option<u64>,
    pub close: bool,
}

/// A response head that is not HTTP/1.x.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a response head, or `None` when more bytes are needed.
pub fn parse_response(bytes: &[u8]) -> Result<Option<ResponseHead>, Malformed> {
    let Some(end) = head_end(bytes) else { return Ok(None) };
    let head = bytes.get(..end).ok_or(Malformed)?;
    let status = match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', a, b, c, ..] => {
            digits(&[*a, *b, *c]).ok_or(Malformed)?
        }
        _ => return Err(Malformed),
    };
    let mut parsed = ResponseHead { status: status as u16, bytes: end, content_length: None, close: false };
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        // The length picks the two names of interest before any comparison.
        if line.len() > 15 && line[14] == b':' && line[..14].eq_ignore_ascii_case(b"content-length") {
            parsed.content_length = Some(digits(line[15..].trim_ascii()).ok_or(Malformed)?);
        } else if line.len() > 11 && line[10] == b':' && line[..10].eq_ignore_ascii_case(b"connection") {
            parsed.close = line[11..].trim_ascii().eq_ignore_ascii_case(b"close");
        }
    }
    Ok(Some(parsed))
}

/// What the origin needs of a request head: its length and that of the body that follows.
pub fn parse_request(bytes: &[u8]) -> Option<(usize, u64)> {
    let end = head_end(bytes)?;
    // GET and HEAD of this tester have no body.
    if bytes.starts_with(b"GET ") || bytes.starts_with(b"HEAD ") {
        return Some((end, 0));
    }
    let lines = bytes.get(..end)?.split(|&byte| byte == b'\n').skip(1);
    let length = lines
        .filter(|line| {
            line.len() > 15 && line[14] == b':' && line[..14].eq_ignore_ascii_case(b"content-length")
        })
        .find_map(|line| digits(line[15..].trim_ascii()));
    Some((end, length.unwrap_or(0)))
}

/// The position behind the first CRLF CRLF.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|&byte| byte == b'\r') {
        let here = from + at;
        if bytes.get(here..here + 4)? == b"\r\n\r\n" {
            return Some(here + 4);
        }
        from = here + 1;
    }
    None
}

/// A decimal number of at most 18 digits, and nothing else.
pub fn digits(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 18 {
        return None;
    }
    bytes.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_status_length_and_close() {
        let bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 64\r\nConnection: close\r\n\r\nbody";
        let head = parse_response(bytes).expect("well-formed").expect("complete");
        assert_eq!(
            head,
            ResponseHead { status: 200, bytes: bytes.len() - 4, content_length: Some(64), close: true }
        );
    }

    #[test]
    fn needs_the_whole_head() {
        assert_eq!(parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r"), Ok(None));
    }

    #[test]
    fn refuses_what_is_not_http() {
        assert_eq!(parse_response(b"SSH-2.0-x\r\n\r\n"), Err(Malformed));
        assert_eq!(parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n"), Err(Malformed));
    }

    #[test]
    fn finds_request_bodies() {
        assert_eq!(parse_request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), Some((27, 0)));
        assert_eq!(parse_request(b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello"), Some((38, 5)));
        assert_eq!(parse_request(b"POST / HTTP/1.1\r\n"), None);
    }
}
