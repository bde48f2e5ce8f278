//! Two connections, one behind the other: bytes are copied both ways until both have said that they are done.
//!
//! One side's end of data is passed on and the other direction goes on. An error on either side, or too long a silence
//! on both, ends both at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// What is under way in one direction, besides what the kernel holds.
const BUFFER: usize = 32 * 1024;

/// Copies until both directions have ended. The silence after which it gives up is between one and two `idle`.
pub(super) async fn relay(
    inside: &mut (impl AsyncRead + AsyncWrite + Unpin),
    outside: &mut (impl AsyncRead + AsyncWrite + Unpin),
    idle: Duration,
) -> io::Result<()> {
    let moved = AtomicBool::new(false);
    let (mut inside_read, mut inside_write) = tokio::io::split(inside);
    let (mut outside_read, mut outside_write) = tokio::io::split(outside);
    let copies = async {
        tokio::try_join!(
            copy(&mut inside_read, &mut outside_write, &moved),
            copy(&mut outside_read, &mut inside_write, &moved),
        )
    };
    tokio::select! {
        ended = copies => ended.map(|_| ()),
        () = silence(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &AtomicBool,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER].into_boxed_slice();
    loop {
        let length = from.read(&mut buffer).await?;
        moved.store(true, Relaxed);
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        moved.store(true, Relaxed);
    }
}

async fn silence(moved: &AtomicBool, idle: Duration) {
    loop {
        sleep(idle).await;
        if !moved.swap(false, Relaxed) {
            return;
        }
    }
}

/// Ends a connection so that the other side learns at once that it failed, rather than that it is over.
pub(super) fn reset(stream: TcpStream) {
    // Where this fails the connection is gone already.
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;
    use tokio::time::Instant;

    const IDLE: Duration = Duration::from_secs(100);

    #[tokio::test(start_paused = true)]
    async fn each_direction_ends_by_itself() {
        let (mut client, mut inside) = duplex(16);
        let (mut outside, mut server) = duplex(16);
        let relayed = tokio::spawn(async move { relay(&mut inside, &mut outside, IDLE).await });
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        server.write_all(b"answer, longer than the buffer between").await.unwrap();
        drop(server);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((&*question, &*answer), ("question", "answer, longer than the buffer between"));
        relayed.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_a_byte_prolongs_it() {
        let (mut client, mut inside) = duplex(16);
        let (mut outside, _server) = duplex(16);
        let begun = Instant::now();
        let relayed = tokio::spawn(async move { relay(&mut inside, &mut outside, IDLE).await });
        sleep(IDLE / 2).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(relayed.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), 2 * IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_on_one_side_ends_both() {
        let (_client, mut inside) = duplex(16);
        let mut broken = broken_stream();
        let error = relay(&mut inside, &mut broken, IDLE).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    /// Reads nothing but an error.
    fn broken_stream() -> impl AsyncRead + AsyncWrite + Unpin {
        struct Broken;
        impl AsyncRead for Broken {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                _: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<io::Result<()>> {
                std::task::Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
        }
        tokio::io::join(Broken, tokio::io::sink())
    }
}
