//! Two connections, one behind the other: bytes are copied both ways until both have said that they are done.
//!
//! One side's end of data is passed on and the other direction goes on. An error on either side, or too long a silence
//! on both, ends both at once.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

/// What is under way in one direction, besides what the kernel holds. A direction that rests holds nothing.
const BUFFER: usize = 64 * 1024;

/// Copies until both directions have ended. The silence after which it gives up is between one and two `idle`.
pub(super) async fn relay(inside: &mut TcpStream, outside: &mut TcpStream, idle: Duration) -> io::Result<()> {
    let moved = AtomicBool::new(false);
    let (inside_read, mut inside_write) = inside.split();
    let (outside_read, mut outside_write) = outside.split();
    let copies = async {
        tokio::try_join!(
            copy(&inside_read, &mut outside_write, &moved),
            copy(&outside_read, &mut inside_write, &moved),
        )
    };
    tokio::select! {
        ended = copies => ended.map(|_| ()),
        () = silence(&moved, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn copy(from: &ReadHalf<'_>, to: &mut WriteHalf<'_>, moved: &AtomicBool) -> io::Result<()> {
    loop {
        from.readable().await?;
        if let After::End = pass_on(from, to, moved).await? {
            return to.shutdown().await;
        }
    }
}

/// What follows what was passed on.
enum After {
    More,
    End,
}

/// Passes on what is there.
async fn pass_on(from: &ReadHalf<'_>, to: &mut WriteHalf<'_>, moved: &AtomicBool) -> io::Result<After> {
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return Ok(After::End),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(After::More),
            Err(error) => return Err(error),
        }
        moved.store(true, Relaxed);
        to.write_all(&buffer).await?;
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
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    const IDLE: Duration = Duration::from_secs(100);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// The two far ends of a relay, and how it ends.
    async fn relayed() -> (TcpStream, TcpStream, JoinHandle<io::Result<()>>) {
        let ((client, mut inside), (mut outside, server)) = (pair().await, pair().await);
        (client, server, tokio::spawn(async move { relay(&mut inside, &mut outside, IDLE).await }))
    }

    #[tokio::test]
    async fn each_direction_ends_by_itself() {
        let (mut client, mut server, relayed) = relayed().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        let much = "answer".repeat(BUFFER);
        let writing = much.clone();
        tokio::spawn(async move { server.write_all(writing.as_bytes()).await });
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(question, "question");
        assert!(answer == much);
        relayed.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_it_and_a_byte_prolongs_it() {
        let (mut client, mut server, relayed) = relayed().await;
        let begun = Instant::now();
        sleep(IDLE / 2).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        assert_eq!(relayed.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 2 * IDLE.as_secs());
    }

    #[tokio::test]
    async fn an_error_on_one_side_ends_both() {
        let (_client, server, relayed) = relayed().await;
        reset(server);
        assert_eq!(relayed.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
