//! Meanings of texts, as a service gives them: vectors that are near each other where the texts mean the same.
//!
//! The service is asked in the background. What it has said is kept by text, so that a tool that comes back is not asked
//! about again. It may be slow, or away: then there are fewer meanings, and nobody waits.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::index::Tool;

/// Texts that are asked about together in the background.
const BATCH: usize = 64;
/// Meanings of tools that are kept: those of tools that have gone make room first.
const MOST_KEPT: usize = 20_000;
/// Meanings of questions that are kept.
const MOST_QUESTIONS: usize = 1_000;
/// Numbers of a meaning. No model of today has more.
const MOST_NUMBERS: usize = 8_192;
/// So long a question waits for its meaning. Whoever is not that quick is not waited for again until it has answered.
const QUESTION_WAITS: Duration = Duration::from_millis(500);

/// The future of meanings.
pub type Embedding<'a> = Pin<Box<dyn Future<Output = Result<Vec<Vec<f32>>, NoEmbedding>> + Send + 'a>>;

/// A service that knows what texts mean.
pub trait Embed: Send + Sync + fmt::Debug {
    /// The meaning of each of these texts, in order.
    fn embed(&self, texts: Vec<Arc<str>>) -> Embedding<'_>;
}

/// Why there are no meanings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoEmbedding(pub String);

/// A meaning: a vector of length one.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector(Arc<[f32]>);

impl Vector {
    /// `None` where the numbers are no direction.
    #[must_use]
    pub fn new(numbers: &[f32]) -> Option<Self> {
        let length = numbers.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt();
        let is_one = length.is_normal() && numbers.len() <= MOST_NUMBERS;
        is_one.then(|| Self(numbers.iter().map(|number| (f64::from(*number) / length) as f32).collect()))
    }
}

/// The cosine distance, from 0 to 2; `None` where they are of different models.
pub(super) fn distance(one: &Vector, other: &Vector) -> Option<f32> {
    if one.0.len() != other.0.len() {
        return None;
    }
    // Several sums at once, which a compiler makes use of.
    let mut sums = [0_f32; 8];
    let (ones, others) = (one.0.chunks_exact(8), other.0.chunks_exact(8));
    let rest: f32 = ones.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in ones.zip(others) {
        for place in 0..8 {
            sums[place] += a[place] * b[place];
        }
    }
    Some((1.0 - sums.iter().sum::<f32>() - rest).max(0.0))
}

/// What is known of meanings. `None` for a text whose meaning is none.
type Known = HashMap<Arc<str>, Option<Vector>>;

/// Meanings, and who is asked for them.
#[derive(Debug)]
pub(super) struct Meanings {
    service: Arc<dyn Embed>,
    tools: Mutex<Known>,
    questions: Mutex<Known>,
    /// The last question that was not answered in time: what is asked first when the service is tried again.
    unanswered: Mutex<Option<Arc<str>>>,
    is_answering: AtomicBool,
    wanted: Notify,
}

impl Meanings {
    pub(super) fn new(service: Arc<dyn Embed>) -> Self {
        Self {
            service,
            tools: Mutex::default(),
            questions: Mutex::default(),
            unanswered: Mutex::default(),
            is_answering: AtomicBool::new(true),
            wanted: Notify::new(),
        }
    }

    /// What is known of the meanings of tools, in order. What is not known is asked for.
    pub(super) fn of(&self, tools: &[Tool]) -> Vec<Option<Vector>> {
        let mut known = self.tools.lock();
        if known.len() > MOST_KEPT {
            let current: HashSet<&str> = tools.iter().map(|tool| &*tool.text).collect();
            known.retain(|text, _| current.contains(&**text));
        }
        let meanings: Vec<_> = tools.iter().map(|tool| known.get(&tool.text).cloned()).collect();
        drop(known);
        if meanings.iter().any(Option::is_none) {
            self.want();
        }
        meanings.into_iter().map(Option::flatten).collect()
    }

    /// The meaning of a question, if it is to be had at once or nearly so.
    pub(super) async fn of_question(&self, question: &str) -> Option<Vector> {
        if let Some(known) = self.questions.lock().get(question) {
            return known.clone();
        }
        if !self.is_answering.load(Ordering::Acquire) {
            return None;
        }
        let question: Arc<str> = question.into();
        match timeout(QUESTION_WAITS, self.service.embed(vec![Arc::clone(&question)])).await {
            Ok(Ok(numbers)) if numbers.len() == 1 => {
                let meaning = Vector::new(&numbers[0]);
                self.keep_question(question, meaning.clone());
                meaning
            }
            _ => {
                self.is_answering.store(false, Ordering::Release);
                *self.unanswered.lock() = Some(question);
                self.want();
                None
            }
        }
    }

    fn keep_question(&self, question: Arc<str>, meaning: Option<Vector>) {
        let mut known = self.questions.lock();
        if known.len() >= MOST_QUESTIONS {
            known.clear();
        }
        known.insert(question, meaning);
    }

    /// Something may be wanted that is not known.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until that is so.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Asks about some of what is not known; false where there is nothing to ask.
    pub(super) async fn learn(&self, tools: &[Tool]) -> Result<bool, NoEmbedding> {
        let question = self.unanswered.lock().clone();
        if let Some(question) = question {
            let meanings = self.ask(vec![Arc::clone(&question)]).await?;
            self.keep_question(question, meanings.into_iter().next().flatten());
            *self.unanswered.lock() = None;
        }
        let missing: Vec<Arc<str>> = {
            let known = self.tools.lock();
            let missing = tools.iter().filter(|tool| !known.contains_key(&tool.text));
            missing.take(BATCH).map(|tool| Arc::clone(&tool.text)).collect()
        };
        if missing.is_empty() {
            return Ok(false);
        }
        let meanings = self.ask(missing.clone()).await?;
        self.tools.lock().extend(missing.into_iter().zip(meanings));
        Ok(true)
    }

    async fn ask(&self, texts: Vec<Arc<str>>) -> Result<Vec<Option<Vector>>, NoEmbedding> {
        let count = texts.len();
        let answered = self.service.embed(texts).await.and_then(|numbers| match numbers.len() {
            given if given == count => Ok(numbers),
            given => Err(NoEmbedding(format!("{given} embeddings for {count} texts"))),
        });
        self.is_answering.store(answered.is_ok(), Ordering::Release);
        Ok(answered?.iter().map(|numbers| Vector::new(numbers)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_directions() {
        let vector = |numbers: &[f32]| Vector::new(numbers).expect("a direction");
        for (one, other, expect) in [
            (&[2.0, 0.0][..], &[5.0, 0.0][..], 0.0),
            (&[1.0, 0.0], &[0.0, 3.0], 1.0),
            (&[1.0, 0.0], &[-4.0, 0.0], 2.0),
            (&[1.0; 19], &[1.0; 19], 0.0),
        ] {
            let found = distance(&vector(one), &vector(other)).expect("of the same model");
            assert!((found - expect).abs() < 1e-5, "{one:?} {other:?}: {found}");
        }
        assert_eq!(distance(&vector(&[1.0]), &vector(&[1.0, 0.0])), None);
        for none in [&[][..], &[0.0], &[f32::NAN], &[f32::INFINITY, 1.0], &[1.0; MOST_NUMBERS + 1]] {
            assert_eq!(Vector::new(none), None);
        }
    }
}
