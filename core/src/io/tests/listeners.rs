//! Listeners: bursts, lost connections, and a process without descriptors.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use super::*;

#[test]
fn a_burst_beyond_the_accept_queue_is_accepted_whole() {
    each(async || {
        let (listener, address) = listen();
        let clients: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
        // Accepting starts, fills its queue, and stops until that is taken.
        let mut accepted = Vec::new();
        for _ in 0..300 {
            accepted.push(listener.accept().await.unwrap());
        }
        assert!(timeout_at(now() + Duration::from_millis(5), listener.accept()).await.is_err());
        let peers: std::collections::HashSet<_> = accepted.iter().filter_map(|(_, peer)| *peer).collect();
        assert_eq!(peers, clients.iter().map(|client| client.local_addr().unwrap()).collect());
    });
}

#[test]
fn a_connection_that_was_reset_early_does_not_end_the_loop() {
    each(async || {
        let (listener, address) = listen();
        for _ in 0..20 {
            let client = TcpStream::connect(address).unwrap();
            crate::io::socket::linger_zero(std::os::fd::AsRawFd::as_raw_fd(&client));
            drop(client);
        }
        let good = TcpStream::connect(address).unwrap();
        let good = good.local_addr().unwrap();
        loop {
            let (_fd, peer) = listener.accept().await.unwrap();
            if peer == Some(good) {
                break;
            }
        }
    });
}

#[test]
fn a_dropped_listener_refuses_and_an_accept_may_be_dropped() {
    each(async || {
        let (listener, address) = listen();
        assert!(timeout_at(now() + Duration::from_millis(2), listener.accept()).await.is_err());
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().ok());
        drop(listener);
        until(|| TcpStream::connect(address).is_err()).await;
    });
}

#[test]
fn reuse_port_lets_two_listeners_share_an_address() {
    each(async || {
        let first = Listener::from_fd(bind(&"127.0.0.1:0".parse().unwrap(), true, 16).unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        assert!(bind(&address, true, 16).is_ok());
        assert_eq!(bind(&address, false, 16).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    });
}

/// Runs one ignored test of this binary in a process of its own.
fn in_a_child(test: &str) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&format!("io::tests::listeners::{test}"), "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "the test exists: {said}");
}

#[test]
fn without_descriptors_clients_are_refused_and_accepting_goes_on() {
    in_a_child("child_without_descriptors");
}

#[test]
#[ignore = "lowers the limit of its whole process: run by the test above"]
fn child_without_descriptors() {
    each(async || {
        let (listener, address) = listen();
        let mut clients: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: one rlimit, written during the call.
        unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
        let lowest_free = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap());
        let low = libc::rlimit { rlim_cur: lowest_free as u64 + 3, rlim_max: limit.rlim_max };
        // SAFETY: one rlimit, read during the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const low) };
        let mut accepted = Vec::new();
        while let Ok(result) = timeout_at(now() + Duration::from_millis(100), listener.accept()).await {
            accepted.push(result.unwrap());
        }
        assert!(!accepted.is_empty() && accepted.len() < clients.len(), "{} accepted", accepted.len());
        assert!(counters().accept_refused > 0, "{:?}", counters());
        let refused = clients.iter_mut().filter_map(|client| {
            client.set_nonblocking(true).unwrap();
            let read = client.read(&mut [0]);
            (!matches!(read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)).then_some(())
        });
        assert_eq!(refused.count() as u64, counters().accept_refused, "nobody is left hanging");
        // SAFETY: as above.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
        accepted.clear();
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, client.local_addr().ok());
    });
}
