//! Messages over byte streams: one JSON-RPC message per line, whoever is at the other end of the pipe.
//!
//! This stands between every stdio server and the network, so bytes are read in large pieces into the buffer that the
//! messages are cut from, and everything that waits to be written leaves in one write. Lines that cannot be a message
//! (banners, logs on stdout) are passed over; whether the rest are is told by whoever parses them.
//!
//! Deliberately absent: processes. Who owns the other end, and why it closed, is the guard's to say.

use std::collections::VecDeque;
use std::io;

use bytes::{Bytes, BytesMut};
use mcp::framing::LineDecoder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tracing::Instrument;

use crate::channel::{CHANNEL_DEPTH, Channel, Guard, Undelivered};

/// How much room a read gets: little for a quiet stream, more as long as reads fill what they get.
const LEAST_ROOM: usize = 8 * 1024;
const MOST_ROOM: usize = 256 * 1024;
/// Messages from this size on are written from where they lie instead of being copied together with others.
const LARGE: usize = 16 * 1024;
/// What a pipe holds (pipe(7)), at least.
const PIPE: usize = 64 * 1024;
/// Of a line that is no message, this much is shown in the log.
const PREVIEW: usize = 80;

/// Why reading ended.
#[derive(Debug)]
pub enum ReadEnd {
    /// The stream is at its end.
    Eof,
    /// Nobody wants the messages any more.
    Unwanted,
    /// The stream broke.
    Failed(io::Error),
}

/// A channel over the two pipes of a server. Its tasks end, and the pipes close, when the channel is dropped; the pipe
/// to the server alone closes when `outgoing` is dropped. `unread` tells, when no more is written, how many of the bytes
/// at the end nobody has read or will.
pub fn channel_over<W: AsyncWrite + Send + Unpin + 'static>(
    reader: impl AsyncRead + Send + 'static,
    mut writer: W,
    max_line: usize,
    guard: Box<dyn Guard>,
    unread: impl FnOnce(&W) -> usize + Send + 'static,
) -> Channel {
    let (outgoing, to_write) = mpsc::channel(CHANNEL_DEPTH);
    let (read, incoming) = mpsc::channel(CHANNEL_DEPTH);
    let reading = async move {
        let end = read_lines(reader, max_line, read).await;
        tracing::debug!(?end, "reading from the server ended");
    };
    let (tell, undelivered) = Undelivered::told_by();
    let writing = async move {
        let mut recent = Recent::default();
        let ended = write_from(&mut writer, to_write, &mut recent).await;
        let mut undelivered = recent.last(unread(&writer));
        let closed = match ended {
            Ok(()) => writer.shutdown().await,
            Err(Broken { error, undelivered: more }) => {
                undelivered.extend(more);
                Err(error)
            }
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "writing to the server ended");
        }
        // Nobody may want to know.
        let _ = tell.send(undelivered);
    };
    tokio::spawn(reading.in_current_span());
    tokio::spawn(writing.in_current_span());
    Channel { outgoing, incoming, guard, process: None, undelivered }
}

/// Reads messages until the stream ends or nobody wants them. A line over `max_line` bytes is passed over with a
/// warning.
pub async fn read_lines(reader: impl AsyncRead, max_line: usize, to: mpsc::Sender<Bytes>) -> ReadEnd {
    let mut reader = std::pin::pin!(reader);
    let mut decoder = LineDecoder::new(max_line);
    let mut room = LEAST_ROOM;
    loop {
        decoder.buffer().reserve(room);
        let read = tokio::select! {
            biased;
            () = to.closed() => return ReadEnd::Unwanted,
            read = reader.read_buf(decoder.buffer()) => read,
        };
        match read {
            Ok(0) => return ReadEnd::Eof,
            Ok(read) if read >= room => room = (room * 2).min(MOST_ROOM),
            Ok(read) if read < room / 4 => room = (room / 2).max(LEAST_ROOM),
            Ok(_) => {}
            Err(error) => return ReadEnd::Failed(error),
        }
        loop {
            match decoder.next_line() {
                Ok(None) => break,
                Ok(Some(line)) if may_be_message(&line) => {
                    if to.send(line).await.is_err() {
                        return ReadEnd::Unwanted;
                    }
                }
                Ok(Some(line)) => skipped(&line),
                Err(error) => tracing::warn!(%error, "a message was lost"),
            }
        }
    }
}

/// Writing came to an end before the messages did.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Broken {
    /// What the stream says.
    pub error: io::Error,
    /// The messages whose lines were not written to their ends, oldest first.
    pub undelivered: Vec<Bytes>,
}

/// Writes messages, one a line, until there are no more; then closes the stream. Whatever waits is written at once.
///
/// # Errors
/// [`Broken`].
pub async fn write_lines(writer: impl AsyncWrite, from: mpsc::Receiver<Bytes>) -> Result<(), Broken> {
    let mut writer = std::pin::pin!(writer);
    write_from(&mut writer, from, &mut Recent::default()).await?;
    writer.shutdown().await.map_err(|error| Broken { error, undelivered: Vec::new() })
}

/// What was written last: as much as a pipe holds.
#[derive(Debug, Default)]
struct Recent {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Recent {
    fn add(&mut self, message: Bytes) {
        self.bytes += message.len() + 1;
        self.messages.push_back(message);
        while let Some(oldest) = self.messages.front().filter(|oldest| self.bytes - oldest.len() > PIPE) {
            self.bytes -= oldest.len() + 1;
            self.messages.pop_front();
        }
    }

    /// The messages that have a part in the last `bytes` bytes.
    fn last(self, bytes: usize) -> Vec<Bytes> {
        let mut before = 0;
        let mut last: Vec<Bytes> = Vec::new();
        for message in self.messages.into_iter().rev() {
            if before >= bytes {
                break;
            }
            before += message.len() + 1;
            last.push(message);
        }
        last.reverse();
        last
    }
}

async fn write_from<W: AsyncWrite + Unpin>(
    writer: &mut W,
    mut from: mpsc::Receiver<Bytes>,
    recent: &mut Recent,
) -> Result<(), Broken> {
    let mut writer = Counting { writer, written: 0 };
    let mut waiting = Vec::with_capacity(CHANNEL_DEPTH);
    let mut buffer = BytesMut::new();
    while from.recv_many(&mut waiting, CHANNEL_DEPTH).await > 0 {
        writer.written = 0;
        if let Err(error) = write_batch(&mut writer, &waiting, &mut buffer).await {
            let (mut end, mut undelivered) = (0, Vec::new());
            for message in waiting {
                end += message.len() + 1;
                if end <= writer.written {
                    recent.add(message);
                } else {
                    undelivered.push(message);
                }
            }
            from.close();
            undelivered.extend(std::iter::from_fn(|| from.try_recv().ok()));
            return Err(Broken { error, undelivered });
        }
        waiting.drain(..).for_each(|message| recent.add(message));
        buffer.clear();
        if buffer.capacity() > MOST_ROOM {
            buffer = BytesMut::new();
        }
    }
    Ok(())
}

/// A stream, and how much of a batch it has taken.
struct Counting<'a, W> {
    writer: &'a mut W,
    written: usize,
}

impl<W: AsyncWrite + Unpin> Counting<'_, W> {
    async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.writer.write(bytes).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                taken => {
                    self.written += taken;
                    bytes = &bytes[taken..];
                }
            }
        }
        Ok(())
    }
}

async fn write_batch<W: AsyncWrite + Unpin>(
    writer: &mut Counting<'_, W>,
    messages: &[Bytes],
    buffer: &mut BytesMut,
) -> io::Result<()> {
    for message in messages {
        if message.len() < LARGE || has_line_end(message) {
            append(buffer, message);
        } else {
            writer.write_all(buffer).await?;
            buffer.clear();
            writer.write_all(message).await?;
            buffer.extend_from_slice(b"\n");
        }
    }
    writer.write_all(buffer).await?;
    writer.writer.flush().await
}

/// Adds a message and the end of its line. Line ends inside can only be white space between tokens.
fn append(buffer: &mut BytesMut, message: &[u8]) {
    let start = buffer.len();
    buffer.extend_from_slice(message);
    if has_line_end(message) {
        for byte in &mut buffer[start..] {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
    buffer.extend_from_slice(b"\n");
}

fn has_line_end(message: &[u8]) -> bool {
    message.iter().fold(false, |found, byte| found | matches!(byte, b'\n' | b'\r'))
}

/// A message is an object (or, in 2025-03-26, an array of them).
fn may_be_message(line: &[u8]) -> bool {
    matches!(line.trim_ascii_start().first(), Some(b'{' | b'['))
}

fn skipped(line: &[u8]) {
    let start = String::from_utf8_lossy(&line[..line.len().min(PREVIEW)]);
    tracing::debug!(line.start = %start, line.length = line.len(), "skipped a line that is no message");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::future::Future;
    use std::pin::Pin;
    use std::time::Duration;
    use tokio::io::{DuplexStream, duplex};
    use tokio::time::timeout;

    struct NoGuard;

    impl Guard for NoGuard {
        fn why_closed(&mut self) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
            Box::pin(async { "closed".to_owned() })
        }

        fn hold(&mut self, _: crate::channel::Held) {}
    }

    /// A channel, and the server's ends of its pipes.
    fn connected(size: usize, max_line: usize) -> (Channel, DuplexStream, DuplexStream) {
        let (stdin, to_server) = duplex(size);
        let (stdout, from_server) = duplex(size);
        (channel_over(from_server, to_server, max_line, Box::new(NoGuard), |_| 0), stdin, stdout)
    }

    async fn soon<T>(future: impl Future<Output = T>) -> T {
        timeout(Duration::from_secs(10), future).await.expect("within ten seconds")
    }

    #[tokio::test]
    async fn what_nobody_read_to_its_end_comes_back() {
        // A pipe of ten bytes whose reader leaves after the first message and a half.
        let (mut reader, writer) = duplex(10);
        let (to, from) = mpsc::channel(8);
        for text in ["{1}", "{22}", "{333}", "{4444}"] {
            to.send(Bytes::from(text)).await.unwrap();
        }
        let writing = tokio::spawn(write_lines(writer, from));
        let mut read = [0; 6];
        reader.read_exact(&mut read).await.unwrap();
        drop(reader);
        let broken = soon(writing).await.unwrap().unwrap_err();
        // Of what was written but not read, only the pipe itself knows.
        assert!(broken.undelivered.ends_with(&[Bytes::from("{4444}")]), "{broken:?}");
        let mut recent = Recent::default();
        ["{1}", "{22}", "{333}"].into_iter().for_each(|text| recent.add(Bytes::from(text)));
        assert_eq!(recent.last(7), ["{22}", "{333}"]);
    }

    #[tokio::test]
    async fn what_was_written_last_is_kept_as_far_as_a_pipe_goes() {
        let mut recent = Recent::default();
        for number in 0..300 {
            recent.add(Bytes::from(format!("{number}{}", "x".repeat(1000))));
        }
        assert!(recent.bytes >= PIPE && recent.bytes <= PIPE + 2048, "{}", recent.bytes);
        assert!(recent.last(1)[0].starts_with(b"299"));
    }

    #[tokio::test]
    async fn what_is_no_message_is_passed_over() {
        let (mut channel, _stdin, mut stdout) = connected(1024, 40);
        let long = format!("{{\"long\":\"{}\"}}\n", "x".repeat(50));
        let text = format!("Server ready\n\n{{\"a\":1}}\r\n{long} {{\"b\":2}}\n[{{}}]\n12\n{{\"c\"");
        stdout.write_all(text.as_bytes()).await.unwrap();
        for expect in ["{\"a\":1}", " {\"b\":2}", "[{}]"] {
            assert_eq!(soon(channel.incoming.recv()).await.unwrap(), expect);
        }
        drop(stdout);
        assert_eq!(soon(channel.incoming.recv()).await, None, "a line without an end is not a message");
    }

    #[tokio::test]
    async fn each_message_is_one_line_whatever_its_size_and_shape() {
        let (channel, mut stdin, _stdout) = connected(1000, 1 << 20);
        let large = format!("{{\"x\":\"{}\"}}", "y".repeat(3 * LARGE));
        let broken = format!("{{\r\n\"x\":\"{}\"}}", "y".repeat(LARGE));
        for message in ["{\n\"a\":1}", &large, "{\"b\":2}", &broken] {
            let (outgoing, message) = (channel.outgoing.clone(), Bytes::copy_from_slice(message.as_bytes()));
            outgoing.try_send(message).unwrap();
        }
        drop(channel);
        let mut text = String::new();
        soon(stdin.read_to_string(&mut text)).await.unwrap();
        let expect = format!("{{ \"a\":1}}\n{large}\n{{\"b\":2}}\n{}\n", broken.replace("\r\n", "  "));
        assert!(text == expect, "{} bytes of {}", text.len(), expect.len());
    }

    #[tokio::test]
    async fn a_server_that_does_not_read_stops_the_sender_and_not_the_other_direction() {
        let (mut channel, _stdin, mut stdout) = connected(16, 1024);
        let message = Bytes::from_static(b"{\"0123456789\":\"0123456789\"}");
        let mut taken = 0;
        for _ in 0..10 * CHANNEL_DEPTH {
            taken += usize::from(channel.outgoing.try_send(message.clone()).is_ok());
            tokio::task::yield_now().await;
        }
        assert!((CHANNEL_DEPTH..3 * CHANNEL_DEPTH).contains(&taken), "{taken}");
        stdout.write_all(b"{}\n").await.unwrap();
        assert_eq!(soon(channel.incoming.recv()).await.unwrap(), "{}");
    }

    #[tokio::test]
    async fn a_dropped_channel_closes_both_pipes() {
        let (channel, mut stdin, mut stdout) = connected(64, 64);
        drop(channel);
        assert_eq!(soon(stdin.read(&mut [0; 8])).await.unwrap(), 0);
        soon(async { while stdout.write_all(b"{}\n").await.is_ok() {} }).await;
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn messages_survive_any_chunking(
            sizes in proptest::collection::vec(0usize..40_000, 1..12),
            pipe in 1usize..70_000,
            chunks in proptest::collection::vec(1usize..9000, 1..20),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let messages: Vec<String> = sizes.iter().map(|size| format!("{{\"{}\":1}}", "k".repeat(*size))).collect();
            let text = messages.join("\n") + "\n";
            let read = runtime.block_on(async {
                let (mut end, from_server) = duplex(pipe);
                let (to_server, echoed) = duplex(pipe);
                // Read by one channel, written by another: what comes out is what went in.
                let mut first = channel_over(from_server, tokio::io::sink(), 50_000, Box::new(NoGuard), |_| 0);
                let mut second = channel_over(echoed, to_server, 50_000, Box::new(NoGuard), |_| 0);
                let write = async {
                    let (mut rest, mut turn) = (text.as_bytes(), 0);
                    while !rest.is_empty() {
                        let piece = chunks[turn % chunks.len()].min(rest.len());
                        end.write_all(&rest[..piece]).await.unwrap();
                        (rest, turn) = (&rest[piece..], turn + 1);
                    }
                    drop(end);
                };
                let outgoing = second.outgoing.clone();
                let pass = async move {
                    while let Some(message) = first.incoming.recv().await {
                        outgoing.send(message).await.unwrap();
                    }
                };
                let collect = async {
                    let mut read = Vec::new();
                    while read.len() < messages.len() {
                        read.push(String::from_utf8(second.incoming.recv().await.unwrap().to_vec()).unwrap());
                    }
                    read
                };
                soon(async { tokio::join!(write, pass, collect).2 }).await
            });
            prop_assert_eq!(read, messages);
        }
    }
}
