//! The input schemas of the tools, as the JSON text that `tools/list` gives.

pub(super) const NO_ARGUMENTS: &str = r#"{"type":"object","properties":{}}"#;

pub(super) const ECHO: &str = r#"{"type":"object","properties":{"message":{"type":"string","description":"What to say back"}},"required":["message"]}"#;

pub(super) const ADD: &str =
    r#"{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}"#;

pub(super) const COUNTER: &str = r#"{"type":"object","properties":{"by":{"type":"integer","description":"How far to count","default":1},"handle":{"type":"string","maxLength":128,"description":"Counts the counter of this name, which all clients share"}}}"#;

pub(super) const LARGE: &str = r#"{"type":"object","properties":{"bytes":{"type":"integer","minimum":0,"maximum":4294967296,"default":1048576}}}"#;

pub(super) const SLOW: &str = r#"{"type":"object","properties":{"steps":{"type":"integer","minimum":0,"maximum":1000000,"default":5},"delay_ms":{"type":"integer","minimum":0,"maximum":3600000,"default":100,"description":"Milliseconds of each step"}}}"#;

pub(super) const BURST: &str = r#"{"type":"object","properties":{"count":{"type":"integer","minimum":0,"maximum":10000000,"default":10},"size":{"type":"integer","minimum":0,"maximum":65536,"default":0,"description":"Bytes of padding in each"}}}"#;

pub(super) const LOG: &str = r#"{"type":"object","properties":{"level":{"type":"string","enum":["debug","info","notice","warning","error","critical","alert","emergency"],"default":"info"},"message":{"type":"string"}},"required":["message"]}"#;

pub(super) const MESSAGE: &str =
    r#"{"type":"object","properties":{"message":{"type":"string","description":"What to show the person"}}}"#;

pub(super) const PROMPT: &str = r#"{"type":"object","properties":{"prompt":{"type":"string","description":"What to ask the model"}},"required":["prompt"]}"#;

pub(super) const TOUCH: &str =
    r#"{"type":"object","properties":{"uri":{"type":"string","default":"test://watched-resource"}}}"#;

pub(super) const RECORD: &str = r#"{"type":"object","properties":{"text":{"type":"string"},"answer_after_ms":{"type":"integer","minimum":0,"maximum":1000,"default":0}},"required":["text"]}"#;
pub(super) const NOTE: &str = r#"{"type":"object","properties":{"name":{"type":"string","pattern":"^[A-Za-z0-9_.-]{1,64}$"},"text":{"type":"string"}},"required":["name","text"]}"#;

pub(super) const GREET: &str =
    r#"{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}"#;

pub(super) const COMPUTE: &str = r#"{"type":"object","properties":{"seconds":{"type":"integer","minimum":0,"maximum":3600,"default":1},"label":{"type":"string"}}}"#;

pub(super) const FILE: &str = r#"{"type":"object","properties":{"filename":{"type":"string"}}}"#;

/// Keywords that a proxy with typed schemas would lose.
pub(super) const JSON_SCHEMA_2020_12: &str = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","$defs":{"address":{"$anchor":"addressDef","type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"}}}},"properties":{"name":{"type":"string"},"address":{"$ref":"#/$defs/address"},"contactMethod":{"type":"string","enum":["phone","email"]},"phone":{"type":"string"},"email":{"type":"string"}},"allOf":[{"anyOf":[{"required":["phone"]},{"required":["email"]}]}],"if":{"properties":{"contactMethod":{"const":"phone"}},"required":["contactMethod"]},"then":{"required":["phone"]},"else":{"required":["email"]},"additionalProperties":false}"##;

pub(super) const PARAM_HEADERS: &str = r#"{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},"priority":{"type":"integer","x-mcp-header":"Priority"},"dry_run":{"type":"boolean","x-mcp-header":"Dry-Run"},"query":{"type":"string"}}}"#;
