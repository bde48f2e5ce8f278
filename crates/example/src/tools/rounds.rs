//! Tools that ask several questions, at once or one after the other. Without a session the rounds are held together by
//! a sealed state that travels with the client.

use serde_json::{Value, json};

use crate::call::Call;
use crate::event_log::Outbox;
use crate::question::{Kind, Question};
use crate::reply::{Members, Outcome, Work};

fn say(text: &str) -> Outcome {
    Outcome::Complete(Members::text(text))
}

/// Runs until it has the answers, or the client has to come back with them.
fn rounds<F>(call: &Call, run: fn(Call, Outbox) -> F) -> Work
where
    F: Future<Output = Result<Outcome, Outcome>> + Send + 'static,
{
    let call = call.clone();
    Work::later(move |outbox| async move { run(call, outbox).await.unwrap_or_else(|outcome| outcome) })
}

/// The state that came with a request, and what this tool had put into it.
///
/// # Errors
/// The answer to a state that is not ours.
fn state_of(call: &Call) -> Result<Option<Value>, Outcome> {
    let params = call.params();
    let Some(state) = params["requestState"].as_str() else { return Ok(None) };
    let owner = call.message.target().unwrap_or_default();
    let data = call.server.seal.open(&owner, state);
    data.map(Some).map_err(|_| Outcome::invalid_params("requestState is not one of ours, or too old"))
}

fn seal(call: &Call, data: Value) -> Option<String> {
    Some(call.server.seal.close(&call.message.target().unwrap_or_default(), data))
}

pub(super) fn one_round(call: &Call) -> Result<Work, Outcome> {
    Ok(rounds(call, |call, outbox| async move {
        let came_back = state_of(&call)?.is_some();
        let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]});
        let question = Question::form("confirm", "Please confirm", &schema);
        let state = seal(&call, json!({"asked": "confirm"}));
        if call.is_modern() && !came_back {
            // Answers without the state that belongs to them are as good as none.
            return Err(call.come_back_with(&[&question], state));
        }
        let answers = call.ask_all(&outbox, &[question], state).await?;
        Ok(say(&format!("state-ok, confirmed: {}", answers["confirm"]["content"]["ok"])))
    }))
}

pub(super) fn all_at_once(call: &Call) -> Result<Work, Outcome> {
    Ok(rounds(call, |call, outbox| async move {
        state_of(&call)?;
        let questions = [
            Question::text_field("user_name", "What is your name?", "name"),
            Question::sample("greeting", "Generate a greeting", 50),
            Question::roots("client_roots"),
        ];
        let answers = call.ask_all(&outbox, &questions, seal(&call, json!({}))).await?;
        Ok(say(&format!(
            "{} says {} with roots {}",
            answers["user_name"]["content"]["name"],
            answers["greeting"]["content"]["text"],
            answers["client_roots"]["roots"],
        )))
    }))
}

pub(super) fn two_rounds(call: &Call) -> Result<Work, Outcome> {
    Ok(rounds(call, |call, outbox| async move {
        let known = state_of(&call)?.and_then(|state| state["name"].as_str().map(str::to_owned));
        let name = match known {
            Some(name) => name,
            None => {
                let question = Question::text_field("step1", "Step 1: What is your name?", "name");
                let answers = call.ask_all(&outbox, &[question], seal(&call, json!({"step": 1}))).await?;
                answers["step1"]["content"]["name"].as_str().unwrap_or("stranger").to_owned()
            }
        };
        let question = Question::text_field("step2", "Step 2: What is your favorite color?", "color");
        let state = seal(&call, json!({"step": 2, "name": name}));
        let answers = call.ask_all(&outbox, &[question], state).await?;
        let color = answers["step2"]["content"]["color"].as_str().unwrap_or("none");
        Ok(say(&format!("{name} likes {color}")))
    }))
}

pub(super) fn what_it_can(call: &Call) -> Result<Work, Outcome> {
    Ok(rounds(call, |call, outbox| async move {
        let questions = [
            Question::text_field("user_name", "What is your name?", "name"),
            Question::sample("greeting", "Generate a greeting", 50),
            Question::roots("client_roots"),
        ];
        let can = |kind: Kind| call.has_capability(kind.capability());
        let questions: Vec<_> = questions.into_iter().filter(|question| can(question.kind)).collect();
        let answers = call.ask_all(&outbox, &questions, None).await?;
        Ok(say(&format!("{} answers: {}", answers.len(), Value::Object(answers))))
    }))
}
