//! What goes to the terminal: data on stdout, talk on stderr. A reader that has gone away is no error.

use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use crate::face::Face;

/// Both streams.
#[derive(Debug)]
pub(crate) struct Printer {
    face: &'static Face,
}

impl Printer {
    /// The process's own.
    pub(crate) fn stdio() -> Self {
        Self { face: Face::of_this_process() }
    }

    /// Data: a text that ends as it ends.
    ///
    /// # Errors
    /// stdout cannot be written to; a pipe that nobody reads is no error.
    pub(crate) fn data(&self, text: &str) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Data as JSON, indented with two spaces.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub(crate) fn json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        self.data(&(serde_json::to_string_pretty(value)? + "\n"))
    }

    /// A table with a head, columns padded by three spaces.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub(crate) fn table<const N: usize>(&self, head: [&str; N], rows: &[[String; N]]) -> anyhow::Result<()> {
        self.data(&table(head, rows))
    }

    /// Talk: a line. Commands in it stand between backticks.
    pub(crate) fn say(&self, text: &str) {
        // There is nowhere to complain that stderr is gone.
        let _ = writeln!(io::stderr(), "{}", self.face.told(text));
    }

    /// An error with what lies behind it.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.say(&format!("Error: {error:#}"));
    }
}

/// Whether somebody still reads what goes to stdout.
pub(crate) fn is_read() -> bool {
    let mut out = [PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT)];
    let looked = poll(&mut out, Some(&Timespec::default()));
    looked.is_err() || !out[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|title| title.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head = head.map(str::to_owned);
    for row in std::iter::once(&head).chain(rows) {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                text.extend(std::iter::repeat_n(' ', width + 3 - cell.chars().count()));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_no_line_ends_in_blanks() {
        let rows = [["a".to_owned(), "first".to_owned()], ["größer".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "WHAT"], &rows), "NAME     WHAT\na        first\ngrößer\n");
    }
}
