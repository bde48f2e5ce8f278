//! One HTTP/1.1 connection to an instance, without a task of its own.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::tls::{ClientTls, Stream};
use crate::endpoint::Scheme;
use crate::instance::Instance;

/// Requests to backends are whole: what is judged is what is sent.
pub(crate) type UpstreamRequest = Request<Full<Bytes>>;

type Driver = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// An open connection and the machine that drives it.
pub(crate) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    closed: bool,
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

/// A request did not get its answer's head.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Not one byte of it was written: here it is.
    NotSent(Box<UpstreamRequest>, hyper::Error),
    /// It may have been read and acted upon.
    Lost(hyper::Error),
}

impl Connection {
    /// Connects to the instance's own address. The caller bounds the time.
    pub(crate) async fn open(instance: &Arc<Instance>, tls: Option<&ClientTls>) -> Result<Self, String> {
        let stream = TcpStream::connect(instance.address).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = match instance.endpoint.scheme {
            Scheme::Http => Stream::Plain(stream),
            Scheme::Https => tls
                .ok_or("no certificates are configured to verify it with")?
                .connect(instance.endpoint.server_name.clone(), stream)
                .await
                .map_err(|error| format!("TLS: {error}"))?,
        };
        let (sender, driver) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        instance.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            sender,
            driver: Box::pin(driver),
            closed: false,
            instance: Arc::clone(instance),
            idle_since: Instant::now(),
            reused: false,
        })
    }

    /// Moves bytes. True once the connection is done for.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.closed {
            self.closed = self.driver.as_mut().poll_without_shutdown(cx).is_ready();
        }
        self.closed
    }

    /// Whether the peer has not closed it meanwhile.
    pub(crate) async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(!self.drive(cx))).await && self.sender.is_ready()
    }

    /// Sends a request and drives the connection until the answer's head is there.
    ///
    /// Not cancel-safe: a connection whose `send` was dropped is to be dropped as well.
    pub(crate) async fn send(&mut self, request: UpstreamRequest) -> Result<Response<Incoming>, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (driver, closed) = (&mut self.driver, &mut self.closed);
        let answer = poll_fn(|cx| {
            if !*closed {
                *closed = driver.as_mut().poll_without_shutdown(cx).is_ready();
            }
            answer.as_mut().poll(cx)
        });
        answer.await.map_err(|mut error| match error.take_message() {
            Some(request) => SendError::NotSent(Box::new(request), error.into_error()),
            None => SendError::Lost(error.into_error()),
        })
    }
}
