//! What the hub answers without asking anybody: what it is, and what there is.

use mcp::message::meta_key;
use mcp::{Message, Revision};
use proxy::streamable::{Accepts, at_once};
use serde_json::json;
use tokio::time::Instant;

use super::super::Hub;
use super::super::ask::result;
use super::tasks::EXTENSION;
use super::{Response, freshness, refuse};
use crate::aggregate::Kind as Listed;

impl Hub {
    /// The answer to `server/discover`. As in a handshake, the hub has everything at any time: backends come and go.
    pub(super) fn discovered(&self, message: &Message, accepts: Accepts) -> Response {
        let versions: Vec<_> = Revision::ALL.iter().rev().map(|revision| revision.as_str()).collect();
        let mut capabilities = Self::capabilities();
        capabilities["extensions"] = json!({EXTENSION: {}});
        let mut discovered = json!({
            "supportedVersions": versions,
            "capabilities": capabilities,
            "_meta": {meta_key::SERVER_INFO: {"name": self.config.name, "version": env!("CARGO_PKG_VERSION")}},
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "public",
        });
        if let Some(instructions) = self.view.load().instructions() {
            discovered["instructions"] = instructions.into();
        }
        let text = result(message.id().unwrap_or_default(), discovered.to_string().as_bytes());
        at_once(accepts, text)
    }

    /// A page of a list, from the snapshot.
    pub(super) async fn list_modern(&self, kind: Listed, message: &Message, accepts: Accepts) -> Response {
        let mut page = match self.page(kind, message).await {
            Ok(page) => page,
            Err((class, reply)) => return refuse(message, class, reply),
        };
        // A page is an object that is not empty.
        page.pop();
        page.extend_from_slice(br#","resultType":"complete","#);
        page.extend_from_slice(self.freshness().as_bytes());
        page.extend_from_slice(format!(r#","_meta":{{"{}":"#, meta_key::SERVER_INFO).as_bytes());
        page.extend_from_slice(&self.server_info());
        page.extend_from_slice(b"}}");
        at_once(accepts, result(message.id().unwrap_or_default(), &page))
    }

    /// How long lists are good for.
    fn freshness(&self) -> String {
        let members = self.members.load();
        let parts: Vec<_> = members.values().map(|member| *member.freshness.lock()).collect();
        freshness::members(&parts, Instant::now())
    }
}
