//! RFC 9112 section 9.6: a server closes in stages, or what the client sent meanwhile resets the response away.

use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

each_driver! {
    a_further_request_does_not_cut_the_last_response,
}

/// Found by the simulation: a further request met a connection that was closed behind the response before it.
fn a_further_request_does_not_cut_the_last_response(io: Io) {
    const LENGTH: usize = 400_000;
    let origin = Origin::start(|conn| {
        if conn.request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\n\r\n");
            conn.send(vec![b'x'; LENGTH]);
        }
    });
    let proxy = Ringway::to(&origin).io(io).workers(1).start();
    // A small receive buffer keeps the response with the proxy's kernel while the proxy closes.
    let mut client = Client::connect_with_buffer(4096, proxy.address());
    client.send("GET /1 HTTP/1.1\r\nHost: test\r\n\r\n");
    origin.wait_for_end(0);
    // The one worker has served this one, so it has come to the end of the first.
    assert_eq!(proxy.get("/other").body.len(), LENGTH);
    client.send("POST /2 HTTP/1.1\r\nHost: test\r\nContent-Length: 100000\r\n\r\n");
    for _ in 0..100 {
        if !client.try_send([b'y'; 1000]) {
            break;
        }
    }
    let response = client.response();
    assert_eq!((response.status, response.body.len()), (200, LENGTH));
}
