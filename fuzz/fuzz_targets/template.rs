//! A template: compiling does not panic, and rendering ends, within its bounds and the same each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmcp::workflow::template::{Data, Limits, Numbers, OnMissing, Options, Template};

/// Small, so that what would not end is seen.
const LIMITS: Limits = Limits { output: 4096, steps: 20_000, depth: 20 };

fuzz_target!(|text: &str| {
    // What follows a line of dashes is the data.
    let (source, json) = text.split_once("\n---\n").unwrap_or((text, DATA));
    let data: Data = serde_json::from_str(json).unwrap_or_default();
    let template = match Template::compile(source) {
        Ok(template) => template,
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1 && !error.to_string().is_empty());
            return;
        }
    };
    for numbers in [Numbers::LikeGo, Numbers::Exact] {
        let options = Options { limits: LIMITS, numbers, missing: OnMissing::NoValue };
        let rendered = template.render(&data, options);
        match &rendered {
            Ok(text) => assert!(text.len() <= LIMITS.output),
            Err(error) => assert!(error.line >= 1 && error.column >= 1 && !error.to_string().is_empty()),
        }
        assert_eq!(template.render(&data, options), rendered);
        let refusing = Options { missing: OnMissing::Refuse, ..options };
        if let Ok(strict) = template.render(&data, refusing) {
            assert_eq!(Ok(strict), rendered);
        }
        let _ = template.evaluate(&data, options);
    }
    let _ = template.references().iter().map(ToString::to_string).count();
});

const DATA: &str = r#"{
    "params": {"n": 1000000, "f": -0.5, "s": "héllo <b>", "list": ["a", "b", [1, null]], "null": null, "t": true},
    "steps": {"one": {"status": "completed", "output": {"items": [{"id": 1}, {"id": 2}], "text": "{\"k\": [1]}"}}}
}"#;
