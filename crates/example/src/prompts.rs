//! Prompts, one for each shape that a prompt can have.

use std::sync::atomic::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::question::Question;
use crate::reply::{Members, Outcome, Work};
use crate::resources::PIXEL_PNG;
use crate::server::Server;

/// `prompts/list`.
pub(crate) fn list(server: &Server) -> Members {
    let argument =
        |name: &str, description: &str| json!({"name": name, "description": description, "required": true});
    let mut prompts = vec![
        json!({"name": "test_simple_prompt", "description": "A prompt without arguments"}),
        json!({"name": "test_prompt_with_arguments", "description": "A prompt with two arguments", "arguments": [
            argument("arg1", "First test argument"), argument("arg2", "Second test argument")]}),
        json!({"name": "test_prompt_with_embedded_resource", "description": "A prompt that carries a resource",
            "arguments": [argument("resourceUri", "URI of the resource to embed")]}),
        json!({"name": "test_prompt_with_image", "description": "A prompt that carries an image"}),
        json!({"name": "test_input_required_result_prompt", "description": "A prompt that asks the user first"}),
    ];
    if server.extra_prompt.load(Ordering::Relaxed) {
        prompts.push(
            json!({"name": "extra_prompt", "description": "Comes and goes with test_trigger_prompt_change"}),
        );
    }
    Members::of(&json!({"prompts": prompts}))
}

/// `prompts/get`.
///
/// # Errors
/// There is no such prompt, or an argument is missing.
pub(crate) fn get(call: &Call) -> Result<Work, Outcome> {
    let name = call.message.target().ok_or_else(|| Outcome::invalid_params("params.name is required"))?;
    let messages = match &*name {
        "test_simple_prompt" | "extra_prompt" => vec![user_text("This is a simple prompt for testing.")],
        "test_prompt_with_arguments" => {
            let Pair { arg1, arg2 } = arguments(call)?;
            vec![user_text(&format!("Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let Embedded { uri } = arguments(call)?;
            let text = "Embedded resource content for testing.";
            let resource = json!({"uri": uri, "mimeType": "text/plain", "text": text});
            vec![
                user(&json!({"type": "resource", "resource": resource})),
                user_text("Please process the embedded resource above."),
            ]
        }
        "test_prompt_with_image" => vec![
            user(&json!({"type": "image", "data": PIXEL_PNG, "mimeType": "image/png"})),
            user_text("Please analyze the image above."),
        ],
        "test_input_required_result_prompt" => return Ok(asking(call)),
        _ => return Err(Outcome::invalid_params(format!("prompt {name:?} is unknown"))),
    };
    Ok(Work::Done(Outcome::Complete(result(&messages))))
}

fn asking(call: &Call) -> Work {
    let call = call.clone();
    Work::later(|outbox| async move {
        let question = Question::text_field("user_context", "What context should the prompt use?", "context");
        match call.ask(&outbox, question).await {
            Ok(answer) => {
                let context = answer["content"]["context"].as_str().unwrap_or("no context");
                Outcome::Complete(result(&[user_text(&format!("Use this context: {context}"))]))
            }
            // A prompt has no `isError`.
            Err(Outcome::Complete(_)) => Outcome::invalid_params("the client cannot be asked"),
            Err(outcome) => outcome,
        }
    })
}

#[derive(Deserialize)]
struct Pair {
    arg1: String,
    arg2: String,
}

#[derive(Deserialize)]
struct Embedded {
    #[serde(rename = "resourceUri")]
    uri: String,
}

fn arguments<'a, T: Deserialize<'a>>(call: &'a Call) -> Result<T, Outcome> {
    let text = call.message.arguments().unwrap_or(b"{}");
    serde_json::from_slice(text)
        .map_err(|error| Outcome::invalid_params(format!("invalid arguments: {error}")))
}

fn user(content: &Value) -> Value {
    json!({"role": "user", "content": content})
}

fn user_text(text: &str) -> Value {
    user(&json!({"type": "text", "text": text}))
}

fn result(messages: &[Value]) -> Members {
    Members::of(&json!({"messages": messages}))
}
