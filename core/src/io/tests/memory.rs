//! The bounds on received bytes: of a stream, of the buffer ring, of the worker.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::*;

/// The ring of `small`, which may fill before a cancelled receive has ended, and the stream's own bound.
const HELD_MAX: u64 = 16 + 32 / 4 + 1;

#[test]
fn a_stream_that_is_not_read_holds_a_bounded_number_of_buffers() {
    each(async || {
        let (a, b) = pair().await;
        let body = numbered(4 << 20);
        a.send(body.clone()).unwrap();
        assert!(!b.recv().await.unwrap().is_empty());
        sleep_until(now() + Duration::from_millis(50)).await;
        assert!(counters().recv_pauses >= 1);
        let held = counters().buffers_in_use;
        assert!(held <= HELD_MAX, "{held} buffers");
        let mut rest = 0;
        while rest < body.len() - 4096 {
            rest += b.recv().await.unwrap().len();
        }
        assert!(counters().buffers_in_use_peak <= HELD_MAX + 1);
    });
}

#[test]
fn dribbled_bytes_share_buffers() {
    each(async || {
        let (a, b) = pair().await;
        assert!(timeout_at(now(), b.recv()).await.is_err());
        for i in 0..3000u32 {
            a.send(vec![i as u8]).unwrap();
            a.sent().await.unwrap();
        }
        until(|| counters().buffers_in_use >= 1).await;
        assert!(counters().buffers_in_use <= HELD_MAX, "{} buffers", counters().buffers_in_use);
        let expected: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
        assert!(recv_exact(&b, 3000).await == expected);
    });
}

#[test]
fn receives_without_a_buffer_go_on_when_one_is_free() {
    // Far more connections than the ring offers buffers at a time.
    on_each(
        |config| config.buffers.connection_bytes_max = 8192,
        async || {
            let mut pairs = Vec::new();
            for _ in 0..48 {
                pairs.push(pair().await);
            }
            let done = Rc::new(Cell::new(0));
            for (a, b) in pairs {
                let done = done.clone();
                let body = numbered(100_000);
                a.send(body.clone()).unwrap();
                spawn(async move {
                    let mut bytes = Vec::new();
                    while bytes.len() < body.len() {
                        let chunk = b.recv().await.unwrap();
                        bytes.extend_from_slice(&chunk);
                        // Held for a while.
                        sleep_until(now()).await;
                    }
                    assert!(bytes == body);
                    drop(a);
                    done.set(done.get() + 1);
                });
            }
            until(|| done.get() == 48).await;
            let counters = counters();
            assert_eq!(counters.memory_resets, 0, "{counters:?}");
            eprintln!("{counters:?}");
        },
    );
}

#[test]
fn the_largest_holder_is_reset_when_the_worker_has_no_buffer_left() {
    on_each(
        |config| {
            config.buffers.worker_bytes_max = 32 * 4096;
            config.buffers.connection_bytes_max = 1 << 20;
        },
        async || {
            let (a, b) = pair().await;
            let (c, d) = pair().await;
            a.send(some(1 << 20)).unwrap();
            // Held by its task, not by the stream's queue.
            let mut held = Vec::new();
            let reset = loop {
                match timeout_at(now() + Duration::from_millis(30), b.recv()).await {
                    Ok(Ok(chunk)) => held.push(chunk),
                    Ok(Err(error)) => break Some(error),
                    Err(Elapsed) => break None,
                }
            };
            let error = match reset {
                Some(error) => error,
                None => {
                    c.send(&b"one more"[..]).unwrap();
                    assert!(timeout_at(now() + Duration::from_millis(30), d.recv()).await.is_err());
                    b.recv().await.unwrap_err()
                }
            };
            assert!(is_memory_reset(&error), "{error}");
            assert!(counters().memory_resets >= 1);
            assert!(is_memory_reset(&b.send(&b"x"[..]).unwrap_err()));
            held.clear();
            c.send(&b"one more"[..]).unwrap();
            assert!(!d.recv().await.unwrap().is_empty(), "another stream goes on");
        },
    );
}

#[test]
fn a_slow_reader_that_holds_the_most_is_reset() {
    on_each(
        |config| {
            config.buffers.worker_bytes_max = 32 * 4096;
            config.buffers.connection_bytes_max = 1 << 20;
        },
        async || {
            let ((_client, front), (back, origin)) = (pair().await, pair().await);
            origin.send(some(32 << 20)).unwrap();
            let error = loop {
                let chunk = match back.recv().await {
                    Ok(chunk) => chunk,
                    Err(error) => break error,
                };
                if let Err(error) = front.send(chunk) {
                    break error;
                }
            };
            assert!(is_memory_reset(&error), "{error}");
            drop((front, back));
            until(|| counters().buffers_in_use == 0).await;
        },
    );
}

#[test]
fn a_tiny_ring_loses_no_completion() {
    on_each(
        |config| config.ring_entries = 8,
        async || {
            let mut pairs = Vec::new();
            for _ in 0..200 {
                pairs.push(pair().await);
            }
            let done = Rc::new(Cell::new(0));
            for (a, b) in pairs {
                for round in 0..20u8 {
                    a.send(vec![round; 50]).unwrap();
                }
                let done = done.clone();
                spawn(async move {
                    assert_eq!(recv_exact(&b, 1000).await.len(), 1000);
                    b.send(numbered(1000)).unwrap();
                    assert!(recv_exact(&a, 1000).await == numbered(1000));
                    done.set(done.get() + 1);
                });
            }
            until(|| done.get() == 200).await;
            eprintln!("{:?}", counters());
        },
    );
}

#[test]
fn a_closed_stream_takes_no_more_from_a_fast_sender() {
    each(async || {
        for _ in 0..10 {
            let (a, b) = pair().await;
            a.send(some(64 << 20)).unwrap();
            assert!(!b.recv().await.unwrap().is_empty());
            drop(b);
            // Reset, or told otherwise that nobody reads: long before the last byte.
            assert!(a.sent().await.is_err());
        }
        until(|| counters().streams == 0 && counters().buffers_in_use == 0).await;
    });
}

#[test]
fn a_stopped_reader_does_not_starve_others() {
    each(async || {
        let (a, _b) = pair().await;
        let (c, d) = pair().await;
        // Armed, and then nobody reads on.
        a.send(some(64 << 20)).unwrap();
        assert!(!_b.recv().await.unwrap().is_empty());
        for _ in 0..200 {
            c.send(numbered(10_000)).unwrap();
            assert!(recv_exact(&d, 10_000).await == numbered(10_000));
        }
        eprintln!("{:?}", counters());
    });
}
