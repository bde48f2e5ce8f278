//! The name server's two sockets. What is answered is decided in [`super::dns`].

use std::sync::Arc;
use std::time::Duration;

use telemetry::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::dns::answer;
use super::door;
use super::name_table::NameTable;
use super::pace::Pace;
use super::policy::EgressPolicy;
use super::relay::reset;

/// Longer than any query that makes sense; what is longer is cut, and then malformed.
const LONGEST_QUERY: usize = 4096;
/// Connections to the name server at a time, and how long one is kept without a query.
const CONNECTIONS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing is done after a socket failed.
const BREATH: Duration = Duration::from_millis(100);

/// Answers queries.
#[derive(Debug)]
pub(super) struct NameServer {
    pub(super) policy: Arc<EgressPolicy>,
    pub(super) names: NameTable,
    pub(super) audit: Arc<Audit>,
    pub(super) pace: Arc<Pace>,
}

impl NameServer {
    /// Answers datagrams until the tasks are to stop.
    pub(super) async fn serve_udp(self: Arc<Self>, socket: UdpSocket, tasks: Tasks) {
        let stop = tasks.stop_token();
        let mut buffer = vec![0; LONGEST_QUERY];
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return,
                received = async {
                    self.pace.keep().await;
                    socket.recv_from(&mut buffer).await
                } => received,
            };
            let Ok((length, from)) = received else {
                sleep(BREATH).await;
                continue;
            };
            if let Some(reply) = self.answer(&buffer[..length]) {
                // Datagrams may be lost; whoever asked asks again.
                let _ = socket.try_send_to(&reply, from);
            }
        }
    }

    /// Answers connections until the tasks are to stop.
    pub(super) async fn serve_tcp(self: Arc<Self>, listener: TcpListener, tasks: Tasks) {
        let serve = |stream, stop: CancellationToken| {
            let server = Arc::clone(&self);
            async move {
                stop.run_until_cancelled(server.connection(stream)).await;
            }
        };
        door::let_in(listener, CONNECTIONS, &self.pace, tasks, reset, serve).await;
    }

    /// One query after the other, each after its length, until one is not answered.
    async fn connection(&self, mut stream: TcpStream) {
        let mut buffer = Vec::new();
        while let Ok(Some(())) = timeout(PATIENCE, self.exchange(&mut stream, &mut buffer)).await {}
    }

    async fn exchange(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
        let length = usize::from(stream.read_u16().await.ok()?);
        if length > LONGEST_QUERY {
            return None;
        }
        buffer.resize(length, 0);
        stream.read_exact(buffer).await.ok()?;
        self.pace.keep().await;
        let reply = self.answer(buffer)?;
        let length = u16::try_from(reply.len()).ok()?.to_be_bytes();
        stream.write_all(&[&length[..], &reply].concat()).await.ok()
    }

    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let answer = answer(query, &self.policy, |name| self.names.address_of(name));
        if let Some((name, denial)) = &answer.denied {
            self.audit.denied(name, crate::process::netns::DNS_SERVER.port(), *denial);
        }
        answer.reply
    }
}
