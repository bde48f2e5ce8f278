//! The official Rust SDK (rmcp) at either end: `rmcp_peer server PORT` is a server, `rmcp_peer client URL` a client that lives
//! through the death of its server, as `conformance/survivor.mjs` does.

#![expect(clippy::print_stdout, reason = "whoever started it reads that")]

use std::convert::Infallible;
use std::io::BufRead;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::model::{ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool};
use rmcp::service::{RequestContext, RoleServer, ServiceExt};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, ServerHandler};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["server", port] => serve(port.parse()?).await,
        ["client", url] => survive(url).await,
        _ => bail!("rmcp_peer server PORT | client URL"),
    }
}

struct TwoTools;

impl ServerHandler for TwoTools {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let schema = rmcp::object!({"type": "object"});
        let tool = |name: &'static str| Tool::new(name, "does nothing", Arc::new(schema.clone()));
        Ok(ListToolsResult::with_all_items(vec![tool("one"), tool("two")]))
    }
}

async fn serve(port: u16) -> anyhow::Result<()> {
    let sessions = Arc::new(LocalSessionManager::default());
    let service =
        StreamableHttpService::new(|| Ok(TwoTools), sessions, StreamableHttpServerConfig::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let service = service.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| async { Ok::<_, Infallible>(service.handle(request).await) });
            let builder = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no error.
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn survive(url: &str) -> anyhow::Result<()> {
    let client = ().serve(StreamableHttpClientTransport::from_uri(url.to_owned())).await?;
    let before = client.list_all_tools().await?.len();
    println!("ready");
    tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next()).await?.context("no line")??;
    for _ in 0..2 {
        let after = client.list_all_tools().await?.len();
        ensure!(after == before, "{before} tools became {after}");
    }
    println!("ok");
    client.cancel().await?;
    Ok(())
}
