//! The optimizer: two tools in place of all others. `find_tool` gives the few definitions that a model needs,
//! `call_tool` calls what it has found.
//!
//! There is one index per view, for all sessions, made when somebody looks for a tool of it for the first time ([`shown`]).
//! Tools are found by their words (BM25 over names, descriptions and names of parameters) and, where there is a service that
//! knows what texts mean, by meaning. That one is asked in the background ([`Optimizer::follow`]), which looks at each view
//! for that: as long as it has not answered, or does not any more, words alone do.
//!
//! Only what the view shows is found, so whatever clients may not call is not there either.
//!
//! Deliberately absent: calling tools, and connections.

mod answer;
mod index;
mod meaning;
mod shown;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use answer::{CALL_TOOL, Call, FIND_TOOL, Found, Misused, Question, TokenMetrics, definitions, error_of};
pub use index::{Index, Policy, Tool};
pub use meaning::{Embed, Embedding, NoEmbedding, Vector};

use meaning::Meanings;
use shown::{Maker, Shown};

/// Between two tries to reach a service that does not answer.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What finds tools.
#[derive(Debug)]
pub struct Optimizer {
    policy: ArcSwap<Policy>,
    shown: ArcSwap<Shown>,
    maker: Maker,
}

impl Optimizer {
    /// Without a service, tools are found by words.
    #[must_use]
    pub fn new(policy: Policy, service: Option<Arc<dyn Embed>>) -> Self {
        let meanings = service.map(|service| Arc::new(Meanings::new(service)));
        let maker = Maker { meanings, ..Maker::default() };
        Self { policy: ArcSwap::from_pointee(policy), shown: ArcSwap::default(), maker }
    }

    /// How answers are put together.
    #[must_use]
    pub fn policy(&self) -> Policy {
        **self.policy.load()
    }

    /// From now on answers are put together like this.
    pub fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// From now on these tools are shown, as a list has them. Takes note of them and does no more.
    pub fn show<'a>(&self, lines: impl IntoIterator<Item = &'a Bytes>) {
        self.shown.store(Arc::new(Shown::new(lines)));
        if let Some(meanings) = &self.maker.meanings {
            meanings.want();
        }
    }

    /// How many indexes were made.
    #[must_use]
    pub fn indexes(&self) -> u64 {
        self.maker.made.load(Ordering::Relaxed)
    }

    /// The index of what is shown.
    async fn index(&self) -> Arc<ArcSwap<Index>> {
        self.shown.load_full().index(&self.maker).await
    }

    /// What a call of `find_tool` comes to.
    ///
    /// # Errors
    /// [`Misused`] where the arguments are no question.
    pub async fn find(&self, arguments: &[u8]) -> Result<Found, Misused> {
        let question = Question::read(arguments)?;
        let index = self.index().await.load_full();
        let sense = match &self.maker.meanings {
            Some(meanings) if index.has_meanings() => meanings.of_question(&question.description).await,
            _ => None,
        };
        let tools = index.find(&question.description, &question.keywords, sense.as_ref(), self.policy());
        Ok(Found::of(&tools, index.bytes()))
    }

    /// Learns what tools mean until told to stop. To be run once, as a task.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let Some(meanings) = &self.maker.meanings else { return };
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.learn(meanings) => {}
        }
    }

    async fn learn(&self, meanings: &Meanings) {
        let mut pause = FIRST_PAUSE;
        loop {
            let index = self.index().await.load_full();
            match meanings.learn(index.tools()).await {
                Ok(false) => {
                    // Other tools may be shown since it was asked.
                    self.take_up(meanings).await;
                    meanings.wanted().await;
                }
                Ok(true) => self.take_up(meanings).await,
                Err(error) => {
                    if pause == FIRST_PAUSE {
                        tracing::warn!(%error, "tools are found by words only: the embedding service does not answer");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            }
            pause = FIRST_PAUSE;
        }
    }

    /// Takes new meanings into the index, whichever that is by now.
    async fn take_up(&self, meanings: &Meanings) {
        self.index().await.rcu(|current| current.with_meanings(meanings.of(current.tools())));
    }
}
