use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::*;
use crate::config::{AccessLogConfig, AccessLogFormat, AccessLogTarget};
use crate::outcome::{Phases, WallClock};
use crate::stats::Stats;

/// A directory of its own for one test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ringway-log-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(path: &Path, template: &str) -> (LogWriter, AccessLog, Arc<Stats>) {
    let config = AccessLogConfig {
        format: AccessLogFormat::Template(template.into()),
        target: AccessLogTarget::File(path.to_owned()),
    };
    let stats = Stats::new(1);
    let writer = LogWriter::start(&config, stats.access_log.clone()).expect("the log starts");
    let log = writer.handle(stats.workers()[0].clone());
    (writer, log, stats)
}

fn log_one(log: &mut AccessLog, target: &[u8]) {
    let now = Instant::now();
    let phases = Phases {
        clock: WallClock::new(now, SystemTime::now()),
        started: now,
        head_received: now,
        connected: None,
        first_byte: None,
        ended: now,
    };
    let outcome = Outcome {
        listener: 0,
        route: None,
        cluster: None,
        worker: 0,
        endpoint: "",
        endpoint_index: None,
        client: None,
        method: b"GET",
        target,
        host: b"",
        protocol: "HTTP/1.1",
        user_agent: b"",
        referer: b"",
        request_id: b"",
        status: 200,
        reason: None,
        request_body_bytes: 0,
        response_body_bytes: 0,
        attempts: 0,
        upstream_reused: false,
        grpc: None,
        tls: None,
        phases,
    };
    log.on_exchange(&Labels::default(), &outcome);
}

/// Waits until something is so; fails after ten seconds.
fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::yield_now();
    }
}

const CLOSE: Duration = Duration::from_secs(10);

#[test]
fn every_line_arrives_in_order() {
    let directory = Directory::new("order");
    let path = directory.file("access.log");
    let (writer, mut log, stats) = start(&path, "{target}");
    for n in 0..20_000 {
        log_one(&mut log, format!("/{n}").as_bytes());
        // The writer is given the time that a real worker's pace gives it.
        while stats.access_log.lines.get() + 16_000 < n {
            std::thread::yield_now();
        }
    }
    drop(log);
    assert!(writer.close(CLOSE));
    let text = fs::read_to_string(&path).expect("the log is there");
    assert!(text.lines().map(str::to_owned).eq((0..20_000).map(|n| format!("/{n}"))));
    assert_eq!(stats.access_log.lines.get(), 20_000);
    assert_eq!(stats.access_log.bytes.get(), text.len() as u64);
}

#[test]
fn a_line_waits_for_the_tick_only_until_it_is_old() {
    let directory = Directory::new("age");
    let path = directory.file("access.log");
    let (_writer, mut log, stats) = start(&path, "{target}");
    let now = Instant::now();
    log_one(&mut log, b"/");
    log.flush_if_old(now + LINE_AGE_MAX / 2);
    assert_eq!(log.on.as_ref().map(|on| on.batch.lines), Some(1));
    log.flush_if_old(Instant::now() + LINE_AGE_MAX);
    wait_until("the line", || stats.access_log.lines.get() == 1);
}

#[test]
fn a_moved_file_is_written_until_told_to_reopen() {
    let directory = Directory::new("reopen");
    let (path, moved) = (directory.file("access.log"), directory.file("access.log.1"));
    let (writer, mut log, stats) = start(&path, "{target}");
    let mut write = |target: &[u8], lines| {
        log_one(&mut log, target);
        log.flush();
        wait_until("the line", || stats.access_log.lines.get() == lines);
    };
    write(b"/1", 1);
    fs::rename(&path, &moved).expect("renamed");
    write(b"/2", 2);
    writer.reopen();
    wait_until("the reopening", || stats.access_log.reopened.get() == 1);
    write(b"/3", 3);
    assert_eq!(fs::read_to_string(&moved).expect("the old file"), "/1\n/2\n");
    assert_eq!(fs::read_to_string(&path).expect("the new file"), "/3\n");
}

/// Everything that a target can refuse ends the same way: the worker goes on, what does not fit is dropped and counted.
#[test]
fn a_full_disk_drops_and_counts_and_never_blocks_the_worker() {
    // Every write to /dev/full is ENOSPC.
    let (writer, mut log, stats) = start(Path::new("/dev/full"), "{target}");
    let target = vec![b'a'; 4_000];
    for _ in 0..3_000 {
        log_one(&mut log, &target);
    }
    wait_until("a write error", || stats.access_log.errors.get() > 0);
    assert_eq!(stats.access_log.blocked.get(), 1);
    assert!(stats.workers()[0].exchanges.access_log_dropped.get() > 1_000);
    assert_eq!(stats.access_log.lines.get(), 0);
    drop(log);
    assert!(!writer.close(Duration::from_millis(1)), "there is still something that cannot be written");
}

#[test]
fn a_disk_with_room_again_is_written_again() {
    let directory = Directory::new("recover");
    let path = directory.file("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).expect("a symbolic link");
    let (writer, mut log, stats) = start(&path, "{target}");
    log_one(&mut log, b"/kept");
    log.flush();
    wait_until("a write error", || stats.access_log.errors.get() > 0);
    fs::remove_file(&path).expect("removed");
    writer.reopen();
    wait_until("the line", || stats.access_log.lines.get() == 1);
    assert_eq!(stats.access_log.blocked.get(), 0);
    assert_eq!(fs::read_to_string(&path).expect("the log"), "/kept\n");
}

#[test]
fn a_pipe_that_nobody_reads_drops_and_goes_on_when_somebody_does() {
    let directory = Directory::new("pipe");
    let path = directory.file("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    // Without O_NONBLOCK opening would wait for a writer.
    let mut reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("the FIFO");
    let (writer, mut log, stats) = start(&path, "{target}");
    let target = vec![b'a'; 4_000];
    for _ in 0..3_000 {
        log_one(&mut log, &target);
    }
    drop(log);
    let dropped = stats.workers()[0].exchanges.access_log_dropped.get();
    assert!(dropped > 1_000, "{dropped}");
    // Now it is read: what was kept arrives, in whole lines.
    let mut bytes = Vec::new();
    let kept = 3_000 - dropped;
    wait_until("the lines that were kept", || {
        let _ = reader.read_to_end(&mut bytes);
        bytes.len() as u64 >= kept * 4_001
    });
    assert!(writer.close(CLOSE));
    assert_eq!(bytes.len() as u64, kept * 4_001);
    assert!(bytes.split_inclusive(|b| *b == b'\n').all(|line| line.len() == 4_001));
    assert_eq!(stats.access_log.lines.get(), kept);
}

#[test]
fn a_reader_that_goes_away_does_not_end_the_writer() {
    let directory = Directory::new("epipe");
    let path = directory.file("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs");
    assert!(made.success());
    let open = || File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("the FIFO");
    let reader = open();
    let (_writer, mut log, stats) = start(&path, "{target}");
    drop(reader);
    log_one(&mut log, b"/1");
    log.flush();
    wait_until("EPIPE", || stats.access_log.errors.get() > 0);
    let mut reader = open();
    let mut bytes = Vec::new();
    wait_until("the line", || {
        let _ = reader.read_to_end(&mut bytes);
        bytes == b"/1\n"
    });
}

#[test]
fn a_target_that_cannot_be_opened_is_an_error_at_start() {
    let config = AccessLogConfig {
        format: AccessLogFormat::Combined,
        target: AccessLogTarget::File("/nowhere/at/all.log".into()),
    };
    assert!(LogWriter::start(&config, Arc::default()).is_err());
}
