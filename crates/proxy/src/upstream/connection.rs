//! One HTTP/1.1 connection to an instance, without a task of its own: whoever waits for its answer moves its bytes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::uri::PathAndQuery;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use super::dial::Dial;
use super::h1::{self, AnswerHead, BadAnswer, OutgoingRequest};
use super::tls::{ClientTls, Stream};
use crate::endpoint::Scheme;
use crate::instance::Instance;

/// How much room a read gets: little for short answers, more as long as reads fill what they get.
const LEAST_ROOM: usize = 8 * 1024;
const MOST_ROOM: usize = 64 * 1024;
/// A body up to this size is sent in one write with its head.
const TOGETHER: usize = 16 * 1024;

/// An open connection.
pub(crate) struct Connection {
    stream: Stream,
    /// Read, and not used yet.
    pub(super) read: BytesMut,
    write: Vec<u8>,
    room: usize,
    pub(crate) instance: Arc<Instance>,
    pub(crate) idle_since: Instant,
    /// Whether it has carried a request before.
    pub(crate) reused: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.instance.address).finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.instance.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connect(
    instance: &Instance,
    tls: Option<&ClientTls>,
    dial: Option<&dyn Dial>,
) -> Result<Stream, String> {
    #[cfg(test)]
    if let Some(dialled) = super::simulated::dial(instance.address) {
        return dialled.await.map(Stream::Simulated).map_err(|error| error.to_string());
    }
    let stream = match dial {
        None => TcpStream::connect(instance.address).await,
        Some(dial) => dial.dial(instance.address).await,
    };
    let stream = stream.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    match instance.endpoint.scheme {
        Scheme::Http => Ok(Stream::Plain(stream)),
        Scheme::Https => tls
            .ok_or("no certificates are configured to verify it with")?
            .connect(instance.endpoint.server_name.clone(), stream)
            .await
            .map_err(|error| format!("TLS: {error}")),
    }
}

/// A request did not get its answer's head.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Not one byte of it was written.
    NotSent(io::Error),
    /// It may have been read and acted upon.
    Lost(Broken),
}

/// What came instead of an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    Answer(#[from] BadAnswer),
}

/// How far a request was sent.
#[derive(Default)]
struct Sent {
    head: usize,
    body: usize,
    done: bool,
}

impl Connection {
    /// Connects to the instance's own address. The caller bounds the time.
    pub(crate) async fn open(
        instance: &Arc<Instance>,
        tls: Option<&ClientTls>,
        dial: Option<&dyn Dial>,
    ) -> Result<Self, String> {
        let stream = connect(instance, tls, dial).await?;
        instance.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            stream,
            read: BytesMut::new(),
            write: Vec::new(),
            room: LEAST_ROOM,
            instance: Arc::clone(instance),
            idle_since: Instant::now(),
            reused: false,
        })
    }

    /// Reads once. 0 bytes: the peer has closed.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.room);
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.read))?;
        if read >= self.room {
            self.room = (self.room * 2).min(MOST_ROOM);
        } else if read < self.room / 4 {
            self.room = (self.room / 2).max(LEAST_ROOM);
        }
        Poll::Ready(Ok(read))
    }

    /// Whether the peer has neither closed it nor said anything unasked meanwhile.
    pub(crate) async fn is_usable(&mut self) -> bool {
        self.read.is_empty() && poll_fn(|cx| Poll::Ready(self.poll_fill(cx).is_pending())).await
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// Not cancel-safe: a connection whose `send` was dropped is to be dropped as well.
    pub(crate) async fn send(
        &mut self,
        request: &OutgoingRequest,
        path: Option<&PathAndQuery>,
    ) -> Result<AnswerHead, SendError> {
        let path = path.map_or("/", PathAndQuery::as_str);
        self.write.clear();
        h1::write_head(&mut self.write, request, path, &self.instance.endpoint.authority);
        let mut sent = Sent::default();
        if request.body.len() <= TOGETHER {
            self.write.extend_from_slice(&request.body);
            sent.body = request.body.len();
        }
        let head = poll_fn(|cx| self.poll_exchange(cx, request, &mut sent)).await;
        if self.write.capacity() > 2 * TOGETHER {
            self.write = Vec::new();
        }
        head
    }

    /// Writes what is left of a request and reads the head of its answer, side by side: a server may answer before it
    /// has read everything.
    fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        request: &OutgoingRequest,
        sent: &mut Sent,
    ) -> Poll<Result<AnswerHead, SendError>> {
        if !sent.done {
            match self.poll_write(cx, request, sent) {
                Poll::Ready(Ok(())) => sent.done = true,
                Poll::Ready(Err(error)) if sent.head == 0 => {
                    return Poll::Ready(Err(SendError::NotSent(error)));
                }
                Poll::Ready(Err(error)) => {
                    // It may have answered before it closed.
                    let answered =
                        self.poll_head(cx, request).map_ok(|head| AnswerHead { keep_alive: false, ..head });
                    return match answered {
                        Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
                        _ => Poll::Ready(Err(SendError::Lost(error.into()))),
                    };
                }
                Poll::Pending => {}
            }
        }
        let head = ready!(self.poll_head(cx, request)).map_err(SendError::Lost)?;
        // What was not sent by now never is.
        Poll::Ready(Ok(AnswerHead { keep_alive: head.keep_alive && sent.done, ..head }))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        request: &OutgoingRequest,
        sent: &mut Sent,
    ) -> Poll<io::Result<()>> {
        let stream = &mut self.stream;
        let mut write =
            |bytes: &[u8], cx: &mut Context<'_>| match ready!(Pin::new(&mut *stream).poll_write(cx, bytes)) {
                Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => Poll::Ready(written),
            };
        while sent.head < self.write.len() {
            sent.head += ready!(write(&self.write[sent.head..], cx))?;
        }
        while sent.body < request.body.len() {
            sent.body += ready!(write(&request.body[sent.body..], cx))?;
        }
        // Nothing to do for a plain socket; TLS may hold records back.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        request: &OutgoingRequest,
    ) -> Poll<Result<AnswerHead, Broken>> {
        loop {
            if !self.read.is_empty()
                && let Some(head) = h1::parse_head(&mut self.read, &request.method)?
            {
                return Poll::Ready(Ok(head));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(Broken::Closed));
            }
        }
    }
}
