//! What is found for which questions, with and without meanings.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

fn names(index: &Index, question: &str, sense: Option<&Vector>, policy: Policy) -> Vec<String> {
    index.find(question, &[], sense, policy).iter().map(|tool| tool.name.to_string()).collect()
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
    let within =
        |most: usize| places.iter().filter(|(_, place)| place.is_some_and(|place| place < most)).count();
    let (first, any, all) = (within(1), within(8), places.len());
    let missed: Vec<_> = places.iter().filter(|(_, place)| place.is_none_or(|place| place > 0)).collect();
    // Words that only mean the same are what meanings are for.
    println!("{first} of {all} first, {any} among {}", POLICY.most);
    assert!(first >= 42 && any >= 51, "{first} {any} of {all}: {missed:#?}");
}

#[test]
fn what_is_named_comes_first() {
    let index = Index::new(&tools());
    for (question, keywords, first) in [
        ("git_log", &[][..], "git_log"),
        ("call `GIT_LOG`, please", &[], "git_log"),
        ("the history of a file", &["fs_read_file"], "fs_read_file"),
        ("use fs_write_file.", &[], "fs_write_file"),
    ] {
        let keywords: Vec<_> = keywords.iter().map(|word: &&str| (*word).to_owned()).collect();
        assert_eq!(&*index.find(question, &keywords, None, POLICY)[0].name, first, "{question}");
    }
    assert!(index.find("", &[], None, POLICY).is_empty());
    assert!(Index::new(&[]).find("a file", &[], None, POLICY).is_empty());
}

/// Four tools whose meanings are the directions of a plane.
fn plane() -> Index {
    let tools = [("north", "up"), ("east", "right"), ("south", "down"), ("west", "left")];
    let lines: Vec<_> = tools.iter().map(|(name, description)| tool(name, description, "")).collect();
    let directions = [[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]];
    Index::new(&lines).with_meanings(directions.iter().map(|numbers| Vector::new(numbers)).collect())
}

#[test]
fn each_way_of_finding_has_its_part_of_an_answer() {
    let (index, sense) = (plane(), Vector::new(&[0.9, 0.1]).unwrap());
    for (most, semantic_ratio, distance, expect) in [
        (2, 0.5, 1.0, &["east", "south"][..]),
        (2, 1.0, 1.0, &["east", "north"]),
        (2, 0.0, 1.0, &["south"]),
        (4, 0.5, 2.0, &["east", "north", "south", "west"]),
        (4, 0.5, 0.1, &["east", "south"]),
        (1, 0.5, 1.0, &["east"]),
    ] {
        let policy = Policy { most, semantic_ratio, distance };
        assert_eq!(names(&index, "down", Some(&sense), policy), expect, "{policy:?}");
    }
    assert_eq!(names(&index, "down", None, POLICY), ["south"], "words alone have all the room");
}

/// A service that knows how many signs a text has, or does not answer.
#[derive(Debug, Default)]
struct Service {
    hangs: AtomicBool,
    asked: AtomicUsize,
}

impl Embed for Service {
    fn embed(&self, texts: Vec<Arc<str>>) -> Embedding<'_> {
        Box::pin(async move {
            if self.hangs.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_secs(30)).await;
                return Err(NoEmbedding("no answer".to_owned()));
            }
            self.asked.fetch_add(texts.len(), Ordering::SeqCst);
            Ok(texts.iter().map(|text| vec![1.0, text.len() as f32]).collect())
        })
    }
}

async fn found_within(optimizer: &Optimizer, question: &str) -> (Duration, usize) {
    let begun = tokio::time::Instant::now();
    let arguments = json!({ "tool_description": question }).to_string();
    let result: Value =
        serde_json::from_slice(&optimizer.find(arguments.as_bytes()).await.unwrap().result).unwrap();
    let count = result["structuredContent"]["tools"].as_array().unwrap().len();
    (begun.elapsed(), count)
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_not_waited_for_and_is_asked_again_later() {
    let service = Arc::new(Service::default());
    service.hangs.store(true, Ordering::SeqCst);
    let optimizer = Arc::new(Optimizer::new(POLICY, Some(Arc::clone(&service) as Arc<dyn Embed>)));
    let (tools, stop) = (tools(), CancellationToken::new());
    optimizer.show(&tools);
    let learning = tokio::spawn(Arc::clone(&optimizer).follow(stop.clone()));
    assert_eq!(found_within(&optimizer, "merge a pull request").await.0, Duration::ZERO);
    service.hangs.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(service.asked.load(Ordering::SeqCst), tools.len(), "each once");
    assert_eq!(found_within(&optimizer, "merge a pull request").await, (Duration::ZERO, 8));
    optimizer.show(&tools[1..]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(service.asked.load(Ordering::SeqCst), tools.len() + 1, "the question, and no tool again");
    service.hangs.store(true, Ordering::SeqCst);
    let (first, _) = found_within(&optimizer, "a new question").await;
    let (second, count) = found_within(&optimizer, "a file").await;
    assert!(
        first <= Duration::from_millis(500) && second == Duration::ZERO && count > 0,
        "{first:?} {second:?}"
    );
    service.hangs.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let known = service.asked.load(Ordering::SeqCst);
    assert_eq!(found_within(&optimizer, "a new question").await, (Duration::ZERO, 8));
    assert_eq!(service.asked.load(Ordering::SeqCst), known, "it was asked when the service was there again");
    stop.cancel();
    learning.await.unwrap();
}
