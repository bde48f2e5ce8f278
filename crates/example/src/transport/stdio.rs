//! One client at stdin and stdout: one JSON message per line, nothing else.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use mcp::framing::LineDecoder;
use mcp::{ErrorCode, ErrorReply};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pipe::Pipe;
use crate::config::ExampleConfig;
use crate::event_log::Frame;
use crate::server::Server;

/// Messages are written together up to about this many bytes.
const BATCH: usize = 64 * 1024;

/// Serves one client until its input ends. Requests that are still running then are cancelled; what was answered is
/// written.
///
/// # Errors
/// Reading or writing failed. A client that no longer reads is no error.
pub async fn serve_stdio(
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    config: ExampleConfig,
) -> io::Result<()> {
    let limit = config.max_message;
    let server = Server::new(config, CancellationToken::new());
    let (pipe, frames) = Pipe::new(&server);
    let over = pipe.over.clone();
    let read = async {
        let read = read_all(input, &pipe, limit).await;
        pipe.end().await;
        // The last sender: the writer ends when it has written what is queued.
        drop(pipe);
        read
    };
    let write = async {
        let written = write_all(output, frames).await;
        over.cancel();
        written
    };
    let (read, written) = tokio::join!(read, write);
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => read,
        written => read.and(written),
    }
}

async fn read_all(mut input: impl AsyncRead + Unpin, pipe: &Arc<Pipe>, limit: usize) -> io::Result<()> {
    let mut lines = LineDecoder::new(limit);
    loop {
        loop {
            match lines.next_line() {
                Ok(Some(line)) => pipe.take(line).await,
                Ok(None) => break,
                Err(too_long) => {
                    let why = ErrorReply::new(ErrorCode::InvalidRequest, too_long.to_string());
                    pipe.say(why.to_json(None)).await;
                }
            }
        }
        let read = tokio::select! {
            read = input.read_buf(lines.buffer()) => read?,
            () = pipe.over.cancelled() => 0,
        };
        if read == 0 {
            return Ok(());
        }
    }
}

async fn write_all(mut output: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut batch = BytesMut::with_capacity(BATCH);
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        while let Some(frame) = next {
            match frame {
                Frame::Message(text) => {
                    batch.extend_from_slice(&text);
                    batch.extend_from_slice(b"\n");
                }
                Frame::Large(large) => {
                    for piece in large {
                        output.write_all_buf(&mut batch).await?;
                        batch.extend_from_slice(&piece);
                    }
                    batch.extend_from_slice(b"\n");
                }
            }
            next = if batch.len() < BATCH { frames.try_recv().ok() } else { None };
        }
        output.write_all_buf(&mut batch).await?;
        output.flush().await?;
    }
    Ok(())
}
