//! The checks, in the order of the report.

use super::Finding;
use super::facts::Facts;
use crate::config::units::format_size;

/// The first kernel with everything that the io_uring driver uses.
const KERNEL_FOR_URING: (u32, u32) = (6, 1);
/// Below this not even a demo can be proxied: listeners, rings, logs and a few connections.
const FILES_MIN: u64 = 64;
const FILES_GOOD: u64 = 65_536;
const MEMLOCK_GOOD: u64 = 8 << 20;
const BACKLOG_GOOD: u64 = 1024;
const PORTS_GOOD: u64 = 20_000;
const MEMORY_GOOD: u64 = 128 << 20;

/// Every check.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    vec![
        kernel(facts),
        io_uring(facts),
        sockets(facts),
        ipv6(facts),
        open_files(facts),
        locked_memory(facts),
        backlog(facts),
        cpus(facts),
        cpu_quota(facts),
        memory(facts),
        ports(facts),
    ]
}

fn kernel(facts: &Facts) -> Finding {
    let Some(release) = facts.line("proc/sys/kernel/osrelease") else {
        return Finding::warn(
            "kernel",
            "unknown: /proc is not readable",
            "mount /proc: limits cannot be seen without it",
        );
    };
    match version(&release) {
        Some(version) if version < KERNEL_FOR_URING => Finding::warn(
            "kernel",
            release,
            format!("Linux {}.{} or later: epoll is used until then", KERNEL_FOR_URING.0, KERNEL_FOR_URING.1),
        ),
        _ => Finding::ok("kernel", release),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether the ring works, and if not, what blocks it.
fn io_uring(facts: &Facts) -> Finding {
    let probe = &facts.probe;
    if probe.is_usable() {
        let found = match probe.optional_missing.as_slice() {
            [] => "everything is there".to_owned(),
            missing => format!("everything needed is there; does without {}", missing.join(", ")),
        };
        return Finding::ok("io_uring", found);
    }
    let found = match &probe.setup_error {
        // What follows the first colon says what to do, which the advice says too.
        Some(error) => format!("not available: {}", error.split(": ").next().unwrap_or_default()),
        None => format!("lacks {}", probe.missing.join(", ")),
    };
    let advice = match uring_blocker(facts) {
        Some(advice) => advice,
        None => "use a later kernel".to_owned(),
    };
    if facts.io_choice.as_deref() == Some("uring") {
        return Finding::fail("io_uring", found, format!("{advice}; or do not ask for it (RINGWAY_IO=auto)"));
    }
    Finding::warn(
        "io_uring",
        found,
        format!("epoll is used, which works and costs more CPU. To have io_uring: {advice}"),
    )
}

fn uring_blocker(facts: &Facts) -> Option<String> {
    // Documentation/admin-guide/sysctl/kernel.rst, "io_uring_disabled".
    match facts.number("proc/sys/kernel/io_uring_disabled") {
        Some(2) => return Some("sysctl -w kernel.io_uring_disabled=0".to_owned()),
        Some(1) => {
            return Some(
                "add this user to the group of kernel.io_uring_group, or sysctl -w kernel.io_uring_disabled=0".to_owned(),
            );
        }
        _ => {}
    }
    facts.probe.setup_error.as_ref()?;
    // seccomp(2): 2 is a filter, as container runtimes install.
    if facts.status("Seccomp").as_deref() == Some("2") {
        return Some(
            "a seccomp filter is in force (container runtimes forbid io_uring by default): allow io_uring_setup, \
             io_uring_enter and io_uring_register in its profile"
                .to_owned(),
        );
    }
    let old =
        facts.line("proc/sys/kernel/osrelease").as_deref().and_then(version).is_some_and(|it| it < (5, 12));
    match facts.limit("Max locked memory") {
        Some((Some(soft), _)) if old && soft < MEMLOCK_GOOD => Some(
            "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=), which kernels before 5.12 need"
                .to_owned(),
        ),
        _ => None,
    }
}

fn sockets(facts: &Facts) -> Finding {
    match &facts.ipv4_error {
        None => Finding::ok("sockets", "127.0.0.1 can be bound"),
        Some(error) => Finding::fail(
            "sockets",
            format!("127.0.0.1 cannot be bound: {error}"),
            "bring the loopback interface up",
        ),
    }
}

fn ipv6(facts: &Facts) -> Finding {
    match &facts.ipv6_error {
        None => Finding::ok("ipv6", "[::1] can be bound"),
        Some(error) => Finding::warn(
            "ipv6",
            format!("[::1] cannot be bound: {error}"),
            "listen on IPv4 addresses: 0.0.0.0:8080 instead of :8080",
        ),
    }
}

fn open_files(facts: &Facts) -> Finding {
    let name = "nofile";
    let Some((soft, hard)) = facts.limit("Max open files") else {
        return Finding::warn(name, "limit unknown", "mount /proc");
    };
    let show = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let found = format!("{} (hard limit {})", show(soft), show(hard));
    let advice = |wanted: u64| {
        format!(
            "each proxied connection takes two: ulimit -n {wanted}, or LimitNOFILE={wanted} in the systemd unit"
        )
    };
    match soft {
        Some(soft) if soft < FILES_MIN => Finding::fail(name, found, advice(FILES_GOOD)),
        Some(soft) if soft < FILES_GOOD => Finding::warn(name, found, advice(FILES_GOOD)),
        _ => Finding::ok(name, found),
    }
}

fn locked_memory(facts: &Facts) -> Finding {
    let name = "memlock";
    match facts.limit("Max locked memory") {
        Some((Some(soft), _)) if soft < MEMLOCK_GOOD => Finding::warn(
            name,
            format_size(soft),
            "buffers registered with io_uring count against it: ulimit -l 8192, or LimitMEMLOCK=8M in the systemd unit",
        ),
        Some((Some(soft), _)) => Finding::ok(name, format_size(soft)),
        Some((None, _)) => Finding::ok(name, "unlimited"),
        None => Finding::warn(name, "limit unknown", "mount /proc"),
    }
}

fn backlog(facts: &Facts) -> Finding {
    match facts.number("proc/sys/net/core/somaxconn") {
        Some(size) if size < BACKLOG_GOOD => Finding::warn(
            "somaxconn",
            size.to_string(),
            "bursts of new connections are dropped beyond it: sysctl -w net.core.somaxconn=4096",
        ),
        Some(size) => Finding::ok("somaxconn", size.to_string()),
        None => Finding::warn("somaxconn", "unknown", "read net.core.somaxconn on the host: 4096 is good"),
    }
}

fn cpus(facts: &Facts) -> Finding {
    let cpus = &facts.host.cpus;
    let workers = match facts.host.worker_count() {
        1 => "1 worker".to_owned(),
        count => format!("{count} workers"),
    };
    if cpus.is_empty() {
        return Finding::warn(
            "cpus",
            format!("affinity mask unknown; {workers}"),
            "say how many with --workers",
        );
    }
    let online = facts.line("sys/devices/system/cpu/online").unwrap_or_default();
    Finding::ok(
        "cpus",
        format!("{} in the affinity mask ({}), online {online}; {workers}", cpus.len(), ranges(cpus)),
    )
}

/// `0-3,8`
fn ranges(cpus: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let show = |(first, last): &(usize, usize)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    parts.iter().map(show).collect::<Vec<_>>().join(",")
}

fn cpu_quota(facts: &Facts) -> Finding {
    let name = "cpu quota";
    let Some(millis) = facts.host.quota_millis else { return Finding::ok(name, "none in the control group") };
    let found = format!("{}.{:03} CPUs in the control group", millis / 1000, millis % 1000);
    let cpus = facts.host.cpus.len() as u64;
    if millis < 1000 {
        let advice = "the one worker is stopped for part of each 100ms: give at least one whole CPU";
        return Finding::warn(name, found, advice);
    }
    if millis % 1000 != 0 && millis / 1000 < cpus {
        return Finding::warn(name, found, "workers are whole CPUs: the fraction is not used by workers");
    }
    Finding::ok(name, found)
}

fn memory(facts: &Facts) -> Finding {
    let machine = facts.host.machine_memory_bytes.map_or("unknown".to_owned(), mib);
    match facts.host.cgroup_memory_bytes {
        None => Finding::ok("memory", format!("no limit in the control group; machine {machine}")),
        Some(limit) => {
            let found = format!("{} in the control group; machine {machine}", mib(limit));
            if limit < MEMORY_GOOD {
                let advice = format!(
                    "bytes in flight are held below half of it; {} or more is comfortable",
                    mib(MEMORY_GOOD)
                );
                return Finding::warn("memory", found, advice);
            }
            Finding::ok("memory", found)
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{}MiB", bytes >> 20)
}

fn ports(facts: &Facts) -> Finding {
    let range = facts.line("proc/sys/net/ipv4/ip_local_port_range");
    let bounds = range.as_deref().and_then(|range| {
        let mut words = range.split_whitespace();
        Some((words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?))
    });
    let Some((first, last)) = bounds else {
        return Finding::warn("port range", "unknown", "read net.ipv4.ip_local_port_range on the host");
    };
    let count = (last + 1).saturating_sub(first);
    let found = format!("{first}-{last}: {count} connections to one origin address");
    if count < PORTS_GOOD {
        return Finding::warn("port range", found, "sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"");
    }
    Finding::ok("port range", found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::Level;
    use super::*;
    use crate::config::cpus::Host;
    use crate::io::Probe;

    /// A healthy machine, changed by `files`.
    fn facts(name: &str, files: &[(&str, &str)]) -> Facts {
        let root = std::env::temp_dir().join(format!("ringway-doctor-{}-{name}", std::process::id()));
        let healthy = [
            ("proc/sys/kernel/osrelease", "6.8.0-31-generic\n"),
            (
                "proc/self/limits",
                "Max open files            1048576  1048576  files\nMax locked memory  8388608 8388608 bytes\n",
            ),
            ("proc/self/status", "Name:\tx\nSeccomp:\t0\nCpus_allowed_list:\t0-3\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/meminfo", "MemTotal:  8388608 kB\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
        ];
        for (path, text) in healthy.iter().chain(files) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let facts = Facts {
            host: Host::read(&root),
            probe: Probe::default(),
            ipv4_error: None,
            ipv6_error: None,
            io_choice: None,
            root: root.clone(),
        };
        // Everything lazily read must stay readable: the directory is removed by the caller.
        facts
    }

    fn remove(root: &PathBuf) {
        let _ = fs::remove_dir_all(root);
    }

    fn levels(findings: &[Finding]) -> Vec<(&'static str, Level)> {
        let not_ok = findings.iter().filter(|finding| finding.level != Level::Ok);
        not_ok.map(|finding| (finding.name, finding.level)).collect()
    }

    #[test]
    fn a_healthy_machine_has_nothing_to_do() {
        let facts = facts("healthy", &[]);
        let findings = all(&facts);
        remove(&facts.root);
        assert_eq!(levels(&findings), [], "{findings:#?}");
    }

    #[test]
    fn each_shortcoming_is_named_with_what_to_do() {
        for (name, files, line) in [
            ("old", ("proc/sys/kernel/osrelease", "5.10.0\n"), ("kernel", Level::Warn)),
            (
                "files",
                (
                    "proc/self/limits",
                    "Max open files 1024 4096 files\nMax locked memory unlimited unlimited bytes\n",
                ),
                ("nofile", Level::Warn),
            ),
            (
                "few-files",
                (
                    "proc/self/limits",
                    "Max open files 32 32 files\nMax locked memory unlimited unlimited bytes\n",
                ),
                ("nofile", Level::Fail),
            ),
            (
                "memlock",
                (
                    "proc/self/limits",
                    "Max open files 1048576 1048576 files\nMax locked memory 65536 65536 bytes\n",
                ),
                ("memlock", Level::Warn),
            ),
            ("backlog", ("proc/sys/net/core/somaxconn", "128\n"), ("somaxconn", Level::Warn)),
            (
                "ports",
                ("proc/sys/net/ipv4/ip_local_port_range", "60000 60999\n"),
                ("port range", Level::Warn),
            ),
        ] {
            let facts = facts(name, &[files]);
            let findings = all(&facts);
            remove(&facts.root);
            assert_eq!(levels(&findings), [line], "{name}");
            let finding = findings.iter().find(|finding| finding.name == line.0).unwrap();
            assert!(finding.advice.is_some(), "{name}");
        }
    }

    #[test]
    fn what_blocks_io_uring_is_named() {
        let refused = || Probe { setup_error: Some("EPERM".to_owned()), ..Probe::default() };
        for (name, file, contains) in [
            ("sysctl", ("proc/sys/kernel/io_uring_disabled", "2\n"), "sysctl -w kernel.io_uring_disabled=0"),
            ("group", ("proc/sys/kernel/io_uring_disabled", "1\n"), "io_uring_group"),
            ("seccomp", ("proc/self/status", "Seccomp:\t2\nCpus_allowed_list:\t0\n"), "seccomp filter"),
        ] {
            let mut facts = facts(name, &[file]);
            facts.probe = refused();
            let finding = io_uring(&facts);
            let asked = Facts { io_choice: Some("uring".to_owned()), ..facts };
            let failed = io_uring(&asked);
            remove(&asked.root);
            assert_eq!(finding.level, Level::Warn, "{name}");
            assert!(finding.advice.as_deref().unwrap_or_default().contains(contains), "{name}: {finding:?}");
            assert_eq!(failed.level, Level::Fail, "{name}: asked for by name");
        }
    }

    #[test]
    fn without_loopback_nothing_runs() {
        let mut facts = facts("loopback", &[]);
        facts.ipv4_error = Some("no".to_owned());
        let finding = sockets(&facts);
        remove(&facts.root);
        assert_eq!(finding.level, Level::Fail);
    }

    #[test]
    fn shows_cpus_as_ranges() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }
}
