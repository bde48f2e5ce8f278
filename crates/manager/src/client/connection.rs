//! One connection to a server: the transport and the revision it turns out to speak, then one request at a time.
//!
//! Legacy first, since nearly every server speaks it: `initialize`; a server that answers that with a JSON-RPC error is
//! asked for `server/discover` (2026-07-28). Only a URL that knows nothing of Streamable HTTP is tried as HTTP+SSE.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mcp::message::{Kind, meta_key};
use mcp::{Era, ErrorCode, ErrorReply, Message, Method, Revision};
use proxy::endpoint::{Endpoint, Scheme};
use proxy::instance::Instances;
use proxy::remote::{RemoteConfig, RemoteHttp, RemoteSse};
use proxy::resolve::Resolver;
use proxy::upstream::{ClientTls, Pool, PoolConfig};
use proxy::{Channel, Connect};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use telemetry::Tasks;
use tokio::time::timeout;

use super::{Category, ClientError, ClientSettings, Transport};

/// Saying goodbye may take this long.
const FAREWELL: Duration = Duration::from_secs(3);

/// The parameters of the requests that are made here.
#[derive(Debug, Default, Serialize)]
pub(super) struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cursor: Option<&'a str>,
    /// Filled in by the connection.
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    pub(super) meta: Option<Value>,
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

#[derive(Deserialize)]
struct RpcError {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Option<Box<RawValue>>,
}

/// The `data` of an error that was made on this side of the server.
#[derive(Deserialize)]
struct OwnError {
    origin: String,
    class: String,
    status: u16,
}

/// An open connection behind its handshake.
pub(super) struct Connection {
    channel: Channel,
    tasks: Tasks,
    era: Era,
    capabilities: Value,
    last_id: u64,
    /// The last request has no answer yet.
    waiting: bool,
}

/// How a server is reached.
struct Route {
    config: RemoteConfig,
    instances: Arc<Instances>,
    pool: Arc<Pool>,
    tasks: Tasks,
}

impl Route {
    async fn find(settings: &ClientSettings) -> Result<Self, ClientError> {
        let endpoint = Arc::new(Endpoint::parse(&settings.url)?);
        let mut config = RemoteConfig::new(endpoint.display());
        config.headers.extend(settings.headers.clone());
        let instances = Arc::new(Instances::new());
        let resolver = Resolver::system().map_err(ClientError::Resolver)?;
        // One look-up is enough for the life of this connection.
        let tls = (endpoint.scheme == Scheme::Https).then(ClientTls::system).transpose()?;
        drop(resolver.follow(endpoint, Arc::clone(&instances)).await?);
        let pool = Pool::new(PoolConfig::default(), tls);
        Ok(Self { config, instances, pool, tasks: Tasks::new() })
    }

    fn http(&self) -> RemoteHttp {
        RemoteHttp::new(
            self.config.clone(),
            Arc::clone(&self.instances),
            Arc::clone(&self.pool),
            self.tasks.clone(),
        )
    }

    fn sse(&self) -> RemoteSse {
        RemoteSse::new(
            self.config.clone(),
            Arc::clone(&self.instances),
            Arc::clone(&self.pool),
            self.tasks.clone(),
        )
    }

    async fn connect(&self, server: &dyn Connect) -> Result<Connection, ClientError> {
        Ok(Connection::over(server.open().await?, self.tasks.clone()))
    }
}

impl Connection {
    /// Connects and agrees on a revision.
    pub(super) async fn open(settings: &ClientSettings) -> Result<Self, ClientError> {
        let route = Route::find(settings).await?;
        if settings.transport != Transport::Sse {
            let mut connection = route.connect(&route.http()).await?;
            match connection.greet().await {
                Ok(()) => return Ok(connection),
                Err(error) if settings.transport == Transport::Auto && is_unknown_url(&error) => {
                    connection.close().await;
                    // What it said first tells more than that it is not the old transport either.
                    return Self::open_sse(&route).await.map_err(|_| error);
                }
                Err(error) => return Err(error),
            }
        }
        Self::open_sse(&route).await
    }

    async fn open_sse(route: &Route) -> Result<Self, ClientError> {
        let mut connection = route.connect(&route.sse()).await?;
        connection.initialize().await?;
        Ok(connection)
    }

    /// A connection whose handshake is to come.
    fn over(channel: Channel, tasks: Tasks) -> Self {
        Self { channel, tasks, era: Era::Legacy, capabilities: Value::Null, last_id: 0, waiting: false }
    }

    async fn greet(&mut self) -> Result<(), ClientError> {
        let refused = match self.initialize().await {
            Err(error) if is_from_server(&error) => error,
            greeted => return greeted,
        };
        self.era = Era::Modern;
        let result = self.request("server/discover", Params::default()).await.map_err(|_| refused)?;
        self.learn_capabilities("server/discover", &result)
    }

    async fn initialize(&mut self) -> Result<(), ClientError> {
        let params = json!({
            "protocolVersion": Revision::LATEST_LEGACY.as_str(),
            "capabilities": {},
            "clientInfo": client_info(),
        });
        let result = self.exchange("initialize", params).await?;
        self.learn_capabilities("initialize", &result)?;
        self.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.into()).await
    }

    fn learn_capabilities(&mut self, method: &'static str, result: &RawValue) -> Result<(), ClientError> {
        #[derive(Deserialize)]
        struct Members {
            #[serde(default)]
            capabilities: Value,
        }
        let members: Members = serde_json::from_str(result.get())
            .map_err(|error| ClientError::Protocol { method, reason: error.to_string() })?;
        self.capabilities = members.capabilities;
        Ok(())
    }

    /// Whether the server declares a category.
    pub(super) fn offers(&self, category: Category) -> bool {
        self.capabilities.get(category.name()).is_some_and(Value::is_object)
    }

    /// Sends a request in the connection's era and waits for its result.
    pub(super) async fn request(
        &mut self,
        method: &'static str,
        mut params: Params<'_>,
    ) -> Result<Box<RawValue>, ClientError> {
        if self.era == Era::Modern {
            params.meta = Some(json!({
                meta_key::PROTOCOL_VERSION: Revision::LATEST.as_str(),
                meta_key::CLIENT_INFO: client_info(),
                meta_key::CLIENT_CAPABILITIES: {},
            }));
        }
        self.exchange(method, params).await
    }

    async fn exchange(
        &mut self,
        method: &'static str,
        params: impl Serialize,
    ) -> Result<Box<RawValue>, ClientError> {
        self.last_id += 1;
        let request = Request { jsonrpc: "2.0", id: self.last_id, method, params };
        let text = serde_json::to_vec(&request).expect("strings and JSON become JSON");
        self.waiting = true;
        self.send(text.into()).await?;
        let answer = self.answer().await?;
        self.waiting = false;
        if let Some(result) = answer.result() {
            return serde_json::from_slice(result)
                .map_err(|error| ClientError::Protocol { method, reason: error.to_string() });
        }
        let error: RpcError = serde_json::from_slice(answer.error().unwrap_or_default())
            .map_err(|error| ClientError::Protocol { method, reason: error.to_string() })?;
        let RpcError { code, message, data } = error;
        Err(ClientError::Refused { method: method.to_owned(), code, message, data })
    }

    /// The response to the last request; what comes before it is answered or passed over.
    async fn answer(&mut self) -> Result<Message, ClientError> {
        loop {
            let Some(text) = self.channel.incoming.recv().await else {
                return Err(ClientError::Closed(self.channel.guard.why_closed().await));
            };
            let Ok(message) = Message::parse(text) else { continue };
            match message.kind() {
                Kind::Request => self.decline(&message).await?,
                Kind::Notification => {}
                Kind::Result | Kind::Error => {
                    if message.id() == Some(self.last_id.to_string().as_bytes()) {
                        return Ok(message);
                    }
                }
            }
        }
    }

    async fn decline(&mut self, request: &Message) -> Result<(), ClientError> {
        let id = request.id().unwrap_or_default();
        if request.method() == Method::Ping {
            return self.send([br#"{"jsonrpc":"2.0","id":"#, id, br#","result":{}}"#].concat().into()).await;
        }
        let method = request.method_name().unwrap_or_default();
        tracing::debug!(rpc.method = request.method().label(), "declined a request of the server");
        let reply =
            ErrorReply::new(ErrorCode::MethodNotFound, format!("this client does not offer {method}"));
        self.send(reply.to_json(Some(id))).await
    }

    async fn send(&mut self, text: Bytes) -> Result<(), ClientError> {
        if self.channel.outgoing.send(text).await.is_err() {
            return Err(ClientError::Closed(self.channel.guard.why_closed().await));
        }
        Ok(())
    }

    /// Cancels what has no answer, ends the session, and waits until the server has been told (bounded).
    pub(super) async fn close(self) {
        let Channel { outgoing, mut incoming, guard, .. } = self.channel;
        let goodbye = async {
            if self.waiting {
                let cancelled = json!({
                    "jsonrpc": "2.0",
                    "method": "notifications/cancelled",
                    "params": {"requestId": self.last_id, "reason": "the client gave up"},
                });
                // A server that is gone needs not be told.
                let _ = outgoing.send(cancelled.to_string().into()).await;
            }
            drop(outgoing);
            while incoming.recv().await.is_some() {}
        };
        let _ = timeout(FAREWELL / 3, goodbye).await;
        drop(guard);
        self.tasks.wait(FAREWELL).await;
    }
}

fn client_info() -> Value {
    json!({"name": "skep", "version": env!("CARGO_PKG_VERSION")})
}

/// The error that was made on this side in place of a server's, if it is one.
fn own_error(error: &ClientError) -> Option<OwnError> {
    let ClientError::Refused { data: Some(data), .. } = error else { return None };
    serde_json::from_str::<OwnError>(data.get()).ok().filter(|own| own.origin == "skep")
}

/// Whether there is no Streamable HTTP at the URL, so that it may be one of HTTP+SSE.
fn is_unknown_url(error: &ClientError) -> bool {
    own_error(error).is_some_and(|own| own.class == "http_status" && matches!(own.status, 400 | 404 | 405))
}

/// Whether the server itself refused.
fn is_from_server(error: &ClientError) -> bool {
    let own = |data: &RawValue| {
        serde_json::from_str::<Value>(data.get()).is_ok_and(|data| data["origin"] == "skep")
    };
    match error {
        ClientError::Refused { data, .. } => !data.as_deref().is_some_and(own),
        _ => false,
    }
}
