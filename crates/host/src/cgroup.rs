//! The limits that control groups put on this process: the tightest on the way from its own group
//! up to the root, for version 2 and version 1 of the interface.

use std::fs;

/// A limit by its file names, in both versions (kernel documents `cgroup-v2` and `cgroup-v1`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// The controller whose hierarchy of version 1 holds the file.
    pub controller: &'static str,
    /// Where that hierarchy is mounted.
    pub mount: &'static str,
    /// The file in version 2.
    pub v2: &'static str,
    /// The file in version 1.
    pub v1: &'static str,
}

/// Memory in bytes. It counts what the kernel allocates for sockets too.
pub(crate) const MEMORY: Limit = Limit {
    controller: "memory",
    mount: "/sys/fs/cgroup/memory",
    v2: "memory.max",
    v1: "memory.limit_in_bytes",
};

/// Tasks: threads of all processes of the group.
pub(crate) const TASKS: Limit =
    Limit { controller: "pids", mount: "/sys/fs/cgroup/pids", v2: "pids.max", v1: "pids.max" };

/// Version 1 writes "no limit" as the highest multiple of a page below 2^63: what is beyond any
/// machine is taken for that.
const UNLIMITED: u64 = 1 << 60;

/// The tightest value of a limit for this process; `None` where there is none.
pub(crate) fn tightest(limit: Limit) -> Option<u64> {
    tightest_of(limit, &own()?, read_file)
}

/// The least CPU time that this process may have, in thousandths of a CPU; `None` where it may have
/// all there is.
pub(crate) fn cpu_millis() -> Option<u64> {
    cpu_millis_of(&own()?, read_file)
}

fn own() -> Option<String> {
    fs::read_to_string("/proc/self/cgroup").ok()
}

fn read_file(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The same on recorded text: `own` is `/proc/self/cgroup`, `read` opens a file.
fn tightest_of(limit: Limit, own: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let values = folders(limit.controller, limit.mount, own).into_iter().filter_map(|folder| {
        let file = if folder.version_2 { limit.v2 } else { limit.v1 };
        read(&format!("{}/{file}", folder.path))?.trim().parse().ok()
    });
    values.filter(|value| *value < UNLIMITED).min()
}

/// Version 2 has quota and period in one file (`max` for no quota), version 1 in two (-1 for none).
fn cpu_millis_of(own: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let values = folders("cpu", "/sys/fs/cgroup/cpu", own).into_iter().filter_map(|folder| {
        let file = |name: &str| read(&format!("{}/{name}", folder.path));
        let text = if folder.version_2 {
            file("cpu.max")?
        } else {
            format!("{} {}", file("cpu.cfs_quota_us")?.trim(), file("cpu.cfs_period_us")?.trim())
        };
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        quota.saturating_mul(1_000).checked_div(period)
    });
    values.min()
}

/// A folder whose limits hold for this process.
struct Folder {
    path: String,
    version_2: bool,
}

/// The folders of a controller from the own group up to the root. The hierarchies are looked for
/// where every distribution mounts them.
fn folders(controller: &str, mount: &str, own: &str) -> Vec<Folder> {
    let mut folders = Vec::new();
    for line in own.lines() {
        // Each line is number:controllers:path; version 2 has the number 0 and no controller.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let version_2 = controllers.is_empty();
        let mounts = if version_2 {
            &["/sys/fs/cgroup", "/sys/fs/cgroup/unified"][..]
        } else if controllers.split(',').any(|name| name == controller) {
            &[mount][..]
        } else {
            continue;
        };
        for mount in mounts {
            let groups = upwards(group).map(|group| format!("{mount}{group}"));
            folders.extend(groups.map(|path| Folder { path, version_2 }));
        }
    }
    folders
}

/// A group and all above it: `/a/b`, `/a`, and the root as an empty text. In a container the path
/// may be that of the host, of which only the root is mounted.
fn upwards(group: &str) -> impl Iterator<Item = &str> {
    let group = group.trim_end_matches('/');
    std::iter::successors(Some(group), |path| path.rfind('/').map(|end| &path[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "9223372036854771712\n";

    fn tightest_in(limit: Limit, own: &str, files: &[(&str, &str)]) -> Option<u64> {
        tightest_of(limit, own, |path| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn version_2_takes_the_tightest_on_the_way_up() {
        let files = [
            ("/sys/fs/cgroup/user.slice/memory.max", "4294967296\n"),
            ("/sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n"),
            ("/sys/fs/cgroup/other/memory.max", "1\n"),
        ];
        assert_eq!(tightest_in(MEMORY, "0::/user.slice/app.scope\n", &files), Some(4 << 30));
        assert_eq!(tightest_in(MEMORY, "0::/elsewhere\n", &files), None);
    }

    #[test]
    fn a_container_sees_its_own_group_as_the_root() {
        let files =
            [("/sys/fs/cgroup/memory.max", "536870912"), ("/sys/fs/cgroup/pids.max", "100")];
        assert_eq!(tightest_in(MEMORY, "0::/\n", &files), Some(512 << 20));
        assert_eq!(tightest_in(TASKS, "0::/\n", &files), Some(100));
        // Version 1 with the path of the host, which is not mounted inside.
        let own = "8:pids:/docker/abc\n4:cpu,memory:/docker/abc\n0::/\n";
        let files = [("/sys/fs/cgroup/memory/memory.limit_in_bytes", "268435456\n")];
        assert_eq!(tightest_in(MEMORY, own, &files), Some(256 << 20));
        assert_eq!(tightest_in(TASKS, own, &files), None);
    }

    #[test]
    fn version_1_writes_no_limit_as_a_huge_number() {
        let own = "9:name=systemd:/\n4:memory:/one/two\n0::/\n";
        let files = [
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", NONE),
            ("/sys/fs/cgroup/memory/one/memory.limit_in_bytes", NONE),
        ];
        assert_eq!(tightest_in(MEMORY, own, &files), None);
        let tighter =
            [files[0], files[1], ("/sys/fs/cgroup/memory/one/two/memory.limit_in_bytes", "5")];
        assert_eq!(tightest_in(MEMORY, own, &tighter), Some(5));
    }

    #[test]
    fn cpu_time_is_quota_over_period_in_both_versions() {
        let millis = |own: &str, files: &[(&str, &str)]| {
            cpu_millis_of(own, |path| {
                files.iter().find(|(name, _)| *name == path).map(|(_, text)| (*text).to_owned())
            })
        };
        let files = [
            ("/sys/fs/cgroup/pod/cpu.max", "200000 100000\n"),
            ("/sys/fs/cgroup/pod/app/cpu.max", "max 100000\n"),
        ];
        assert_eq!(millis("0::/pod/app\n", &files), Some(2_000));
        assert_eq!(millis("0::/elsewhere\n", &files), None);
        let v1 = |quota| {
            let folder = "/sys/fs/cgroup/cpu/docker/abc";
            let (quota_file, period_file) =
                (format!("{folder}/cpu.cfs_quota_us"), format!("{folder}/cpu.cfs_period_us"));
            let files = [(quota_file.as_str(), quota), (period_file.as_str(), "100000\n")];
            millis("3:cpu,cpuacct:/docker/abc\n", &files)
        };
        assert_eq!(v1("150000\n"), Some(1_500));
        assert_eq!(v1("-1\n"), None);
    }

    #[test]
    fn the_way_up_ends_at_the_root() {
        assert_eq!(upwards("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", ""]);
        assert_eq!(upwards("/").collect::<Vec<_>>(), [""]);
    }
}
