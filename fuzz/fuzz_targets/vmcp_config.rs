//! A virtual MCP's file: reading it does not panic, says what is wrong where it refuses, and comes to the same each time;
//! what was read compiles to plans, or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmcp::config::Config;
use vmcp::workflow::Workflows;

/// Variables that files name: one is set, all others are not.
fn environment(name: &str) -> Option<String> {
    (name == "SET").then(|| "value".to_owned())
}

fuzz_target!(|text: &str| {
    let read = Config::parse(text, &environment);
    assert_eq!(format!("{read:?}"), format!("{:?}", Config::parse(text, &environment)));
    let config = match read {
        Ok(config) => config,
        Err(invalid) => return assert!(!invalid.to_string().is_empty()),
    };
    match Workflows::new(config.composites) {
        Ok(workflows) => {
            for composite in workflows.composites() {
                assert!(workflows.plan(&composite.name).is_some());
            }
        }
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
});
