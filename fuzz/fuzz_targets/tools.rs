//! A tools list and the headers its annotations ask for (2026-07-28): no panic, and no header that HTTP refuses.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mcp::param_headers::{ParamHeaders, read_tools, without_rejected};

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (tools, arguments) = input;
    if let Ok(listed) = read_tools(&tools) {
        if let Some(left) = without_rejected(&tools, &listed) {
            read_tools(&left).expect("what is left of a list is a list");
        }
    }
    if let Ok(headers) = ParamHeaders::from_schema(&tools) {
        if let Ok(expected) = headers.expected(Some(&arguments)) {
            let given = expected.into_iter().collect();
            assert!(headers.check(&given, Some(&arguments)).is_ok(), "what is expected is accepted");
        }
    }
});
