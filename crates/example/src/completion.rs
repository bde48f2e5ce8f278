//! `completion/complete`: what an argument may go on with.

use serde_json::json;

use crate::call::Call;
use crate::reply::{Members, Outcome};
use crate::resources::NOTE_PREFIX;

/// The protocol allows no more in one answer.
const MAX_VALUES: usize = 100;

/// # Errors
/// A required parameter is missing, or the reference names nothing.
pub(crate) fn complete(call: &Call) -> Result<Outcome, Outcome> {
    let params = call.params();
    let reference = &params["ref"];
    let given = &params["argument"];
    let (Some(argument), Some(begun)) = (given["name"].as_str(), given["value"].as_str()) else {
        return Err(Outcome::invalid_params("params.argument needs name and value"));
    };
    let named = reference["name"].as_str().or_else(|| reference["uri"].as_str()).unwrap_or_default();
    let candidates: Vec<String> = match (named, argument) {
        ("test_prompt_with_arguments", "arg1") => words(&["paris", "park", "party", "test1", "test2"]),
        ("test_prompt_with_arguments", "arg2") => words(&["hello", "help", "world"]),
        ("test_prompt_with_embedded_resource", "resourceUri") => {
            words(&["test://static-text", "test://static-binary"])
        }
        ("test://template/{id}/data", "id") => (1..=200).map(|id| id.to_string()).collect(),
        (template, "name") if template.starts_with(NOTE_PREFIX) => call.server.notes.names(),
        _ => return Err(Outcome::invalid_params("nothing of this name has completions")),
    };
    let mut values: Vec<_> = candidates.into_iter().filter(|value| value.starts_with(begun)).collect();
    let total = values.len();
    values.truncate(MAX_VALUES);
    let completion = json!({"values": values, "total": total, "hasMore": total > MAX_VALUES});
    Ok(Outcome::Complete(Members::of(&json!({"completion": completion}))))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
