//! An evaluator of tests: a script is a list of calls, `[[tool, arguments], …]`, all made at once; its result is what they
//! came to, in order. Other words are moods.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, split};

use super::protocol::{Answer, Job, Said};
use super::run::{Evaluator, Evaluators, Starting};

/// Evaluators that play.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    /// How many are held.
    pub(crate) held: Arc<AtomicUsize>,
}

struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Evaluators for Fake {
    fn start(&self) -> Starting<'_> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (output, input) = split(ours);
        let (read, write) = split(theirs);
        tokio::spawn(play(BufReader::new(read).lines(), write));
        self.held.fetch_add(1, Ordering::SeqCst);
        let held = Box::new(Held(Arc::clone(&self.held)));
        Box::pin(async { Ok(Evaluator { input: Box::new(input), output: Box::new(output), held }) })
    }
}

async fn play(
    mut lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    mut to: WriteHalf<DuplexStream>,
) -> Option<()> {
    let job: Job = serde_json::from_str(&lines.next_line().await.ok()??).ok()?;
    match job.script.as_str() {
        "hangs" => return std::future::pending().await,
        "dies" => return None,
        "garbage" => return to.write_all(b"what?\n").await.ok(),
        "tools" => return say(&mut to, &Said::Done(to_raw_value(&job.tools).ok()?)).await,
        "prints" => {
            for _ in 0..100 {
                say(&mut to, &Said::Print("x".repeat(1_000))).await?;
            }
            return say(&mut to, &Said::Failed("line 1: no".to_owned())).await;
        }
        _ => {}
    }
    let calls: Vec<(String, Value)> = serde_json::from_str(&job.script).ok()?;
    for (id, (tool, arguments)) in (0_u64..).zip(&calls) {
        let arguments = to_raw_value(arguments).ok()?;
        say(&mut to, &Said::Call { id, tool: tool.clone(), arguments }).await?;
    }
    let mut answers = vec![Value::Null; calls.len()];
    for _ in 0..calls.len() {
        let Answer { id, outcome } = serde_json::from_str(&lines.next_line().await.ok()??).ok()?;
        answers[usize::try_from(id).ok()?] = outcome.unwrap_or_else(|error| json!({ "error": error }));
    }
    say(&mut to, &Said::Done(to_raw_value(&answers).ok()?)).await
}

async fn say(to: &mut WriteHalf<DuplexStream>, said: &Said) -> Option<()> {
    let line = format!("{}\n", serde_json::to_string(said).ok()?);
    to.write_all(line.as_bytes()).await.ok()
}
