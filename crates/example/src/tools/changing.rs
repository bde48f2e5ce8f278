//! Tools that change what others are told of.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use crate::call::Call;
use crate::journal::NotALine;
use crate::notes::NotWritten;
use crate::notices::Change;
use crate::reply::{Members, Outcome, Work};
use crate::resources::{self, NOTE_PREFIX, WATCHED};

#[derive(Deserialize)]
struct Touch {
    uri: Option<String>,
}

pub(super) fn touch(call: &Call) -> Result<Work, Outcome> {
    let Touch { uri } = call.arguments()?;
    let uri = uri.unwrap_or_else(|| WATCHED.to_owned());
    // Templates make endless resources, which are not worth counting.
    if uri.starts_with("test://template/") || resources::contents(&call.server, &uri).is_none() {
        return Err(Outcome::failure("there is no such resource to touch"));
    }
    let count = call.server.notes.touch(&uri);
    call.server.announce(&Change::Resource { uri });
    Ok(Work::text(&format!("touched {count} times")))
}

#[derive(Deserialize)]
struct Note {
    name: String,
    text: String,
}

#[derive(Deserialize)]
struct Line {
    text: String,
    #[serde(default)]
    answer_after_ms: u64,
}

/// No answer is held back for longer.
const LONGEST_HOLD_MS: u64 = 1000;

pub(super) fn record(call: &Call) -> Result<Work, Outcome> {
    let Line { text, answer_after_ms } = call.arguments()?;
    if answer_after_ms > LONGEST_HOLD_MS {
        return Err(Outcome::failure("invalid arguments: answer_after_ms is at most 1000"));
    }
    let Some(journal) = &call.server.config.journal else {
        return Err(Outcome::failure("there is no journal: start the server with --journal FILE"));
    };
    match journal.record(&text) {
        Ok(Ok(())) if answer_after_ms == 0 => Ok(Work::text("recorded")),
        Ok(Ok(())) => Ok(Work::later(move |_| async move {
            sleep(Duration::from_millis(answer_after_ms)).await;
            Outcome::Complete(Members::text("recorded"))
        })),
        Ok(Err(NotALine)) => Err(Outcome::failure("the text is no line, or a line of 2048 bytes and more")),
        Err(error) => Err(Outcome::failure(&format!("not recorded: {error}"))),
    }
}

pub(super) fn write_note(call: &Call) -> Result<Work, Outcome> {
    let Note { name, text } = call.arguments()?;
    let is_new = call.server.notes.write(&name, text).map_err(|why| {
        Outcome::failure(match why {
            NotWritten::Name => "the name must be 1 to 64 of A-Z a-z 0-9 _ . -",
            NotWritten::TooLong => "the text is longer than 65536 bytes",
            NotWritten::TooMany => "there are too many notes",
        })
    })?;
    let uri = format!("{NOTE_PREFIX}{name}");
    let change = if is_new { Change::Resources } else { Change::Resource { uri: uri.clone() } };
    call.server.announce(&change);
    Ok(Work::text(&format!("{} {uri}", if is_new { "created" } else { "changed" })))
}

pub(super) fn tools(call: &Call) -> Result<Work, Outcome> {
    let there = call.server.toggle(&call.server.extra_tool, &Change::Tools);
    Ok(Work::text(if there { "extra_tool came" } else { "extra_tool went" }))
}

pub(super) fn prompts(call: &Call) -> Result<Work, Outcome> {
    let there = call.server.toggle(&call.server.extra_prompt, &Change::Prompts);
    Ok(Work::text(if there { "extra_prompt came" } else { "extra_prompt went" }))
}
