//! A process of ToolHive's own that serves a workload, where both use the same folders. It is left alone: the workload is shown,
//! and whoever orders something is told who has it.

use model::WorkloadName;
use model::workload::StatusRecord;

/// ToolHive's process that serves this workload, by what is kept of it. Only Linux tells what a process was started as; elsewhere
/// none is found.
pub(crate) fn serves(name: &WorkloadName, record: &StatusRecord) -> Option<i64> {
    let process = Some(record.process_id).filter(|process| *process > 0)?;
    let line = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
    is_of_toolhive(&line, name).then_some(process)
}

/// What is said of it.
pub(crate) fn told(process: i64) -> String {
    format!(
        "ToolHive's own process {process} serves it: end that first (kill {process}), then `skep start` takes it over"
    )
}

/// `thv start NAME --foreground`, by whatever path.
fn is_of_toolhive(line: &[u8], name: &WorkloadName) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let starts = words.windows(2).any(|pair| pair == [b"start".as_slice(), name.as_str().as_bytes()]);
    starts && words.contains(&b"--foreground".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;
    use model::workload::Status;

    #[test]
    fn a_process_is_known_by_what_it_was_started_as() {
        let name = WorkloadName::new("fetch").unwrap();
        for (line, expect) in [
            ("/usr/bin/thv\0start\0fetch\0--foreground\0", true),
            ("thv\0start\0fetch\0--foreground\0--debug\0", true),
            ("thv\0start\0fetch-2\0--foreground\0", false),
            ("thv\0start\0fetch\0", false),
            ("thv\0daemon\0run\0", false),
            ("", false),
        ] {
            assert_eq!(is_of_toolhive(line.as_bytes(), &name), expect, "{line}");
        }
        let mut record = StatusRecord::new(Status::Running, Timestamp::default());
        assert_eq!(serves(&name, &record), None);
        record.process_id = std::process::id().into();
        assert_eq!(serves(&name, &record), None, "these tests are none");
    }
}
