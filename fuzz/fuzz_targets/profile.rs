//! A permission profile: no panic, and what was accepted is written so that it means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use model::Profile;

fuzz_target!(|text: &str| {
    match Profile::parse(text) {
        Ok(profile) => {
            let written = profile.to_json();
            assert_eq!(Profile::parse(written.text()), Ok(profile));
        }
        Err(wrong) => assert!(!wrong.0.is_empty() && !wrong.to_string().is_empty()),
    }
});
