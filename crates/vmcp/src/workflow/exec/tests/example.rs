//! The composite tool of the example that the documentation has, over a view of three backends: a call that fails at first,
//! many calls of which one fails, a question, and a step on a condition.

use bytes::Bytes;

use super::*;
use crate::aggregate::{Bounds, Kind, Listing, Offer, View};
use crate::config::Config;

#[derive(Debug)]
struct Workshop {
    view: View,
    replies: Mutex<VecDeque<Reply>>,
    calls: Mutex<Vec<String>>,
}

impl Host for Workshop {
    fn schema(&self, tool: &str) -> Option<Data> {
        self.view.reference(tool)?.input_schema()
    }

    fn may_resend(&self, _: &str) -> bool {
        false
    }

    fn call<'a>(&'a self, tool: &'a str, arguments: Data) -> Doing<'a, Result<ToolAnswer, CallError>> {
        Box::pin(async move {
            let route = self.view.reference(tool).ok_or(CallError::NoTool)?;
            let call =
                format!("{}/{} {}", route.backend, route.own(), serde_json::to_string(&arguments).unwrap());
            let is_first = !self.calls.lock().contains(&call);
            self.calls.lock().push(call);
            let number = serde_json::to_string(arguments.get("number").unwrap_or(&Data::Null)).unwrap();
            match (&**route.own(), &*number) {
                ("list", _) if is_first => Err(CallError::NotSent("refused".to_owned())),
                ("list", _) => {
                    let items = r#"{"items":[{"id":"A"},{"id":"B"},{"id":"C"}]}"#;
                    Ok(structured(serde_json::from_str(items).unwrap()))
                }
                ("scan", "1") => Ok(ToolAnswer { is_error: true, ..ToolAnswer::default() }),
                ("scan", _) => Ok(structured(Data::map([("ok", Data::Bool(true))]))),
                _ => Ok(structured(Data::map([("url", "http://report")]))),
            }
        })
    }

    fn ask(&self, question: Question) -> Doing<'_, Result<Reply, String>> {
        assert_eq!(question.message, "Write the report of 2 issues?");
        let reply = self.replies.lock().pop_front();
        Box::pin(async move { reply.ok_or_else(|| "nobody is there".to_owned()) })
    }
}

fn workshop(config: &Config, reply: Reply) -> Workshop {
    let offer = |backend: &str, tools: &[(&str, &str)]| {
        let mut listing = Listing::new(None);
        for (name, properties) in tools {
            let tool = format!(
                r#"{{"name":"{name}","inputSchema":{{"type":"object","properties":{{{properties}}}}}}}"#
            );
            listing.add(Kind::Tools, Bytes::from(tool), Bounds::DEFAULT);
        }
        Offer { backend: backend.into(), listing: Some(Arc::new(listing)), is_shown: true }
    };
    let integer = |name: &str| format!(r#""{name}":{{"type":"integer"}}"#);
    let offers = [
        offer("issues", &[("list", &integer("limit")), ("report", r#""body":{"type":"array"}"#)]),
        offer("scanner", &[("scan", &integer("number"))]),
    ];
    let view = View::new(&offers, &config.aggregation, &config.composites);
    Workshop { view, replies: Mutex::new([reply].into()), calls: Mutex::default() }
}

#[tokio::test(start_paused = true)]
async fn the_example_runs() {
    let text = include_str!("../../../../../../docs/examples/vmcp.yaml");
    let config = Config::parse(text, &|_| Some("x".to_owned())).unwrap();
    let plan = Plan::of(&config.composites[0]).unwrap();
    for (reply, report, last) in
        [(Reply::Accept(Data::Null), "http://report", "issues/report"), (Reply::Decline, "", "scanner/scan")]
    {
        let host = workshop(&config, reply);
        assert_eq!(host.view.composite("weekly_review"), Some("weekly_review"), "{:?}", host.view.problems());
        let log = MemoryLog::new(1);
        let cancel = CancellationToken::new();
        let engine = Engine {
            plan: &plan,
            host: &host,
            log: &log,
            caller: None,
            cancel,
            pause: CancellationToken::new(),
            settings: Settings::new(3),
        };
        let answer = engine.run("run-1", &Data::map([("label", "bug")]), "t").await.unwrap();
        let expect = format!(r#"{{"report":"{report}","run":{{"id":"run-1"}},"scanned":3}}"#);
        assert_eq!(serde_json::to_string(&answer).unwrap(), expect);
        let calls = host.calls.lock();
        assert_eq!(calls[..2], [r#"issues/list {"label":"bug","limit":25}"#; 2]);
        assert_eq!(calls.iter().filter(|call| call.starts_with("scanner/scan")).count(), 3);
        assert!(calls.last().unwrap().starts_with(last), "{calls:?}");
    }
}
