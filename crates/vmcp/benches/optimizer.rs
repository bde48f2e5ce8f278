//! How long tools are looked for, and how long an index takes to make. `cargo bench -p vmcp --bench optimizer`.

#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, reason = "a tool that is read by people")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use vmcp::optimizer::{Index, Policy, Vector};

const POLICY: Policy = Policy { most: 8, semantic_ratio: 0.5, distance: 1.0 };

/// What names and descriptions are made of.
const VERBS: [&str; 16] = [
    "create", "list", "update", "delete", "search", "read", "send", "merge", "start", "stop", "show",
    "export", "import", "check", "move", "copy",
];
const THINGS: [&str; 25] = [
    "issue",
    "file",
    "branch",
    "message",
    "channel",
    "table",
    "record",
    "customer",
    "invoice",
    "event",
    "container",
    "image",
    "page",
    "user",
    "group",
    "document",
    "alert",
    "forecast",
    "address",
    "payment",
    "deployment",
    "pod",
    "log",
    "comment",
    "folder",
];

/// From the most common words to a name.
const QUESTIONS: [&str; 4] = [
    "list",
    "create a new issue in a repository",
    "search all documents for comments of a user and export them to a file in a folder",
    "service42_delete_payment",
];

fn tools(count: usize) -> Vec<Bytes> {
    let tool = |number: usize| {
        let (verb, thing) = (VERBS[number % VERBS.len()], THINGS[number / VERBS.len() % THINGS.len()]);
        let service = number / (VERBS.len() * THINGS.len());
        let near = THINGS[(number * 7 + 3) % THINGS.len()];
        format!(
            r#"{{"name":"service{service}_{verb}_{thing}","description":"{verb}s a {thing} of the service, with the {near} that belongs to it. Gives an error if the {thing} is not there or the user may not {verb} it.","inputSchema":{{"type":"object","properties":{{"{thing}_id":{{"type":"string"}},"{near}":{{"type":"string"}},"limit":{{"type":"integer"}}}}}}}}"#
        )
        .into()
    };
    (0..count).map(tool).collect()
}

/// A meaning of as many numbers as those of small models.
fn meaning(number: usize) -> Option<Vector> {
    let numbers: Vec<f32> = (0..384).map(|place| ((number * 31 + place * 17) % 101) as f32 - 50.0).collect();
    Vector::new(&numbers)
}

fn main() {
    println!("| tools | question | microseconds |");
    println!("|---:|---|---:|");
    for count in [100, 2_000, 10_000] {
        let tools = tools(count);
        let make = microseconds(|| Index::new(black_box(&tools)).tools().len());
        println!("| {count} | (the index) | {make:.0} |");
        let index = Index::new(&tools);
        for question in QUESTIONS {
            let find = microseconds(|| index.find(black_box(question), &[], None, POLICY).len());
            println!("| {count} | {question} | {find:.1} |");
        }
        let index = index.with_meanings((0..count).map(meaning).collect());
        let sense = meaning(count);
        let find = microseconds(|| index.find(black_box(QUESTIONS[1]), &[], sense.as_ref(), POLICY).len());
        println!("| {count} | {}, and by meaning | {find:.1} |", QUESTIONS[1]);
    }
}

/// How long a call takes in the fastest of many rounds: whatever else the machine does only adds to it.
fn microseconds(mut call: impl FnMut() -> usize) -> f64 {
    let rounds = (0..40).map(|_| {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while calls == 0 || start.elapsed() < Duration::from_millis(2) {
            black_box(call());
            calls += 1;
        }
        start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
    });
    rounds.fold(f64::INFINITY, f64::min)
}
