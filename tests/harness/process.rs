//! What the kernel knows of a process, and signals to it.

use std::fs;
use std::time::Duration;

pub use rustix::process::Signal;

/// Sends a signal to one process, by its id.
pub fn signal(pid: u32, signal: Signal) {
    let pid = rustix::process::Pid::from_raw(pid as i32).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("the process is there to take a signal");
}

/// Resident memory in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:") * 1024
}

/// The largest resident memory so far, in bytes.
pub fn resident_bytes_peak(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:") * 1024
}

/// User and kernel time so far.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The second field is the name in parentheses and may hold blanks: count from behind it.
    let (_, rest) = stat.rsplit_once(')').expect("a stat line");
    let field = |index: usize| -> u64 {
        rest.split_whitespace().nth(index).and_then(|f| f.parse().ok()).unwrap_or(0)
    };
    // utime and stime, in ticks of 10 ms on every Linux that we run on.
    Duration::from_millis((field(11) + field(12)) * 10)
}

/// Descriptors that the process has open.
pub fn open_descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// Names of the threads of the process.
pub fn threads(pid: u32) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.flatten().filter_map(name).map(|name| name.trim().to_owned()).collect()
}

fn status_kib(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line =
        status.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key} for {pid}"));
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of KiB")
}
