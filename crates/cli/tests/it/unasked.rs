//! What a server behind a virtual MCP asks on its own, while no call of the client is under way.

use serde_json::{Value, json};
use testkit::Connection;
use testkit::mcp::Session;

use crate::harness::{Listener, run};
use crate::vmcp::{all_there, file, serve};

/// A server that asks for the roots once it has answered `poke`, and says with `told` what it was answered.
const ASKS_LATER: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\("[^"]*"\|[0-9]*\).*/\1/p')
  later=''
  case "$line" in
    *'"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"0"}}' ;;
    *'"tools/list"'*) result='{"tools":[{"name":"poke","inputSchema":{"type":"object"}},{"name":"told","inputSchema":{"type":"object"}}]}' ;;
    *'"poke"'*) result='{"content":[{"type":"text","text":"poked"}]}'; later='{"jsonrpc":"2.0","id":"later","method":"roots/list"}' ;;
    *'"told"'*) result="{\"content\":[{\"type\":\"text\",\"text\":\"$told\"}]}" ;;
    *'"roots":'*) told=$(printf '%s' "$line" | sed -n 's/.*"uri":"\([^"]*\)".*/\1/p'); continue ;;
    *) result='{}' ;;
  esac
  [ -n "$id" ] && printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
  [ -n "$later" ] && printf '%s\n' "$later"
done
"#;

#[tokio::test]
async fn what_a_server_asks_on_its_own_reaches_its_client_and_is_answered_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = |name: &str| run(&["--name", name, "--", "sh", "-c", ASKS_LATER]);
    let ((_s, s), (_t, t)) = (server("s"), server("t"));
    let file = file(folder.path(), &[("s", &s), ("t", &t)]);
    let (_skep, url) = serve(folder.path(), &file, 0);
    let mut session = Session::open(&url).await.unwrap();
    all_there(&mut session, &["s", "t"]).await;
    let mut own = Listener::open(&session, "").await;
    for (poke, told, uri) in [("s_poke", "s_told", "file:///one"), ("t_poke", "t_told", "file:///two")] {
        assert_eq!(session.call(poke, json!({})).await.unwrap(), "poked");
        let question = asked(&mut own).await;
        assert_eq!(question["method"], "roots/list");
        let roots = json!({"roots": [{"uri": uri}]});
        let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": roots}).to_string();
        let mut connection = Connection::open(&session.address).await.unwrap();
        assert_eq!(connection.ask(&session.request(&answer)).await.unwrap().status, 202);
        // The answer is on its way when the next call is.
        assert_eq!(session.call(told, json!({})).await.unwrap(), uri);
    }
    assert_eq!(session.call("s_told", json!({})).await.unwrap(), "file:///one", "each its own");
}

/// The next message that is no notice.
async fn asked(own: &mut Listener) -> Value {
    loop {
        let (message, _) = own.next().await;
        if message.get("id").is_some() {
            return message;
        }
    }
}
