//! The tools: one table, in the order in which `tools/list` gives them.

mod asking;
mod changing;
mod content;
mod lasting;
mod plain;
mod rounds;
mod schemas;
mod tasking;

use std::sync::atomic::Ordering;

use mcp::param_headers::{ParamHeaders, ParamProblem};
use serde_json::value::RawValue;

use crate::call::Call;
use crate::reply::{Members, Outcome, Work, quoted};
use crate::server::Server;

/// One tool.
struct Tool {
    name: &'static str,
    description: &'static str,
    /// `inputSchema` as JSON text.
    schema: &'static str,
    /// `annotations` as JSON text.
    annotations: &'static str,
    run: fn(&Call) -> Result<Work, Outcome>,
}

/// Reads and changes nothing.
const READS: &str = r#"{"readOnlyHint":true,"openWorldHint":false}"#;
/// Changes something of this server; once more changes more.
const ACTS: &str =
    r#"{"readOnlyHint":false,"destructiveHint":false,"idempotentHint":false,"openWorldHint":false}"#;
/// Involves the person or the model at the client.
const ASKS: &str = r#"{"readOnlyHint":true,"openWorldHint":true}"#;

const NONE: &str = schemas::NO_ARGUMENTS;

macro_rules! tools {
    ($($name:literal $run:path, $annotations:ident, $schema:expr, $description:literal;)*) => {
        &[$(Tool {
            name: $name,
            description: $description,
            schema: $schema,
            annotations: $annotations,
            run: $run,
        },)*]
    };
}

/// Those for people and benchmarks first; then those that the official conformance suite asks for by name.
#[rustfmt::skip]
const TOOLS: &[Tool] = tools! {
    "echo"           plain::echo,           READS, schemas::ECHO,    "Says back what it is told";
    "add"            plain::add,            READS, schemas::ADD,     "Adds two numbers";
    "counter"        plain::counter,        ACTS,  schemas::COUNTER, "Counts: one counter per session, or one by the name given as handle; without session and handle, one for everybody";
    "whoami"         plain::whoami,         READS, NONE,             "Which instance and session answers";
    "large"          plain::large,          READS, schemas::LARGE,   "A text of so many bytes, made while it is written";
    "slow"           lasting::slow,         READS, schemas::SLOW,    "Takes its time in steps and reports progress; can be cancelled";
    "burst"          lasting::burst,        READS, schemas::BURST,   "Sends so many notifications (progress where a token is given, else log messages) before its result";
    "log"            lasting::log,          READS, schemas::LOG,     "Sends one log message to the client";
    "elicit"         asking::elicit,        ASKS,  schemas::MESSAGE, "Asks the person at the client for a name";
    "sample"         asking::sample,        ASKS,  schemas::PROMPT,  "Asks the client's model";
    "roots"          asking::roots,         ASKS,  NONE,             "Asks the client for its roots";
    "touch"          changing::touch,       ACTS,  schemas::TOUCH,   "Touches a resource, so that subscribers are told";
    "record"         changing::record,      ACTS,  schemas::RECORD,  "Adds a line to the journal (`skep example --journal FILE`), which outlives the server";
    "write_note"     changing::write_note,  ACTS,  schemas::NOTE,    "Writes a note, which is then a resource";

    "test_simple_text"            content::simple_text,   READS, NONE, "Gives one text";
    "test_image_content"          content::image,         READS, NONE, "Gives an image";
    "test_audio_content"          content::audio,         READS, NONE, "Gives a sound";
    "test_embedded_resource"      content::embedded,      READS, NONE, "Gives a resource";
    "test_multiple_content_types" content::mixed,         READS, NONE, "Gives text, image and resource";
    "test_error_handling"         content::error,         READS, NONE, "Always fails";
    "json_schema_2020_12_tool"    content::accepting,     READS, schemas::JSON_SCHEMA_2020_12, "Has a schema with many keywords of JSON Schema 2020-12";
    "test_x_mcp_header"           content::accepting,     READS, schemas::PARAM_HEADERS, "Has parameters that are repeated in HTTP headers";

    "test_tool_with_logging"      lasting::logging,       READS, NONE, "Logs three messages";
    "test_logging_tool"           lasting::logging,       READS, NONE, "Logs three messages";
    "test_tool_with_progress"     lasting::progress,      READS, NONE, "Reports progress three times";
    "test_reconnection"           lasting::reconnection,  READS, NONE, "Closes the stream before its result, which waits for whoever comes back";

    "test_sampling"                     asking::sample,        ASKS, schemas::PROMPT,  "Asks the client's model";
    "test_elicitation"                  asking::elicitation,   ASKS, schemas::MESSAGE, "Asks for name and address";
    "test_elicitation_sep1034_defaults" asking::defaults,      ASKS, NONE, "Asks with a default for each type";
    "test_elicitation_sep1330_enums"    asking::enums,         ASKS, NONE, "Asks with each kind of choice";
    "test_missing_capability"           asking::capital,       ASKS, NONE, "Needs a client with sampling";
    "test_streaming_elicitation"        asking::user_name,     ASKS, NONE, "Asks for a name";

    "test_input_required_result_elicitation"     asking::user_name,    ASKS, NONE, "Asks for a name";
    "test_input_required_result_sampling"        asking::capital,      ASKS, NONE, "Asks the model for a capital";
    "test_input_required_result_list_roots"      asking::roots,        ASKS, NONE, "Asks for the roots";
    "test_input_required_result_request_state"   rounds::one_round,    ASKS, NONE, "Asks once, with a state";
    "test_input_required_result_tampered_state"  rounds::one_round,    ASKS, NONE, "Asks once, with a state that is checked";
    "test_input_required_result_multiple_inputs" rounds::all_at_once,  ASKS, NONE, "Asks three questions at once";
    "test_input_required_result_multi_round"     rounds::two_rounds,   ASKS, NONE, "Asks twice, one after the other";
    "test_input_required_result_capabilities"    rounds::what_it_can,  ASKS, NONE, "Asks only what the client can answer";

    "test_trigger_tool_change"   changing::tools,   ACTS, NONE, "Adds a tool, or takes it away";
    "test_trigger_prompt_change" changing::prompts, ACTS, NONE, "Adds a prompt, or takes it away";

    "greet"               tasking::greet,          READS, schemas::GREET,   "Greets";
    "slow_compute"        tasking::slow_compute,   READS, schemas::COMPUTE, "Computes for some seconds, as a task where the client knows tasks";
    "failing_job"         tasking::failing,        READS, NONE,             "A task that fails as a tool does";
    "protocol_error_job"  tasking::protocol_error, READS, NONE,             "A task that fails as the protocol does";
    "confirm_delete"      tasking::confirm_delete, ASKS,  schemas::FILE,    "A task that asks before it deletes (nothing)";
    "multi_input"         tasking::multi_input,    ASKS,  NONE,             "A task that asks two questions at once";
    "test_tool_with_task" tasking::name_then_task, ASKS,  NONE,             "Asks for a name, then goes on as a task";
};

/// Comes and goes with `test_trigger_tool_change`.
const EXTRA: Tool = Tool {
    name: "extra_tool",
    description: "Comes and goes with test_trigger_tool_change",
    schema: NONE,
    annotations: READS,
    run: content::accepting,
};

/// What is worked out about the tools once.
#[derive(Debug)]
pub(crate) struct Catalog {
    /// The result of `tools/list`, without the extra tool and with it.
    plain: Members,
    extended: Members,
    /// The tools with parameters that are repeated in headers.
    headers: Vec<(&'static str, ParamHeaders)>,
}

impl Catalog {
    pub(crate) fn new(more: usize) -> Self {
        let headers = TOOLS.iter().filter_map(|tool| {
            let headers = ParamHeaders::from_schema(tool.schema.as_bytes());
            let headers = headers.expect("the schemas of the table are well annotated");
            (!headers.is_empty()).then_some((tool.name, headers))
        });
        Self {
            headers: headers.collect(),
            plain: listing(TOOLS.iter(), more),
            extended: listing(TOOLS.iter().chain([&EXTRA]), more),
        }
    }

    /// Checks the `Mcp-Param-*` headers of a `tools/call` (2026-07-28).
    ///
    /// # Errors
    /// [`ParamProblem`].
    pub(crate) fn check_headers(
        &self,
        name: &str,
        given: &http::HeaderMap,
        arguments: Option<&[u8]>,
    ) -> Result<(), ParamProblem> {
        match self.headers.iter().find(|(tool, _)| *tool == name) {
            Some((_, headers)) => headers.check(given, arguments),
            None => Ok(()),
        }
    }
}

/// What is said of one of [`crate::ExampleConfig::more_tools`], of which there may be many.
const MORE: Tool = Tool { name: "more_", description: "Takes anything; there are more like it", ..EXTRA };

fn listing<'a>(tools: impl Iterator<Item = &'a Tool>, more: usize) -> Members {
    let mut text = String::with_capacity(16 * 1024);
    text.push_str(r#""tools":["#);
    let named = tools.map(|tool| (tool.name.to_owned(), tool));
    for (place, (name, tool)) in
        named.chain((1..=more).map(|number| (format!("more_{number}"), &MORE))).enumerate()
    {
        let Tool { description, schema, annotations, .. } = tool;
        let description = quoted(description);
        let separator = if place == 0 { "" } else { "," };
        text.push_str(&format!(
            r#"{separator}{{"name":"{name}","description":{description},"inputSchema":{schema},"annotations":{annotations}}}"#
        ));
    }
    text.push(']');
    Members(text)
}

/// `tools/list`.
pub(crate) fn list(server: &Server) -> Members {
    let extended = server.extra_tool.load(Ordering::Relaxed);
    if extended { server.catalog.extended.clone() } else { server.catalog.plain.clone() }
}

/// `tools/call`.
///
/// # Errors
/// There is no such tool, or it ended at once.
pub(crate) fn call(call: &Call) -> Result<Work, Outcome> {
    let name = call.message.target().ok_or_else(|| Outcome::invalid_params("params.name is required"))?;
    let extra = call.server.extra_tool.load(Ordering::Relaxed).then_some(&EXTRA);
    let number = name.strip_prefix(MORE.name).and_then(|number| number.parse().ok());
    let more = number.filter(|number| (1..=call.server.config.more_tools).contains(number)).map(|_| &MORE);
    let Some(tool) = TOOLS.iter().chain(extra).find(|tool| tool.name == name).or(more) else {
        return Err(Outcome::invalid_params(format!("tool {name:?} is unknown")));
    };
    (tool.run)(call)
}

/// An argument of type string, as the JSON literal it was written as.
///
/// # Errors
/// It is something else.
fn literal(value: &RawValue) -> Result<&str, Outcome> {
    let text = value.get();
    if text.starts_with('"') { Ok(text) } else { Err(Outcome::failure("invalid arguments: not a string")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_listing_is_json_with_every_tool_once() {
        let catalog = Catalog::new(3);
        let listing: Value = serde_json::from_str(&format!("{{{}}}", catalog.extended.0)).unwrap();
        let mut names: Vec<_> =
            listing["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), TOOLS.len() + 4);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TOOLS.len() + 4);
        assert!(
            listing["tools"].as_array().unwrap().iter().all(|tool| tool["inputSchema"]["type"] == "object")
        );
    }
}
