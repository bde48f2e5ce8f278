//! How connections are let in: so many at a time, each a task, until the workload is gone.

use std::sync::Arc;
use std::time::Duration;

use telemetry::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;

/// How long nothing is accepted after accepting failed: skep is out of file descriptors, and others give some back.
const BREATH: Duration = Duration::from_millis(100);

/// Accepts until the tasks are to stop. `full` is handed a connection beyond the bound, `serve` any other.
pub(super) async fn let_in<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    pace: &Pace,
    tasks: Tasks,
    full: impl Fn(TcpStream),
    serve: impl Fn(TcpStream, CancellationToken) -> F,
) {
    let (stop, room) = (tasks.stop_token(), Arc::new(Semaphore::new(most)));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = async {
                pace.keep().await;
                listener.accept().await
            } => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(BREATH).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            full(stream);
            continue;
        };
        let serving = serve(stream, stop.clone());
        tasks.spawn("egress connection", async move {
            serving.await;
            drop(permit);
        });
    }
}
