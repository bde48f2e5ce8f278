//! How much memory process groups use.

use std::collections::HashMap;
use std::fs;

/// Resident bytes of every process group of this machine that may be looked at, by the group's id. Pages that processes
/// share count for each of them. Empty where the system has no `/proc`.
#[must_use]
pub fn by_group() -> HashMap<u32, u64> {
    let mut groups = HashMap::new();
    let page = rustix::param::page_size() as u64;
    let Ok(processes) = fs::read_dir("/proc") else { return groups };
    for process in processes.flatten() {
        let name = process.file_name();
        if !name.to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
            continue;
        }
        // One that has just ended.
        let Ok(stat) = fs::read_to_string(process.path().join("stat")) else { continue };
        if let Some((group, pages)) = read_stat(&stat) {
            *groups.entry(group).or_default() += pages * page;
        }
    }
    groups
}

/// The group and the resident pages of a line of `/proc/PID/stat` (proc_pid_stat(5)): fields 5 and 24. The name before
/// them may hold anything, a closing bracket too.
fn read_stat(stat: &str) -> Option<(u32, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let group = fields.nth(2)?.parse().ok()?;
    let pages = fields.nth(18)?.parse().ok()?;
    Some((group, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let line =
            "7 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 300 1000000 321 18446744073709551615";
        assert_eq!(read_stat(line), Some((42, 321)));
        assert_eq!(read_stat("7 (a"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_some() {
        let own = rustix::process::getpgrp().as_raw_nonzero().get().unsigned_abs();
        assert!(by_group().get(&own).is_some_and(|bytes| *bytes > 100_000));
    }
}
