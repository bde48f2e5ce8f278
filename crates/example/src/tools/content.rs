//! Tools that give each kind of content there is.

use serde_json::{Value, json};

use crate::call::Call;
use crate::reply::{Members, Outcome, Work};
use crate::resources::PIXEL_PNG;

/// One silent sample, as WAV.
const SILENCE_WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQIAAACAgA==";

fn content(content: &Value) -> Result<Work, Outcome> {
    Ok(Work::Done(Outcome::Complete(Members::of(&json!({"content": content})))))
}

fn image_block() -> Value {
    json!({"type": "image", "data": PIXEL_PNG, "mimeType": "image/png"})
}

pub(super) fn simple_text(_: &Call) -> Result<Work, Outcome> {
    Ok(Work::text("This is a simple text response for testing."))
}

pub(super) fn image(_: &Call) -> Result<Work, Outcome> {
    content(&json!([image_block()]))
}

pub(super) fn audio(_: &Call) -> Result<Work, Outcome> {
    content(&json!([{"type": "audio", "data": SILENCE_WAV, "mimeType": "audio/wav"}]))
}

pub(super) fn embedded(_: &Call) -> Result<Work, Outcome> {
    let text = "This is an embedded resource content.";
    let resource = json!({"uri": "test://embedded-resource", "mimeType": "text/plain", "text": text});
    content(&json!([{"type": "resource", "resource": resource}]))
}

pub(super) fn mixed(_: &Call) -> Result<Work, Outcome> {
    let text = r#"{"test":"data","value":123}"#;
    let resource =
        json!({"uri": "test://mixed-content-resource", "mimeType": "application/json", "text": text});
    content(&json!([
        {"type": "text", "text": "Multiple content types test:"},
        image_block(),
        {"type": "resource", "resource": resource},
    ]))
}

pub(super) fn error(_: &Call) -> Result<Work, Outcome> {
    Err(Outcome::failure("This tool intentionally returns an error for testing"))
}

/// Takes any arguments: what matters is the schema, or that the tool is there.
pub(super) fn accepting(call: &Call) -> Result<Work, Outcome> {
    let arguments = String::from_utf8_lossy(call.message.arguments().unwrap_or(b"{}"));
    Ok(Work::text(&format!("accepted {arguments}")))
}
