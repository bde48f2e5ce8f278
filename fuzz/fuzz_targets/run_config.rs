//! A run config: no panic, and what was written of it is read and written the same, with every member still there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::{Document, RunConfig};
use serde_json::{Map, Value};

fuzz_target!(|text: &str| {
    let Ok(mut config) = RunConfig::parse(text) else { return };
    let _ = (config.checked(), config.secrets_in_clear(), format!("{config:?}"));
    let once = config.to_text();
    let again = RunConfig::parse(&once).expect("what was written is read");
    assert_eq!(again.to_text(), once);
    config.port = config.port.wrapping_add(1);
    let changed = RunConfig::parse(&config.to_text()).expect("what was written is read");
    assert_eq!(changed.port, config.port);
    // Where serde_json has no number for what stands there, it is text to us.
    let (Ok(before), Ok(after)) =
        (serde_json::from_str::<Map<String, Value>>(text), serde_json::from_str::<Map<String, Value>>(&once))
    else {
        return;
    };
    let kept = before.iter().filter(|(name, _)| *name != "remote_auth_config" && *name != "schema_version");
    for (name, value) in kept {
        assert_eq!(after.get(name), Some(value), "{name}");
    }
});
