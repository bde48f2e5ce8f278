//! An internet for tests: names with addresses, and servers behind some of them, which are on loopback in truth.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use workload::egress::{HostName, Outside};

/// What a server does with each connection.
#[derive(Clone, Copy)]
pub(crate) enum Behaviour {
    /// Answers a request of HTTP/1.0 with this body.
    Http(&'static str),
    /// Sends back what comes.
    Echo,
    /// Reads to the end, then says how many bytes that were.
    Count,
    /// Sends this many bytes.
    Source(u64),
}

#[derive(Clone, Default)]
pub(crate) struct World {
    names: HashMap<&'static str, Vec<IpAddr>>,
    servers: HashMap<SocketAddr, SocketAddr>,
}

impl World {
    pub(crate) fn name(mut self, name: &'static str, addresses: &[&str]) -> Self {
        self.names.insert(name, addresses.iter().map(|address| address.parse().unwrap()).collect());
        self
    }

    /// A server at an address of this world.
    pub(crate) async fn server(mut self, address: &str, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.servers.insert(address.parse().unwrap(), listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, behaviour));
            }
        });
        self
    }

    /// Where a server is in truth.
    pub(crate) fn truth(&self, address: &str) -> SocketAddr {
        self.servers[&address.parse().unwrap()]
    }
}

impl Outside for World {
    async fn resolve(&self, name: &HostName) -> io::Result<Vec<IpAddr>> {
        self.names.get(name.as_str()).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let truth = self.servers.get(&address).ok_or(io::ErrorKind::ConnectionRefused)?;
        TcpStream::connect(truth).await
    }

    fn is_this_machine(&self, _: IpAddr) -> bool {
        false
    }
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour) -> io::Result<()> {
    match behaviour {
        Behaviour::Http(body) => {
            // Closing with something unread would be a reset.
            if stream.read(&mut [0; 4096]).await? == 0 {
                return Ok(());
            }
            stream.write_all(format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes()).await?;
        }
        Behaviour::Echo => {
            let (mut read, mut write) = stream.split();
            tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(64 * 1024, &mut read), &mut write)
                .await?;
        }
        Behaviour::Count => {
            let count = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
            stream.write_all(count.to_string().as_bytes()).await?;
        }
        Behaviour::Source(bytes) => {
            let block = vec![0; 256 * 1024];
            for _ in 0..bytes / (256 * 1024) {
                stream.write_all(&block).await?;
            }
        }
    }
    stream.shutdown().await
}
