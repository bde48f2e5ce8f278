//! An evaluator that reads lines and writes lines: what a process does that is one.

use std::io::{self, BufRead, Write};

use super::super::protocol::{Answer, Job, Said};
use super::{Line, evaluate};

struct Pipes<R, W> {
    input: R,
    output: W,
}

/// Reads a job, evaluates it, and says what came of it.
///
/// # Errors
/// What is read is no job, or nobody is there any more.
pub fn evaluate_lines(mut input: impl BufRead + 'static, output: impl Write + 'static) -> io::Result<()> {
    let job: Job = read(&mut input)?;
    evaluate(&job, Pipes { input, output })
}

impl<R: BufRead, W: Write> Line for Pipes<R, W> {
    fn say(&mut self, said: &Said) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, said)?;
        self.output.write_all(b"\n")?;
        self.output.flush()
    }

    fn hear(&mut self) -> io::Result<Answer> {
        read(&mut self.input)
    }
}

fn read<T: serde::de::DeserializeOwned>(input: &mut impl BufRead) -> io::Result<T> {
    let mut line = Vec::new();
    match input.read_until(b'\n', &mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(serde_json::from_slice(&line)?),
    }
}
