//! Mailboxes between workers of every driver, and from plain threads.

use super::mailbox::{Full, channel};
use super::*;

#[test]
fn a_full_mailbox_gives_the_message_back() {
    each(async || {
        let (sender, receiver) = channel(2);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.clone().try_send(2), Ok(()));
        assert_eq!(sender.try_send(3), Err(Full(3)));
        assert_eq!(counters().mailbox_full, 1);
        assert_eq!(
            (receiver.recv().await, receiver.try_recv(), receiver.try_recv()),
            (Some(1), Some(2), None)
        );
        drop(sender);
        assert_eq!(receiver.recv().await, None);
        let (sender, receiver) = channel(2);
        drop(receiver);
        assert_eq!(sender.try_send(1), Err(Full(1)));
    });
}

#[test]
fn a_plain_thread_wakes_a_sleeping_worker() {
    each(async || {
        let (sender, receiver) = channel(1);
        let thread = std::thread::spawn(move || {
            for i in 0..2000 {
                let mut message = i;
                while let Err(Full(back)) = sender.try_send(message) {
                    message = back;
                    std::thread::yield_now();
                }
            }
        });
        for i in 0..2000 {
            assert_eq!(receiver.recv().await, Some(i));
        }
        thread.join().unwrap();
    });
}

#[test]
fn workers_of_any_drivers_play_ping_pong() {
    const ROUNDS: u32 = 2000;
    for (left, right) in DRIVERS.iter().flat_map(|left| DRIVERS.map(|right| (*left, right))) {
        eprintln!("{left} and {right}");
        let (to_right, at_right) = channel(1);
        let (to_left, at_left) = channel(1);
        let thread = std::thread::spawn(move || {
            run(
                &small(right),
                in_time(async {
                    while let Some(n) = at_right.recv().await {
                        let _ = to_left.try_send(n + 1);
                    }
                }),
            )
            .unwrap();
        });
        run(
            &small(left),
            in_time(async {
                for i in 0..ROUNDS {
                    to_right.try_send(i).unwrap();
                    assert_eq!(at_left.recv().await, Some(i + 1));
                }
                drop(to_right);
            }),
        )
        .unwrap();
        thread.join().unwrap();
    }
}

#[test]
fn a_descriptor_travels_to_another_worker() {
    for (left, right) in DRIVERS.iter().flat_map(|left| DRIVERS.map(|right| (*left, right))) {
        if !run(&small(left), async { moves_descriptors() }).unwrap() {
            continue;
        }
        let (sender, receiver) = channel::<std::os::fd::OwnedFd>(1);
        let thread = std::thread::spawn(move || {
            run(
                &small(right),
                in_time(async {
                    let stream = Stream::from_fd(receiver.recv().await.unwrap()).unwrap();
                    let bytes = recv_exact(&stream, 100_000).await;
                    stream.send(bytes).unwrap();
                    stream.sent().await.unwrap();
                }),
            )
            .unwrap();
        });
        run(
            &small(left),
            in_time(async {
                let (a, b) = pair().await;
                assert!(timeout_at(now(), b.recv()).await.is_err());
                sender.try_send(b.into_fd().await.unwrap()).unwrap();
                a.send(numbered(100_000)).unwrap();
                assert!(recv_exact(&a, 100_000).await == numbered(100_000));
            }),
        )
        .unwrap();
        thread.join().unwrap();
    }
}
