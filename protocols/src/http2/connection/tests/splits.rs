//! Input may be cut at any byte: what is said does not depend on where.

use super::*;

/// What happened, with the content of bodies instead of ranges; neighbouring pieces are one.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Body { id: u32, content: Vec<u8>, end: bool },
    Head { id: u32, bytes: Vec<u8>, end: bool },
    Trailers { id: u32, lines: Vec<u8> },
    Other(Event),
}

fn watch(peer: &mut Peer, input: &[u8], seen: &mut Vec<Seen>) {
    let mut rest = input;
    loop {
        let step = peer.machine.receive(rest, peer.now).expect("legal input");
        let done = step.consumed == 0 && step.event.is_none();
        match step.event {
            Some(Event::Data { key, range, end }) => {
                let piece = &rest[range];
                match seen.last_mut() {
                    Some(Seen::Body { id, content, end: ended }) if *id == key.id() && !*ended => {
                        content.extend_from_slice(piece);
                        *ended = end;
                    }
                    _ => seen.push(Seen::Body { id: key.id(), content: piece.to_vec(), end }),
                }
            }
            Some(Event::Request { key, end }) => {
                let (mut head, mut bytes) = (RequestHead::default(), Vec::new());
                peer.machine.take_request(&mut head, &mut bytes);
                seen.push(Seen::Head { id: key.id(), bytes, end });
            }
            Some(Event::Trailers { key }) => {
                let mut lines = Vec::new();
                peer.machine.take_trailers(&mut lines);
                seen.push(Seen::Trailers { id: key.id(), lines });
            }
            Some(event) => seen.push(Seen::Other(event)),
            None => {}
        }
        rest = &rest[step.consumed..];
        if done {
            assert!(rest.is_empty(), "all input is taken");
            return;
        }
    }
}

/// A bit of everything.
fn sample() -> Vec<u8> {
    let request = block(&GET);
    let padded = [&[4][..], b"padded", &[0; 4]].concat();
    [
        PREFACE.to_vec(),
        settings(&[(crate::http2::setting::INITIAL_WINDOW_SIZE, 1 << 20)]),
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
        get(1, false),
        data(1, b"first piece, ", false),
        frame(kind::HEADERS, flag::END_STREAM, 3, &request[..5]),
        frame(kind::CONTINUATION, 0, 3, &request[5..6]),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, &request[6..]),
        frame(kind::PING, 0, 0, b"01234567"),
        data(1, b"second", false),
        frame(kind::DATA, flag::PADDED, 1, &padded),
        frame(0xcc, 0, 1, b"unknown"),
        frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 1, 9]),
        window_update(0, 1000),
        headers(1, &block(&[("x-sum", "1")]), true),
        post(5, 4, false),
        data(5, b"four", true),
        frame(kind::HEADERS, flag::END_HEADERS, 7, &request),
        reset(7, ErrorCode::Cancel),
        frame(kind::DATA, flag::PADDED | flag::END_STREAM, 9, &padded),
    ][..19]
        .concat()
}

fn run(pieces: &[&[u8]]) -> (Vec<Seen>, Vec<u8>) {
    let mut peer = Peer::fresh(Role::Server, &config());
    let mut seen = Vec::new();
    for piece in pieces {
        watch(&mut peer, piece, &mut seen);
    }
    (seen, std::mem::take(peer.machine.output()))
}

#[test]
fn two_pieces_cut_anywhere() {
    let input = sample();
    let whole = run(&[&input]);
    assert_eq!(whole.0.len(), 11, "{:#?}", whole.0);
    for cut in 0..=input.len() {
        assert_eq!(run(&[&input[..cut], &input[cut..]]), whole, "cut at {cut}");
    }
}

#[test]
fn pieces_of_every_size() {
    let input = sample();
    let whole = run(&[&input]);
    for size in 1..60 {
        let pieces: Vec<_> = input.chunks(size).collect();
        assert_eq!(run(&pieces), whole, "pieces of {size}");
    }
}
