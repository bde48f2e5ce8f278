//! Which handler answers which method: the one list, for both eras and all transports.

use mcp::{ErrorCode, ErrorReply, Method, Revision};

use crate::call::{Call, Peer};
use crate::notices::Level;
use crate::reply::{Answer, Form, Freshness, Members, Outcome, Work};
use crate::{completion, handshake, listen, prompts, resources, tasks, tools};

/// Looks at a request. `initialize` is not among them: it makes a session, which is the transport's to keep.
pub(crate) fn dispatch(call: &Call) -> Answer {
    let id = call.message.text().slice(call.message.id_span().range());
    let form = Form { id, modern: call.is_modern(), freshness: freshness(call.message.method()) };
    let work = route(call).unwrap_or_else(Work::Done);
    form.answer(work)
}

fn route(call: &Call) -> Result<Work, Outcome> {
    let method = call.message.method();
    if !is_served(method, call.is_modern()) {
        return Err(method_not_found(call));
    }
    let done = |members| Ok(Work::Done(Outcome::Complete(members)));
    match method {
        Method::ToolsCall => tools::call(call),
        Method::ToolsList => done(first_page(call).map(|()| tools::list(&call.server))?),
        Method::ResourcesList => done(first_page(call).map(|()| resources::list(&call.server))?),
        Method::ResourceTemplatesList => done(first_page(call).map(|()| resources::templates())?),
        Method::ResourcesRead => resources::read(call).map(Work::Done),
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
            resources::subscribe(call).map(Work::Done)
        }
        Method::PromptsList => done(first_page(call).map(|()| prompts::list(&call.server))?),
        Method::PromptsGet => prompts::get(call),
        Method::CompletionComplete => completion::complete(call).map(Work::Done),
        Method::LoggingSetLevel => set_level(call).map(Work::Done),
        Method::Ping => done(Members::default()),
        Method::ServerDiscover => done(handshake::discovered(&call.server.config.server_name)),
        Method::SubscriptionsListen => listen::listen(call),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => tasks::handle(call).map(Work::Done),
        _ => Err(method_not_found(call)),
    }
}

/// Tasks of 2025-11-25 are not served, so `tasks/*` belongs to the modern era alone.
fn is_served(method: Method, modern: bool) -> bool {
    if modern {
        return method.is_in(Revision::V2026_07_28);
    }
    let is_task = matches!(method, Method::TasksGet | Method::TasksCancel | Method::TasksUpdate);
    !is_task && method.is_in(Revision::LATEST_LEGACY)
}

fn freshness(method: Method) -> Freshness {
    match method {
        Method::ServerDiscover
        | Method::ToolsList
        | Method::PromptsList
        | Method::ResourcesList
        | Method::ResourceTemplatesList => Freshness::UntilTold,
        Method::ResourcesRead => Freshness::AskAgain,
        _ => Freshness::Unsaid,
    }
}

/// Lists have one page, so no cursor was ever given out.
fn first_page(call: &Call) -> Result<(), Outcome> {
    match call.params().get("cursor") {
        None => Ok(()),
        Some(_) => Err(Outcome::invalid_params("this cursor is not one of ours")),
    }
}

fn set_level(call: &Call) -> Result<Outcome, Outcome> {
    let level = call.message.level().and_then(|name| Level::from_wire(&name));
    let level = level.ok_or_else(|| Outcome::invalid_params("params.level is not a log level"))?;
    if let Peer::Session(session) = &call.peer {
        session.set_level(level);
    }
    Ok(Outcome::Complete(Members::default()))
}

fn method_not_found(call: &Call) -> Outcome {
    let name = call.message.method_name().unwrap_or_default();
    Outcome::Error(ErrorReply::new(ErrorCode::MethodNotFound, format!("method {name:?} not found")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ExampleConfig;
    use crate::server::Server;
    use mcp::Message;
    use serde_json::{Value, json};
    use tokio_util::sync::CancellationToken;

    /// The answer to a modern request, or `None` where it is still to be run.
    fn modern(method: &str, mut params: Value) -> Option<Value> {
        params["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let text = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params}).to_string();
        let call = Call {
            server: Server::new(ExampleConfig::default(), CancellationToken::new()),
            message: Message::parse(text.into()).unwrap(),
            peer: Peer::Stateless,
        };
        match dispatch(&call) {
            Answer::Now(reply) => Some(serde_json::from_slice(&reply.text).unwrap()),
            Answer::Large(_) | Answer::Later(_) => None,
        }
    }

    #[test]
    fn a_method_is_served_in_the_era_that_has_it() {
        for (method, code) in [
            ("server/discover", None),
            ("tools/list", None),
            ("resources/list", None),
            ("resources/templates/list", None),
            ("prompts/list", None),
            ("ping", Some(-32601)),
            ("logging/setLevel", Some(-32601)),
            ("resources/subscribe", Some(-32601)),
            ("tasks/list", Some(-32601)),
            ("no/such", Some(-32601)),
        ] {
            let answer = modern(method, json!({})).unwrap();
            assert_eq!(answer["error"]["code"].as_i64(), code, "{method}: {answer}");
            assert_eq!(answer["id"], "a");
            assert_eq!(answer["result"].is_object(), code.is_none(), "{method}");
        }
    }

    #[test]
    fn a_cursor_that_was_never_given_out_is_refused() {
        let answer = modern("tools/list", json!({"cursor": "x"})).unwrap();
        assert_eq!(answer["error"]["code"], -32602);
    }

    #[test]
    fn results_of_the_modern_era_say_what_they_are_and_how_long_they_last() {
        let answer = modern("tools/call", json!({"name": "add", "arguments": {"a": 2, "b": 3}})).unwrap();
        assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
        assert!(modern("tools/list", json!({})).unwrap()["result"]["ttlMs"].is_u64());
        let unknown = modern("tools/call", json!({"name": "nothing"})).unwrap();
        assert_eq!(unknown["error"]["code"], -32602);
    }
}
