//! Every odd request that Ringway forwards is framed in the same way by nginx and by HAProxy.

use ringway_tests::peers::Server;
use ringway_tests::wait::eventually;
use ringway_tests::{Origin, Ringway};

/// Requests on the edge: each is followed by a hidden one, in the body or behind it.
fn corpus() -> Vec<String> {
    let hidden = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";
    let framings = [
        "Content-Length: 5\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 05\r\n",
        "Content-Length:5\r\n",
        "Content-Length:\t5\t\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: Chunked\r\n",
        "Transfer-Encoding:chunked\r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: chunked \r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer_Encoding: chunked\r\n",
        "X-Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer_Encoding: chunked\r\n",
        "",
        "Content-Length: 5\r\nConnection: Content-Length\r\n",
        "Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n",
        "Content-Length: 5\r\nExpect: 100-continue\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTE: chunked\r\n",
    ];
    let bodies = [
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "",
    ];
    let starts = [
        "POST /attack HTTP/1.1",
        "GET /attack HTTP/1.1",
        "POST /attack HTTP/1.0",
        "HEAD /attack HTTP/1.1",
        "POST http://test/attack HTTP/1.1",
    ];
    let mut corpus = Vec::new();
    for start in starts {
        for framing in framings {
            for body in bodies {
                corpus.push(format!("{start}\r\nHost: test\r\n{framing}\r\n{body}{hidden}"));
            }
        }
    }
    corpus
}

/// Sends the corpus and returns, for each request, how many answers came back, whatever they say: one reader may refuse
/// what another accepts, but none may see a request more or less.
fn answers(proxy: &ringway_tests::Proxy) -> Vec<usize> {
    let one = |request: &String| {
        let mut client = proxy.connect();
        client.try_send(request);
        client.finish_writing();
        let bytes = client.until_closed();
        let text = String::from_utf8_lossy(&bytes);
        // A reader may also say 100 before it answers.
        text.matches("HTTP/1.1 ").count() - text.matches("HTTP/1.1 100 ").count()
    };
    corpus().iter().map(one).collect()
}

fn same(reader: &str, theirs: &[usize], ours: &[usize]) {
    let requests = corpus();
    let other = requests.iter().zip(theirs.iter().zip(ours)).filter(|(_, (theirs, ours))| theirs != ours);
    let other: Vec<_> = other.collect();
    assert!(other.is_empty(), "{reader} answered another number of requests: {other:#?}");
}

#[test]
fn agree_on_how_many_requests_they_got() {
    let recorder = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            let body = if request.method == "HEAD" { "" } else { "ok" };
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}"));
        }
    });
    let proxy = Ringway::to(&recorder).start();
    let ours = answers(&proxy);
    recorder.assert_unambiguous();
    let forwarded = recorder.requests().len();
    assert!(forwarded > 100, "the corpus is not refused as a whole: {forwarded}");

    // Both read the same bytes; a request more or less than ours is a request that they framed differently.
    if let Some(nginx) = Server::nginx_with(
        "log_format count '$request_method $request_uri $status'; underscores_in_headers on;",
        "access_log count.log count; location / { return 200 ok; }",
    ) {
        let proxy = Ringway::to_address(nginx.address()).start();
        same("nginx", &answers(&proxy), &ours);
        let log = nginx.directory().path().join("count.log");
        let lines = eventually("nginx to log them all", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            Some(text.lines().map(str::to_owned).collect::<Vec<_>>()).filter(|lines| lines.len() >= forwarded)
        });
        assert_eq!(lines.len(), forwarded);
    }
    if let Some(haproxy) =
        Server::haproxy("  http-request return status 200 content-type text/plain string ok")
    {
        let proxy = Ringway::to_address(haproxy.address()).start();
        same("HAProxy", &answers(&proxy), &ours);
    }
}
