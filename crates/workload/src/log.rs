//! A workload's log: the last lines it wrote, kept in memory, each also a `tracing` event, and a line of a [`file`] where
//! one is kept.
//!
//! Bounded in every direction: lines kept, bytes per line, bytes held of an unfinished line. A line that is too long
//! is cut with a mark and its rest dropped. Bytes that are not UTF-8 are replaced.

pub mod file;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

pub use file::LogFile;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Lines kept per workload.
const LINES: usize = 200;
/// Bytes kept of one line.
const LINE_BYTES: usize = 2048;
/// What stands at the end of a line that was cut.
const CUT_MARK: &str = " … [cut]";
/// Bytes read at once. Small, because each running child holds one such buffer.
const READ_BYTES: usize = 1024;

/// The last lines of one workload. Clones share the lines, so one log can outlive many restarts.
#[derive(Clone, Debug)]
pub struct LogTail {
    name: Arc<str>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    file: Option<LogFile>,
    is_quiet: bool,
}

impl LogTail {
    /// An empty log. The name is the `workload.name` of its events.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), kept: Arc::default() }
    }

    /// The same, whose lines are no events: for a command that is of interest only where it fails.
    #[must_use]
    pub fn quiet(name: &str) -> Self {
        let kept = Kept { is_quiet: true, ..Kept::default() };
        Self { name: name.into(), kept: Arc::new(Mutex::new(kept)) }
    }

    /// Has each further line written to this file too.
    pub fn keep_in(&self, file: LogFile) {
        self.kept.lock().file = Some(file);
    }

    /// The name its events carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// At most the last `count` lines, oldest first.
    #[must_use]
    pub fn tail(&self, count: usize) -> Vec<String> {
        let Kept { lines, .. } = &*self.kept.lock();
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    /// Adds a line of skep's own.
    #[cfg(target_os = "linux")]
    pub(crate) fn note(&self, line: &str) {
        self.push(format!("[skep] {line}"));
    }

    fn push(&self, line: String) {
        let Kept { lines, file, is_quiet } = &mut *self.kept.lock();
        if !*is_quiet {
            tracing::info!(target: "workload::log", { workload.name = self.name(), log.line = line }, "workload wrote");
        }
        if let Some(file) = file {
            file.write(SystemTime::now(), &line);
        }
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    /// Copies a stream into the log until it ends. Cancel-safe but for the unfinished last line.
    pub(crate) async fn pump(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = [0; READ_BYTES];
        let mut lines = LineCutter::default();
        loop {
            match from.read(&mut buffer).await {
                Ok(0) => break,
                Ok(count) => lines.push(&buffer[..count], |line| self.push(line)),
                Err(error) => {
                    tracing::debug!(workload.name = self.name(), %error, "log pipe broke");
                    break;
                }
            }
        }
        lines.finish(|line| self.push(line));
    }
}

/// Makes lines of bytes as they come.
#[derive(Debug, Default)]
struct LineCutter {
    /// The unfinished line, never more than [`LINE_BYTES`].
    line: Vec<u8>,
    /// Whether bytes of the unfinished line were dropped.
    is_cut: bool,
}

impl LineCutter {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(String)) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, is_whole) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            let room = LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.is_cut |= text.len() > room;
            if is_whole {
                emit(self.take());
            }
        }
    }

    /// Emits what the stream ended with, if it did not end with a newline.
    fn finish(&mut self, emit: impl FnOnce(String)) {
        if !self.line.is_empty() {
            emit(self.take());
        }
    }

    fn take(&mut self) -> String {
        let text = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let mut line = String::from_utf8_lossy(text).into_owned();
        if std::mem::take(&mut self.is_cut) {
            line.push_str(CUT_MARK);
        }
        self.line.clear();
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<String> {
        let (mut cutter, mut lines) = (LineCutter::default(), Vec::new());
        for chunk in chunks {
            cutter.push(chunk, |line| lines.push(line));
        }
        cutter.finish(|line| lines.push(line));
        lines
    }

    #[test]
    fn bytes_become_lines_wherever_the_reads_fall() {
        for (chunks, lines) in [
            (&[b"a\nb\n".as_slice()][..], &["a", "b"][..]),
            (&[b"a", b"b\nc"], &["ab", "c"]),
            (&[b"a\r\n\nb\r", b"\n"], &["a", "", "b"]),
            (&[b"\xff\xfeok\n"], &["\u{fffd}\u{fffd}ok"]),
            (&[b"\xc3", b"\xa9\n"], &["é"]),
            (&[], &[]),
        ] {
            assert_eq!(cut(chunks), lines);
        }
    }

    #[test]
    fn a_long_line_is_cut_with_a_mark_and_the_next_one_is_whole() {
        let full = "x".repeat(LINE_BYTES);
        let fits = format!("{full}\nnext\n");
        assert_eq!(cut(&[fits.as_bytes()]), [full.as_str(), "next"]);
        let over = format!("{full}y\nnext\n");
        for chunk in [1, 7, over.len()] {
            let chunks: Vec<&[u8]> = over.as_bytes().chunks(chunk).collect();
            assert_eq!(cut(&chunks), [format!("{full}{CUT_MARK}").as_str(), "next"]);
        }
    }

    #[test]
    fn an_endless_line_does_not_grow() {
        let mut cutter = LineCutter::default();
        for _ in 0..100 {
            cutter.push(&[b'x'; READ_BYTES], |_| panic!("no line has ended"));
        }
        assert_eq!(cutter.line.len(), LINE_BYTES);
    }

    #[tokio::test]
    async fn the_log_keeps_only_the_last_lines() {
        let log = LogTail::new("w");
        let text: String = (0..LINES + 5).map(|line| format!("{line}\n")).collect();
        log.clone().pump(text.as_bytes()).await;
        assert_eq!(log.tail(2), [(LINES + 3).to_string(), (LINES + 4).to_string()]);
        let all = log.tail(usize::MAX);
        assert_eq!((all.len(), all[0].as_str()), (LINES, "5"));
    }
}
