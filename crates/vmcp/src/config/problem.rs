//! What is wrong with a configuration, all of it.

use std::fmt;

/// A line and a column, from 1; zeros where nobody knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The member it is about, such as `compositeTools[0].steps[1].tool`.
    pub path: String,
    /// Where that stands, or where it is missing.
    pub place: Place,
    /// What is to be said of it; it goes on from the path.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.path.is_empty() || self.message.starts_with(':') { "" } else { " " };
        write!(f, "{}{space}{}", self.path, self.message)?;
        if self.place.line > 0 {
            write!(f, " (line {}, column {})", self.place.line, self.place.column)?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  - {problem}"))
    }
}

impl std::error::Error for Invalid {}
