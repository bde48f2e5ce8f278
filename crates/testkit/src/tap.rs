//! A way to a server that remembers all that was said to it: what it was not to hear can be looked for.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

/// The way; it ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Tap {
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// From one `host:port` to another.
    ///
    /// # Errors
    /// The first cannot be listened on.
    pub async fn start(at: &str, target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(at).await?;
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let remembered = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut running = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                // Nobody there: the client's connection is closed.
                let Ok(server) = TcpStream::connect(target).await else { continue };
                let (mut answers, to_server) = server.into_split();
                let (from_client, mut to_client) = client.into_split();
                running.spawn(pass(from_client, to_server, Arc::clone(&remembered)));
                running.spawn(async move { drop(copy(&mut answers, &mut to_client).await) });
            }
        });
        Ok(Self { heard, task })
    }

    /// All that was said so far.
    pub async fn heard(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().await).into_owned()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, heard: Arc<Mutex<Vec<u8>>>) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(size @ 1..) = from.read(&mut piece).await {
        heard.lock().await.extend_from_slice(&piece[..size]);
        if to.write_all(&piece[..size]).await.is_err() {
            return;
        }
    }
}
