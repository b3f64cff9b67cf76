//! Mutations of bytes: flips, cuts, copies, splices, and words that parsers stumble over.

/// Words of HTTP/1.1 heads.
pub(crate) const HTTP1: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b": ",
    b",",
    b"\x0b",
    b"\x7f",
    b"\xff",
    b"0",
    b"5",
    b"chunked",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"content-length:6\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"transfer-encoding:chunked\r\n",
    b"Content_Length: 3\r\n",
    b"Host: a\r\n",
    b"Connection: close\r\n",
    b"Connection: x, Content-Length\r\n",
    b"Connection: upgrade\r\nUpgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"GET / HTTP/1.1\r\n",
    b"http://a/",
    b"#",
    b"?",
    b"*",
    b"\r\n ",
    b"TE: trailers\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"CONNECT a:80 HTTP/1.1\r\n",
    b"HEAD",
    b"204",
    b"304",
    b"101",
];

/// Words of header blocks.
pub(crate) const HPACK: &[&[u8]] = &[
    b"\x82",
    b"\x84",
    b"\xbe",
    b"\xbf",
    b"\xc0",
    b"\xff",
    b"\x80",
    b"\x20",
    b"\x3f\xe1\x1f",
    b"\x3f\xe1\x01",
    b"\x40\x01x\x01y",
    b"\x00\x01x\x01y",
    b"\x10\x01x\x01y",
    b"\x7f\x00\x01z",
    b"\x0f\x2f\x01z",
    b"\x60\x03c=d",
    b"\x44\x84\x62\x53\x9f\xff",
    b"\x40\x88\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f\x89\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf",
    b"\x05\x40\x01x\x01y",
    b"\x02\xbe\xbf",
    b"\x01\x20",
];

/// Lines of heads over HTTP/2, as `http2_heads` reads them.
pub(crate) const HEADS: &[&[u8]] = &[
    b":method: GET\n",
    b":method: CONNECT\n",
    b":scheme: http\n",
    b":path: /x?y\n",
    b":authority: a:1\n",
    b":protocol: websocket\n",
    b":status: 200\n",
    b"content-length: 5\n",
    b"content-length: 0\n",
    b"content-length: 05\n",
    b"transfer-encoding: chunked\n",
    b"connection: close\n",
    b"cookie: e=f\n",
    b"!cookie: \n",
    b"+cookie: g\n",
    b"host: a\n",
    b"host: www.example.com\n",
    b"te: trailers\n",
    b"te: gzip\n",
    b"expect: 100-continue\n",
    b"upgrade: h2c\n",
    b"x_forwarded_for: 1\n",
    b"content_length: 5\n",
    b"trailer: x\n",
    b"~x: y\n",
    b"+x: y\n",
    b"!x: y\n",
    b"X: y\n",
    b"http2-settings: x\n",
    b"sec-websocket-key: x\n",
    b"\n",
    b"\r",
    b"\0",
    b": ",
    b":",
    b" ",
    b"\t",
    b"#",
    b"%",
    b"~",
    b"!",
    b"+",
    b"*",
    b"HEAD",
    b"TRACE",
    b"304",
    b"103",
    b"\x7f",
    b"\xff",
    b"A",
];

/// HTTP/2 frames, as a type, flags, a stream and a length; and what is within them.
pub(crate) const FRAMES: &[&[u8]] = &[
    b"\x00\x00\x01\x05hello",
    b"\x00\x01\x01\x00",
    b"\x00\x01\x03\x02ab",
    b"\x00\x08\x01\x03\x01ab",
    b"\x00\x09\x01\x01\x00",
    b"\x01\x05\x01\x06\x82\x86\x84\x41\x01a",
    b"\x01\x05\x03\x06\x82\x86\x84\x41\x01a",
    b"\x01\x04\x05\x06\x83\x86\x84\x41\x01a",
    b"\x01\x04\x07\x09\x83\x86\x84\x41\x01a\x5c\x015",
    b"\x01\x00\x09\x01\x82",
    b"\x01\x05\x01\x00",
    b"\x01\x04\x01\x01\x88",
    b"\x01\x05\x03\x01\x88",
    b"\x01\x04\x05\x05\x08\x03103",
    b"\x01\x25\x01\x08\0\0\0\x01\x10\x82\x86\x84",
    b"\x01\x05\x01\x05\0\x01x\x01y",
    b"\x02\x00\x01\x05\0\0\0\x01\x10",
    b"\x03\x00\x01\x04\0\0\0\x08",
    b"\x03\x00\x03\x04\0\0\0\x07",
    b"\x04\x00\x00\x00",
    b"\x04\x01\x00\x00",
    b"\x04\x00\x00\x06\0\x04\0\0\0\0",
    b"\x04\x00\x00\x06\0\x04\x7f\xff\xff\xff",
    b"\x04\x00\x00\x06\0\x01\0\0\0\0",
    b"\x04\x00\x00\x06\0\x05\0\xff\xff\xff",
    b"\x05\x04\x01\x05\0\0\0\x02\x82",
    b"\x06\x00\x00\x08pingpong",
    b"\x06\x01\x00\x08rw-drain",
    b"\x07\x00\x00\x08\0\0\0\x01\0\0\0\0",
    b"\x08\x00\x00\x04\0\0\0\x01",
    b"\x08\x00\x01\x04\x7f\xff\xff\xff",
    b"\x08\x00\x01\x04\0\0\0\0",
    b"\x09\x04\x09\x04\x84\x41\x01a",
    b"\x09\x00\x09\x00",
    b"\x10\x00\x00\x05\0\0\0\x01u",
    b"\xfa\xff\x01\x01x",
    b"\0\0\0\x04\0\0\0\0\0",
    b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a",
    b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01",
    b"\x82",
    b"\xbe",
    b"\0",
    b"\x01",
    b"\x80",
    b"\xff",
];

/// Operations on a pair of HTTP/2 connections, see `http2_sequence`.
pub(crate) const OPERATIONS: &[&[u8]] = &[
    b"\x00\x00",
    b"\x00\x01",
    b"\x01\x10",
    b"\x01\xff",
    b"\x02\x00",
    b"\x03\x01",
    b"\x04\x00",
    b"\x04\x40",
    b"\x04\x80",
    b"\x05\x11",
    b"\x05\xff",
    b"\x06\x00",
    b"\x06\x01",
    b"\x07\xff",
    b"\x07\x02",
    b"\x08\xff",
    b"\x08\x02",
    b"\x07\xff\x08\xff",
    b"\x09\x01",
    b"\x0a\x01",
    b"\x0b\x00",
    b"\x0c\x00",
    b"\x0d\x00",
    b"\x0e\x00",
    b"\x0f\x00",
    b"\x10\x07",
    b"\x11\x07",
    b"\x00\x00\x00\x00\x00\x01",
];

/// Words of chunked bodies.
pub(crate) const CHUNKS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b";",
    b"=",
    b"\"",
    b"\\",
    b"a",
    b"0",
    b"00",
    b"ffffffffffffffff",
    b"7fffffffffffffff",
    b"0x",
    b" ",
    b"\t",
    b"0\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"1;a=\"b\"\r\nx\r\n",
    b"X: y\r\n",
    b"Content-Length: 1\r\n",
    b":",
    b"\0",
    b"\xff",
    b"+",
    b"-",
    b",",
    b"5;\n",
    b"3\r\nabc",
    b"a\r\n0123456789\r\n",
];

/// Pieces of TLS records and of the extensions of a ClientHello.
pub(crate) const HELLOS: &[&[u8]] = &[
    b"\x16\x03\x01",
    b"\x16\x03\x01\x00\x01",
    b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09",
    b"shop.test",
    b".",
    b"\0",
    b"\x00\x00",
    b"\xff\xff",
    b"\x15\x03\x03\x00\x02\x01\x00",
];

/// Words of PROXY protocol headers.
pub(crate) const PROXY: &[&[u8]] = &[
    b"PROXY ",
    b"TCP4 ",
    b"TCP6 ",
    b"UNKNOWN",
    b"\r\n",
    b" ",
    b"1.2.3.4",
    b"::1",
    b"65535",
    b"65536",
    b"0",
    b"\r\n\r\n\0\r\nQUIT\n",
    b"\x21\x11\0\x0c",
    b"\x20\0\0\0",
    b"\x21\x21\0\x24",
    b"\xff\xff",
    b"\0\0",
    b"\x03\0\x04",
];

/// Words of paths.
pub(crate) const PATHS: &[&[u8]] = &[
    b"/",
    b"//",
    b".",
    b"..",
    b"/../",
    b"/./",
    b"%2e",
    b"%2E",
    b"%2f",
    b"%5c",
    b"%00",
    b"%25",
    b"%3b",
    b"%41",
    b"%c0%af",
    b"%",
    b";",
    b"\\",
    b"admin",
    b"/admin",
    b"x",
    b"*",
    b"?",
    b"#",
    b"a.example.com",
    b".",
    b":80",
    b"%e0%80%af",
    b"~",
    b"%7e",
];

pub(crate) struct Mutator<'a> {
    state: u64,
    dictionary: &'a [&'a [u8]],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, dictionary: &'a [&'a [u8]]) -> Self {
        // Zero is the one state that xorshift never leaves.
        Mutator { state: seed | 1, dictionary }
    }

    /// A random number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // xorshift64 (Marsaglia 2003).
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        ((self.state >> 11) % bound as u64) as usize
    }

    /// Changes `data` in one to four places.
    pub(crate) fn mutate(&mut self, data: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            self.mutate_once(data, other);
        }
        data.truncate(16 * 1024);
    }

    fn mutate_once(&mut self, data: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(data.len() + 1);
        let end = at + self.below((data.len() - at).min(64) + 1);
        match self.below(9) {
            0 if at < data.len() => data[at] ^= 1 << self.below(8),
            1 if at < data.len() => data[at] = self.below(256) as u8,
            2 => {
                data.drain(at..end);
            }
            3 => {
                let copy = data[at..end].to_vec();
                let to = self.below(data.len() + 1);
                data.splice(to..to, copy);
            }
            4 if !other.is_empty() => {
                let from = self.below(other.len());
                data.truncate(at);
                data.extend_from_slice(&other[from..]);
            }
            5 => data.insert(at, self.below(256) as u8),
            6 => {
                // At the start of a line, where a whole field line belongs.
                let word = self.dictionary[self.below(self.dictionary.len())];
                let line = data[at..].iter().position(|b| *b == b'\n').map_or(at, |end| at + end + 1);
                data.splice(line..line, word.iter().copied());
            }
            _ => {
                let word = self.dictionary[self.below(self.dictionary.len())];
                let replaced = if self.below(2) == 0 { at..at } else { at..end };
                data.splice(replaced, word.iter().copied());
            }
        }
    }
}
