//! A service that knows what texts mean, over HTTP: text-embeddings-inference, or one that speaks as OpenAI's does.
//!
//! Deliberately absent: when it is asked, and what is kept of what it says; that is the optimizer's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use proxy::endpoint::{Endpoint, EndpointError, Scheme, Target};
use proxy::upstream::tls::Stream;
use proxy::upstream::{ClientTls, TlsError};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use vmcp::config::Embedding as EmbeddingConfig;
use vmcp::optimizer::{Embed, Embedding, NoEmbedding};

/// Where the key of an OpenAI service is.
const API_KEY: &str = "OPENAI_API_KEY";
/// Bytes of an answer.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Texts at once, where the service does not say how many it takes: what text-embeddings-inference takes unless it is
/// told otherwise.
const AT_ONCE: usize = 32;
/// Texts at once that a service like OpenAI's takes.
const AT_ONCE_OPENAI: usize = 2048;

/// Why a service cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddingError {
    /// Its URL is none.
    #[error("optimizer.embeddingService: {0}")]
    Url(#[from] EndpointError),
    /// A header has a value that no header has.
    #[error("optimizer.embeddingHeaders: {0:?} has a value that cannot be sent")]
    Header(String),
    /// Certificates cannot be verified.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What is asked and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Tei,
    OpenAi { model: String },
}

/// Such a service.
pub(super) struct Service {
    endpoint: Endpoint,
    shape: Shape,
    headers: HeaderMap,
    within: std::time::Duration,
    tls: Option<ClientTls>,
    /// A connection that nobody uses.
    idle: Mutex<Option<SendRequest<Full<Bytes>>>>,
    /// How many texts it takes at once; nought: it was not asked.
    at_once: AtomicUsize,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Service").field(&self.endpoint.display()).finish()
    }
}

impl Service {
    pub(super) fn new(
        config: &EmbeddingConfig,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, EmbeddingError> {
        let endpoint = Endpoint::parse(&config.service)?;
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let value = |name: &str, value: &str| {
            HeaderValue::from_str(value).map_err(|_| EmbeddingError::Header(name.to_owned()))
        };
        for (name, text) in &config.headers {
            let known = HeaderName::try_from(name).map_err(|_| EmbeddingError::Header(name.clone()))?;
            headers.insert(known, value(name, text)?);
        }
        if let Some(key) = environment(API_KEY).filter(|key| config.is_openai && !key.is_empty()) {
            let mut bearer = value(API_KEY, &format!("Bearer {key}"))?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let (shape, at_once) = match config.is_openai {
            true => (Shape::OpenAi { model: config.model.clone().unwrap_or_default() }, AT_ONCE_OPENAI),
            false => (Shape::Tei, 0),
        };
        let tls = (endpoint.scheme == Scheme::Https).then(ClientTls::system).transpose()?;
        let (idle, at_once) = (Mutex::default(), AtomicUsize::new(at_once));
        Ok(Self { endpoint, shape, headers, within: config.timeout, tls, idle, at_once })
    }

    async fn embeddings(&self, texts: Vec<Arc<str>>) -> Result<Vec<Vec<f32>>, NoEmbedding> {
        let mut all = Vec::with_capacity(texts.len());
        let at_once = self.at_once().await;
        for some in texts.chunks(at_once) {
            let asked = self.ask(Method::POST, self.shape.path(), self.shape.question(some));
            let answer = timeout(self.within, asked).await;
            let answer = answer.map_err(|_| NoEmbedding(format!("no answer within {:?}", self.within)))??;
            all.extend(self.shape.read(&answer)?);
        }
        Ok(all)
    }

    /// How many texts are asked about at once.
    async fn at_once(&self) -> usize {
        let known = self.at_once.load(Ordering::Relaxed);
        if known > 0 {
            return known;
        }
        #[derive(Deserialize)]
        struct Info {
            max_client_batch_size: Option<usize>,
        }
        let asked = self.ask(Method::GET, "/info", Bytes::new());
        // One that does not say is asked again, the next time.
        let Ok(Ok(info)) = timeout(self.within, asked).await else { return AT_ONCE };
        let info = serde_json::from_slice::<Info>(&info).ok();
        let most =
            info.and_then(|info| info.max_client_batch_size).filter(|most| *most > 0).unwrap_or(AT_ONCE);
        self.at_once.store(most, Ordering::Relaxed);
        most
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, NoEmbedding> {
        let wrong = |error: &dyn std::fmt::Display| NoEmbedding(error.to_string());
        let base = self.endpoint.path.as_ref().map_or("", |base| base.path()).trim_end_matches('/');
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"))
            .header(header::HOST, self.endpoint.authority.clone())
            .body(Full::new(body))
            .map_err(|error| wrong(&error))?;
        request.headers_mut().extend(self.headers.clone());
        let mut connection = self.connection().await.map_err(|error| wrong(&error))?;
        let response = connection.send_request(request).await.map_err(|error| wrong(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| wrong(&error))?.to_bytes();
        *self.idle.lock() = Some(connection);
        if status.is_success() {
            Ok(body)
        } else {
            Err(NoEmbedding(format!("HTTP status {}", status.as_u16())))
        }
    }

    /// One that is idle, or a new one. Another one may be in use, for something that takes longer.
    async fn connection(&self) -> std::io::Result<SendRequest<Full<Bytes>>> {
        let idle = self.idle.lock().take();
        if let Some(mut idle) = idle
            && idle.ready().await.is_ok()
        {
            return Ok(idle);
        }
        let port = self.endpoint.port;
        let stream = match &self.endpoint.target {
            Target::Address(address) => TcpStream::connect((*address, port)).await?,
            Target::Name(name) => TcpStream::connect((name.as_str(), port)).await?,
        };
        let stream = match &self.tls {
            Some(tls) => tls.connect(self.endpoint.server_name.clone(), stream).await?,
            None => Stream::Plain(stream),
        };
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        // Ends with its sender; what is wrong with it, that one hears.
        tokio::spawn(connection);
        Ok(sender)
    }
}

impl Embed for Service {
    fn embed(&self, texts: Vec<Arc<str>>) -> Embedding<'_> {
        Box::pin(self.embeddings(texts))
    }
}

impl Shape {
    fn path(&self) -> &'static str {
        match self {
            Self::Tei => "/embed",
            Self::OpenAi { .. } => "/embeddings",
        }
    }

    fn question(&self, texts: &[Arc<str>]) -> Bytes {
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let question = match self {
            Self::Tei => json!({"inputs": texts, "truncate": true}),
            Self::OpenAi { model } => json!({"model": model, "input": texts, "encoding_format": "float"}),
        };
        question.to_string().into()
    }

    fn read(&self, answer: &[u8]) -> Result<Vec<Vec<f32>>, NoEmbedding> {
        #[derive(Deserialize)]
        struct Answer {
            data: Vec<One>,
        }
        #[derive(Deserialize)]
        struct One {
            #[serde(default)]
            index: usize,
            embedding: Vec<f32>,
        }
        let unreadable =
            |error: serde_json::Error| NoEmbedding(format!("its answer cannot be read: {error}"));
        match self {
            Self::Tei => serde_json::from_slice(answer).map_err(unreadable),
            Self::OpenAi { .. } => {
                let mut data = serde_json::from_slice::<Answer>(answer).map_err(unreadable)?.data;
                data.sort_by_key(|one| one.index);
                Ok(data.into_iter().map(|one| one.embedding).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_are_spoken() {
        let openai = Shape::OpenAi { model: "m".to_owned() };
        let texts = ["a".into(), "b".into()];
        for (shape, question, answer) in [
            (&Shape::Tei, json!({"inputs": ["a", "b"], "truncate": true}), json!([[1.0, 0.0], [0.5, 2.0]])),
            (
                &openai,
                json!({"model": "m", "input": ["a", "b"], "encoding_format": "float"}),
                json!({"data": [{"index": 1, "embedding": [0.5, 2.0]}, {"index": 0, "embedding": [1.0, 0.0]}]}),
            ),
        ] {
            assert_eq!(shape.question(&texts), question.to_string());
            let read = shape.read(answer.to_string().as_bytes());
            assert_eq!(read, Ok(vec![vec![1.0, 0.0], vec![0.5, 2.0]]));
            assert!(shape.read(b"{}").is_err());
        }
    }
}
