//! What waits for what, and everything that is refused.

use super::*;
use crate::config::{Config, Invalid};

/// The plan of a composite tool with these steps, and more of it.
pub(in crate::workflow) fn plan(steps: &str, more: &str) -> Result<Plan, Vec<String>> {
    let file = format!(
        "name: n\ngroupRef: g\nincomingAuth: {{type: anonymous}}\noutgoingAuth: {{source: inline}}\n\
         aggregation: {{conflictResolution: prefix, conflictResolutionConfig: {{prefixFormat: p}}}}\n\
         compositeTools:\n- name: c\n  description: d\n  steps:\n{steps}\n{more}"
    );
    // Whoever reads a configuration plans what is in it.
    let config = Config::parse(&file, &|_| None).map_err(|Invalid(problems)| {
        problems.iter().map(|one| one.message.trim_start_matches(": ").to_owned()).collect::<Vec<_>>()
    })?;
    Ok(Plan::of(&config.composites[0]).expect("it was read"))
}

/// What each step waits for.
fn needs_of(plan: &Plan) -> String {
    let id = |place: &usize| plan.steps[*place].step.id.as_str();
    let line = |step: &PlannedStep| {
        format!("{}<{}", step.step.id, step.needs.iter().map(id).collect::<Vec<_>>().join(","))
    };
    plan.steps.iter().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn steps_wait_for_what_they_say_and_for_what_their_templates_ask() {
    for (steps, expect, order) in [
        ("  - {id: a, tool: t}\n  - {id: b, tool: t}", "a< b<", "a b"),
        ("  - {id: b, tool: t, dependsOn: [a]}\n  - {id: a, tool: t}", "b<a a<", "a b"),
        (
            "  - {id: b, tool: t, arguments: {x: '{{.steps.a.output.y}}'}}\n  - {id: a, tool: t}",
            "b<a a<",
            "a b",
        ),
        (
            "  - {id: b, tool: t, arguments: {x: [{y: '{{.steps.a.output}}'}]}}\n  - {id: a, tool: t}",
            "b<a a<",
            "a b",
        ),
        (
            "  - {id: a-1, tool: t}\n  - {id: b, tool: t, condition: '{{index .steps \"a-1\" \"output\" \"x\"}}'}",
            "a-1< b<a-1",
            "a-1 b",
        ),
        (
            "  - {id: a, tool: t}\n  - {id: b, type: elicitation, message: '{{.steps.a.status}}', schema: {type: object}}",
            "a< b<a",
            "a b",
        ),
        (
            "  - {id: a, tool: t}\n  - {id: b, tool: t}\n  - id: f\n    type: forEach\n    collection: '{{json .steps.a.output.l}}'\n    step: {type: tool, tool: t, arguments: {x: '{{.steps.b.output}}{{.forEach.item}}'}}",
            "a< b< f<a,b",
            "a b f",
        ),
    ] {
        let plan = plan(steps, "").unwrap();
        let ids: Vec<_> = plan.order.iter().map(|place| plan.steps[*place].step.id.as_str()).collect();
        assert_eq!((needs_of(&plan).as_str(), ids.join(" ").as_str()), (expect, order), "{steps}");
    }
    let plan = plan(
        "  - {id: a, tool: t}\n  - {id: b, tool: t, dependsOn: [a]}\n  - {id: c, tool: t, dependsOn: [b]}",
        "",
    )
    .unwrap();
    assert_eq!(plan.steps[2].sees, [0, 1].into());
}

#[test]
fn what_cannot_be_planned_is_named() {
    let output = |value: &str| {
        format!("  output: {{properties: {{o: {{type: string, description: d, value: '{value}'}}}}}}")
    };
    let skippable = "  - {id: a, tool: t, onError: {action: continue}}";
    for (steps, more, expect) in [
        (
            "  - {id: a, tool: t, dependsOn: [c]}\n  - {id: b, tool: t, dependsOn: [a]}\n  - {id: c, tool: t, arguments: {x: '{{.steps.b.output.y}}'}}",
            String::new(),
            &["dependency cycle: a -> c -> b -> a"][..],
        ),
        (
            "  - {id: a, tool: t, condition: '{{.steps.a.status}}'}",
            String::new(),
            &["dependency cycle: a -> a"],
        ),
        (
            "  - {id: a, tool: t}\n  - {id: b, tool: t, dependsOn: [c]}\n  - {id: c, tool: t, dependsOn: [b]}",
            String::new(),
            &["dependency cycle: b -> c -> b"],
        ),
        (
            "  - {id: a, tool: t, arguments: {x: '{{.steps.gone.output.y}}'}}",
            String::new(),
            &[r#"step "a" refers to unknown step "gone" (.steps.gone.output.y)"#],
        ),
        (
            "  - {id: a, tool: t}",
            output("{{.steps.gone.status}}"),
            &[r#"output refers to unknown step "gone" (.steps.gone.status)"#],
        ),
        (
            skippable,
            output("{{.steps.a.output.x}}{{.steps.a.error}}"),
            &[
                r#"steps[a].defaultResults[x] is required: step "a" may be skipped and field "x" is referenced by output"#,
            ],
        ),
        (
            "  - {id: a, tool: t, condition: 'true', defaultResults: {y: 1}}\n  - {id: b, tool: t, arguments: {x: '{{.steps.a.output.x.z}}', y: '{{.steps.a.output.y}}'}}",
            String::new(),
            &[
                r#"steps[a].defaultResults[x] is required: step "a" may be skipped and field "x" is referenced by step b"#,
            ],
        ),
        (
            "  - {id: a, tool: t, defaultResults: [1]}",
            String::new(),
            &[r#"defaultResults of step "a" must be a map"#],
        ),
    ] {
        assert_eq!(plan(steps, &more).unwrap_err(), expect, "{steps}{more}");
    }
}

#[test]
fn defaults_are_asked_for_where_the_contract_asks() {
    let skippable = "  - {id: a, tool: t, condition: 'true'}\n";
    for step in [
        "  - {id: b, tool: t, arguments: {x: '{{.steps.a.status}}{{.steps.a.error}}{{json .steps.a.output}}'}}",
        "  - {id: b, tool: t, arguments: {x: ['{{.steps.a.output.x}}']}}",
        "  - {id: b, type: forEach, collection: '{{json .steps.a.output.x}}', step: {type: tool, tool: t}}",
    ] {
        assert!(plan(&format!("{skippable}{step}"), "").is_ok(), "{step}");
    }
    let retried = "  - {id: a, tool: t, onError: {action: retry, retryCount: 1}}\n";
    assert!(
        plan(&format!("{retried}  - {{id: b, tool: t, arguments: {{x: '{{{{.steps.a.output.x}}}}'}}}}"), "")
            .is_ok()
    );
}

#[test]
fn schemas_are_bounded() {
    let ask = |schema: &str| format!("  - {{id: a, type: elicitation, message: m, schema: {schema}}}");
    let nested = |levels| format!("{}{}", "{a: ".repeat(levels), "}".repeat(levels)).replace(": }", ": 1}");
    assert!(plan(&ask(&nested(10)), "").is_ok());
    for (schema, expect) in [
        (nested(11), "nested too deep (max 10)"),
        (format!("{{a: {}}}", "x".repeat(102_400)), "is too large: 102408 bytes (max 102400)"),
    ] {
        assert!(plan(&ask(&schema), "").unwrap_err()[0].ends_with(expect), "{expect}");
    }
}
