//! Spellings of one path, and what origins make of them, for tests of what guards it.

use crate::client::Client;
use crate::http2::{Http2Client, Instead};
use crate::proxy::Proxy;

/// Asks for each spelling over both versions of HTTP, each on a connection of its own; `answered` gets its status. A stream
/// that is reset has been refused.
pub fn try_each_of_admin(proxy: &Proxy, answered: impl Fn(&str, u16)) {
    for path in SPELLINGS_OF_ADMIN {
        let mut client = Client::connect(proxy.address());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        answered(path, client.response().status);
        let mut client = Http2Client::connect(proxy.address());
        let id = client.get(path);
        match client.try_response(id) {
            Ok(response) => answered(path, response.status),
            Err(Instead::Reset(_)) => {}
            Err(instead) => panic!("{path}: {instead:?}"),
        }
    }
}

/// Ways to write `/admin`, or what some reader takes for it.
pub const SPELLINGS_OF_ADMIN: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin?x",
    "/admin;x",
    "/admin;x/y",
    "/admin#x",
    "/admin#.png",
    "/./admin",
    "/admin/.",
    "/admin/..",
    "/admin/../",
    "/x/../admin",
    "/x/../admin/y",
    "/x/y/../../admin",
    "//admin",
    "///admin",
    "/x//../admin",
    "/.//admin",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/%2561dmin",
    "/x/%2e%2e/admin",
    "/x/%2E%2E/admin",
    "/x/.%2e/admin",
    "/x/%2e./admin",
    "/%2e/admin",
    "/x/..%2fadmin",
    "/x/..%2Fadmin",
    "/x%2f..%2fadmin",
    "/%2fadmin",
    "/%2Fadmin",
    "/admin%2f",
    "/admin%2F..%2fpublic",
    "/admin/%2e%2e/public",
    "/admin/../public",
    "/public/../admin",
    "/public/%2e%2e/admin",
    "/x\\..\\admin",
    "/x/..\\admin",
    "/\\admin",
    "/x%5c..%5cadmin",
    "/x/..%5cadmin",
    "/%5cadmin",
    "/admin%00",
    "/admin%00.png",
    "/admin%0a",
    "/admin%0d%0a",
    "/admin%20",
    "/admin%23",
    "/admin%3f",
    "/admin%3bx",
    "/x;/../admin",
    "/x/..;/admin",
    "/x/..;a=b/admin",
    "/;/admin",
    "/ADMIN",
    "/Admin",
    "/admin\t",
    "/..",
    "/../admin",
    "/../../admin",
    "/%c0%ae%c0%ae/admin",
    "/%ef%bc%8fadmin",
    "/x/../../admin",
    "/x/.././admin",
    "http://test/admin",
    "http://test//admin",
    "http://test/x/../admin",
    "admin",
    "*admin",
    "test/admin",
];

/// Whether a path is `/admin` or below.
pub fn is_admin(path: &str) -> bool {
    path.split('/').nth(1) == Some("admin")
}

/// The paths for which some origin may take a target: decoded once or twice, dots removed, slashes merged, parameters
/// cut off, back-slashes turned.
pub fn read_as_an_origin_might(target: &str) -> Vec<String> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let once = decode(path);
    [path.to_owned(), once]
        .into_iter()
        .flat_map(|path| [path.clone(), path.replace('\\', "/")])
        .map(|path| {
            let mut kept: Vec<&str> = Vec::new();
            for segment in path.split('/') {
                match segment.split([';', '\0']).next().unwrap_or_default() {
                    "" | "." => {}
                    ".." => drop(kept.pop()),
                    plain => kept.push(plain),
                }
            }
            format!("/{}", kept.join("/"))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        let pair = bytes.get(index + 1..index + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.filter(|_| bytes[index] == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
