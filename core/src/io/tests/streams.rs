//! Streams: order, ends, errors, bounds, and dropping at any moment.

use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use super::*;

#[test]
fn bytes_arrive_in_order_and_then_the_end() {
    each(async || {
        let (a, b) = pair().await;
        a.send(&b"hello "[..]).unwrap();
        a.send(Parts::from(b"wor".to_vec()).and(&b"ld"[..])).unwrap();
        assert_eq!(recv_exact(&b, 11).await, b"hello world");
        let big = numbered(1_000_000);
        b.send(big.clone()).unwrap();
        assert_eq!(recv_exact(&a, big.len()).await, big);
        b.sent().await.unwrap();
        assert_eq!((a.unsent(), b.unsent()), (0, 0));
        a.shutdown_write();
        assert!(a.send(&b"too late"[..]).is_err());
        assert!(b.recv().await.unwrap().is_empty());
        assert!(b.recv().await.unwrap().is_empty(), "again and again");
        b.send(&b"still open"[..]).unwrap();
        assert_eq!(recv_exact(&a, 10).await, b"still open");
    });
}

#[test]
fn both_ends_of_a_connection_send_without_delay() {
    each(async || {
        let (a, b) = pair().await;
        for stream in [a, b] {
            let (mut value, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
            let fd = stream.fd().unwrap();
            // SAFETY: the option is an int, and pointer and length are those of `value`.
            let result = unsafe {
                libc::getsockopt(
                    fd,
                    libc::IPPROTO_TCP,
                    libc::TCP_NODELAY,
                    (&raw mut value).cast(),
                    &raw mut len,
                )
            };
            assert_eq!((result, value), (0, 1));
        }
    });
}

#[test]
fn many_parts_are_gathered_in_order() {
    each(async || {
        let (a, b) = pair().await;
        let expected: Vec<u8> = (0..200u32).flat_map(|i| i.to_be_bytes()).collect();
        for i in 0..200u32 {
            a.send(i.to_be_bytes().to_vec()).unwrap();
        }
        assert_eq!(recv_exact(&b, expected.len()).await, expected);
        a.send(Vec::new()).unwrap();
        a.sent().await.unwrap();
    });
}

#[test]
fn received_chunks_are_sent_on_by_reference() {
    each(async || {
        let ((client, front), (back, origin)) = (pair().await, pair().await);
        let body = numbered(300_000);
        client.send(body.clone()).unwrap();
        client.shutdown_write();
        let relay = async {
            loop {
                let chunk = front.recv().await.unwrap();
                if chunk.is_empty() {
                    back.shutdown_write();
                    break;
                }
                back.send(chunk).unwrap();
                poll_fn(|cx| back.poll_room(cx, 64 * 1024)).await.unwrap();
            }
            back.sent().await.unwrap();
        };
        let (bytes, ()) = join(recv_exact(&origin, body.len()), relay).await;
        assert!(bytes == body);
        assert!(origin.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_dropped_recv_loses_nothing() {
    each(async || {
        let (a, b) = pair().await;
        for _ in 0..5 {
            assert!(timeout_at(now() + Duration::from_millis(2), b.recv()).await.is_err());
        }
        a.send(&b"abc"[..]).unwrap();
        assert_eq!(recv_exact(&b, 3).await, b"abc");
    });
}

#[test]
fn a_quiet_stream_is_one_that_may_be_used_again() {
    each(async || {
        let (a, b) = pair().await;
        assert!(!a.is_quiet(), "nothing is armed");
        assert!(timeout_at(now(), a.recv()).await.is_err());
        assert!(a.is_quiet());
        b.send(&b"x"[..]).unwrap();
        until(|| !a.is_quiet()).await;
        assert_eq!(recv_exact(&a, 1).await, b"x");
        assert!(timeout_at(now(), a.recv()).await.is_err());
        until(|| a.is_quiet()).await;
        drop(b);
        until(|| !a.is_quiet()).await;
        assert!(a.recv().await.unwrap().is_empty());
    });
}

#[test]
fn a_reset_is_told_and_a_fin_is_not() {
    each(async || {
        let (a, b) = pair().await;
        assert!(timeout_at(now() + Duration::from_millis(2), a.recv()).await.is_err());
        b.send(&b"bytes"[..]).unwrap();
        b.shutdown_write();
        assert!(
            timeout_at(now() + Duration::from_millis(20), poll_fn(|cx| a.poll_reset(cx).map(drop)))
                .await
                .is_err()
        );
        let (a, b) = pair().await;
        assert!(timeout_at(now() + Duration::from_millis(2), a.recv()).await.is_err());
        b.reset_on_close();
        drop(b);
        let error = poll_fn(|cx| a.poll_reset(cx)).await;
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(a.recv().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_failed_send_is_told_to_the_next_one_and_to_who_waits() {
    each(async || {
        let (a, b) = pair().await;
        b.reset_on_close();
        a.send(some(8 << 20)).unwrap();
        let waiting = async {
            assert!(a.sent().await.is_err());
        };
        let dropping = async {
            sleep_until(now() + Duration::from_millis(5)).await;
            drop(b);
        };
        join(waiting, dropping).await;
        assert!(a.send(&b"more"[..]).is_err());
        assert_eq!(a.unsent(), 0);
    });
}

#[test]
fn unsent_bytes_of_a_stopped_reader_are_counted_and_room_is_told() {
    each(async || {
        let (a, b) = pair().await;
        let body = numbered(16 << 20);
        a.send(body.clone()).unwrap();
        sleep_until(now() + Duration::from_millis(20)).await;
        let unsent = a.unsent();
        assert!(unsent > 1 << 20, "the kernel took all but {unsent}");
        assert!(a.outq().unwrap() > 0);
        assert!(timeout_at(now() + Duration::from_millis(5), a.sent()).await.is_err());
        let (bytes, ()) = join(recv_exact(&b, body.len()), async {
            poll_fn(|cx| a.poll_room(cx, 1 << 20)).await.unwrap();
            assert!(a.unsent() <= 1 << 20);
        })
        .await;
        assert!(bytes == body);
    });
}

#[test]
fn sending_goes_on_after_the_room_that_was_waited_for() {
    each(async || {
        let (a, b) = pair().await;
        // A small one, so that the kernel takes a part of each send.
        socket::set_option(a.fd().unwrap(), libc::SOL_SOCKET, libc::SO_SNDBUF, 32 << 10).unwrap();
        let body = numbered(16 << 20);
        a.send(body.clone()).unwrap();
        assert!(timeout_at(now() + Duration::from_millis(20), a.sent()).await.is_err());
        // The first byte that the kernel takes makes this room, and far from everything fits with it.
        let almost_all = a.unsent() - 1;
        let (bytes, room) = join(recv_exact(&b, body.len()), poll_fn(|cx| a.poll_room(cx, almost_all))).await;
        room.unwrap();
        assert!(bytes == body);
    });
}

#[test]
fn an_idle_descriptor_is_handed_over_and_a_busy_one_is_not() {
    on_each_own(async || {
        let (a, b) = pair().await;
        assert!(timeout_at(now() + Duration::from_millis(1), a.recv()).await.is_err());
        let fd = a.into_fd().await.unwrap();
        let a = Stream::from_fd(fd).unwrap();
        a.send(&b"moved"[..]).unwrap();
        assert_eq!(recv_exact(&b, 5).await, b"moved");
        b.send(&b"back"[..]).unwrap();
        assert_eq!(recv_exact(&a, 4).await, b"back");
        b.send(&b"byte"[..]).unwrap();
        b.sent().await.unwrap();
        assert_eq!(a.into_fd().await.unwrap_err(), NotIdle);
        let (a, b) = pair().await;
        assert!(timeout_at(now(), a.recv()).await.is_err());
        drop(b);
        until(|| !a.is_quiet()).await;
        assert_eq!(a.into_fd().await.unwrap_err(), NotIdle, "a FIN");
    });
}

#[test]
fn connecting_fails_with_the_reason_and_may_be_given_up() {
    each(async || {
        let (listener, address) = listen();
        drop(listener);
        sleep_until(now() + Duration::from_millis(2)).await;
        let refused = Stream::connect(&address.into()).await.unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // A backlog of one that nobody empties: further connects hang.
        let fd = bind(&"127.0.0.1:0".parse().unwrap(), false, 0).unwrap();
        let Ok(address) = std::net::TcpListener::from(fd.try_clone().unwrap()).local_addr() else { panic!() };
        let mut open = Vec::new();
        for _ in 0..4 {
            if let Ok(stream) =
                timeout_at(now() + Duration::from_millis(20), Stream::connect(&address.into())).await
            {
                open.push(stream.unwrap());
            }
        }
        assert!(open.len() < 4, "the backlog is full");
        until(|| counters().streams == open.len() as u64).await;
    });
}

#[test]
fn unix_sockets_work_alike() {
    each(async || {
        let path = std::env::temp_dir().join(format!("ringway-io-{}-{:p}", std::process::id(), &()));
        let _ = std::fs::remove_file(&path);
        let address = Address::Unix(path.clone().into());
        let listener = Listener::from_fd(bind(&address, false, 16).unwrap()).unwrap();
        let client = Stream::connect(&address).await.unwrap();
        let (fd, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, None);
        let server = Stream::from_fd(fd).unwrap();
        let body = numbered(500_000);
        client.send(body.clone()).unwrap();
        assert!(recv_exact(&server, body.len()).await == body);
        drop(client);
        assert!(server.recv().await.unwrap().is_empty());
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn waiting_receivers_are_woken_for_nothing_on_request() {
    each(async || {
        let (a, _b) = pair().await;
        let polls = Rc::new(std::cell::Cell::new(0));
        let counted = polls.clone();
        spawn(async move {
            poll_fn(|cx| {
                counted.set(counted.get() + 1);
                a.poll_recv(cx).map(drop)
            })
            .await;
        });
        until(|| polls.get() == 1).await;
        wake_receivers();
        until(|| polls.get() == 2).await;
    });
}

#[test]
fn streams_dropped_at_any_moment_leave_nothing_behind() {
    each(async || {
        let mut random = Random::new();
        let (listener, address) = listen();
        for _ in 0..300 {
            let Ok(connecting) = timeout_at(
                now() + Duration::from_micros(random.below(3000)),
                Stream::connect(&address.into()),
            )
            .await
            else {
                continue;
            };
            let client = connecting.unwrap();
            let (fd, _) = listener.accept().await.unwrap();
            let server = Stream::from_fd(fd).unwrap();
            if random.below(2) == 0 {
                client.send(some(random.below(2_000_000))).unwrap();
            }
            if random.below(2) == 0 {
                let _ = timeout_at(now() + Duration::from_micros(random.below(2000)), server.recv()).await;
            }
            if random.below(3) == 0 {
                server.send(some(random.below(500_000))).unwrap();
            }
            if random.below(3) == 0 {
                let _ = timeout_at(now() + Duration::from_micros(random.below(2000)), client.recv()).await;
            }
            if random.below(4) == 0 {
                server.reset_on_close();
            }
            let (first, second) = if random.below(2) == 0 { (client, server) } else { (server, client) };
            drop(first);
            if random.below(2) == 0 {
                let _ = timeout_at(now() + Duration::from_micros(random.below(2000)), second.recv()).await;
            }
        }
        until(|| counters().streams == 0 && counters().buffers_in_use == 0).await;
    });
}

#[test]
fn a_runtime_ends_soundly_with_everything_under_way() {
    for driver in DRIVERS {
        let mut random = Random::new();
        let mut chunks = Vec::new();
        for _ in 0..20 {
            let chunk = run(&small(driver), async {
                for _ in 0..random.below(20) {
                    let (a, b) = pair().await;
                    a.send(some(random.below(4_000_000) + 1)).unwrap();
                    if random.below(2) == 0 {
                        let _ = b.recv().await;
                    }
                    spawn(async move {
                        let _ = b.recv().await;
                        std::future::pending::<()>().await;
                        drop(a);
                    });
                }
                let (a, b) = pair().await;
                a.send(&b"kept"[..]).unwrap();
                b.recv().await.unwrap()
            })
            .unwrap();
            chunks.push(chunk);
        }
        assert!(chunks.iter().all(|chunk| **chunk == *b"kept"), "chunks outlive their runtime");
    }
}

#[test]
fn a_stream_of_an_ended_runtime_only_says_so() {
    for driver in DRIVERS {
        let (a, _b) = run(&small(driver), in_time(pair())).unwrap();
        assert!(a.send(&b"x"[..]).is_err());
        run(&small(driver), async {
            let (_c, _d) = pair().await;
            assert!(a.send(&b"x"[..]).is_err());
            assert!(a.recv().await.is_err());
            assert!(a.peer_addr().is_err());
        })
        .unwrap();
    }
}

#[test]
fn a_stream_dropped_before_everything_was_sent_is_reset_and_not_ended() {
    each(async || {
        let (a, b) = pair().await;
        // More than the two kernels hold.
        a.send(vec![b'x'; 64 << 20]).unwrap();
        assert!(!b.recv().await.unwrap().is_empty(), "some of it arrives");
        assert!(a.unsent() > 0);
        drop(a);
        let end = loop {
            match b.recv().await {
                Ok(chunk) if chunk.is_empty() => break None,
                Ok(_) => {}
                Err(error) => break error.raw_os_error(),
            }
        };
        assert_eq!(end, Some(libc::ECONNRESET));
    });
}
