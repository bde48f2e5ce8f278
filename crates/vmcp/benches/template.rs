//! How long a template takes: compiled, rendered, and both. `cargo bench -p vmcp`, or `cargo xtask bench --only templates`.

#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, reason = "a tool that is read by people")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use vmcp::workflow::template::{Data, Options, Template};

/// Templates as they stand in workflows, the simplest first.
const TEMPLATES: [(&str, &str); 5] = [
    ("text and a value", "Deploy {{.params.repo}} to {{.params.env}}?"),
    ("a condition", r#"{{if eq .steps.confirm.output.action "accept"}}true{{else}}false{{end}}"#),
    ("a collection", "{{json .steps.fetch.output.items}}"),
    ("a walk", "{{range $i, $item := .steps.fetch.output.items}}{{$i}}: {{$item.name}}\n{{end}}"),
    ("a format", r#"{{printf "%5d|%-8s|%.2f" .steps.fetch.status .params.env .params.ratio}}"#),
];

const DATA: &str = r#"{
    "params": {"repo": "acme/widget", "env": "production", "ratio": 0.25},
    "steps": {
        "confirm": {"status": "completed", "output": {"action": "accept"}},
        "fetch": {"status": 200, "output": {"items": [
            {"id": 1, "name": "first"}, {"id": 2, "name": "second"}, {"id": 3, "name": "third"}
        ]}}
    }
}"#;

/// Rounds are shorter than what a scheduler gives a thread at once, so that some are not disturbed.
const ROUNDS: usize = 400;
const ROUND: Duration = Duration::from_micros(500);

fn main() {
    let data: Data = serde_json::from_str(DATA).expect("the data is JSON");
    println!("| template | compile ns | render ns | both ns |");
    println!("|---|---:|---:|---:|");
    for (name, source) in TEMPLATES {
        let template = Template::compile(source).expect("the templates compile");
        let compile = nanoseconds(|| Template::compile(black_box(source)).is_ok());
        let render = nanoseconds(|| black_box(&template).render(black_box(&data), Options::LIKE_GO).is_ok());
        let both = nanoseconds(|| {
            let template = Template::compile(black_box(source)).expect("the templates compile");
            template.render(black_box(&data), Options::LIKE_GO).is_ok()
        });
        println!("| {name} | {compile:.0} | {render:.0} | {both:.0} |");
    }
}

/// How long a call takes in the fastest of many rounds: whatever else the machine does only adds to it.
fn nanoseconds(mut call: impl FnMut() -> bool) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let (start, mut calls) = (Instant::now(), 0_u32);
        while start.elapsed() < ROUND {
            for _ in 0..20 {
                black_box(call());
            }
            calls += 20;
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
    });
    rounds.fold(f64::INFINITY, f64::min)
}
