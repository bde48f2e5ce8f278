//! The index of the tools of one view: what tools are shown, which words they are described with, and where meanings stand.
//!
//! It never changes. When other tools are shown there is a next one; when meanings arrive, one that shares everything but
//! those.

use std::collections::HashMap;
use std::sync::Arc;

use bm25::{Embedder, EmbedderBuilder};
use bytes::Bytes;
use mcp::json::{self, JsonError, Reader, Span};

use super::meaning::{self, Vector};
use super::words::{Words, words};

/// Tools in an index. More are neither found nor counted.
const MAX_TOOLS: usize = 10_000;
/// Bytes of a description that are read.
const MAX_DESCRIPTION: usize = 4 * 1024;
/// Parameters that are read.
const MAX_PARAMETERS: usize = 64;
/// Different words of a question that are looked up.
const MAX_TERMS: usize = 64;

/// How answers are put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// How many tools an answer holds.
    pub most: usize,
    /// Which part of it is found by meaning.
    pub semantic_ratio: f64,
    /// How far a meaning may be: a cosine distance, from 0 to 2.
    pub distance: f64,
}

/// One tool.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: Box<str>,
    /// As it is shown.
    pub json: Bytes,
    /// What its meaning is taken from.
    pub(super) text: Arc<str>,
}

/// A word of some tools, by the number of each, with its weight there.
type Posting = Vec<(u32, f32)>;

#[derive(Debug, Default)]
struct Lexicon {
    tools: Vec<Tool>,
    /// By name in lower case.
    names: HashMap<String, u32>,
    postings: HashMap<Box<str>, Posting>,
    bytes: usize,
}

/// The index of one view.
#[derive(Clone, Debug, Default)]
pub struct Index {
    lexicon: Arc<Lexicon>,
    meanings: Arc<[Option<Vector>]>,
}

impl Index {
    /// Reads tools as a list shows them, in its order.
    pub fn new<'a>(lines: impl IntoIterator<Item = &'a Bytes>) -> Self {
        let read: Vec<_> = lines.into_iter().filter_map(Described::read).take(MAX_TOOLS).collect();
        let texts: Vec<String> = read.iter().map(Described::words).collect();
        let corpus: Vec<&str> = texts.iter().map(String::as_str).collect();
        let weigher: Embedder<Term, Words> =
            EmbedderBuilder::with_tokenizer_and_fit_to_corpus(Words, &corpus).build();
        let mut lexicon = Lexicon::default();
        for (number, (described, text)) in (0_u32..).zip(read.into_iter().zip(&texts)) {
            for weight in weigher.embed(text).0 {
                let posting = lexicon.postings.entry(weight.index).or_default();
                // A word that stands there twice has the weight of that already.
                if posting.last().is_none_or(|(last, _)| *last != number) {
                    posting.push((number, weight.value));
                }
            }
            lexicon.names.entry(described.name.to_lowercase()).or_insert(number);
            lexicon.bytes += described.json.len();
            lexicon.tools.push(described.tool());
        }
        Self { lexicon: Arc::new(lexicon), meanings: Arc::default() }
    }

    /// The same with these meanings, by tool.
    #[must_use]
    pub fn with_meanings(&self, meanings: Vec<Option<Vector>>) -> Self {
        Self { lexicon: Arc::clone(&self.lexicon), meanings: meanings.into() }
    }

    /// All tools, in order.
    #[must_use]
    pub fn tools(&self) -> &[Tool] {
        &self.lexicon.tools
    }

    /// Bytes of all tools as they are shown.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.lexicon.bytes
    }

    /// Whether any tool has a meaning.
    pub(super) fn has_meanings(&self) -> bool {
        self.meanings.iter().any(Option::is_some)
    }

    /// The tools that a question is about, the best first: those that it names, then by meaning if its own is known, then
    /// by words.
    #[must_use]
    pub fn find(
        &self,
        question: &str,
        keywords: &[String],
        sense: Option<&Vector>,
        policy: Policy,
    ) -> Vec<&Tool> {
        let named = self.named(question, keywords);
        let by_meaning = sense.map(|sense| self.by_meaning(sense, policy)).unwrap_or_default();
        let by_words = self.by_words(question, keywords, policy.most);
        let numbers = merge(&named, &by_meaning, &by_words, sense.is_some(), policy);
        numbers.into_iter().map(|number| &self.lexicon.tools[number as usize]).collect()
    }

    /// Tools that a question or a keyword says by name.
    fn named(&self, question: &str, keywords: &[String]) -> Vec<u32> {
        let parts = question.split(|char: char| char.is_whitespace() || "`'\"(),;".contains(char));
        let parts = parts.map(|part| part.trim_matches(['.', ':', '?', '!']));
        let said = [question.trim()].into_iter().chain(keywords.iter().map(|word| word.trim())).chain(parts);
        let mut named = Vec::new();
        for name in said.filter(|name| !name.is_empty()).take(MAX_TERMS) {
            let found = self.lexicon.names.get(&name.to_lowercase());
            named.extend(
                found.filter(|number| !named.contains(*number)).copied().into_iter().collect::<Vec<_>>(),
            );
        }
        named
    }

    /// The best by words: BM25.
    fn by_words(&self, question: &str, keywords: &[String], most: usize) -> Vec<u32> {
        let mut terms = words(question);
        terms.extend(keywords.iter().flat_map(|keyword| words(keyword)));
        terms.sort_unstable();
        terms.dedup();
        let all = self.lexicon.tools.len();
        let (mut scores, mut touched) = (vec![0_f32; all], Vec::new());
        for term in terms.iter().take(MAX_TERMS) {
            let Some(posting) = self.lexicon.postings.get(term.as_str()) else { continue };
            let rarity = rarity(all, posting.len());
            for (number, weight) in posting {
                let score = &mut scores[*number as usize];
                if *score == 0.0 {
                    touched.push(*number);
                }
                *score += rarity * weight;
            }
        }
        best(touched, most, |number| -scores[number as usize])
    }

    /// The nearest by meaning that are near enough.
    fn by_meaning(&self, sense: &Vector, policy: Policy) -> Vec<u32> {
        let distances = self.meanings.iter().map(|meaning| {
            meaning.as_ref().and_then(|meaning| meaning::distance(meaning, sense)).unwrap_or(f32::INFINITY)
        });
        let distances: Vec<f32> = distances.collect();
        let near = (0_u32..).zip(&distances).filter(|(_, distance)| f64::from(**distance) <= policy.distance);
        best(near.map(|(number, _)| number).collect(), policy.most, |number| distances[number as usize])
    }
}

/// How much a word tells that so many of all tools have.
fn rarity(all: usize, having: usize) -> f32 {
    let (all, having) = (all as f32, having as f32);
    (1.0 + (all - having + 0.5) / (having + 0.5)).ln()
}

/// Those that cost least, in order.
fn best(mut numbers: Vec<u32>, most: usize, cost: impl Fn(u32) -> f32) -> Vec<u32> {
    let order = |one: &u32, other: &u32| cost(*one).total_cmp(&cost(*other)).then(one.cmp(other));
    if numbers.len() > most {
        numbers.select_nth_unstable_by(most, order);
        numbers.truncate(most);
    }
    numbers.sort_unstable_by(order);
    numbers
}

/// What is named comes first. Of the rest each way of finding has its part, meanings before words, and what one of them
/// leaves is the other's.
fn merge(named: &[u32], by_meaning: &[u32], by_words: &[u32], has_sense: bool, policy: Policy) -> Vec<u32> {
    let semantic = if has_sense { (policy.most as f64 * policy.semantic_ratio).round() as usize } else { 0 };
    let lexical = policy.most - semantic.min(policy.most);
    let rest = |list: &[u32], quota: usize| if quota == 0 { Vec::new() } else { list.to_vec() };
    let in_order = named
        .iter()
        .chain(by_meaning.iter().take(semantic))
        .chain(by_words.iter().take(lexical))
        .copied()
        .chain(rest(by_meaning, semantic))
        .chain(rest(by_words, lexical));
    let mut merged: Vec<u32> = Vec::with_capacity(policy.most);
    for number in in_order {
        if merged.len() == policy.most {
            break;
        }
        if !merged.contains(&number) {
            merged.push(number);
        }
    }
    merged
}

/// Words stand for themselves.
struct Term;

impl bm25::TokenEmbedder for Term {
    type EmbeddingSpace = Box<str>;

    fn embed(word: &str) -> Box<str> {
        word.into()
    }
}

/// A tool as its definition describes it.
struct Described<'a> {
    json: &'a Bytes,
    name: Box<str>,
    title: String,
    description: String,
    parameters: Vec<String>,
}

impl<'a> Described<'a> {
    fn read(json: &'a Bytes) -> Option<Self> {
        let [mut name, mut title, mut description, mut schema] = [Span::default(); 4];
        members(json, |member, value| match member {
            b"name" => name = value,
            b"title" => title = value,
            b"description" => description = value,
            b"inputSchema" => schema = value,
            _ => {}
        })?;
        let text = |span: Span| span.of(json).and_then(json::decode_str).unwrap_or_default().into_owned();
        let mut description = text(description);
        description.truncate(description.floor_char_boundary(MAX_DESCRIPTION));
        let mut parameters = Vec::new();
        let mut properties = Span::default();
        let schema = schema.of(json).unwrap_or_default();
        members(schema, |member, value| {
            if member == b"properties" {
                properties = value;
            }
        });
        members(properties.of(schema).unwrap_or_default(), |member, _| {
            if parameters.len() < MAX_PARAMETERS {
                parameters.push(String::from_utf8_lossy(member).into_owned());
            }
        });
        Some(Self { json, name: text(name).into(), title: text(title), description, parameters })
    }

    /// What it is found by. Its name says most: it counts twice.
    fn words(&self) -> String {
        let Self { name, title, description, parameters, .. } = self;
        format!("{name} {name} {title} {description} {}", parameters.join(" "))
    }

    fn tool(self) -> Tool {
        let text = format!("name: {} description: {}", self.name, self.description).into();
        Tool { name: self.name, json: self.json.clone(), text }
    }
}

/// Reads an object's members; `None` where it is none.
fn members(object: &[u8], mut each: impl FnMut(&[u8], Span)) -> Option<()> {
    let mut reader = Reader::new(object).ok()?;
    if reader.peek() != Some(b'{') {
        return None;
    }
    let read = reader.object::<JsonError>(|reader, name| {
        each(name, reader.value()?);
        Ok(())
    });
    read.ok().map(drop)
}
