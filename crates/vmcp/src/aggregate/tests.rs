//! Tables for every rule, and what holds of any view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::config::{
    Aggregation, Annotations, Composite, Config, Conflicts, Override, Visibility, WorkloadTools,
};

fn tool(name: &str) -> String {
    format!(r#"{{"name":{name:?},"inputSchema":{{"type":"object"}},"x-unknown":[1, 2]}}"#)
}

fn listing(things: &[(Kind, String)]) -> Arc<Listing> {
    let mut listing = Listing::new(None);
    for (kind, json) in things {
        listing.add(*kind, Bytes::from(json.clone()), Bounds::DEFAULT);
    }
    Arc::new(listing)
}

fn offer(backend: &str, things: &[(Kind, String)]) -> Offer {
    Offer { backend: backend.into(), listing: Some(listing(things)), is_shown: true }
}

/// Backends by `a: x y; b: x`.
fn offers(text: &str, kind: Kind) -> Vec<Offer> {
    let offers = text.split(';').map(|part| {
        let (backend, names) = part.split_once(':').expect("a backend and its names");
        let thing = |name: &str| match kind {
            Kind::Tools => (kind, tool(name)),
            _ => (kind, format!(r#"{{"{}":{name:?},"icons":[]}}"#, kind.key())),
        };
        offer(backend.trim(), &names.split_whitespace().map(thing).collect::<Vec<_>>())
    });
    offers.collect()
}

fn aggregation(conflicts: Conflicts) -> Aggregation {
    let prefix = match &conflicts {
        Conflicts::Prefix { format } => format.clone(),
        _ => "{workload}_".to_owned(),
    };
    Aggregation { conflicts, prefix, tools: Vec::new(), excludes_all: false, visibility: Visibility::Allow }
}

fn prefix(format: &str) -> Aggregation {
    aggregation(Conflicts::Prefix { format: format.to_owned() })
}

fn priority(order: &str) -> Aggregation {
    aggregation(Conflicts::Priority { order: order.split_whitespace().map(str::to_owned).collect() })
}

fn settings(workload: &str) -> WorkloadTools {
    WorkloadTools {
        workload: workload.to_owned(),
        config_reference: None,
        filter: Vec::new(),
        overrides: BTreeMap::new(),
        excludes_all: false,
    }
}

fn renames(workload: &str, changes: &[(&str, &str)]) -> WorkloadTools {
    let change = |(own, name): &(&str, &str)| {
        ((*own).to_owned(), Override { name: Some((*name).to_owned()), ..Override::default() })
    };
    WorkloadTools { overrides: changes.iter().map(change).collect(), ..settings(workload) }
}

fn filters(workload: &str, filter: &[&str]) -> WorkloadTools {
    WorkloadTools { filter: filter.iter().map(|name| (*name).to_owned()).collect(), ..settings(workload) }
}

fn with(mut config: Aggregation, tools: &[WorkloadTools]) -> Aggregation {
    config.tools = tools.to_vec();
    config
}

/// Tools as `name=backend/own`, hidden ones in parentheses.
fn tools_of(view: &View) -> String {
    let all = view.tools().into_iter().map(|(name, route)| {
        let line = format!("{name}={}/{}", route.backend, route.own());
        if route.is_for_clients { line } else { format!("({line})") }
    });
    all.collect::<Vec<_>>().join(" ")
}

fn problems_of(view: &View) -> Vec<String> {
    view.problems().iter().map(ToString::to_string).collect()
}

fn names_of(view: &View, kind: Kind) -> Vec<String> {
    let name = |json: &Bytes| {
        let thing: serde_json::Value = serde_json::from_slice(json).unwrap();
        thing[kind.key()].as_str().unwrap().to_owned()
    };
    view.lines(kind).map(name).collect()
}

#[test]
fn tools_get_names_that_tell_them_apart() {
    let manual = || aggregation(Conflicts::Manual);
    let hidden = |config: Aggregation| Aggregation { excludes_all: true, ..config };
    let denying = |config: Aggregation| Aggregation { visibility: Visibility::Deny, ..config };
    let excluded = |workload: &str| WorkloadTools { excludes_all: true, ..settings(workload) };
    for (backends, config, expect, problems) in [
        ("", prefix("{workload}_"), "", &[][..]),
        ("github: create; a: x", prefix("{workload}_"), "a_x=a/x github_create=github/create", &[]),
        ("github: create", prefix("{workload}."), "github.create=github/create", &[]),
        ("github: create", prefix("x-"), "x-create=github/create", &[]),
        ("b: x; a: x", prefix("x-"), "x-x=a/x", &[r#"tools "x-x" is of a: "x"; left out: b: "x""#]),
        (
            "a: b_x; a_b: x",
            prefix("{workload}_"),
            "a_b_x=a/b_x",
            &[r#"tools "a_b_x" is of a: "b_x"; left out: a_b: "x""#],
        ),
        ("a: x y; b: z", priority("b"), "x=a/x y=a/y z=b/z", &[]),
        (
            "a: x; b: x; c: x",
            priority("c b"),
            "x=c/x",
            &[r#"tools "x" is of c: "x"; left out: b: "x", a: "x""#],
        ),
        ("a: x; b: x", priority("c"), "a_x=a/x b_x=b/x", &[]),
        (
            "a: x; b: x b_x",
            priority("c"),
            "a_x=a/x b_x=b/b_x",
            &[r#"tools "b_x" is of b: "b_x"; left out: b: "x""#],
        ),
        (
            "a: x; b: x",
            Aggregation { prefix: "{workload}.".to_owned(), ..priority("c") },
            "a.x=a/x b.x=b/x",
            &[],
        ),
        ("a: x; b: y", manual(), "x=a/x y=b/y", &[]),
        (
            "a: x; b: x y",
            manual(),
            "y=b/y",
            &[r#"unresolved conflict of tools "x"; left out: a: "x", b: "x""#],
        ),
        ("a: x; b: x", with(manual(), &[renames("b", &[("x", "z")])]), "x=a/x z=b/x", &[]),
        (
            "a: x; b: y",
            with(manual(), &[renames("b", &[("y", "x")])]),
            "",
            &[r#"unresolved conflict of tools "x"; left out: a: "x", b: "y""#],
        ),
        ("a: x", with(prefix("{workload}_"), &[renames("a", &[("x", "open")])]), "a_open=a/x", &[]),
        (
            "a: x y",
            with(prefix("{workload}_"), &[renames("a", &[("y", "x")])]),
            "a_x=a/y",
            &[r#"tools "x" is of a: "y"; left out: a: "x""#],
        ),
        ("a: x y", with(priority("a"), &[renames("a", &[("x", "y"), ("y", "x")])]), "x=a/y y=a/x", &[]),
        (
            "a: x",
            with(manual(), &[renames("a", &[("gone", "z")])]),
            "x=a/x",
            &[r#"a: "gone" is overridden, and not there"#],
        ),
        // Filters go by names after overrides and before prefixes.
        (
            "a: x y",
            with(
                prefix("{workload}_"),
                &[WorkloadTools { filter: vec!["z".to_owned()], ..renames("a", &[("x", "z")]) }],
            ),
            "(a_y=a/y) a_z=a/x",
            &[],
        ),
        (
            "a: x",
            with(manual(), &[filters("a", &["y"])]),
            "(x=a/x)",
            &[r#"a: its filter shows "y", which is not there"#],
        ),
        ("a: x; b: y", with(manual(), &[excluded("a")]), "(x=a/x) y=b/y", &[]),
        ("a: x; b: y", hidden(manual()), "(x=a/x) (y=b/y)", &[]),
        ("a: x; b: y", with(denying(manual()), &[settings("a")]), "x=a/x (y=b/y)", &[]),
        // What nobody sees takes no name from what is seen.
        ("a: x; b: x", with(priority("a b"), &[excluded("a")]), "(a_x=a/x) x=b/x", &[]),
        ("a: x; b: x", with(manual(), &[excluded("a")]), "(a_x=a/x) x=b/x", &[]),
        ("a: x; b: x", hidden(manual()), "(a_x=a/x) (b_x=b/x)", &[]),
        ("a: x; b: x", hidden(priority("b")), "(a_x=a/x) (x=b/x)", &[]),
        ("a: x", with(manual(), &[renames("b", &[("y", "x")])]), "x=a/x", &[]),
    ] {
        let offers = if backends.is_empty() { Vec::new() } else { offers(backends, Kind::Tools) };
        let view = View::new(&offers, &config, &[]);
        assert_eq!(tools_of(&view), expect, "{backends} {config:?}");
        assert_eq!(problems_of(&view), problems, "{backends} {config:?}");
        assert_eq!(
            names_of(&view, Kind::Tools).len(),
            expect.matches('=').count() - expect.matches('(').count()
        );
    }
}

#[test]
fn prompts_are_prefixed_unless_they_have_priority() {
    for (backends, config, expect, problems) in [
        ("a: x; b: x", aggregation(Conflicts::Manual), &["a_x", "b_x"][..], &[][..]),
        ("a: x; b: x", priority("b"), &["a_x", "x"], &[]),
        ("a: x; b: x", priority("b a"), &["x"], &[r#"prompts "x" is of b: "x"; left out: a: "x""#]),
        (
            "a: x; b: a_x y",
            priority("b"),
            &["y"],
            &[r#"unresolved conflict of prompts "a_x"; left out: a: "x", b: "a_x""#],
        ),
        (
            "a: x; b: x",
            prefix("p-"),
            &[],
            &[r#"unresolved conflict of prompts "p-x"; left out: a: "x", b: "x""#],
        ),
        ("a: x x", prefix("p-"), &["p-x"], &[r#"a: prompts "x" left out: it is listed twice"#]),
    ] {
        let view = View::new(&offers(backends, Kind::Prompts), &config, &[]);
        assert_eq!(names_of(&view, Kind::Prompts), expect, "{backends} {config:?}");
        assert_eq!(problems_of(&view), problems, "{backends} {config:?}");
        assert!(expect.iter().all(|name| view.prompt(name).is_some()));
    }
}

#[test]
fn resources_are_of_the_first_backend_that_is_well() {
    let mut offers = offers("c: u://1 u://3; b: u://1 u://2; a: u://1", Kind::Resources);
    offers[2].is_shown = false;
    let template = |text: &str| (Kind::Templates, format!(r#"{{"uriTemplate":{text:?}}}"#));
    offers.push(offer("d", &[template("u://{id}"), template("u://{+rest}"), template("u://broken{")]));
    offers.push(offer("e", &[template("u://{id}"), template("u://{id}/e"), template("u://{+all}")]));
    let view = View::new(&offers, &prefix("{workload}_"), &[]);
    for (uri, expect) in [
        ("u://1", Some("b")),
        ("u://2", Some("b")),
        ("u://3", Some("c")),
        ("u://4", Some("e")),
        ("u://{id}", Some("d")),
        ("u://{id}/e", Some("e")),
        ("u://broken{", Some("d")),
        ("v://", None),
    ] {
        assert_eq!(view.resource(uri).map(|backend| &**backend), expect, "{uri}");
    }
    assert_eq!(names_of(&view, Kind::Resources), ["u://1", "u://2", "u://3"]);
    let templates = ["u://broken{", "u://{+all}", "u://{+rest}", "u://{id}", "u://{id}/e"];
    assert_eq!(names_of(&view, Kind::Templates), templates);
    assert_eq!(view.missing(), ["a".into()]);
    assert!(problems_of(&view).contains(&r#"d: "u://broken{" is no template of URIs"#.to_owned()));
}

#[test]
fn things_stay_as_they_were_written() {
    let written = r#"{ "title":"X", "name":"x", "icons":[{"src":"i"}], "_meta":{"a/b":1}, "new":1.0e2,
        "inputSchema":{"type":"object","$defs":{}}, "annotations":{"readOnlyHint":true,"new":[]} }"#;
    let annotations =
        Annotations { title: Some("T".to_owned()), read_only: Some(false), ..Annotations::default() };
    let change = Override { name: None, description: Some("says \"so\"".to_owned()), annotations };
    let changing = WorkloadTools { overrides: BTreeMap::from([("x".to_owned(), change)]), ..settings("a") };
    for (config, expect) in [
        (prefix("p_"), written.replace(r#""name":"x""#, r#""name":"p_x""#)),
        (
            with(aggregation(Conflicts::Manual), &[changing]),
            written
                .replace("{ \"title\"", "{\"description\":\"says \\\"so\\\"\", \"title\"")
                .replace(r#"{"readOnlyHint":true"#, r#"{"title":"T","readOnlyHint":false"#),
        ),
    ] {
        let view = View::new(&[offer("a", &[(Kind::Tools, written.to_owned())])], &config, &[]);
        assert_eq!(view.lines(Kind::Tools).collect::<Vec<_>>(), [expect.as_bytes()]);
        let (_, route) = view.tools()[0];
        assert_eq!((&*route.own_json(), &**route.definition()), (&b"\"x\""[..], written.as_bytes()));
        assert!(route.input_schema().unwrap().get("$defs").is_some());
    }
}

#[test]
fn what_cannot_be_used_is_left_out_and_told() {
    let bounds = Bounds { items: 3, item_bytes: 200, bytes: 400 };
    let schema = |schema: &str| format!(r#"{{"name":"x","inputSchema":{schema}}}"#);
    for (json, expect) in [
        ("[]".to_owned(), "it is no object"),
        (r#"{"name":"#.to_owned(), "it cannot be read"),
        (r#"{"name":"x"} 1"#.to_owned(), "it cannot be read"),
        (r#"{"name":"x","name":"y"}"#.to_owned(), "it cannot be read"),
        (r#"{"name":""}"#.to_owned(), r#"it has no "name""#),
        (r#"{"name":7}"#.to_owned(), r#"it has no "name""#),
        (r#"{"name":"x"}"#.to_owned(), "its inputSchema is no schema of an object"),
        (schema("true"), "its inputSchema is no schema of an object"),
        (schema(r#"{"type":"string"}"#), "its inputSchema is no schema of an object"),
        (schema(r#"{"type":"object"},"outputSchema":7"#), "its outputSchema is no schema of an object"),
        (
            schema(r#"{"type":"object","properties":{"a":{"type":"array","x-mcp-header":"A"}}}"#),
            "its schema asks for a header that cannot be",
        ),
        (tool(&"x".repeat(200)), "it has 262 bytes, 200 are taken"),
    ] {
        let mut listing = Listing::new(None);
        listing.add(Kind::Tools, Bytes::from(json.clone()), bounds);
        listing.add(Kind::Tools, Bytes::from(tool("good")), bounds);
        let told: Vec<_> = listing.problems().iter().map(|(_, _, problem)| problem.to_string()).collect();
        assert_eq!(told, [expect], "{json}");
        assert_eq!(listing.of(Kind::Tools).len(), 1, "{json}");
    }
    let mut listing = Listing::new(Some("x".repeat(100_000)));
    for index in 0..1_000 {
        listing.add(Kind::Tools, Bytes::from(tool(&format!("t{index}"))), bounds);
    }
    assert_eq!(listing.of(Kind::Tools).len(), 3);
    assert!(listing.is_full(Kind::Tools, bounds) && !listing.is_full(Kind::Prompts, bounds));
    assert_eq!(
        (listing.problems().len(), listing.unnamed_problems(), listing.instructions()),
        (100, 897, None)
    );
}

#[test]
fn odd_names_become_names_that_clients_take() {
    let long = "y".repeat(70);
    let offers = [offer("a", &[(Kind::Tools, tool("x y")), (Kind::Tools, tool(&long))])];
    let view = View::new(&offers, &prefix("{workload}_"), &[]);
    let names = names_of(&view, Kind::Tools);
    assert!(names[0].starts_with("a_x_y_") && names[1].starts_with("a_yyyy"), "{names:?}");
    assert!(names.iter().all(|name| name.len() <= MAX_NAME));
    assert_eq!(view.tool(&names[0]).map(|route| &**route.own()), Some("x y"));
    assert_eq!(view.reference("a.x y").map(|route| &**route.own()), Some("x y"));
    assert_eq!(view.name_of("a", &long), Some(&*names[1]));
    assert_eq!(problems_of(&view).len(), 2);
}

/// Composite tools by `name: tool tool`.
fn composites(text: &str, more: &str) -> Vec<Composite> {
    let mut file = String::from(
        "name: n\ngroupRef: g\nincomingAuth: {type: anonymous}\noutgoingAuth: {source: inline}\n\
         aggregation: {conflictResolution: prefix, conflictResolutionConfig: {prefixFormat: '{workload}_'}}\ncompositeTools:\n",
    );
    for part in text.split(';') {
        let (name, tools) = part.split_once(':').expect("a name and tools");
        let step = |(index, tool): (usize, &str)| match tool.strip_prefix('*') {
            Some(tool) => format!(
                "{{id: s{index}, type: forEach, collection: '[]', step: {{type: tool, tool: {tool}}}}}"
            ),
            None if tool == "?" => {
                format!("{{id: s{index}, type: elicitation, message: m, schema: {{type: object}}}}")
            }
            None => format!("{{id: s{index}, tool: {tool}}}"),
        };
        let steps: Vec<_> = tools.split_whitespace().enumerate().map(step).collect();
        file.push_str(&format!(
            "- {{name: {}, description: d, steps: [{}]{more}}}\n",
            name.trim(),
            steps.join(", ")
        ));
    }
    Config::parse(&file, &|_| None).unwrap().composites
}

#[test]
fn composite_tools_are_shown_where_all_they_call_is_there() {
    let excluded = with(prefix("{workload}_"), &[WorkloadTools { excludes_all: true, ..settings("a") }]);
    for (text, config, expect, problems) in [
        ("c: a_x a.x", prefix("{workload}_"), &["a_x", "b_y", "c"][..], &[][..]),
        ("c: *b.y; aa: ?", prefix("{workload}_"), &["a_x", "b_y", "aa", "c"], &[]),
        (
            "c: a_x b.gone; d: a.x",
            prefix("{workload}_"),
            &["a_x", "b_y", "d"],
            &[r#"composite tool "c" left out: it calls "b.gone", which is not there"#],
        ),
        (
            "a_x: b_y; d: a.x",
            prefix("{workload}_"),
            &["a_x", "b_y", "d"],
            &[r#"composite tool "a_x" left out: its name is that of a: "x""#],
        ),
        ("a_x: a.x", excluded, &["b_y", "a_x"], &[]),
    ] {
        let view = View::new(&offers("a: x; b: y", Kind::Tools), &config, &composites(text, ""));
        assert_eq!(names_of(&view, Kind::Tools), expect, "{text}");
        assert_eq!(problems_of(&view), problems, "{text}");
    }
}

#[test]
fn composite_tools_are_no_safer_than_what_they_call() {
    let hinted = |name: &str, hints: &str| {
        (
            Kind::Tools,
            format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}},"annotations":{hints}}}"#),
        )
    };
    let offers = [offer(
        "a",
        &[hinted("safe", r#"{"readOnlyHint":true,"openWorldHint":false}"#), hinted("plain", "{}")],
    )];
    let all = |read_only, destructive, open_world| {
        format!(
            r#""annotations":{{"readOnlyHint":{read_only},"destructiveHint":{destructive},"openWorldHint":{open_world}}}"#
        )
    };
    for (tools, more, expect) in [
        ("c: a.safe", "", Ok(all(true, false, false))),
        ("c: a.safe a.plain", "", Ok(all(false, true, true))),
        ("c: a.safe", ", annotations: {destructiveHint: true}", Ok(all(true, true, false))),
        ("c: a.plain", ", annotations: {readOnlyHint: true}", Err("readOnlyHint")),
        ("c: a.plain", ", annotations: {destructiveHint: false}", Err("destructiveHint")),
        ("c: *a.plain", ", annotations: {openWorldHint: false}", Err("openWorldHint")),
        ("c: ?", ", annotations: {readOnlyHint: true, title: T}", Ok(r#""annotations":{"title":"T","readOnlyHint":true}"#.to_owned())),
        ("c: ?", "", Ok(r#"{"name":"c","description":"d","inputSchema":{"type":"object"}}"#.to_owned())),
        (
            "c: a.safe",
            ", output: {required: [n], properties: {n: {type: integer, description: N, value: '1'}}}",
            Ok(r#""outputSchema":{"properties":{"n":{"description":"N","type":"integer"}},"required":["n"],"type":"object"}"#.to_owned()),
        ),
    ] {
        let view = View::new(&offers, &prefix("{workload}_"), &composites(tools, more));
        let line = view.lines(Kind::Tools).last().map(|json| String::from_utf8(json.to_vec()).unwrap()).unwrap();
        match expect {
            Ok(part) => assert!(line.contains(&part), "{tools}{more}: {line}"),
            Err(hint) => {
                assert_eq!(view.composite("c"), None);
                assert!(problems_of(&view)[0].ends_with(&format!("its {hint} is safer than its tools")));
            }
        }
    }
}

#[test]
fn pages_follow_one_another_even_when_the_view_has_changed() {
    let all: Vec<_> = (0..2_500).map(|index| (Kind::Tools, tool(&format!("t{index:04}")))).collect();
    let config = prefix("{workload}_");
    let view = View::new(&[offer("a", &all)], &config, &composites("c: a.t0000", ""));
    let later = View::new(&[offer("a", &all[1..])], &config, &[]);
    let mut names = Vec::new();
    let (mut cursor, mut pages) = (None::<String>, 0);
    loop {
        let page = if pages == 1 { &later } else { &view }.page(Kind::Tools, cursor.as_deref());
        let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
        names.extend(page["tools"].as_array().unwrap().iter().map(|tool| tool["name"].to_string()));
        pages += 1;
        cursor = page["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((pages, names.len()), (3, 2_501));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 2_501);
    assert_eq!(View::default().page(Kind::Prompts, None), br#"{"prompts":[]}"#);
}

fn any_config() -> impl Strategy<Value = Aggregation> {
    let conflicts = prop_oneof![
        prop::sample::select(vec!["{workload}_", "p", "{workload}."])
            .prop_map(|format| Conflicts::Prefix { format: format.to_owned() }),
        prop::collection::vec("[a-c]", 1..3).prop_map(|order| Conflicts::Priority { order }),
        Just(Conflicts::Manual),
    ];
    let change = ("[a-c]", "[x-z]", "[w-z]", any::<bool>(), prop::collection::vec("[w-z]", 0..2));
    (conflicts, prop::collection::vec(change, 0..3), any::<bool>(), any::<bool>()).prop_map(
        |(conflicts, changes, is_denied, excludes_all)| {
            let mut config = aggregation(conflicts);
            config.visibility = if is_denied { Visibility::Deny } else { Visibility::Allow };
            config.excludes_all = excludes_all && is_denied;
            for (workload, own, name, excludes, filter) in changes {
                let tools = renames(&workload, &[(&own, &name)]);
                config.tools.push(WorkloadTools {
                    excludes_all: excludes && filter.is_empty(),
                    filter,
                    ..tools
                });
            }
            config
        },
    )
}

fn any_offers() -> impl Strategy<Value = Vec<Offer>> {
    let names = prop::collection::btree_set("[a-c]?_?[w-z](y{70})?", 0..5);
    prop::collection::btree_map("[a-c](_[a-c])?", (names, any::<bool>()), 0..5).prop_map(|backends| {
        let offer = |(backend, (names, is_shown)): (String, (BTreeSet<String>, bool))| {
            let things: Vec<_> = names
                .iter()
                .flat_map(|name| {
                    [(Kind::Tools, tool(name)), (Kind::Prompts, format!(r#"{{"name":"{name}"}}"#))]
                })
                .collect();
            Offer { is_shown, ..self::offer(&backend, &things) }
        };
        backends.into_iter().map(offer).collect()
    })
}

proptest! {
    #[test]
    fn what_is_shown_is_routed_and_names_are_one_to_one(offers in any_offers(), config in any_config()) {
        let view = View::new(&offers, &config, &[]);
        for name in names_of(&view, Kind::Tools) {
            prop_assert!(view.tool(&name).is_some(), "{name}");
            prop_assert!(name.len() <= MAX_NAME);
        }
        for name in names_of(&view, Kind::Prompts) {
            prop_assert!(view.prompt(&name).is_some(), "{name}");
        }
        let mut owns = BTreeSet::new();
        for (name, route) in view.tools() {
            prop_assert!(owns.insert((Arc::clone(&route.backend), Arc::clone(route.own()))));
            prop_assert_eq!(view.name_of(&route.backend, route.own()), Some(name));
            let offer = offers.iter().find(|offer| offer.backend == route.backend).unwrap();
            let shown = route.is_for_clients && offer.is_shown;
            prop_assert_eq!(names_of(&view, Kind::Tools).iter().any(|shown| shown == name), shown);
        }
    }

    #[test]
    fn the_order_in_which_backends_come_does_not_matter(
        (offers, shuffled) in any_offers().prop_flat_map(|offers| (Just(offers.clone()), Just(offers).prop_shuffle())),
        config in any_config(),
    ) {
        let (one, other) = (View::new(&offers, &config, &[]), View::new(&shuffled, &config, &[]));
        prop_assert!(Kind::ALL.iter().all(|kind| one.shows_same(*kind, &other)));
        prop_assert_eq!(one.tools(), other.tools());
        prop_assert_eq!(one.problems(), other.problems());
    }

    #[test]
    fn names_do_not_depend_on_who_is_well(offers in any_offers(), config in any_config()) {
        let well: Vec<_> = offers.iter().map(|offer| Offer { is_shown: true, ..offer.clone() }).collect();
        let (one, other) = (View::new(&offers, &config, &[]), View::new(&well, &config, &[]));
        prop_assert_eq!(tools_of(&one), tools_of(&other));
    }
}
