//! Bodies from socket to socket without entering user space.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::*;

/// client ↔ front, back ↔ origin: a relay has `front` and `back`.
async fn relay() -> ((Stream, Stream), (Stream, Stream)) {
    (pair().await, pair().await)
}

#[test]
fn a_spliced_body_arrives_whole_and_the_streams_go_on() {
    on_each_own(async || {
        let ((client, front), (back, origin)) = relay().await;
        let moved = Cell::new(0);
        for size in [1usize, 5000, 100_000, 3_000_000, 20_000] {
            let body = numbered(size);
            // The head was received by ordinary means, and with it a part of the body; a trailer follows it.
            origin.send(&b"head"[..]).unwrap();
            origin.send(body.clone()).unwrap();
            origin.send(&b"tail"[..]).unwrap();
            let mut first = back.recv().await.unwrap();
            while first.len() < 4 {
                let next = back.recv().await.unwrap();
                first = Chunk::from([&first[..], &next[..]].concat());
            }
            first.advance(4);
            let early = first.split_to(first.len().min(size));
            let rest = (size - early.len()) as u64;
            let tail_seen = first.len();
            front.send(early).unwrap();
            moved.set(0);
            let (bytes, ()) = join(recv_exact(&client, size), async {
                splice_body(&back, &front, rest, &moved).await.unwrap();
            })
            .await;
            assert!(bytes == body);
            assert_eq!(moved.get(), rest);
            assert_eq!(recv_exact(&back, 4 - tail_seen).await, b"tail"[tail_seen..]);
            front.send(&b"end"[..]).unwrap();
            assert_eq!(recv_exact(&client, 3).await, b"end");
            client.send(&b"next"[..]).unwrap();
            assert_eq!(recv_exact(&front, 4).await, b"next");
        }
        assert!(counters().spliced_bytes > 1_000_000);
    });
}

#[test]
fn a_full_receiver_never_blocks_the_worker() {
    on_each_own(async || {
        let ((client, front), (back, origin)) = relay().await;
        const SIZE: u64 = 48 << 20;
        origin.send(some(SIZE)).unwrap();
        let moved = Rc::new(Cell::new(0));
        let seen = moved.clone();
        let ended = Rc::new(Cell::new(false));
        let done = ended.clone();
        spawn(async move {
            splice_body(&back, &front, SIZE, &seen).await.unwrap();
            done.set(true);
        });
        // The client reads nothing: the splice comes to a stop, and the loop goes on turning.
        loop {
            let before = moved.get();
            sleep_until(now() + Duration::from_millis(50)).await;
            if moved.get() == before && before > 0 {
                break;
            }
        }
        let (stopped_at, started) = (moved.get(), Instant::now());
        assert!(stopped_at < SIZE);
        for _ in 0..20 {
            sleep_until(now() + Duration::from_millis(1)).await;
        }
        assert!(started.elapsed() < Duration::from_secs(2), "the worker was blocked");
        assert!(!ended.get());
        let mut got = 0;
        while got < SIZE as usize {
            got += client.recv().await.unwrap().len();
        }
        until(|| ended.get()).await;
        assert_eq!((got as u64, moved.get()), (SIZE, SIZE));
    });
}

#[test]
fn the_other_direction_works_meanwhile() {
    on_each_own(async || {
        let ((client, front), (back, origin)) = relay().await;
        // Armed before the socket becomes non-blocking.
        assert!(timeout_at(now(), front.recv()).await.is_err());
        let moved = Cell::new(0);
        let splicing = timeout_at(now() + Duration::from_secs(10), splice_body(&back, &front, 1000, &moved));
        let others = async {
            sleep_until(now() + Duration::from_millis(5)).await;
            for round in 0..50 {
                client.send(&b"pipelined"[..]).unwrap();
                assert_eq!(recv_exact(&front, 9).await, b"pipelined", "round {round}");
            }
            // Towards the origin, more than the socket takes at once.
            back.send(some(8 << 20)).unwrap();
            let mut got = 0;
            while got < 8 << 20 {
                got += origin.recv().await.unwrap().len();
            }
            origin.send(some(1000)).unwrap();
            recv_exact(&client, 1000).await;
        };
        let (spliced, ()) = join(splicing, others).await;
        spliced.unwrap().unwrap();
        assert_eq!(moved.get(), 1000);
    });
}

#[test]
fn whose_fault_it_was_is_told() {
    on_each_own(async || {
        let moved = Cell::new(0);
        let ((_client, front), (back, origin)) = relay().await;
        origin.send(&b"short"[..]).unwrap();
        origin.shutdown_write();
        let result = splice_body(&back, &front, 100, &moved).await;
        assert!(matches!(result, Err(SpliceError::Truncated)), "{result:?}");
        let ((_client, front), (back, origin)) = relay().await;
        let dropping = async {
            sleep_until(now() + Duration::from_millis(3)).await;
            origin.reset_on_close();
            drop(origin);
        };
        let (result, ()) = join(splice_body(&back, &front, 100, &moved), dropping).await;
        assert!(matches!(result, Err(SpliceError::From(_))), "{result:?}");
        let ((client, front), (back, origin)) = relay().await;
        client.reset_on_close();
        drop(client);
        origin.send(some(10 << 20)).unwrap();
        let result = splice_body(&back, &front, 10 << 20, &moved).await;
        assert!(matches!(result, Err(SpliceError::To(_))), "{result:?}");
    });
}

#[test]
fn a_deadline_interrupts_and_nothing_is_left_behind() {
    on_each_own(async || {
        for _ in 0..20 {
            let ((_client, front), (back, origin)) = relay().await;
            origin.send(some(30 << 20)).unwrap();
            let moved = Cell::new(0);
            let result =
                timeout_at(now() + Duration::from_millis(20), splice_body(&back, &front, 30 << 20, &moved))
                    .await;
            assert_eq!(result.err(), Some(Elapsed));
        }
        until(|| counters().streams == 0 && counters().buffers_in_use == 0).await;
    });
}
