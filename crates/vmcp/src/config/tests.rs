//! A whole file, and what is said of wrong ones.

use std::time::Duration;

use proptest::prelude::{prop_assert, proptest};

use super::*;

const EXAMPLE: &str = include_str!("../../../../docs/examples/vmcp.yaml");

const LEAST: &str = r#"
name: n
groupRef: g
incomingAuth: {type: anonymous}
outgoingAuth: {source: inline}
aggregation: {conflictResolution: prefix, conflictResolutionConfig: {prefixFormat: "{workload}_"}}
"#;

fn environment(name: &str) -> Option<String> {
    ["ISSUES_KEY", "SCANNER_SECRET"].contains(&name).then(|| format!("value of {name}"))
}

fn read(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, &environment).map_err(|invalid| invalid.0.iter().map(ToString::to_string).collect())
}

/// Checks what is said of the smallest file with some more in it, which begins at line 7.
fn check(rows: &[(&str, &[&str])]) {
    for (more, expect) in rows {
        let found = read(&format!("{LEAST}{more}")).err().unwrap_or_default();
        assert_eq!(found, *expect, "{more}");
    }
}

#[test]
fn the_example_says_everything() {
    let config = read(EXAMPLE).expect("the example is right");
    assert_eq!((&*config.name, &*config.group), ("workshop", "makers"));
    assert_eq!(config.backends.len(), 2);
    assert_eq!(config.backends[1].ca_bundle.as_deref(), Some("/etc/skep/scanner.pem"));
    let Some(Strategy::HeaderInjection { name, value }) = config.outgoing.backends.get("issues") else {
        panic!("a header is injected");
    };
    assert_eq!((&**name, value.reveal()), ("X-Issues-Key", "value of ISSUES_KEY"));
    assert_eq!(config.operational.timeouts.per_workload["scanner"], Duration::from_secs(75));
    assert_eq!(config.operational.failures.partial, Some(PartialFailure::BestEffort));
    let composite = &config.composites[0];
    assert_eq!(composite.timeout, Duration::from_secs(600));
    let ids: Vec<&str> = composite.steps.iter().map(|step| &*step.id).collect();
    assert_eq!(ids, ["list", "scan", "ask", "write"]);
    let StepKind::Tool(write) = &composite.steps[3].kind else { panic!("it calls a tool") };
    assert_eq!(write.arguments.templates().len(), 3);
    let limits = config.rate_limits.as_ref().expect("there are limits");
    assert_eq!(
        limits.all.shared,
        limits.tools[0].limit.per_user.clone().map(|b| Bucket { max_tokens: 200, ..b })
    );
    assert_eq!(config.passthrough_headers, ["x-tenant"]);
    assert!(!format!("{config:?}").contains("value of"), "secrets do not print");
}

#[test]
fn what_is_not_served_yet_is_refused_by_name() {
    let found = read(EXAMPLE).expect("the example is right").unsupported();
    assert_eq!(
        found,
        [
            (
                "outgoingAuth.backends.scanner".to_owned(),
                "the strategy token_exchange is not served yet".to_owned()
            ),
            (
                "optimizer".to_owned(),
                "the optimizer and incomingAuth.authz are mutually exclusive".to_owned()
            ),
        ]
    );
}

#[test]
fn little_is_enough_and_the_rest_has_defaults() {
    let config = read(LEAST).expect("it is enough");
    assert_eq!(config.operational, Operational::default());
    assert!(config.unsupported().is_empty());
    let zeros = "operational: {timeouts: {default: 0s}, failureHandling: {unhealthyThreshold: 0}}";
    assert_eq!(read(&format!("{LEAST}{zeros}")).expect("zero is nothing").operational, config.operational);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let found =
        read("nam: x\nbackends:\n  - name: a\n    transport: carrier-pigeon\nincomingAuth: {type: oidc}\n");
    assert_eq!(
        found.expect_err("much is wrong"),
        [
            "name is required (line 1, column 1)",
            "groupRef is required (line 1, column 1)",
            "outgoingAuth is required (line 1, column 1)",
            "aggregation is required (line 1, column 1)",
            "nam is no setting here; there are: name, groupRef, backends, incomingAuth, outgoingAuth, aggregation, \
             operational, compositeTools, compositeToolRefs, metadata, telemetry, audit, optimizer, codeMode, \
             sessionStorage, rateLimiting, passthroughHeaders (line 1, column 6)",
            "backends[0].url is required (line 3, column 5)",
            "backends[0].transport must be one of: sse, streamable-http (line 4, column 16)",
            "incomingAuth.oidc is required when type is 'oidc' (line 5, column 15)",
        ]
    );
}

#[test]
fn a_file_that_is_no_yaml_says_where() {
    let found = read("name: [a\nb: c").expect_err("not YAML");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("failed to parse YAML: "), "{found:?}");
    assert!(read("[]").is_err() && read("").is_err());
}

#[test]
fn settings_are_checked_where_they_stand() {
    check(&[
        (
            "backends: [{name: a, url: http://a, transport: sse, caBundlePath: x/../y}]",
            &[
                "backends[0].caBundlePath contains invalid path characters (line 7, column 67)",
                "backends[0].caBundlePath is only valid when type is \"entry\" (line 7, column 67)",
            ],
        ),
        (
            "backends: [{name: a, url: 'a:1', transport: sse, type: exit}]",
            &[
                "backends[0].url must be an http or https URL (line 7, column 27)",
                "backends[0].type must be one of: entry (line 7, column 56)",
            ],
        ),
        (
            "operational: {timeouts: {default: 30, perWorkload: {a: 0s, b: 1d}}}",
            &[
                "operational.timeouts.default must be a text, not an integer (line 7, column 35)",
                "operational.timeouts.perWorkload.a must be positive (line 7, column 56)",
                "operational.timeouts.perWorkload.b is an invalid duration: expected a number and one of ns, us, ms, s, m, h, \
             as often as wanted, such as 1m30s (line 7, column 63)",
            ],
        ),
        (
            "operational: {failureHandling: {healthCheckInterval: 5s, healthCheckTimeout: 5s}}",
            &[
                "operational.failureHandling.healthCheckTimeout (5s) must be less than healthCheckInterval (5s) to prevent \
             checks from queuing up (line 7, column 78)",
            ],
        ),
        (
            "operational: {failureHandling: {circuitBreaker: {enabled: true, failureThreshold: -1, timeout: 10ms}}}",
            &[
                "operational.failureHandling.circuitBreaker.failureThreshold must be >= 1, got -1 (line 7, column 83)",
                "operational.failureHandling.circuitBreaker.timeout must be >= 1s to prevent thrashing, got 10ms (line 7, column 96)",
            ],
        ),
        (
            "audit: {enabled: 1, eventTypes: [mcp_pong], maxDataSize: -1}",
            &[
                "audit.enabled must be true or false, not an integer (line 7, column 18)",
                "audit.eventTypes: unknown event type: mcp_pong (line 7, column 33)",
                "audit.maxDataSize must be >= 0, got -1 (line 7, column 58)",
            ],
        ),
        (
            "optimizer: {embeddingProvider: openai, maxToolsToReturn: 51, hybridSearchSemanticRatio: '2'}",
            &[
                "optimizer.embeddingService is required when optimizer.embeddingProvider is \"openai\" (line 7, column 12)",
                "optimizer.embeddingModel is required when optimizer.embeddingProvider is \"openai\" (line 7, column 12)",
                "optimizer.maxToolsToReturn must be between 1 and 50, got 51 (line 7, column 58)",
                "optimizer.hybridSearchSemanticRatio must be between 0.0 and 1.0, got 2 (line 7, column 89)",
            ],
        ),
        (
            "rateLimiting: {shared: {maxTokens: 0, refillPeriod: 0s}}",
            &[
                "rateLimiting requires Redis session storage (sessionStorage.provider: redis) (line 7, column 15)",
                "rateLimiting.shared.maxTokens must be >= 1, got 0 (line 7, column 36)",
                "rateLimiting.shared.refillPeriod must be positive (line 7, column 53)",
            ],
        ),
        (
            "passthroughHeaders: [Cookie, 'a b', X-Ok]",
            &[
                "passthroughHeaders: \"Cookie\" is a restricted header and cannot be forwarded (line 7, column 21)",
                "passthroughHeaders: invalid header name \"a b\" (line 7, column 21)",
            ],
        ),
        (
            "sessionStorage: {provider: redis, keyPrefix: x}",
            &[
                "sessionStorage.address is required when provider is redis (line 7, column 17)",
                "sessionStorage.keyPrefix must end with ':' (line 7, column 46)",
            ],
        ),
    ]);
}

#[test]
fn strategies_are_checked_by_name() {
    let file = |strategy: &str| {
        LEAST.replace("{source: inline}", &format!("{{source: inline, default: {strategy}}}"))
    };
    for (strategy, expect) in [
        (
            "{type: magic}",
            "default.type must be one of: unauthenticated, header_injection, token_exchange, \
          upstream_inject, aws_sts, obo, xaa",
        ),
        ("{type: header_injection}", "default.headerInjection is required"),
        (
            "{type: header_injection, headerInjection: {headerName: X}}",
            "headerValue or headerValueEnv must be set",
        ),
        (
            "{type: header_injection, headerInjection: {headerName: X, headerValueEnv: NONE}}",
            "headerValueEnv: environment variable NONE not set or empty",
        ),
        (
            "{type: header_injection, headerInjection: {headerName: X, headerValue: a, headerValueEnv: ISSUES_KEY}}",
            "headerValueEnv and headerValue are both set: only one of them may be",
        ),
        (
            "{type: header_injection, headerInjection: {headerName: X, headerValue: \"a\\nb\"}}",
            "headerValue must be one line",
        ),
        ("{type: token_exchange, tokenExchange: {}}", "tokenExchange.tokenUrl is required"),
        (
            "{type: aws_sts, awsSts: {region: r, sessionDuration: 1}}",
            "sessionDuration must be between 900 and 43200, got 1",
        ),
        ("{type: obo}", "default.obo is required"),
        ("{type: xaa, xaa: {idpTokenUrl: a, targetTokenUrl: b}}", "xaa.targetAudience is required"),
        (
            "{type: upstream_inject, upstreamInject: {providerNam: x}}",
            "providerNam is no setting here; there are: providerName",
        ),
        ("{type: unauthenticated, xxa: {}}", "default.xxa is no setting here; there are: type"),
    ] {
        let found = read(&file(strategy)).expect_err(strategy);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(expect), "{found:?}");
    }
    for kind in ["upstream_inject, upstreamInject", "aws_sts, awsSts"] {
        let known = file(&format!("{{type: {kind}: {{region: r}}}}"))
            .replace("upstreamInject: {region: r}", "upstreamInject: {providerName: p}");
        assert_eq!(read(&known).expect("it is known").unsupported().len(), 1);
    }
}

#[test]
fn steps_are_checked_one_by_one() {
    let file = |step: &str| format!("compositeTools: [{{name: c, description: d, steps: [{step}]}}]");
    for (step, expect) in [
        ("{tool: t}", "compositeTools[0].steps[0].id is required"),
        ("{id: a}", "steps[0].tool is required when type is tool"),
        ("{id: a, tool: '-t'}", "steps[0].tool must be a valid tool name"),
        ("{id: a, tool: t, message: m}", "cannot have both tool and message fields"),
        ("{id: a, type: loop, tool: t}", "type must be one of: tool, elicitation, forEach"),
        (
            "{id: a, tool: t, condition: '{{.x'}",
            "condition: invalid template: line 1, column 1: this action is not closed",
        ),
        (
            "{id: a, tool: t, arguments: {x: [{y: '{{nope}}'}]}}",
            "arguments[x][0][y]: invalid template: line 1, column 3: \
          there is no function \"nope\"",
        ),
        ("{id: a, tool: t, dependsOn: [b]}", "dependsOn references unknown step \"b\""),
        ("{id: a, tool: t}, {id: a, tool: t}", "steps[1].id \"a\" is duplicated"),
        (
            "{id: a, tool: t, onError: {action: retry}}",
            "onError.retryCount must be at least 1 when action is retry",
        ),
        (
            "{id: a, tool: t, onError: {action: panic}}",
            "onError.action must be one of: abort, continue, retry",
        ),
        ("{id: a, type: elicitation, message: m}", "schema is required"),
        ("{id: a, type: elicitation, schema: {}}", "message is required when type is elicitation"),
        (
            "{id: a, type: elicitation, message: m, schema: {}, onDecline: {}}",
            "onDecline.action must be one of: abort, \
          continue, skip_remaining",
        ),
        ("{id: a, type: forEach, step: {tool: t}}", "collection is required for forEach steps"),
        ("{id: a, type: forEach, collection: '[]'}", "steps[0].step is required for forEach steps"),
        (
            "{id: a, type: forEach, collection: '[]', step: {type: elicitation, tool: t}}",
            "step.type must be 'tool' (got \
          \"elicitation\"); only tool inner steps are supported",
        ),
        ("{id: a, type: forEach, collection: '[]', step: {}}", "step.tool is required"),
        (
            "{id: a, type: forEach, collection: '[]', tool: t, step: {tool: t}}",
            "forEach step must not have 'tool' field",
        ),
        (
            "{id: a, type: forEach, collection: '[]', itemVar: index, step: {tool: t}}",
            "itemVar cannot be 'index' (reserved)",
        ),
        (
            "{id: a, type: forEach, collection: '[]', itemVar: a-b, step: {tool: t}}",
            "itemVar must be a valid Go identifier",
        ),
        (
            "{id: a, type: forEach, collection: '[]', maxParallel: 51, step: {tool: t}}",
            "maxParallel must be between 0 and 50, \
          got 51",
        ),
        (
            "{id: a, type: forEach, collection: '[]', maxIterations: 1001, step: {tool: t}}",
            "maxIterations must be between 0 \
          and 1000, got 1001",
        ),
        ("", "steps must have at least one step"),
    ] {
        let found = read(&format!("{LEAST}{}", file(step))).expect_err(step);
        assert!(found.len() == 1 && found[0].contains(expect), "{step}: {found:?}");
    }
    let many: Vec<String> = (0..101).map(|index| format!("{{id: s{index}, tool: t}}")).collect();
    let found = read(&format!("{LEAST}{}", file(&many.join(", ")))).expect_err("too many");
    assert!(found.len() == 1 && found[0].contains("steps are too many: 101 (max 100)"), "{found:?}");
}

#[test]
fn arguments_are_not_nested_without_end() {
    let file = |depth: usize| {
        let (open, close) = ("{a: ".repeat(depth), "}".repeat(depth));
        let step = format!("{{id: a, tool: t, arguments: {{x: {open}'{{{{.v}}}}'{close}}}}}");
        format!("{LEAST}compositeTools: [{{name: c, description: d, steps: [{step}]}}]")
    };
    assert!(read(&file(50)).is_ok());
    let found = read(&file(150)).expect_err("150 levels");
    assert!(found.len() == 1 && found[0].contains("depth limit exceeded: 100"), "{found:?}");
    let found = read(&file(100_000)).expect_err("a stack's end");
    assert!(found.len() == 1 && found[0].starts_with("failed to parse YAML"), "{found:?}");
}

#[test]
fn parameters_and_outputs_are_checked() {
    let file = |more: &str| {
        format!("{LEAST}compositeTools: [{{name: c, description: d, steps: [{{id: a, tool: t}}], {more}}}]")
    };
    for (more, expect) in [
        (
            "parameters: {properties: {}}",
            "parameters: must have 'type' field (should be 'object' for JSON Schema)",
        ),
        ("parameters: {type: array}", "parameters: 'type' must be 'object' (got 'array')"),
        ("parameters: {type: object, properties: []}", "parameters: 'properties' must be an object"),
        ("parameters: {type: object, required: {}}", "parameters: 'required' must be an array"),
        ("timeout: -1s", "timeout is an invalid duration: cannot be negative"),
        ("output: {}", "output.properties cannot be empty"),
        (
            "output: {properties: {a: {type: string, description: d}}}",
            "output.properties.a.value is required",
        ),
        (
            "output: {properties: {a: {type: text, description: d, value: v}}}",
            "a.type must be one of: string, integer",
        ),
        (
            "output: {properties: {a: {type: string, description: d, value: '{{'}}}",
            "value: invalid template: line 1",
        ),
        (
            "output: {properties: {a: {type: string, description: d, properties: {}}}}",
            "only an object has properties",
        ),
        (
            "output: {properties: {a: {type: string, description: d, value: v}}, required: [b]}",
            "required field \"b\" does not \
          exist in properties",
        ),
    ] {
        let found = read(&file(more)).expect_err(more);
        assert!(found.len() == 1 && found[0].contains(expect), "{more}: {found:?}");
    }
}

#[test]
fn manual_and_priority_want_their_entries() {
    let file = |aggregation: &str| {
        let kept = LEAST.lines().filter(|line| !line.starts_with("aggregation"));
        kept.chain([aggregation]).fold(String::new(), |text, line| text + line + "\n")
    };
    for (aggregation, expect) in [
        (
            "aggregation: {conflictResolution: manual, conflictResolutionConfig: {}}",
            "tool overrides are required for manual",
        ),
        ("aggregation: {conflictResolution: manual}", "conflictResolutionConfig is required"),
        (
            "aggregation: {conflictResolution: prefix, conflictResolutionConfig: {}}",
            "prefixFormat is required for prefix",
        ),
        (
            "aggregation: {conflictResolution: priority, conflictResolutionConfig: {}}",
            "priorityOrder is required for priority",
        ),
        (
            "aggregation: {conflictResolution: priority, conflictResolutionConfig: {priorityOrder: [a]}, defaultToolVisibility: deny}",
            "priorityOrder entry \"a\" has no tools entry",
        ),
        (
            "aggregation: {conflictResolution: priority, conflictResolutionConfig: {priorityOrder: [a]}, tools: [{workload: a}, {workload: a}]}",
            "is a duplicate workload configuration: a",
        ),
        (
            "aggregation: {conflictResolution: priority, conflictResolutionConfig: {priorityOrder: [a]}, tools: [{workload: a, overrides: {x: {}}}]}",
            "tools[0].overrides.x: at least one of name, description or annotations must be specified",
        ),
    ] {
        let found = read(&file(aggregation)).expect_err(aggregation);
        assert!(found.iter().any(|line| line.contains(expect)), "{aggregation}: {found:?}");
    }
    let annotated = "aggregation: {conflictResolution: manual, conflictResolutionConfig: {}, \
                     tools: [{workload: a, overrides: {x: {annotations: {readOnlyHint: true}}}}]}";
    let config = read(&file(annotated)).expect("annotations are a change");
    assert_eq!(config.aggregation.tools[0].overrides["x"].annotations.read_only, Some(true));
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]
    #[test]
    fn no_file_panics(lines in proptest::collection::vec((0..EXAMPLE.lines().count(), "\\PC{0,6}"), 0..4)) {
        let mut all: Vec<String> = EXAMPLE.lines().map(str::to_owned).collect();
        for (line, junk) in lines {
            all[line].push_str(&junk);
        }
        if let Err(invalid) = Config::parse(&all.join("\n"), &environment) {
            prop_assert!(!invalid.0.is_empty());
        }
    }
}
