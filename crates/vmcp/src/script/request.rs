//! What a client says to `execute_tool_script`.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Bytes of a script.
const MAX_SCRIPT: usize = 256 * 1024;

/// A script and its variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The script.
    pub script: String,
    /// Its variables.
    pub data: Map<String, Value>,
}

/// Why arguments are no request. Its text is for the model that wrote them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// There is no script.
    #[error("execute_tool_script requires a non-empty 'script' string argument")]
    NoScript,
    /// The script is too long.
    #[error("the script has {0} bytes, {MAX_SCRIPT} are taken")]
    TooLong(usize),
    /// The variables are no object.
    #[error("'data' is not an object")]
    Data,
}

impl Request {
    /// Reads the arguments of a call.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn read(arguments: &[u8]) -> Result<Self, BadRequest> {
        #[derive(Deserialize)]
        struct Arguments {
            script: Option<Value>,
            data: Option<Value>,
        }
        let read: Arguments = serde_json::from_slice(arguments).map_err(|_| BadRequest::NoScript)?;
        let Some(Value::String(script)) = read.script else { return Err(BadRequest::NoScript) };
        if script.trim().is_empty() {
            return Err(BadRequest::NoScript);
        }
        if script.len() > MAX_SCRIPT {
            return Err(BadRequest::TooLong(script.len()));
        }
        let data = match read.data {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(data)) => data,
            Some(_) => return Err(BadRequest::Data),
        };
        Ok(Self { script, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        for (arguments, expect) in [
            (r#"{"script":"return 1"}"#, Ok(0)),
            (r#"{"script":"return a","data":{"a":1,"b":2}}"#, Ok(2)),
            (r#"{"script":"return a","data":null}"#, Ok(0)),
            (r#"{"script":" \n"}"#, Err(BadRequest::NoScript)),
            (r#"{"script":1}"#, Err(BadRequest::NoScript)),
            ("{}", Err(BadRequest::NoScript)),
            ("[]", Err(BadRequest::NoScript)),
            (r#"{"script":"return 1","data":[]}"#, Err(BadRequest::Data)),
        ] {
            assert_eq!(
                Request::read(arguments.as_bytes()).map(|read| read.data.len()),
                expect,
                "{arguments}"
            );
        }
        let long = serde_json::json!({"script": "x".repeat(MAX_SCRIPT + 1)}).to_string();
        assert_eq!(Request::read(long.as_bytes()), Err(BadRequest::TooLong(MAX_SCRIPT + 1)));
    }
}
