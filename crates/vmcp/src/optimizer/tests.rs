//! What is found for which questions, with and without meanings.


use serde_json::{Value, json};

use super::*;

const POLICY: Policy = Policy { most: 8, semantic_ratio: 0.5, distance: 1.0 };

fn lines(table: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('|').map(str::trim).collect())
}

fn tool(name: &str, description: &str, parameters: &str) -> Bytes {
    let properties: serde_json::Map<String, Value> =
        parameters.split_whitespace().map(|name| (name.to_owned(), json!({"type": "string"}))).collect();
    let schema = json!({"type": "object", "properties": properties});
    json!({"name": name, "description": description, "inputSchema": schema}).to_string().into()
}

fn tools() -> Vec<Bytes> {
    lines(include_str!("tests/tools.txt")).map(|line| tool(line[0], line[1], line[2])).collect()
}

fn names(found: &[&Tool]) -> Vec<String> {
    found.iter().map(|tool| tool.name.to_string()).collect()
}

/// Where the tool that is meant stands among what is found, for each question.
fn places(index: &Index) -> Vec<(String, Option<usize>)> {
    let questions = lines(include_str!("tests/questions.txt"));
    let place = |line: Vec<&str>| {
        let found = index.find(line[0], &[], None, POLICY);
        (line[0].to_owned(), found.iter().position(|tool| &*tool.name == line[1]))
    };
    questions.map(place).collect()
}

#[test]
fn the_words_of_a_question_lead_to_its_tool() {
    let places = places(&Index::new(&tools()));
    let within = |most: usize| places.iter().filter(|(_, place)| place.is_some_and(|place| place < most)).count();
    let (first, any, all) = (within(1), within(8), places.len());
    let missed: Vec<_> = places.iter().filter(|(_, place)| place.is_none_or(|place| place > 0)).collect();
    // Words that only mean the same are what meanings are for.
    println!("{first} of {all} first, {any} among {}", POLICY.most);
    assert!(first >= 42 && any >= 51, "{first} {any} of {all}: {missed:#?}");
}
