//! What the kernel accounts to this process.

use std::fs;

/// Clock ticks of a second in `/proc`: fixed on Linux, whatever the kernel's own timer (proc(5), `USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Memory and CPU time at one moment; zero where `/proc` does not say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    /// User and system time.
    pub(super) cpu_micros: u64,
}

impl Usage {
    pub(super) fn read() -> Usage {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Usage::parse(&read("/proc/self/status"), &read("/proc/self/stat"))
    }

    fn parse(status: &str, stat: &str) -> Usage {
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        // The name in parentheses may hold anything, so fields are counted from the last one: the state is the
        // third, utime and stime are the 14th and 15th (proc(5)).
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
        Usage {
            resident_bytes: kilobytes.unwrap_or(0) * 1024,
            cpu_micros: ticks.sum::<u64>().saturating_mul(1_000_000 / TICKS_PER_SECOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_process_names_do_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 1 1 1\n";
        let status = "Name:\ta) b (c\nVmPeak:\t  9 kB\nVmRSS:\t    1234 kB\n";
        let expected = Usage { resident_bytes: 1234 * 1024, cpu_micros: 3_000_000 };
        assert_eq!(Usage::parse(status, stat), expected);
        assert_eq!(Usage::parse("", ""), Usage::default());
        assert!(Usage::read().resident_bytes > 0);
    }
}
