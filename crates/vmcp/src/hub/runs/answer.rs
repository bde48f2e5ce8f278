//! What a client is answered: the result of a call of a composite tool.

use serde_json::json;

use crate::workflow::exec::{WorkflowError, told};
use crate::workflow::log::End;
use crate::workflow::template::Data;

/// Of a run that ended here; nothing, where nobody wants it.
pub(super) fn of(ended: &Result<Data, WorkflowError>) -> Option<Vec<u8>> {
    match ended {
        Ok(output) => Some(succeeded(output)),
        Err(WorkflowError::Cancelled) => None,
        Err(error) => Some(failed(&because(&told(error)))),
    }
}

/// Of a run whose log says how it ended.
pub(super) fn of_end(end: &End) -> Option<Vec<u8>> {
    match end {
        End::Completed(output) => Some(succeeded(output)),
        End::Failed(error) => Some(failed(&because(error))),
        End::TimedOut => Some(failed(&because(&WorkflowError::TimedOut.to_string()))),
        End::Cancelled => None,
    }
}

fn because(error: &str) -> String {
    format!("Workflow execution failed: {error}")
}

fn succeeded(output: &Data) -> Vec<u8> {
    let text = serde_json::to_string(output).unwrap_or_default();
    let content = json!([{"type": "text", "text": text}]).to_string();
    match output {
        Data::Map(_) => format!(r#"{{"content":{content},"structuredContent":{text}}}"#),
        // Nothing else is structured content.
        _ => format!(r#"{{"content":{content}}}"#),
    }
    .into_bytes()
}

/// A result that says why there is none.
pub(super) fn failed(text: &str) -> Vec<u8> {
    json!({"content": [{"type": "text", "text": text}], "isError": true}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_the_same_as_the_engine() {
        let output = Data::map([("n", 1)]);
        let step = || WorkflowError::Changed("a".into());
        for (ended, end) in [
            (Ok(output.clone()), End::Completed(output)),
            (Ok(Data::from("text")), End::Completed(Data::from("text"))),
            (Err(step()), End::Failed(told(&step()))),
            (Err(WorkflowError::TimedOut), End::TimedOut),
            (Err(WorkflowError::Cancelled), End::Cancelled),
        ] {
            assert_eq!(of(&ended), of_end(&end), "{end:?}");
        }
        let result = of_end(&End::Completed(Data::map([("n", 1)]))).expect("it is wanted");
        let result: serde_json::Value = serde_json::from_slice(&result).expect("JSON");
        let content = json!([{"type": "text", "text": r#"{"n":1}"#}]);
        assert_eq!(result, json!({"content": content, "structuredContent": {"n": 1}}));
    }
}
