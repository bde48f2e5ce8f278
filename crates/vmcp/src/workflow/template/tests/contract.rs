//! The cases of the contract that are about one template; those about trees of them, types and outputs are beside those.

use super::*;

#[test]
fn templates_of_the_contract_render() {
    check_texts(&[
        ("Issue: {{.params.title}}", r#"{"params":{"title":"Test"}}"#, "Issue: Test"),
        (
            "Created: {{.steps.create.output.url}}",
            r#"{"steps":{"create":{"output":{"url":"http://example.com"}}}}"#,
            "Created: http://example.com",
        ),
        (
            r#"{"data": {{json .params.obj}}}"#,
            r#"{"params":{"obj":{"key":"value"}}}"#,
            r#"{"data": {"key":"value"}}"#,
        ),
        ("{{.params.nonexistent}}", r#"{"params":{}}"#, "<no value>"),
        (
            "{{.steps.fetch.content.resource}}",
            r#"{"steps":{"fetch":{"content":{"resource":"{\"spdxVersion\":\"SPDX-2.3\"}"}}}}"#,
            r#"{"spdxVersion":"SPDX-2.3"}"#,
        ),
        ("{{.steps.fetch.output.format}}", FETCHED, "spdx"),
        ("{{.steps.fetch.content.text}}", FETCHED, "content array text"),
        ("{{.workflow.id}}", r#"{"workflow":{"id":"wf-123"}}"#, "wf-123"),
        ("{{.workflow.status}}", r#"{"workflow":{"status":"completed"}}"#, "completed"),
        (
            "{{.workflow.start_time}}",
            r#"{"workflow":{"start_time":"2024-01-01T12:00:00Z"}}"#,
            "2024-01-01T12:00:00Z",
        ),
        ("{{.workflow.id}}", "{}", "<no value>"),
        ("{{(fromJson .text).name}}", r#"{"text":"{\"name\": \"Alice\", \"age\": 3}"}"#, "Alice"),
        (
            "{{(fromJson .text).user.email}}",
            r#"{"text":"{\"user\": {\"email\": \"bob@example.com\"}}"}"#,
            "bob@example.com",
        ),
        ("{{index (fromJson .text) 0}}", r#"{"text":"[\"apple\", \"banana\", \"cherry\"]"}"#, "apple"),
        ("{{json (fromJson .text)}}", r#"{"text":"{\"key\": \"value\"}"}"#, r#"{"key":"value"}"#),
        (
            "Deploy {{.params.repo}} to {{.params.env}}?",
            r#"{"params":{"repo":"acme/widget","env":"production"}}"#,
            "Deploy acme/widget to production?",
        ),
        (
            "{{.steps.confirm.output.content.environment}}",
            r#"{"steps":{"confirm":{"output":{"action":"accept","content":{"environment":"staging"}}}}}"#,
            "staging",
        ),
        ("{{.forEach.pkg.name}}", r#"{"forEach":{"pkg":{"name":"x"}}}"#, "x"),
        ("{{json .params.missing}}", r#"{"params":{}}"#, "null"),
        ("{{.params.n}}", r#"{"params":{"n":1000000}}"#, "1e+06"),
        (r#"{{printf "%.0f" .params.n}}"#, r#"{"params":{"n":1000000}}"#, "1000000"),
        ("{{json .params.n}}", r#"{"params":{"n":1000000}}"#, "1000000"),
        ("{{.params.obj}}", r#"{"params":{"obj":{"b":1,"a":"x"}}}"#, "map[a:x b:1]"),
        ("{{.params.list}}", r#"{"params":{"list":["a","b"]}}"#, "[a b]"),
        ("{{json .params.s}}", r#"{"params":{"s":"a<b&c"}}"#, r#""a\u003cb\u0026c""#),
        ("{{quote .params.s}}", r#"{"params":{"s":"he said \"hi\""}}"#, r#""he said \"hi\"""#),
        ("{{.params.x.y}}", r#"{"params":{}}"#, "<no value>"),
        ("{{eq .params.missing true}}", r#"{"params":{}}"#, "false"),
        ("{{ge .params.n 10.0}}", r#"{"params":{"n":12}}"#, "true"),
        ("{{range .params.list}}{{.}},{{end}}", r#"{"params":{"list":["a","b"]}}"#, "a,b,"),
        (
            r#"{{index .steps "my-step" "status"}}"#,
            r#"{"steps":{"my-step":{"status":"completed"}}}"#,
            "completed",
        ),
        ("{{if .params.x}}y{{else}}n{{end}}", r#"{"params":{}}"#, "n"),
        ("{{if .params.x}}y{{else}}n{{end}}", r#"{"params":{"x":""}}"#, "n"),
        ("{{if .params.x}}y{{else}}n{{end}}", r#"{"params":{"x":0}}"#, "n"),
        ("{{if .params.x}}y{{else}}n{{end}}", r#"{"params":{"x":false}}"#, "n"),
        ("{{if .params.x}}y{{else}}n{{end}}", r#"{"params":{"x":[]}}"#, "n"),
        ("literal with } and {", "{}", "literal with } and {"),
        ("{{.vars.anything}}", r#"{"vars":{}}"#, "<no value>"),
        (r#"{{ "{{" }}"#, "{}", "{{"),
        ("{{len .params.list}}", r#"{"params":{"list":["a","b"]}}"#, "2"),
    ]);
}

const FETCHED: &str = r#"{"steps":{"fetch":{
    "output":{"format":"spdx","text":"structured text"},
    "content":{"text":"content array text"}
}}}"#;

#[test]
fn counts_of_the_workflow_are_integers() {
    let workflow = Data::map([("duration_ms", Data::Int(2_500_000)), ("step_count", Data::Int(5))]);
    let data = Data::map([("workflow", workflow)]);
    for (template, expect) in [
        ("{{.workflow.duration_ms}}", "2500000"),
        ("{{.workflow.step_count}}", "5"),
        ("{{eq .workflow.step_count 5}}", "true"),
    ] {
        assert_eq!(rendered(template, &data, Options::LIKE_GO).as_deref(), Ok(expect), "{template}");
    }
}

#[test]
fn errors_of_the_contract_say_where_and_over_what() {
    check_errors(&[
        ("{{.params.missing", "{}", "line 1, column 1: this action is not closed"),
        (
            "{{(fromJson .text).key}}",
            r#"{"text":"not valid json"}"#,
            "line 1, column 4: .text: fromJson: not JSON: expected ident at line 1 column 2",
        ),
        (r#"{{exec "x"}}"#, "{}", r#"line 1, column 3: there is no function "exec""#),
        (r#"{{system "x"}}"#, "{}", r#"line 1, column 3: there is no function "system""#),
        (r#"{{eval "x"}}"#, "{}", r#"line 1, column 3: there is no function "eval""#),
        (r#"{{import "x"}}"#, "{}", r#"line 1, column 3: there is no function "import""#),
        (r#"{{.Execute "x"}}"#, "{}", "line 1, column 3: .Execute is no function, it takes no values"),
        ("{{quote .params.missing}}", r#"{"params":{}}"#, "line 1, column 3: quote: takes a text, not null"),
        (
            "{{.params.x.y}}",
            r#"{"params":{"x":null}}"#,
            r#"line 1, column 12: .params.x: is null and has no member "y""#,
        ),
        (
            "{{.params.x.y}}",
            r#"{"params":{"x":"str"}}"#,
            r#"line 1, column 12: .params.x: is a text and has no member "y""#,
        ),
        (
            "{{eq .params.n 5}}",
            r#"{"params":{"n":5}}"#,
            "line 1, column 3: .params.n: eq: a number and an integer do not compare",
        ),
        (
            "{{.steps.my-step.output}}",
            "{}",
            "line 1, column 12: expected a space or the end of \".my\", found '-'; a name with a hyphen is reached with index",
        ),
        (
            "{{index .params.list 9}}",
            r#"{"params":{"list":["a","b"]}}"#,
            "line 1, column 3: .params.list: index: index 9 is out of range: the length is 2",
        ),
    ]);
}

#[test]
fn references_are_what_is_asked_for() {
    for (template, expect) in [
        ("{{ .steps.step1.output.data }}", &[".steps.step1.output.data"][..]),
        ("{{ range .items }}{{ .id }}{{ end }}", &[".items", ".id"]),
        ("{{ with .context }}{{ .value }}{{ end }}", &[".context", ".value"]),
        ("{{ $x := .source.value }}{{ $x }}", &[".source.value"]),
        ("{{ (index .mapping .key).nested }}", &[".mapping", ".key", ".nested"]),
        ("{{ .a }}{{ .a }}", &[".a"]),
        ("static text", &[]),
        ("{{ $.steps.one.status }}", &[".steps.one.status"]),
        (
            r#"{{ (index .steps "a-b" "output").url }}"#,
            &[".steps", ".steps.a-b.output", ".url", ".steps.a-b.output.url"],
        ),
    ] {
        let template = Template::compile(template).expect("a template");
        let found: Vec<String> = template.references().iter().map(ToString::to_string).collect();
        assert_eq!(found, expect, "{}", template.source());
    }
}

#[test]
fn a_single_action_keeps_its_value() {
    let data =
        data(r#"{"big":9007199254740993,"huge":18446744073709551615,"list":[1,{"a":null}],"null":null}"#);
    let value = |text: &str| Evaluated::Value(serde_json::from_str(text).expect("JSON"));
    for (template, expect) in [
        ("{{.big}}", value("9007199254740993")),
        ("{{ .huge }}", value("18446744073709551615")),
        ("{{.list}}", value(r#"[1,{"a":null}]"#)),
        ("{{index .list 1}}", value(r#"{"a":null}"#)),
        ("{{len .list}}", Evaluated::Value(Data::Int(2))),
        ("{{.null}}", Evaluated::Missing),
        ("{{.gone}}", Evaluated::Missing),
        (r#"{{fromJson "7"}}"#, value("7")),
        ("{{.big}} ", Evaluated::Text("9.007199254740992e+15 ".to_owned())),
        ("{{$x := 1}}", Evaluated::Text(String::new())),
        ("{{if true}}{{.big}}{{end}}", Evaluated::Text("9.007199254740992e+15".to_owned())),
        ("{{json .big}}", Evaluated::Value(Data::from("9007199254740993"))),
        ("{{/* no action */}}", Evaluated::Text(String::new())),
    ] {
        let found = Template::compile(template).expect("a template").evaluate(&data, Options::LIKE_GO);
        assert_eq!(found, Ok(expect), "{template}");
    }
}

#[test]
fn exact_numbers_are_what_they_look_like() {
    let data = data(r#"{"n":1000000,"big":9007199254740993,"f":2.5,"whole":3.0}"#);
    let options = Options { numbers: Numbers::Exact, ..Options::LIKE_GO };
    for (template, expect) in [
        ("{{.n}} {{.big}} {{.f}} {{.whole}}", "1000000 9007199254740993 2.5 3"),
        ("{{eq .n 1000000}} {{eq .n 1000000.0}} {{gt .f 2}} {{lt .f 3}}", "true true true true"),
        ("{{eq .big 9007199254740992.0}} {{gt .big 9007199254740992.0}}", "false true"),
        ("{{printf \"%d\" .n}} {{range .whole}}{{end}}", "err"),
        ("{{index \"abcdefg\" 2}} {{slice \"abc\" 1}}", "99 bc"),
    ] {
        let found = rendered(template, &data, options);
        match expect {
            "err" => assert!(found.is_err(), "{template}"),
            _ => assert_eq!(found.as_deref(), Ok(expect), "{template}"),
        }
    }
}

#[test]
fn what_is_not_there_can_be_refused() {
    let options = Options { missing: OnMissing::Refuse, ..Options::LIKE_GO };
    let data = data(r#"{"a":{}}"#);
    let found = rendered("ok\n{{.a.b}}", &data, options);
    assert_eq!(found, Err("line 2, column 3: there is no value to print".to_owned()));
    assert_eq!(rendered("{{if .a.b}}x{{end}}{{or .a.b 1}}", &data, options).as_deref(), Ok("1"));
}
