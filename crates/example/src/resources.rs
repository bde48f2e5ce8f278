//! Resources: two that never change, one that is there to be watched, this instance, and the notes of clients.

use mcp::{ErrorCode, ErrorReply, Method};
use serde_json::{Value, json};

use crate::call::{Call, Peer};
use crate::reply::{Members, Outcome};
use crate::server::Server;

/// One red pixel, as PNG.
pub(crate) const PIXEL_PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

pub(crate) const WATCHED: &str = "test://watched-resource";
pub(crate) const NOTE_PREFIX: &str = "example://notes/";
const INSTANCE: &str = "example://instance";

/// `resources/list`.
pub(crate) fn list(server: &Server) -> Members {
    let mut resources = vec![
        resource("test://static-text", "static-text", "A text that never changes", "text/plain"),
        resource("test://static-binary", "static-binary", "An image that never changes", "image/png"),
        resource(WATCHED, "watched-resource", "Changes whenever the tool touch is called", "text/plain"),
        resource(
            INSTANCE,
            "instance",
            "Which instance of this server answers, and how many sessions it has begun",
            "application/json",
        ),
    ];
    resources.extend(server.notes.names().iter().map(|name| {
        let uri = format!("{NOTE_PREFIX}{name}");
        resource(&uri, name, "A note written with the tool write_note", "text/plain")
    }));
    Members::of(&json!({"resources": resources}))
}

fn resource(uri: &str, name: &str, description: &str, mime: &str) -> Value {
    json!({"uri": uri, "name": name, "description": description, "mimeType": mime})
}

/// `resources/templates/list`.
pub(crate) fn templates() -> Members {
    let template = |uri: &str, name: &str, description: &str, mime: &str| json!({"uriTemplate": uri, "name": name, "description": description, "mimeType": mime});
    Members::of(&json!({"resourceTemplates": [
        template("test://template/{id}/data", "data-by-id", "Made from its id", "application/json"),
        template("example://notes/{name}", "notes", "Notes by name", "text/plain"),
    ]}))
}

/// The contents of one resource; `None` where there is none of this name.
pub(crate) fn contents(server: &Server, uri: &str) -> Option<Value> {
    let text = |mime: &str, text: String| json!({"uri": uri, "mimeType": mime, "text": text});
    Some(match uri {
        "test://static-text" => {
            text("text/plain", "This is the content of the static text resource.".to_owned())
        }
        "test://static-binary" => json!({"uri": uri, "mimeType": "image/png", "blob": PIXEL_PNG}),
        WATCHED => text("text/plain", format!("Touched {} times.", server.notes.touches(uri))),
        INSTANCE => {
            let begun = server.sessions.begun();
            let about =
                json!({"instance": server.instance, "pid": std::process::id(), "sessionsBegun": begun});
            text("application/json", about.to_string())
        }
        _ => {
            if let Some(name) = uri.strip_prefix(NOTE_PREFIX) {
                return Some(text("text/plain", server.notes.read(name)?));
            }
            let id = uri.strip_prefix("test://template/")?.strip_suffix("/data")?;
            let made = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            (!id.is_empty() && !id.contains('/')).then(|| text("application/json", made.to_string()))?
        }
    })
}

/// `resources/read`.
///
/// # Errors
/// There is no such resource.
pub(crate) fn read(call: &Call) -> Result<Outcome, Outcome> {
    let uri = call.message.uri().ok_or_else(|| Outcome::invalid_params("params.uri is required"))?;
    let contents = contents(&call.server, &uri).ok_or_else(|| not_found(call, &uri))?;
    Ok(Outcome::Complete(Members::of(&json!({"contents": [contents]}))))
}

/// `resources/subscribe` and `resources/unsubscribe`.
///
/// # Errors
/// There is no such resource, or the session has too many subscriptions.
pub(crate) fn subscribe(call: &Call) -> Result<Outcome, Outcome> {
    let uri = call.message.uri().ok_or_else(|| Outcome::invalid_params("params.uri is required"))?;
    let Peer::Session(session) = &call.peer else { return Err(not_found(call, &uri)) };
    if call.message.method() == Method::ResourcesUnsubscribe {
        session.unsubscribe(&uri);
    } else if contents(&call.server, &uri).is_none() && !uri.starts_with(NOTE_PREFIX) {
        return Err(not_found(call, &uri));
    } else if !session.subscribe(uri.into_owned()) {
        return Err(Outcome::invalid_params("this session has too many subscriptions"));
    }
    Ok(Outcome::Complete(Members::default()))
}

/// Up to 2025-11-25 this has a code of its own (-32002), which is not ours to send later.
fn not_found(call: &Call, uri: &str) -> Outcome {
    let code = if call.is_modern() { ErrorCode::InvalidParams } else { ErrorCode::ResourceNotFound };
    Outcome::Error(ErrorReply::new(code, "Resource not found").with_data(json!({"uri": uri})))
}
