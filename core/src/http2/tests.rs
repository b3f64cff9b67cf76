//! Both roles back to back over a socket, on each driver.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_protocols::http1::{self, HeadLimits, Parsed, RequestEdits, ResponseEdits, TrailerLimits};
use ringway_protocols::http2::{AbuseLimits, Role};
use ringway_protocols::message::{Method, RequestHead, ResponseHead};

use super::connection::Connection;
use super::dispatch::Opened;
use super::driver::Driver;
use super::*;
use crate::config::BufferConfig;
use crate::io::{self as rt, Address, Chunk, Listener, RuntimeConfig, Stream};
use crate::stats::{Stats, WorkerStats};
use crate::transport::Transport;

/// Long enough for a loaded machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);
const WINDOW: usize = 32 * 1024;
const LIMITS: QueueLimits = QueueLimits { unsent_bytes_max: WINDOW, held_bytes_max: 8 << 20 };

fn on_each(test: impl AsyncFn()) {
    for driver in [rt::Driver::Uring, rt::Driver::Epoll] {
        let config = RuntimeConfig {
            driver,
            ring_entries: 64,
            buffers: BufferConfig {
                buffer_bytes: 4096,
                ring_buffers: 16,
                worker_bytes_max: 1 << 20,
                connection_bytes_max: 32 * 1024,
            },
            ..RuntimeConfig::default()
        };
        eprintln!("driver: {driver}");
        rt::run(&config, async {
            rt::timeout_at(rt::now() + PATIENCE, test()).await.expect("the test ends in time");
        })
        .expect("a runtime");
    }
}

fn config() -> ConnectionConfig {
    ConnectionConfig {
        streams_max: 100,
        stream_window: 64 << 10,
        stream_window_max: 64 << 10,
        connection_window: 1 << 20,
        frame_bytes_max: 16 << 10,
        header_table_bytes: 4096,
        head_limits: HeadLimits { bytes_max: 16 << 10, fields_max: 100, target_bytes_max: 8 << 10 },
        trailer_limits: TrailerLimits { bytes_max: 16 << 10, fields_max: 100 },
        connect_protocol: false,
        queued_control_bytes_max: 64 << 10,
        abuse: AbuseLimits::default(),
    }
}

fn stats() -> Arc<WorkerStats> {
    Arc::clone(&Stats::new(1).workers()[0])
}

async fn pair() -> (Transport, Transport) {
    let fd = rt::bind(&"127.0.0.1:0".parse().unwrap(), false, 16).unwrap();
    let listener = Listener::from_fd(fd).unwrap();
    let Ok(Address::Tcp(address)) = listener.local_addr() else { panic!("a TCP listener") };
    let client = Stream::connect(&address.into()).await.unwrap();
    let (fd, _) = listener.accept().await.unwrap();
    (client.into(), Stream::from_accepted(fd).into())
}

/// A server whose requests go to `open`, until the connection ends.
fn serve(stream: Transport, stats: &Arc<WorkerStats>, open: impl FnMut(Opened) + 'static) -> Rc<Connection> {
    serve_within(LIMITS, stream, stats, open)
}

fn serve_within(
    limits: QueueLimits,
    stream: Transport,
    stats: &Arc<WorkerStats>,
    mut open: impl FnMut(Opened) + 'static,
) -> Rc<Connection> {
    let connection = Connection::new(Role::Server, &config(), limits, stats, &stream);
    let driver = Driver { connection: Rc::clone(&connection), stream };
    rt::spawn(async move {
        poll_fn(|cx| {
            let turn = driver.read(cx, &mut open).and_then(|again| driver.write(cx, again));
            if turn.is_err() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        driver.connection.fail_streams(StreamError { connection_lost: true, ..StreamError::GONE });
    });
    connection
}

fn connect(stream: Transport, stats: &Arc<WorkerStats>) -> Client {
    let times =
        ClientTimes { settings_timeout: Duration::from_secs(5), socket_timeout: Duration::from_secs(5) };
    connect_client(stream, &config(), times, LIMITS, stats)
}

/// A client and a server whose requests go to `open`.
async fn connected(open: impl FnMut(Opened) + 'static) -> (Client, Rc<Connection>) {
    let (near, far) = pair().await;
    let stats = stats();
    let server = serve(far, &stats, open);
    (connect(near, &stats), server)
}

fn request(text: &str) -> (RequestHead, Vec<u8>) {
    let limits = HeadLimits { bytes_max: 16 << 10, fields_max: 100, target_bytes_max: 8 << 10 };
    let mut head = RequestHead::default();
    let parsed = http1::parse_request(text.as_bytes(), &limits, &mut head).expect("a request");
    assert!(matches!(parsed, Parsed::Complete));
    (head, text.as_bytes().to_vec())
}

fn send_request(stream: &StreamHandle, path: &str, end: bool) {
    let (head, bytes) =
        request(&format!("POST {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"));
    stream.send_request(&bytes, &head, &RequestEdits::default(), "http", end).expect("sent");
}

fn answer(stream: &StreamHandle, end: bool) {
    let limits = HeadLimits { bytes_max: 16 << 10, fields_max: 100, target_bytes_max: 0 };
    let (mut head, text) = (ResponseHead::default(), b"HTTP/1.1 200 OK\r\nx-test: yes\r\n\r\n");
    http1::parse_response(text, &limits, Method::Get, &mut head).expect("a response");
    stream.send_response(text, &head, &ResponseEdits::default(), end).expect("sent");
}

async fn send_all(stream: &StreamHandle, bytes: &[u8], end: bool) -> Result<(), StreamError> {
    let mut rest = Chunk::from(bytes.to_vec());
    while !rest.is_empty() {
        let wanted = rest.len();
        let capacity = poll_fn(|cx| stream.poll_capacity(cx, wanted)).await?;
        assert!(capacity > 0);
        let piece = rest.split_to(capacity.min(wanted));
        stream.send_data(piece, end && rest.is_empty())?;
    }
    if bytes.is_empty() && end {
        stream.send_data(Chunk::empty(), true)?;
    }
    Ok(())
}

async fn read_all(stream: &StreamHandle) -> Result<(Vec<u8>, Option<Vec<u8>>), StreamError> {
    let mut all = Vec::new();
    loop {
        match poll_fn(|cx| stream.poll_body(cx)).await? {
            BodyPiece::Data(chunk, end) => {
                all.extend_from_slice(&chunk);
                stream.consumed(chunk.len());
                if end {
                    return Ok((all, None));
                }
            }
            BodyPiece::Trailers(lines) => return Ok((all, Some(lines))),
            BodyPiece::End => return Ok((all, None)),
        }
    }
}

async fn response(stream: &StreamHandle) -> Result<(u16, bool), StreamError> {
    let (received, end) = poll_fn(|cx| stream.poll_response(cx)).await?;
    Ok((received.head.status, end))
}

/// Sends `body` on the stream and reads what comes back, both at the same time.
async fn exchange(stream: &StreamHandle, body: &[u8]) -> Result<Vec<u8>, StreamError> {
    let mut sending = Some(Box::pin(send_all(stream, body, true)));
    let mut reading = Box::pin(async {
        response(stream).await?;
        read_all(stream).await
    });
    poll_fn(|cx| {
        if let Some(send) = &mut sending
            && let Poll::Ready(sent) = send.as_mut().poll(cx)
        {
            sent.expect("the body is taken");
            sending = None;
        }
        reading.as_mut().poll(cx).map_ok(|(body, _)| body)
    })
    .await
}

/// Sends back what comes, piece by piece.
async fn echo(stream: StreamHandle) {
    answer(&stream, false);
    loop {
        match poll_fn(|cx| stream.poll_body(cx)).await {
            Ok(BodyPiece::Data(chunk, end)) => {
                if send_all(&stream, &chunk, end).await.is_err() {
                    return;
                }
                stream.consumed(chunk.len());
                if end {
                    return;
                }
            }
            Ok(BodyPiece::Trailers(lines)) => return stream.send_trailers(&lines).unwrap_or(()),
            Ok(BodyPiece::End) => return stream.send_data(Chunk::empty(), true).unwrap_or(()),
            Err(_) => return,
        }
    }
}

fn echo_all(opened: Opened) {
    rt::spawn(echo(opened.stream));
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 7 + index) as u8).collect()
}

#[test]
fn bodies_of_any_size_come_back_whole_and_in_order() {
    on_each(async || {
        let (client, _) = connected(echo_all).await;
        for length in [0, 1, 100, 2048, 2049, 16384, 16385, 70_000, 1 << 20] {
            let (stream, body) = (client.open(Method::Post).expect("a stream"), pattern(length));
            send_request(&stream, "/", false);
            let echoed = exchange(&stream, &body).await.expect("a body");
            assert!(echoed == body, "{length}");
        }
    });
}

#[test]
fn trailers_pass_and_end_the_message() {
    on_each(async || {
        let (client, _) = connected(echo_all).await;
        let stream = client.open(Method::Post).expect("a stream");
        send_request(&stream, "/", false);
        send_all(&stream, b"body", false).await.expect("sent");
        stream.send_trailers(b"grpc-status: 0\r\n").expect("sent");
        assert_eq!(response(&stream).await, Ok((200, false)));
        let (body, trailers) = read_all(&stream).await.expect("a body");
        assert_eq!((&body[..], trailers.as_deref()), (&b"body"[..], Some(&b"grpc-status: 0\r\n"[..])));
    });
}

#[test]
fn a_stream_that_is_not_read_stops_no_other_and_holds_no_receive_buffer() {
    on_each(async || {
        let parked = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&parked);
        let (client, _) = connected(move |opened: Opened| {
            if opened.request.head.target.of(&opened.request.bytes) == b"/stalled" {
                keep.borrow_mut().push(opened.stream);
            } else {
                rt::spawn(echo(opened.stream));
            }
        })
        .await;
        let mut stalled = Vec::new();
        for _ in 0..50 {
            let stream = client.open(Method::Post).expect("a stream");
            send_request(&stream, "/stalled", false);
            // As much as the window of a stream takes.
            send_all(&stream, &pattern(64 << 10), false).await.expect("sent");
            let more = poll_fn(|cx| Poll::Ready(stream.poll_capacity(cx, 1).is_ready())).await;
            assert!(!more, "the window is closed");
            stalled.push(stream);
        }
        let body = pattern(200_000);
        for _ in 0..3 {
            let stream = client.open(Method::Post).expect("a stream");
            send_request(&stream, "/", false);
            let echoed = exchange(&stream, &body).await.expect("a body");
            assert!(echoed == body);
        }
        until(|| rt::counters().buffers_in_use == 0).await;
        assert_eq!(parked.borrow().len(), 50);
        // Whoever is read goes on.
        let stream = parked.borrow_mut().pop().expect("a parked stream");
        drop(stalled.drain(..49));
        let BodyPiece::Data(chunk, false) = poll_fn(|cx| stream.poll_body(cx)).await.expect("data") else {
            panic!("data");
        };
        stream.consumed(chunk.len());
        let last = stalled.pop().expect("a stalled stream");
        assert!(poll_fn(|cx| last.poll_capacity(cx, 1)).await.expect("room") > 0);
    });
}

#[test]
fn a_worker_holds_no_more_than_it_may_for_streams_that_nobody_reads() {
    on_each(async || {
        let (near, far) = pair().await;
        let (stats, parked) = (stats(), Rc::new(RefCell::new(Vec::new())));
        let limits = QueueLimits { held_bytes_max: 300_000, ..LIMITS };
        let keep = Rc::clone(&parked);
        let _server = serve_within(limits, far, &stats, move |opened: Opened| {
            if opened.request.head.target.of(&opened.request.bytes) == b"/stalled" {
                keep.borrow_mut().push(opened.stream);
            } else {
                rt::spawn(echo(opened.stream));
            }
        });
        let client = connect(near, &stats);
        let mut refused = 0;
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let stream = client.open(Method::Post).expect("a stream");
            send_request(&stream, "/stalled", false);
            refused += u32::from(send_all(&stream, &pattern(60_000), false).await.is_err());
            stalled.push(stream);
        }
        let body = pattern(200_000);
        let stream = client.open(Method::Post).expect("a stream");
        send_request(&stream, "/", false);
        assert!(exchange(&stream, &body).await.expect("a body") == body, "others go on");
        assert!(inbox::held() <= 300_000, "{} bytes held", inbox::held());
        let reset = stalled.iter().filter(|stream| poll_once(stream).is_some()).count();
        assert!(reset >= 14 || refused > 0, "{reset} of 20 were reset");
        assert_eq!(stats.http2.resets_out.get(), stats.upstream_http2.resets_in.get());
        let told = parked.borrow().iter().filter(|stream| is_given_up(stream)).count() as u64;
        assert_eq!(told, stats.http2.resets_out.get(), "whoever reads them hears why");
        drop((stalled, parked.take()));
        assert_eq!(inbox::held(), 0);
    });
}

/// How a stream has ended, if it has.
fn is_given_up(stream: &StreamHandle) -> bool {
    let cx = &std::task::Context::from_waker(std::task::Waker::noop());
    matches!(stream.poll_body(cx), Poll::Ready(Err(error)) if error.is_memory_limit())
}

fn poll_once(stream: &StreamHandle) -> Option<StreamError> {
    match stream.poll_reset(&std::task::Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(error) => Some(error),
        Poll::Pending => None,
    }
}

#[test]
fn the_socket_queue_is_bounded_and_streams_take_turns() {
    on_each(async || {
        const STREAMS: usize = 8;
        let (near, far) = pair().await;
        let stats = stats();
        let sent: Rc<Vec<Cell<usize>>> = Rc::new((0..STREAMS).map(|_| Cell::new(0)).collect());
        let (counts, mut index) = (Rc::clone(&sent), 0);
        let server = serve(far, &stats, move |opened: Opened| {
            let (counts, own) = (Rc::clone(&counts), index);
            index += 1;
            rt::spawn(async move {
                answer(&opened.stream, false);
                let piece = pattern(8000);
                while send_all(&opened.stream, &piece, false).await.is_ok() {
                    counts[own].set(counts[own].get() + piece.len());
                }
            });
        });
        let client = connect(near, &stats);
        let streams: Vec<_> = (0..STREAMS)
            .map(|_| {
                let stream = client.open(Method::Get).expect("a stream");
                send_request(&stream, "/", true);
                stream
            })
            .collect();
        // Everybody reads: everybody is served about as much.
        let mut total = 0;
        while total < 8 << 20 {
            let piece = poll_fn(|cx| {
                streams
                    .iter()
                    .find_map(|stream| match stream.poll_body(cx) {
                        Poll::Ready(Ok(BodyPiece::Data(chunk, _))) => Some(Poll::Ready((stream.id(), chunk))),
                        _ => None,
                    })
                    .unwrap_or(Poll::Pending)
            })
            .await;
            let stream = streams.iter().find(|stream| stream.id() == piece.0).expect("one of them");
            stream.consumed(piece.1.len());
            total += piece.1.len();
            assert!(server.queued() <= WINDOW + 2 * (16 << 10) + 1024, "{} bytes queued", server.queued());
        }
        let (least, most) = (sent.iter().map(Cell::get).min(), sent.iter().map(Cell::get).max());
        assert!(most.unwrap() < 2 * least.unwrap() + 200_000, "{sent:?}");
    });
}

#[test]
fn a_dropped_handle_resets_its_stream_with_the_code_of_its_role() {
    on_each(async || {
        let held = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&held);
        let (client, _) = connected(move |opened: Opened| keep.borrow_mut().push(opened.stream)).await;
        let open = async |end| {
            let stream = client.open(Method::Post).expect("a stream");
            send_request(&stream, "/", end);
            let before = held.borrow().len();
            until(|| held.borrow().len() > before).await;
            (stream, held.borrow_mut().pop().expect("a stream"))
        };
        // The client gives up.
        let (near, far) = open(false).await;
        drop(near);
        let error = poll_fn(|cx| far.poll_reset(cx)).await;
        assert_eq!((error.code, error.by_peer, error.connection_lost), (ErrorCode::Cancel, true, false));
        drop(far);
        // The server gives up.
        let (near, far) = open(true).await;
        drop(far);
        let error = poll_fn(|cx| near.poll_reset(cx)).await;
        assert_eq!((error.code, error.by_peer), (ErrorCode::InternalError, true));
        drop(near);
        // The server has answered and does not want the rest of the request: the response is whole.
        let (near, far) = open(false).await;
        answer(&far, false);
        send_all(&far, b"answer", true).await.expect("sent");
        drop(far);
        let error = poll_fn(|cx| near.poll_reset(cx)).await;
        assert_eq!((error.code, error.by_peer), (ErrorCode::NoError, true));
        assert_eq!(response(&near).await, Ok((200, false)));
        assert_eq!(read_all(&near).await.expect("the response").0, b"answer");
        drop(near);
        assert_eq!(client.streams(), 0);
    });
}

#[test]
fn a_lost_connection_ends_every_stream_and_says_so() {
    on_each(async || {
        let (near, far) = pair().await;
        let stats = stats();
        let client = connect(near, &stats);
        let streams: Vec<_> = (0..3).map(|_| client.open(Method::Get).expect("a stream")).collect();
        streams.iter().for_each(|stream| send_request(stream, "/", true));
        let mut seen = client_changes(&client);
        far.reset_on_close();
        drop(far);
        for stream in &streams {
            let error = response(stream).await.expect_err("no response");
            assert!(error.connection_lost && error.by_peer, "{error:?}");
        }
        poll_fn(|cx| client.poll_change(cx, &mut seen)).await;
        assert!(client.is_closed() && client.is_ending() && !client.can_open());
        assert!(client.open(Method::Get).is_none());
        drop(streams);
        assert_eq!(stats.upstream_http2.streams_open.get(), 0);
        assert_eq!(stats.upstream_http2.streams.get(), 3);
    });
}

#[test]
fn the_streams_of_a_connection_are_counted_and_limited_by_the_peer() {
    on_each(async || {
        let held = Rc::new(RefCell::new(Vec::new()));
        let keep = Rc::clone(&held);
        let (client, _) = connected(move |opened: Opened| keep.borrow_mut().push(opened.stream)).await;
        until(|| client.is_confirmed()).await;
        let mut streams = Vec::new();
        while let Some(stream) = client.open(Method::Get) {
            send_request(&stream, "/", true);
            streams.push(stream);
        }
        assert_eq!((streams.len(), client.can_open()), (100, false));
        until(|| held.borrow().len() == 100).await;
        let mut seen = client_changes(&client);
        for stream in held.borrow_mut().drain(..) {
            answer(&stream, true);
        }
        for stream in &streams {
            assert_eq!(response(stream).await, Ok((200, true)));
        }
        streams.clear();
        poll_fn(|cx| client.poll_change(cx, &mut seen)).await;
        assert!(client.can_open());
        client.ping();
        until(|| client.pongs() == 1).await;
    });
}

/// The present count of changes.
fn client_changes(client: &Client) -> u64 {
    let mut seen = 0;
    let waker = std::task::Waker::noop();
    let cx = std::task::Context::from_waker(waker);
    while client.poll_change(&cx, &mut seen).is_ready() {}
    seen
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        rt::sleep_until(rt::now() + Duration::from_millis(1)).await;
    }
}

/// Issue 3 allows an idle connection 4 KiB of user memory in all: these are its fixed parts.
#[test]
fn an_idle_connection_is_small() {
    fn bytes<F, R>(_: F) -> usize
    where
        F: FnOnce(Rc<crate::worker::Worker>, crate::downstream::Downstream) -> R,
    {
        size_of::<R>()
    }
    let task = bytes(|worker, conn| server::serve(worker, conn, None));
    let shared = size_of::<Connection>();
    assert!(task + shared <= 2688, "task {task} + connection {shared}");
}
