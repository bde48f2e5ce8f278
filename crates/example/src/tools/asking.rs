//! Tools that ask the client one question.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::question::Question;
use crate::reply::{Members, Outcome, Work};

/// Asks, and makes the answer the result.
fn ask(call: &Call, question: Question, tell: fn(&Value) -> String) -> Work {
    let call = call.clone();
    Work::later(move |outbox| async move {
        match call.ask(&outbox, question).await {
            Ok(answer) => Outcome::Complete(Members::text(&tell(&answer))),
            Err(outcome) => outcome,
        }
    })
}

#[derive(Deserialize)]
struct Shown {
    message: Option<String>,
}

pub(super) fn elicit(call: &Call) -> Result<Work, Outcome> {
    let Shown { message } = call.arguments()?;
    let message = message.unwrap_or_else(|| "What is your name?".to_owned());
    Ok(ask(call, Question::text_field("name", &message, "name"), told))
}

pub(super) fn elicitation(call: &Call) -> Result<Work, Outcome> {
    let Shown { message } = call.arguments()?;
    let schema = json!({"type": "object", "required": ["username", "email"], "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }});
    let question = Question::form("user", message.as_deref().unwrap_or("Who are you?"), &schema);
    Ok(ask(call, question, |answer| format!("User response: {}", told(answer))))
}

fn told(answer: &Value) -> String {
    format!("action: {}, content: {}", answer["action"].as_str().unwrap_or_default(), answer["content"])
}

fn completed(answer: &Value) -> String {
    let action = answer["action"].as_str().unwrap_or_default();
    format!("Elicitation completed: action={action}, content={}", answer["content"])
}

#[derive(Deserialize)]
struct Prompt {
    prompt: String,
}

pub(super) fn sample(call: &Call) -> Result<Work, Outcome> {
    let Prompt { prompt } = call.arguments()?;
    Ok(ask(call, Question::sample("answer", &prompt, 100), model_said))
}

fn model_said(answer: &Value) -> String {
    format!("LLM response: {}", answer["content"]["text"].as_str().unwrap_or("not a text"))
}

pub(super) fn capital(call: &Call) -> Result<Work, Outcome> {
    let question = Question::sample("capital_question", "What is the capital of France?", 100);
    Ok(ask(call, question, model_said))
}

pub(super) fn roots(call: &Call) -> Result<Work, Outcome> {
    Ok(ask(call, Question::roots("client_roots"), |answer| format!("Roots: {}", answer["roots"])))
}

pub(super) fn user_name(call: &Call) -> Result<Work, Outcome> {
    let question = Question::text_field("user_name", "What is your name?", "name");
    Ok(ask(call, question, |answer| match answer["content"]["name"].as_str() {
        Some(name) => format!("Hello, {name}!"),
        None => "Hello, stranger!".to_owned(),
    }))
}

pub(super) fn defaults(call: &Call) -> Result<Work, Outcome> {
    let schema = json!({"type": "object", "required": [], "properties": {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {"type": "string", "description": "User status",
            "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "description": "Verification status", "default": true},
    }});
    let question =
        Question::form("profile", "Please review and update the form fields with defaults", &schema);
    Ok(ask(call, question, completed))
}

pub(super) fn enums(call: &Call) -> Result<Work, Outcome> {
    let titled = |value: &str, title: &str| json!({"const": value, "title": title});
    let schema = json!({"type": "object", "required": [], "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": [
            titled("value1", "First Option"), titled("value2", "Second Option"), titled("value3", "Third Option")]},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": [
            titled("value1", "First Choice"), titled("value2", "Second Choice"), titled("value3", "Third Choice")]}},
    }});
    Ok(ask(call, Question::form("choices", "Please choose", &schema), completed))
}
