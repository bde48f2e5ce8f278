//! The signals that ask skep to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for them from the moment it is made.
#[derive(Debug)]
pub(crate) struct StopSignals {
    kinds: [Signal; 4],
}

impl StopSignals {
    /// INT, TERM, QUIT and HUP (the terminal was closed).
    ///
    /// # Errors
    /// The system refuses.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let kinds = [
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::quit())?,
            signal(SignalKind::hangup())?,
        ];
        Ok(Self { kinds })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate, quit, hangup] = &mut self.kinds;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
