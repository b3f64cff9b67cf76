//! What systemd is told: readiness, reloads, the watchdog, the end.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use ringway_tests::process::Signal;
use ringway_tests::temp::TempDir;
use ringway_tests::{Io, Origin, Ringway, each_driver};

each_driver! {
    readiness_reload_and_end_are_notified,
    the_watchdog_is_fed,
}

/// Systemd's end of the notification socket.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let directory = TempDir::new();
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        Manager { socket, directory }
    }

    fn path(&self) -> String {
        self.directory.path().join("notify").display().to_string()
    }

    /// The next message that holds this line.
    fn wait_for(&self, line: &str) -> String {
        loop {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("no {line}: {error}"));
            let message = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if message.lines().any(|other| other == line) {
                return message;
            }
        }
    }
}

fn readiness_reload_and_end_are_notified(io: Io) {
    let (origin, manager) = (Origin::ok(), Manager::new());
    let mut proxy = Ringway::to(&origin).io(io).environment("NOTIFY_SOCKET", &manager.path()).start();
    manager.wait_for("READY=1");
    assert_eq!(proxy.get("/").status, 200, "it was not said too early");
    proxy.signal(Signal::HUP);
    let reloading = manager.wait_for("RELOADING=1");
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(since.is_some_and(|since| since.parse::<u64>().is_ok()), "{reloading}");
    manager.wait_for("READY=1");
    proxy.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert!(proxy.wait_for_exit().success());
}

fn the_watchdog_is_fed(io: Io) {
    let (origin, manager) = (Origin::ok(), Manager::new());
    let ringway = Ringway::to(&origin).io(io).environment("NOTIFY_SOCKET", &manager.path());
    let _proxy = ringway.environment("WATCHDOG_USEC", "200000").start();
    for _ in 0..3 {
        manager.wait_for("WATCHDOG=1");
    }
}
