//! stdio in front of a remote server, for clients that only speak stdio: what the client writes is sent, what the
//! server says is written.
//!
//! Messages pass both ways untouched, so the server's own requests (sampling, elicitation, roots) reach the client and
//! every revision works; nothing is listed, mirrored or cached here.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::channel::{Channel, Connect, ConnectError};
use crate::stdio::{ReadEnd, read_lines, write_lines};

/// A client that closed its output still gets the answers that come within this time.
const AFTER_EOF: Duration = Duration::from_secs(10);

/// Why a relay ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// The client closed its side, and has its answers.
    Client,
    /// The server is gone, for the reason given; what the client had asked was answered with errors.
    Server(String),
    /// The client cannot be read from or written to any more.
    Broken(io::Error),
}

/// Relays between a client's pipes and one channel of a server until either is gone. Lines over `max_line` bytes are
/// passed over with a warning.
///
/// # Errors
/// [`ConnectError`] where the channel could not be opened.
pub async fn relay(
    from_client: impl AsyncRead,
    to_client: impl AsyncWrite,
    server: &dyn Connect,
    max_line: usize,
) -> Result<RelayEnd, ConnectError> {
    let Channel { outgoing, incoming, mut guard, .. } = server.open().await?;
    let mut reading = std::pin::pin!(read_lines(from_client, max_line, outgoing));
    let writing = async { write_lines(to_client, incoming).await.map_err(|broken| broken.error) };
    let mut writing = std::pin::pin!(writing);
    let read = tokio::select! {
        written = &mut writing => return Ok(ended(written, guard.why_closed().await)),
        read = &mut reading => read,
    };
    match read {
        ReadEnd::Failed(error) => Ok(RelayEnd::Broken(error)),
        ReadEnd::Unwanted => Ok(ended(writing.await, guard.why_closed().await)),
        ReadEnd::Eof => {
            // The channel ends by itself when nothing is due any more.
            match timeout(AFTER_EOF, writing).await {
                Ok(Err(error)) => Ok(RelayEnd::Broken(error)),
                Ok(Ok(())) | Err(_) => Ok(RelayEnd::Client),
            }
        }
    }
}

fn ended(written: io::Result<()>, why: String) -> RelayEnd {
    match written {
        Ok(()) => RelayEnd::Server(why),
        Err(error) => RelayEnd::Broken(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::fake::{
        Fake, INITIALIZE, INITIALIZED, events, open_events, ordinary, request, soon, status,
    };
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    struct Client {
        stdin: DuplexStream,
        stdout: BufReader<DuplexStream>,
        relay: JoinHandle<Result<RelayEnd, ConnectError>>,
    }

    impl Client {
        fn start(fake: &Fake) -> Self {
            let (stdin, from_client) = duplex(4096);
            let (to_client, stdout) = duplex(4096);
            let remote = fake.http().0;
            let relay = tokio::spawn(async move { relay(from_client, to_client, &remote, 1 << 20).await });
            Self { stdin, stdout: BufReader::new(stdout), relay }
        }

        async fn say(&mut self, line: &str) {
            self.stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        }

        async fn hear(&mut self) -> Value {
            let mut line = String::new();
            soon(self.stdout.read_line(&mut line)).await.unwrap();
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
        }
    }

    #[tokio::test]
    async fn a_client_that_writes_all_and_closes_gets_all_answers() {
        let fake = Fake::start(ordinary).await;
        let mut client = Client::start(&fake);
        for line in ["hello?", INITIALIZE, INITIALIZED, &request(1, "tools/list"), &request(2, "ping")] {
            client.say(line).await;
        }
        let Client { stdin, mut stdout, relay } = client;
        drop(stdin);
        let mut ids = Vec::new();
        let mut line = String::new();
        while soon(stdout.read_line(&mut line)).await.unwrap() > 0 {
            ids.push(serde_json::from_str::<Value>(&line).unwrap()["id"].as_u64().unwrap());
            line.clear();
        }
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2]);
        assert!(matches!(soon(relay).await.unwrap(), Ok(RelayEnd::Client)));
    }

    #[tokio::test]
    async fn the_servers_requests_reach_the_client_and_its_answers_the_server() {
        let (stream, response) = open_events();
        let response = Mutex::new(Some(response));
        let fake = Fake::start(move |seen| match seen.what() {
            "GET" => response.lock().take().unwrap_or_else(|| status(409)),
            _ => ordinary(seen),
        })
        .await;
        let mut client = Client::start(&fake);
        client.say(INITIALIZE).await;
        client.hear().await;
        client.say(INITIALIZED).await;
        let ask = json!({"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage"});
        stream.send(format!("data: {ask}\n\n").into()).await.unwrap();
        assert_eq!(client.hear().await, ask);
        client.say(r#"{"jsonrpc":"2.0","id":"s","result":{"role":"assistant"}}"#).await;
        fake.until(|seen| seen.iter().any(|seen| seen.body["result"]["role"] == "assistant")).await;
    }

    #[tokio::test]
    async fn a_server_that_forgot_the_session_ends_the_relay_with_its_errors_written() {
        let fake = Fake::start(|seen| match seen.what() {
            "tools/call" => status(404),
            "GET" => events(": nothing\n\n"),
            _ => ordinary(seen),
        })
        .await;
        let mut client = Client::start(&fake);
        client.say(INITIALIZE).await;
        client.hear().await;
        client.say(&request(9, "tools/call")).await;
        let error = client.hear().await;
        assert_eq!((&error["id"], &error["error"]["code"]), (&json!(9), &json!(-32001)));
        let end = soon(client.relay).await.unwrap();
        assert!(matches!(&end, Ok(RelayEnd::Server(why)) if why.contains("session")), "{end:?}");
    }

    #[tokio::test]
    async fn a_client_that_is_gone_ends_the_relay() {
        let fake = Fake::start(ordinary).await;
        let mut client = Client::start(&fake);
        client.say(INITIALIZE).await;
        client.hear().await;
        let Client { stdin, stdout, relay } = client;
        drop((stdin, stdout));
        assert!(matches!(soon(relay).await.unwrap(), Ok(RelayEnd::Client | RelayEnd::Broken(_))));
    }
}
