//! Tools that go on as tasks where the client knows them (2026-07-28).

use std::time::Duration;

use mcp::{ErrorCode, ErrorReply};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::call::Call;
use crate::event_log::Outbox;
use crate::question::Question;
use crate::reply::{Members, Outcome, Work};
use crate::tasks::{Need, run_as_task};

const MAX_SECONDS: u64 = 3600;
const JOB: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
}

pub(super) fn greet(call: &Call) -> Result<Work, Outcome> {
    let Named { name } = call.arguments()?;
    Ok(Work::text(&format!("Hello, {}!", name.as_deref().unwrap_or("World"))))
}

#[derive(Deserialize)]
struct Compute {
    seconds: Option<u64>,
    label: Option<String>,
}

pub(super) fn slow_compute(call: &Call) -> Result<Work, Outcome> {
    let Compute { seconds, label } = call.arguments()?;
    let seconds = seconds.unwrap_or(1);
    if seconds > MAX_SECONDS {
        return Err(Outcome::failure("invalid arguments: at most 3600 seconds"));
    }
    let text = format!("computed {} for {seconds} seconds", label.as_deref().unwrap_or("something"));
    if seconds == 0 {
        return Ok(Work::text(&text));
    }
    run_as_task(call, Need::Optional, move |_, _| async move {
        sleep(Duration::from_secs(seconds)).await;
        Outcome::Complete(Members::text(&text))
    })
}

pub(super) fn failing(call: &Call) -> Result<Work, Outcome> {
    run_as_task(call, Need::Required, |_, _| async {
        sleep(JOB).await;
        Outcome::failure("this job always fails")
    })
}

pub(super) fn protocol_error(call: &Call) -> Result<Work, Outcome> {
    run_as_task(call, Need::Optional, |_, _| async {
        sleep(JOB).await;
        Outcome::Error(ErrorReply::new(ErrorCode::Internal, "this job always breaks"))
    })
}

#[derive(Deserialize)]
struct File {
    filename: Option<String>,
}

pub(super) fn confirm_delete(call: &Call) -> Result<Work, Outcome> {
    let File { filename } = call.arguments()?;
    let filename = filename.unwrap_or_else(|| "nothing".to_owned());
    run_as_task(call, Need::Optional, |call, outbox| async move {
        let question = confirmation("confirm", &format!("Delete {filename}?"));
        match call.ask(&outbox, question).await {
            Ok(answer) if answer["content"]["confirm"] == json!(true) => say(&format!("deleted {filename}")),
            Ok(_) => say(&format!("kept {filename}")),
            Err(outcome) => outcome,
        }
    })
}

pub(super) fn multi_input(call: &Call) -> Result<Work, Outcome> {
    run_as_task(call, Need::Optional, |call, outbox| async move {
        let questions =
            [Question::text_field("first_name", "Your name?", "name"), confirmation("sure", "Are you sure?")];
        match call.ask_all(&outbox, &questions, None).await {
            Ok(answers) => say(&format!("got {}", Value::Object(answers))),
            Err(outcome) => outcome,
        }
    })
}

/// Asks first, and only then becomes a task: the answer to the question decides whether there is one.
pub(super) fn name_then_task(call: &Call) -> Result<Work, Outcome> {
    let question = Question::text_field("user_name", "What is your name?", "name");
    if !call.is_modern() {
        let call = call.clone();
        return Ok(Work::later(|outbox| async move {
            match call.ask(&outbox, question).await {
                Ok(answer) => work_for(call, outbox, name_in(&answer)).await,
                Err(outcome) => outcome,
            }
        }));
    }
    let mut answers = call.given_answers(&[question], None)?;
    let name = name_in(&answers.remove("user_name").unwrap_or_default());
    run_as_task(call, Need::Required, |call, outbox| work_for(call, outbox, name))
}

async fn work_for(_: Call, _: Outbox, name: String) -> Outcome {
    sleep(JOB).await;
    say(&format!("Work done for {name}"))
}

fn name_in(answer: &Value) -> String {
    answer["content"]["name"].as_str().unwrap_or("nobody").to_owned()
}

fn confirmation(key: &'static str, message: &str) -> Question {
    let schema =
        json!({"type": "object", "properties": {"confirm": {"type": "boolean"}}, "required": ["confirm"]});
    Question::form(key, message, &schema)
}

fn say(text: &str) -> Outcome {
    Outcome::Complete(Members::text(text))
}
