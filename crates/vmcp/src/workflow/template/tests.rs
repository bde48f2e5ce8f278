//! The contract's cases, Go's rules, and what holds of every template.

mod bounds;
mod contract;
mod go;
mod properties;

use super::*;

/// Data from JSON.
fn data(json: &str) -> Data {
    serde_json::from_str(json).expect("the test's data is JSON")
}

/// What a template comes to: its text, or what is said of it.
fn rendered(template: &str, data: &Data, options: Options) -> Result<String, String> {
    let template = Template::compile(template).map_err(|error| error.to_string())?;
    template.render(data, options).map_err(|error| error.to_string())
}

/// Checks rows of a template, its data and its text.
fn check_texts(rows: &[(&str, &str, &str)]) {
    for (template, json, expect) in rows {
        let found = rendered(template, &data(json), Options::LIKE_GO);
        assert_eq!(found.as_deref(), Ok(*expect), "{template}");
    }
}

/// Checks rows of a template, its data and what is said of it.
fn check_errors(rows: &[(&str, &str, &str)]) {
    for (template, json, expect) in rows {
        let found = rendered(template, &data(json), Options::LIKE_GO);
        assert_eq!(found, Err((*expect).to_owned()), "{template}");
    }
}
