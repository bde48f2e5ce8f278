//! Something all requests share, made when it is first needed and made again when it is gone: by one request at a
//! time, and not too often.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::failure::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Whoever lasted this long was well: the next one is made without a pause.
const WELL_AFTER: Duration = Duration::from_secs(30);

/// Whether a kept thing is of any more use.
pub(super) trait Kept {
    fn is_gone(&self) -> bool;
}

#[derive(Debug, Default)]
struct Making {
    last: Option<Instant>,
    failures: u32,
}

/// The keeper.
#[derive(Debug)]
pub(super) struct Keeper<T> {
    current: ArcSwapOption<T>,
    making: Mutex<Making>,
}

impl<T: Kept> Keeper<T> {
    pub(super) fn new() -> Self {
        Self { current: ArcSwapOption::empty(), making: Mutex::default() }
    }

    /// What there is, gone or not.
    pub(super) fn current(&self) -> Option<Arc<T>> {
        self.current.load_full()
    }

    /// What there is, or else a new one.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) async fn get<F>(&self, make: impl FnOnce() -> F) -> Result<Arc<T>, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        if let Some(current) = self.usable() {
            return Ok(current);
        }
        let mut making = self.making.lock().await;
        if let Some(current) = self.usable() {
            return Ok(current);
        }
        if making.last.is_some_and(|last| last.elapsed() >= WELL_AFTER) {
            making.failures = 0;
        }
        if let Some(last) = making.last.filter(|_| making.failures > 0) {
            let pause = FIRST_PAUSE.saturating_mul(1 << (making.failures - 1).min(10));
            sleep_until(last + pause.min(LONGEST_PAUSE)).await;
        }
        // Counted before it is made: a request that is given up meanwhile counts too.
        making.last = Some(Instant::now());
        making.failures += 1;
        let made = Arc::new(make().await?);
        self.current.store(Some(Arc::clone(&made)));
        Ok(made)
    }

    fn usable(&self) -> Option<Arc<T>> {
        self.current.load_full().filter(|current| !current.is_gone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    #[derive(Debug, Default)]
    struct Thing(AtomicBool);

    impl Kept for Thing {
        fn is_gone(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_made_at_a_time_and_pauses_grow() {
        let (keeper, made) = (Keeper::<Thing>::new(), AtomicUsize::new(0));
        let make = || async {
            made.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(Thing::default())
        };
        let (a, b) = tokio::join!(keeper.get(make), keeper.get(make));
        assert!(Arc::ptr_eq(&a.unwrap(), &b.unwrap()));
        assert_eq!(made.load(Ordering::Relaxed), 1);
        let mut waits = Vec::new();
        for _ in 0..8 {
            keeper.current().unwrap().0.store(true, Ordering::Relaxed);
            let begun = Instant::now();
            keeper.get(make).await.unwrap();
            waits.push(begun.elapsed());
        }
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert!(
            waits[7] > waits[1] * 4 && waits[7] <= LONGEST_PAUSE + Duration::from_millis(10),
            "{waits:?}"
        );
        keeper.current().unwrap().0.store(true, Ordering::Relaxed);
        tokio::time::advance(WELL_AFTER).await;
        let begun = Instant::now();
        keeper.get(make).await.unwrap();
        assert_eq!(begun.elapsed(), Duration::from_millis(10), "it had been well");
    }
}
