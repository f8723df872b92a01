//! Work is shed before the memory ends: above the mark new requests are refused, until it is well below again.
//!
//! What is watched is the resident memory of this process, as the kernel counts it, so that nothing is left out.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing::{info, warn};

/// How often the kernel is asked, up to half of the mark and beyond: what may come between two looks is over the mark.
const INTERVAL: Duration = Duration::from_millis(100);
const INTERVAL_BEYOND_HALF: Duration = Duration::from_millis(10);
/// Percent of what the machine or the cgroup has, unless configured.
const DEFAULT_PERCENT: u64 = 85;
/// Percent of the mark below which work is taken again.
const RELIEF_PERCENT: u64 = 95;

/// Whether there is memory for new work.
pub(crate) struct Memory {
    mark: u64,
    scarce: AtomicBool,
}

impl Memory {
    /// `mark`: resident bytes above which work is shed; if not configured, most of what there is.
    pub(crate) fn new(mark: Option<u64>) -> Memory {
        let mark = mark.or_else(|| Some(installed()?.saturating_mul(DEFAULT_PERCENT) / 100));
        Memory { mark: mark.unwrap_or(u64::MAX), scarce: AtomicBool::new(false) }
    }

    pub(crate) fn is_scarce(&self) -> bool {
        self.scarce.load(Ordering::Relaxed)
    }

    /// Watches for ever.
    pub(crate) async fn watch(&self) {
        loop {
            let resident = resident();
            self.see(resident);
            let beyond_half = resident.is_some_and(|resident| resident > self.mark / 2);
            tokio::time::sleep(if beyond_half { INTERVAL_BEYOND_HALF } else { INTERVAL }).await;
        }
    }

    fn see(&self, resident: Option<u64>) {
        // Without a descriptor to read it by, nothing is known, and nobody is refused for what is not known.
        let resident = resident.unwrap_or(0);
        if resident > self.mark {
            if !self.scarce.swap(true, Ordering::Relaxed) {
                warn!(resident, mark = self.mark, "memory is scarce: new requests are refused");
            }
        } else if resident < self.mark / 100 * RELIEF_PERCENT && self.scarce.swap(false, Ordering::Relaxed) {
            info!(resident, mark = self.mark, "there is memory again");
        }
    }
}

/// Resident bytes of this process; nothing where the kernel does not say (then nothing is shed).
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// What the machine has, or what its cgroups leave of that.
fn installed() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = meminfo.lines().next()?.split_whitespace().nth(1)?.parse().ok()?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| {
        // Where there is no limit it says `max`, or a number that no machine has.
        std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    });
    limits.chain([kib * 1024]).min()
}

/// Where the limits of these cgroups are written (v2, then v1): each group's own, and those of all around it.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let group = Path::new(root).join(group.trim_start_matches('/'));
        files.extend(group.ancestors().take_while(|dir| dir.starts_with(root)).map(|dir| dir.join(name)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_taken_again_only_well_below_the_mark() {
        let memory = Memory::new(Some(1000));
        for (resident, scarce) in [(900, false), (1000, false), (1001, true), (960, true), (949, false)] {
            memory.see(Some(resident));
            assert_eq!(memory.is_scarce(), scarce, "{resident}");
        }
    }

    #[test]
    fn a_figure_that_cannot_be_read_refuses_nobody() {
        let memory = Memory::new(Some(1000));
        for (resident, scarce) in [(None, false), (Some(1001), true), (None, false)] {
            memory.see(resident);
            assert_eq!(memory.is_scarce(), scarce, "{resident:?}");
        }
    }

    #[test]
    fn this_machine_says_how_much_it_has() {
        let (resident, installed) = (resident().expect("statm"), installed().expect("meminfo"));
        assert!(resident > 1 << 20 && resident < installed, "{resident} of {installed}");
    }

    #[test]
    fn the_limits_of_all_cgroups_around_count() {
        let files =
            |groups| limit_files(groups).iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            files("0::/a/b\n"),
            ["/sys/fs/cgroup/a/b/memory.max", "/sys/fs/cgroup/a/memory.max", "/sys/fs/cgroup/memory.max"]
        );
        assert_eq!(files("3:cpu:/x\n2:memory,misc:/\n"), ["/sys/fs/cgroup/memory/memory.limit_in_bytes"]);
    }
}
