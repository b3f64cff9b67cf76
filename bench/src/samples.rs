//! Messages that the benches parse and write: what is usual, and what is large.

use ringway_protocols::http1::HeadLimits;

/// The limits of a default configuration.
pub const LIMITS: HeadLimits =
    HeadLimits { bytes_max: 64 << 10, fields_max: 100, target_bytes_max: 16 << 10 };

/// Request heads by name, from small to large.
pub fn requests() -> Vec<(&'static str, Vec<u8>)> {
    let small = "GET / HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
    let browser = "GET /wp-content/uploads/2010/03/hello-kitty-darth-vader-pink.jpg HTTP/1.1\r\n\
        Host: www.kittyhell.com\r\n\
        User-Agent: Mozilla/5.0 (Macintosh; U; Intel Mac OS X 10.6; ja-JP-mac; rv:1.9.2.3) Gecko/20100401 \
        Firefox/3.6.3 Pathtraq/0.9\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
        Accept-Language: ja,en-us;q=0.7,en;q=0.3\r\n\
        Accept-Encoding: gzip,deflate\r\n\
        Accept-Charset: Shift_JIS,utf-8;q=0.7,*;q=0.7\r\n\
        Keep-Alive: 115\r\n\
        Connection: keep-alive\r\n\
        Cookie: wp_ozh_wsa_visits=2; wp_ozh_wsa_visit_lasttime=xxxxxxxxxx; \
        __utma=xxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.xxxxxxxxxx.x\r\n\r\n";
    let mut large =
        String::from("POST /api/v7/orders HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 5\r\n");
    for n in 0..60 {
        large.push_str(&format!("X-Custom-Field-{n}: {}\r\n", "v".repeat(40)));
    }
    large.push_str("\r\n");
    vec![("small", small.into()), ("browser", browser.into()), ("63_fields", large.into_bytes())]
}

/// Response heads by name.
pub fn responses() -> Vec<(&'static str, Vec<u8>)> {
    let small = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n";
    let usual = "HTTP/1.1 200 OK\r\n\
        Date: Sat, 21 Nov 2026 01:52:43 GMT\r\n\
        Server: nginx/1.22.1\r\n\
        Content-Type: application/json; charset=utf-8\r\n\
        Content-Length: 12345\r\n\
        Connection: keep-alive\r\n\
        Cache-Control: private, max-age=0, must-revalidate\r\n\
        ETag: \"5f3c-1a2b3c4d5e6f\"\r\n\
        Vary: Accept-Encoding\r\n\
        Set-Cookie: session=0123456789abcdef0123456789abcdef; Path=/; HttpOnly; Secure; SameSite=Lax\r\n\
        X-Content-Type-Options: nosniff\r\n\r\n";
    vec![("small", small.into()), ("usual", usual.into())]
}

/// A request that another proxy has forwarded.
pub fn request_behind_a_proxy() -> Vec<u8> {
    b"GET /api/v7/orders HTTP/1.1\r\nHost: shop.example.com\r\nX-Forwarded-For: 198.51.100.7, 203.0.113.9\r\n\
      X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example.com\r\nForwarded: for=198.51.100.7;proto=https\r\n\r\n"
        .to_vec()
}

/// A chunked body of so many bytes of content.
pub fn chunked_body(content_bytes: usize, chunk_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    let mut left = content_bytes;
    while left > 0 {
        let len = left.min(chunk_bytes);
        body.extend_from_slice(format!("{len:x}\r\n").as_bytes());
        body.extend(std::iter::repeat_n(b'x', len));
        body.extend_from_slice(b"\r\n");
        left -= len;
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}
