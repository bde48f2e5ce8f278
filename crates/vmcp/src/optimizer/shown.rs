//! The tools of one view, and their index once somebody looks for one of them.
//!
//! Making an index takes a while where there are many tools. It is made once, on a thread where nobody else waits for that,
//! and all who look for something meanwhile wait for the same one. Whoever goes away does not keep it from being made.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::task::spawn_blocking;

use super::index::Index;
use super::meaning::Meanings;

/// An index that is made, or about to be. Other meanings make another one of it.
type Coming = Shared<BoxFuture<'static, Arc<ArcSwap<Index>>>>;

/// What indexes are made with.
#[derive(Clone, Debug, Default)]
pub(super) struct Maker {
    pub(super) meanings: Option<Arc<Meanings>>,
    /// How many were made.
    pub(super) made: Arc<AtomicU64>,
}

/// What a list shows.
#[derive(Default)]
pub(super) struct Shown {
    lines: Arc<[Bytes]>,
    index: OnceLock<Coming>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("tools", &self.lines.len()).finish_non_exhaustive()
    }
}

impl Shown {
    /// Nothing is made of these yet.
    pub(super) fn new<'a>(lines: impl IntoIterator<Item = &'a Bytes>) -> Self {
        Self { lines: lines.into_iter().cloned().collect(), index: OnceLock::new() }
    }

    /// Its index, made now if nobody has asked for it before.
    pub(super) async fn index(&self, maker: &Maker) -> Arc<ArcSwap<Index>> {
        self.index.get_or_init(|| maker.make(Arc::clone(&self.lines))).clone().await
    }
}

impl Maker {
    fn make(&self, lines: Arc<[Bytes]>) -> Coming {
        self.made.fetch_add(1, Ordering::Relaxed);
        let meanings = self.meanings.clone();
        let making = spawn_blocking(move || Index::new(&*lines));
        let coming = async move {
            let index = making.await.unwrap_or_else(|error| {
                tracing::error!(%error, "no tool is found: their index could not be made");
                Index::default()
            });
            let index = match meanings {
                Some(meanings) => index.with_meanings(meanings.of(index.tools())),
                None => index,
            };
            Arc::new(ArcSwap::from_pointee(index))
        };
        coming.boxed().shared()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> [Bytes; 2] {
        ["a", "b"].map(|name| format!(r#"{{"name":"{name}"}}"#).into())
    }

    #[tokio::test]
    async fn all_who_look_at_once_wait_for_one_making() {
        let (shown, maker) = (Shown::new(&lines()), Maker::default());
        let made = || maker.made.load(Ordering::Relaxed);
        assert_eq!(made(), 0, "nobody has looked");
        let (one, other) = tokio::join!(shown.index(&maker), shown.index(&maker));
        let later = shown.index(&maker).await;
        assert!(Arc::ptr_eq(&one, &other) && Arc::ptr_eq(&one, &later));
        assert_eq!((made(), later.load().tools().len()), (1, 2));
    }

    #[tokio::test]
    async fn whoever_goes_away_does_not_end_the_making() {
        let (shown, maker) = (Shown::new(&lines()), Maker::default());
        assert!(shown.index(&maker).now_or_never().is_none(), "it is not there at once");
        assert_eq!(shown.index(&maker).await.load().tools().len(), 2);
        assert_eq!(maker.made.load(Ordering::Relaxed), 1);
    }
}
