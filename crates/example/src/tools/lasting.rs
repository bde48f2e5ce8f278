//! Tools that take time, or say something before their result. Cancelling drops them where they wait.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use crate::call::Call;
use crate::notices::{self, Level};
use crate::reply::{Members, Outcome, Work};

/// Between the things that a test tool says.
const PAUSE: Duration = Duration::from_millis(50);
const MAX_STEPS: u64 = 1_000_000;
const MAX_DELAY_MS: u64 = 3_600_000;
const MAX_BURST: u64 = 10_000_000;
const MAX_PADDING: usize = 65_536;

#[derive(Deserialize)]
#[serde(default)]
struct Slow {
    steps: u64,
    delay_ms: u64,
}

impl Default for Slow {
    fn default() -> Self {
        Self { steps: 5, delay_ms: 100 }
    }
}

pub(super) fn slow(call: &Call) -> Result<Work, Outcome> {
    let Slow { steps, delay_ms } = call.arguments()?;
    if steps > MAX_STEPS || delay_ms > MAX_DELAY_MS {
        return Err(Outcome::failure("invalid arguments: too slow"));
    }
    let call = call.clone();
    Ok(Work::later(move |outbox| async move {
        for step in 1..=steps {
            sleep(Duration::from_millis(delay_ms)).await;
            call.progress(&outbox, step, steps, &format!("step {step} of {steps}")).await;
        }
        Outcome::Complete(Members::text(&format!("{steps} steps done")))
    }))
}

#[derive(Deserialize)]
#[serde(default)]
struct Burst {
    count: u64,
    size: usize,
}

impl Default for Burst {
    fn default() -> Self {
        Self { count: 10, size: 0 }
    }
}

pub(super) fn burst(call: &Call) -> Result<Work, Outcome> {
    let Burst { count, size } = call.arguments()?;
    if count > MAX_BURST || size > MAX_PADDING {
        return Err(Outcome::failure("invalid arguments: too much"));
    }
    let call = call.clone();
    Ok(Work::later(move |outbox| async move {
        let padding = "x".repeat(size);
        let with_token = call.message.progress_token().is_some();
        let mut sent = 0;
        for number in 1..=count {
            if with_token {
                call.progress(&outbox, number, count, &padding).await;
                sent += 1;
            } else if call.log(&outbox, Level::Info, &format!("{number} of {count} {padding}")).await {
                sent += 1;
            }
        }
        Outcome::Complete(Members::text(&format!("{sent} notifications sent")))
    }))
}

#[derive(Deserialize)]
struct Log {
    level: Option<String>,
    message: String,
}

pub(super) fn log(call: &Call) -> Result<Work, Outcome> {
    let Log { level, message } = call.arguments()?;
    let level = Level::from_wire(level.as_deref().unwrap_or("info"));
    let level = level.ok_or_else(|| Outcome::failure("invalid arguments: unknown level"))?;
    let call = call.clone();
    Ok(Work::later(move |outbox| async move {
        let sent = call.log(&outbox, level, &message).await;
        Outcome::Complete(Members::text(if sent { "sent" } else { "not wanted at this level" }))
    }))
}

pub(super) fn logging(call: &Call) -> Result<Work, Outcome> {
    let call = call.clone();
    Ok(Work::later(move |outbox| async move {
        call.log(&outbox, Level::Info, "Tool execution started").await;
        sleep(PAUSE).await;
        call.log(&outbox, Level::Info, "Tool processing data").await;
        sleep(PAUSE).await;
        call.log(&outbox, Level::Info, "Tool execution completed").await;
        Outcome::Complete(Members::text("Tool with logging executed successfully"))
    }))
}

pub(super) fn progress(call: &Call) -> Result<Work, Outcome> {
    let call = call.clone();
    Ok(Work::later(move |outbox| async move {
        for done in [0, 50, 100] {
            call.progress(&outbox, done, 100, "working").await;
            if done < 100 {
                sleep(PAUSE).await;
            }
        }
        Outcome::Complete(Members::text("Tool with progress executed successfully"))
    }))
}

pub(super) fn reconnection(call: &Call) -> Result<Work, Outcome> {
    let release = call.message.id().filter(|_| !call.is_modern()).map(notices::release_stream);
    Ok(Work::later(|outbox| async move {
        // Long enough for the client to have got what stands first on the stream.
        sleep(PAUSE).await;
        outbox.hang_up(release).await;
        sleep(PAUSE).await;
        Outcome::Complete(Members::text("Reconnection test completed successfully"))
    }))
}
