//! How a virtual MCP's backends are, in its log: looked at now and then, and said where it differs from what was said last.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use vmcp::hub::health::Status;
use vmcp::hub::{BackendState, Hub};

/// Reports until it is dropped, as often as is said.
pub(super) async fn report(hub: Arc<Hub>, mut every: watch::Receiver<Duration>) {
    let mut said = None;
    loop {
        let pause = *every.borrow_and_update();
        tokio::select! {
            () = sleep(pause) => {}
            // Nobody is left who would say something else where no file is followed.
            Ok(()) = every.changed() => continue,
        }
        let now = summary(&hub.backends());
        if said.as_ref() != Some(&now) {
            tracing::info!(phase = now.0, "{}", now.1);
            said = Some(now);
        }
    }
}

/// The phase that they are in together, and what it consists of.
fn summary(states: &[BackendState]) -> (&'static str, String) {
    let count = |status| states.iter().filter(|state| state.status == status).count();
    let (all, there) = (states.len(), states.iter().filter(|state| state.status.is_shown()).count());
    if all == 0 {
        return ("Ready", "Ready, no backends configured".to_owned());
    }
    if there == all {
        return ("Ready", format!("{all}/{all} backends routable"));
    }
    if count(Status::Unknown) == all && states.iter().all(|state| state.failures == 0) {
        return ("Pending", format!("Waiting for initial health checks ({all} backends configured)"));
    }
    let rest = [Status::Degraded, Status::Unhealthy, Status::Unknown, Status::Unauthenticated]
        .map(|status| format!("{} {}", count(status), status.name()))
        .join(", ");
    let phase = if there == 0 { "Failed" } else { "Degraded" };
    (phase, format!("{there}/{all} backends routable ({rest})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_backends_are_together() {
        let state = |status, failures| BackendState { name: String::new(), status, failures };
        let healthy = || state(Status::Healthy, 0);
        for (states, phase) in [
            (vec![], "Ready"),
            (vec![state(Status::Unknown, 0), state(Status::Unknown, 0)], "Pending"),
            (vec![state(Status::Unknown, 1)], "Failed"),
            (vec![healthy(), state(Status::Degraded, 0)], "Ready"),
            (vec![healthy(), state(Status::Unhealthy, 3)], "Degraded"),
            (vec![state(Status::Unhealthy, 3)], "Failed"),
        ] {
            assert_eq!(summary(&states).0, phase, "{states:?}");
        }
        let text = summary(&[healthy(), state(Status::Unauthenticated, 0)]).1;
        assert_eq!(text, "1/2 backends routable (0 degraded, 0 unhealthy, 0 unknown, 1 unauthenticated)");
    }
}
