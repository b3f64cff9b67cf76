//! CPU time and memory of another process, from `/proc`.

use std::fs;
use std::io;
use std::ops::Sub;
use std::time::Duration;

/// CPU time that a process has used since its start, all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    pub user_us: f64,
    pub kernel_us: f64,
}

impl CpuTime {
    pub fn total_us(self) -> f64 {
        self.user_us + self.kernel_us
    }
}

impl Sub for CpuTime {
    type Output = CpuTime;

    /// The total is exact; how it was split by clock ticks must not make a part of it negative.
    fn sub(self, before: CpuTime) -> CpuTime {
        let total = (self.total_us() - before.total_us()).max(0.0);
        let user_us = (self.user_us - before.user_us).clamp(0.0, total);
        CpuTime { user_us, kernel_us: total - user_us }
    }
}

/// Reads the CPU time of several processes, summed: a proxy may be a master and a worker.
pub fn cpu_time(pids: &[u32]) -> io::Result<CpuTime> {
    let mut sum = CpuTime::default();
    for &pid in pids {
        let one = cpu_time_of(pid)?;
        sum.user_us += one.user_us;
        sum.kernel_us += one.kernel_us;
    }
    Ok(sum)
}

/// `/proc/PID/stat` splits user from kernel time in clock ticks; `schedstat` of each thread holds their sum in
/// nanoseconds. The sum is taken from the latter and split as the former says.
fn cpu_time_of(pid: u32) -> io::Result<CpuTime> {
    let (user, kernel) = ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not as expected")))?;
    // SAFETY: no pointers.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let by_ticks = (user + kernel) as f64 * 1e6 / ticks_per_second;
    let exact_us = run_time_us(pid).unwrap_or(by_ticks);
    let share = if user + kernel == 0 { 0.0 } else { user as f64 / (user + kernel) as f64 };
    Ok(CpuTime { user_us: exact_us * share, kernel_us: exact_us * (1.0 - share) })
}

/// Fields 14 and 15 of proc_pid_stat(5), counted behind the command, which may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Nanosecond run time of the live threads; `None` when one has just ended or the kernel does not tell.
fn run_time_us(pid: u32) -> Option<f64> {
    let mut sum_ns = 0u64;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum_ns += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    (sum_ns > 0).then_some(sum_ns as f64 / 1000.0)
}

/// CPU time of the calling thread.
pub fn thread_time() -> Duration {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid pointer to a timespec; the clock of the calling thread always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut spec) };
    Duration::new(spec.tv_sec as u64, spec.tv_nsec as u32)
}

/// Makes the calling thread's timers exact: the default lets each be up to 50 µs late.
pub fn exact_timers() {
    // SAFETY: no pointers. A failure leaves the default.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000) };
}

/// Raises the soft limit of open files to at least `wanted`, and returns what it is now.
pub fn raise_files_limit(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: valid pointers to an rlimit.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return wanted;
        }
        if limit.rlim_cur < wanted {
            let raised = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
                return raised.rlim_cur;
            }
        }
    }
    limit.rlim_cur
}

/// What [`raise_files_limit`] can reach.
pub fn files_limit_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a valid pointer to an rlimit.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_max
    } else {
        u64::MAX
    }
}

/// Open files that another process may have now; `None` where it cannot be read.
pub fn files_limit_of(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Memory {
    /// Everything resident: code, file mappings, heap, stacks.
    pub rss_bytes: u64,
    /// What is not backed by a file: what a connection costs is here.
    pub anonymous_bytes: u64,
}

/// Reads the memory of several processes, summed.
pub fn memory(pids: &[u32]) -> io::Result<Memory> {
    let mut sum = Memory::default();
    for &pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        sum.rss_bytes += kibibytes(&status, "VmRSS:") * 1024;
        sum.anonymous_bytes += kibibytes(&status, "RssAnon:") * 1024;
    }
    Ok(sum)
}

fn kibibytes(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ticks_behind_a_hostile_command_name() {
        let stat = "7 (a) b (c) R 1 7 7 0 -1 4194560 1 0 0 0 12 34 0 0 20 0 1 0 5 6 7";
        assert_eq!(ticks(stat), Some((12, 34)));
    }

    #[test]
    fn no_part_of_a_difference_is_negative() {
        let time = |user_us, kernel_us| CpuTime { user_us, kernel_us };
        for (after, before, expected) in [
            (time(9.0, 5.0), time(4.0, 3.0), time(5.0, 2.0)),
            (time(9.0, 2.0), time(4.0, 3.0), time(4.0, 0.0)),
            (time(3.0, 9.0), time(4.0, 3.0), time(0.0, 5.0)),
        ] {
            assert_eq!(after - before, expected);
        }
    }

    #[test]
    fn reads_its_own_process() {
        let pid = [std::process::id()];
        assert!(memory(&pid).expect("own status is readable").rss_bytes > 0);
        assert!(cpu_time(&pid).expect("own stat is readable").total_us() >= 0.0);
    }
}
