//! How much of the machine this process may use: CPUs of the affinity mask, the cgroup's CPU quota and its memory limit.
//!
//! Everything is read from `/proc` and `/sys` below a root that tests replace. Control groups of version 1 and 2
//! are read the same way: find the group of the process, walk up to the mount point, the tightest limit counts.

use std::fs;
use std::path::{Path, PathBuf};

/// What this process may use.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Host {
    /// CPUs of the affinity mask that are online, ascending; empty where that is not known.
    pub cpus: Vec<usize>,
    /// CPU quota in thousandths of a CPU.
    pub quota_millis: Option<u64>,
    /// The cgroup's memory limit.
    pub cgroup_memory_bytes: Option<u64>,
    /// Memory of the machine.
    pub machine_memory_bytes: Option<u64>,
}

impl Host {
    /// Reads the limits below `root`, which is `/` outside of tests. What cannot be read is no limit.
    pub fn read(root: &Path) -> Host {
        let groups = groups(root);
        Host {
            cpus: cpus(root),
            quota_millis: groups.iter().filter_map(|group| group.quota_millis()).min(),
            cgroup_memory_bytes: groups.iter().filter_map(|group| group.memory_bytes()).min(),
            machine_memory_bytes: machine_memory(root),
        }
    }

    /// CPUs for workers: those of the mask, but not more than whole CPUs of the quota, and at least 1.
    ///
    /// The quota is rounded down: a worker more than the quota pays for is throttled for the rest of each period
    /// (100 ms), and so are the requests on it.
    pub fn worker_count(&self) -> usize {
        let cpus = if self.cpus.is_empty() {
            std::thread::available_parallelism().map_or(1, |count| count.get())
        } else {
            self.cpus.len()
        };
        let quota = self
            .quota_millis
            .map_or(usize::MAX, |millis| usize::try_from(millis / 1000).unwrap_or(usize::MAX));
        cpus.min(quota).max(1)
    }

    /// The memory limit that counts.
    pub fn memory_bytes(&self) -> Option<u64> {
        match (self.cgroup_memory_bytes, self.machine_memory_bytes) {
            (Some(group), Some(machine)) => Some(group.min(machine)),
            (group, machine) => group.or(machine),
        }
    }
}

/// A directory of a control group that may hold limits.
#[derive(Debug)]
struct Group {
    directory: PathBuf,
    version: u8,
}

impl Group {
    fn quota_millis(&self) -> Option<u64> {
        let (quota, period) = if self.version == 2 {
            let text = self.text("cpu.max")?;
            let (quota, period) = text.split_once(' ')?;
            (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?)
        } else {
            // -1 is no quota and not a u64.
            (
                self.text("cpu.cfs_quota_us")?.parse::<u64>().ok()?,
                self.text("cpu.cfs_period_us")?.parse::<u64>().ok()?,
            )
        };
        quota.checked_mul(1000)?.checked_div(period)
    }

    fn memory_bytes(&self) -> Option<u64> {
        let file = if self.version == 2 { "memory.max" } else { "memory.limit_in_bytes" };
        let bytes = self.text(file)?.parse::<u64>().ok()?;
        // Version 1 says "no limit" with the largest page-aligned number.
        (bytes < 1 << 60).then_some(bytes)
    }

    fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.directory.join(file)).ok().map(|text| text.trim().to_owned())
    }
}

/// The groups of this process with their parents up to the mount points.
fn groups(root: &Path) -> Vec<Group> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let memberships = read("proc/self/cgroup");
    let mut groups = Vec::new();
    for mount in read("proc/self/mountinfo").lines().filter_map(parse_mount) {
        let Some(path) = memberships.lines().find_map(|line| membership(line, &mount)) else { continue };
        // Within a container the mount shows a sub-tree; a path outside of it means the mount point itself.
        let below = path.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or("");
        let top = root.join(mount.point.trim_start_matches('/'));
        let mut directory = top.join(below.trim_start_matches('/'));
        if path.split('/').any(|segment| segment == "..") {
            directory = top.clone();
        }
        let version = mount.version;
        while directory.starts_with(&top) {
            groups.push(Group { directory: directory.clone(), version });
            if !directory.pop() {
                break;
            }
        }
    }
    groups
}

/// A mounted hierarchy that has CPU or memory limits.
#[derive(Debug)]
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    version: u8,
    /// Version 1: the mount's options, which name its controllers.
    options: &'a str,
}

/// A line of `/proc/self/mountinfo` (proc(5)).
fn parse_mount(line: &str) -> Option<Mount<'_>> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, point) = (front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, _, options) = (back.next()?, back.next()?, back.next().unwrap_or_default());
    let version = match kind {
        "cgroup2" => 2,
        "cgroup" if options.split(',').any(|option| matches!(option, "cpu" | "memory")) => 1,
        _ => return None,
    };
    Some(Mount { root, point, version, options })
}

/// The path of this process in a hierarchy, if the line of `/proc/self/cgroup` is about it (cgroups(7)).
fn membership<'a>(line: &'a str, mount: &Mount<'_>) -> Option<&'a str> {
    let mut parts = line.splitn(3, ':');
    let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let ours = match mount.version {
        2 => id == "0" && controllers.is_empty(),
        _ => controllers.split(',').any(|name| {
            matches!(name, "cpu" | "memory") && mount.options.split(',').any(|option| option == name)
        }),
    };
    ours.then_some(path)
}

/// The affinity mask, which includes cpusets, without CPUs that are off.
fn cpus(root: &Path) -> Vec<usize> {
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let allowed = parse_cpu_list(list.unwrap_or_default()).unwrap_or_default();
    let online = fs::read_to_string(root.join("sys/devices/system/cpu/online")).ok();
    match online.as_deref().and_then(parse_cpu_list) {
        Some(online) => allowed.into_iter().filter(|cpu| online.contains(cpu)).collect(),
        None => allowed,
    }
}

/// Reads `0-3,8` (cpuset(7), "List format").
pub fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    /// More CPUs than Linux supports.
    const CPU_MAX: usize = 8192;
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse::<usize>().ok()?);
        if first > last || last >= CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

fn machine_memory(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files below a temporary directory, removed at the end.
    struct Fixture(PathBuf);

    impl Fixture {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("ringway-cpus-{}-{name}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Fixture(root)
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const STATUS: (&str, &str) = ("proc/self/status", "Name:\tringway\nCpus_allowed_list:\t0-7\n");
    const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
                             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn check(name: &str, files: &[(&str, &str)], workers: usize, quota: Option<u64>, memory: Option<u64>) {
        let mut all = vec![STATUS];
        all.extend(files);
        let fixture = Fixture::new(name, &all);
        let host = Host::read(&fixture.0);
        assert_eq!((host.quota_millis, host.cgroup_memory_bytes), (quota, memory), "{name}");
        assert_eq!(host.worker_count(), workers, "{name}");
    }

    #[test]
    fn version_2_quota_is_rounded_down_and_at_least_one() {
        for (name, max, workers, quota) in [
            ("v2-none", "max 100000", 8, None),
            ("v2-two", "200000 100000", 2, Some(2000)),
            ("v2-one-and-a-half", "150000 100000", 1, Some(1500)),
            ("v2-half", "50000 100000", 1, Some(500)),
            ("v2-more-than-mask", "1600000 100000", 8, Some(16000)),
            ("v2-zero-period", "1 0", 8, None),
            ("v2-garbage", "lots", 8, None),
        ] {
            let files = [
                ("proc/self/cgroup", "0::/system.slice/ringway.service\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/system.slice/ringway.service/cpu.max", max),
            ];
            check(name, &files, workers, quota, None);
        }
    }

    #[test]
    fn version_2_the_tightest_of_the_parents_counts() {
        let files = [
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/pod/app/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/pod/app/memory.max", "536870912\n"),
            ("sys/fs/cgroup/pod/cpu.max", "300000 100000\n"),
            ("sys/fs/cgroup/pod/memory.max", "268435456\n"),
        ];
        check("v2-nested", &files, 3, Some(3000), Some(268_435_456));
    }

    #[test]
    fn version_2_in_a_container_without_a_cgroup_namespace() {
        let files = [
            ("proc/self/cgroup", "0::/docker/abc\n"),
            ("proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup ro\n"),
            ("sys/fs/cgroup/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
        ];
        check("v2-container", &files, 4, Some(4000), None);
    }

    #[test]
    fn version_1_quota_and_memory() {
        let files = [
            ("proc/self/cgroup", "4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n"),
            ("proc/self/mountinfo", V1_MOUNTS),
            ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        check("v1", &files, 2, Some(2500), Some(1 << 30));
    }

    #[test]
    fn version_1_in_a_container_whose_path_is_not_in_the_mount() {
        let files = [
            ("proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n"),
            (
                "proc/self/mountinfo",
                "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
                 32 31 0:29 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n",
            ),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
        ];
        check("v1-container", &files, 1, Some(1000), Some(64 << 20));
    }

    #[test]
    fn no_control_groups_no_limits() {
        check("none", &[], 8, None, None);
    }

    #[test]
    fn cpus_that_are_off_do_not_count() {
        let files =
            [STATUS, ("sys/devices/system/cpu/online", "0-1,4\n"), ("proc/meminfo", "MemTotal:  1024 kB\n")];
        let fixture = Fixture::new("online", &files);
        let host = Host::read(&fixture.0);
        assert_eq!(host.cpus, [0, 1, 4]);
        assert_eq!(host.memory_bytes(), Some(1 << 20));
    }

    #[test]
    fn reads_cpu_lists() {
        for (text, want) in [
            ("0-3,8", Some(vec![0, 1, 2, 3, 8])),
            ("2\n", Some(vec![2])),
            ("", Some(vec![])),
            ("3-1", None),
            ("0-99999999999", None),
            ("a", None),
        ] {
            assert_eq!(parse_cpu_list(text), want, "{text:?}");
        }
    }
}
