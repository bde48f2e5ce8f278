//! What becomes of an object that was read, understood in part, and changed.

use super::{Json, Object};

/// So deep members are compared one by one; beyond, a value that has changed is replaced as a whole.
const DEPTH: usize = 32;

/// Takes the change from `before` (what was understood of `original`) to `after` over into `original`: what was not
/// understood stays, what has not changed stays to the letter, and all of it stays in its place.
pub(super) fn members(original: &Object, before: &Object, after: &Object, depth: usize) -> Object {
    let mut merged = Object::default();
    for (name, there) in original.members() {
        match (before.get(name), after.get(name)) {
            (was, Some(is)) => merged.put(name, value(there, was, is, depth)),
            // It was understood, and has been taken away.
            (Some(_), None) => {}
            (None, None) => merged.put(name, there.clone()),
        }
    }
    for (name, is) in after.members() {
        if original.get(name).is_none() {
            merged.put(name, is.clone());
        }
    }
    merged
}

fn value(original: &Json, before: Option<&Json>, after: &Json, depth: usize) -> Json {
    if before == Some(after) {
        return original.clone();
    }
    let object = |json: &Json| json.to::<Object>().ok();
    let objects = (object(original), before.and_then(object), object(after));
    match objects {
        (Some(original), Some(before), Some(after)) if depth < DEPTH => {
            Json::of(&members(&original, &before, &after, depth + 1)).expect("an object of JSON values")
        }
        _ => after.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(original: &str, before: &str, after: &str, expect: &str) {
        let object = |text: &str| serde_json::from_str::<Object>(text).unwrap();
        let merged = members(&object(original), &object(before), &object(after), 0);
        assert_eq!(serde_json::to_string(&merged).unwrap(), expect, "{original}: {before} -> {after}");
    }

    #[test]
    fn changes_are_taken_over_and_the_rest_stays() {
        for (original, before, after, expect) in [
            (r#"{"x":1,"a":1.0}"#, r#"{"a":1}"#, r#"{"a":1}"#, r#"{"x":1,"a":1.0}"#),
            (r#"{"a":1,"x":9}"#, r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":2,"x":9}"#),
            (r#"{"a":1,"x":9}"#, r#"{"a":1}"#, "{}", r#"{"x":9}"#),
            (r#"{"x":9}"#, "{}", r#"{"a":1}"#, r#"{"x":9,"a":1}"#),
            (r#"{"a":null,"b":[]}"#, "{}", r#"{"b":[1]}"#, r#"{"a":null,"b":[1]}"#),
            (
                r#"{"o":{"y":1,"k":1,"x":2}}"#,
                r#"{"o":{"k":1}}"#,
                r#"{"o":{"k":2,"n":3}}"#,
                r#"{"o":{"y":1,"k":2,"x":2,"n":3}}"#,
            ),
            (r#"{"o":{"y":1}}"#, r#"{"o":"text"}"#, r#"{"o":{"k":2}}"#, r#"{"o":{"k":2}}"#),
            (r#"{"l":[1,{"x":1}]}"#, r#"{"l":[1]}"#, r#"{"l":[2]}"#, r#"{"l":[2]}"#),
        ] {
            check(original, before, after, expect);
        }
    }
}
