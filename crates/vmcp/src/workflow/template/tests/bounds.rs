//! Every render ends, and within its limits.

use super::*;

const FEW: Options = Options {
    limits: Limits { output: 1000, steps: 10_000, depth: 20 },
    numbers: Numbers::LikeGo,
    missing: OnMissing::NoValue,
};

#[test]
fn what_costs_too_much_is_ended() {
    let long = "x".repeat(900);
    let data = Data::map([("s", Data::from(long))]);
    for (template, limit) in [
        ("{{range 9000000000000000000}}{{end}}", "the template took more than 10000 steps"),
        (r#"{{define "a"}}{{template "a"}}{{end}}{{template "a"}}"#, "depth limit exceeded: 20"),
        (
            r#"{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{template "a"}}{{end}}{{template "b"}}"#,
            "depth limit exceeded: 20",
        ),
        ("{{.s}}{{.s}}", "template output too large: more than 1000 bytes"),
        ("{{$x := print .s .s}}", "template output too large: more than 1000 bytes"),
        (r#"{{printf "%999999d" 1}}"#, "template output too large: more than 1000 bytes"),
        (r#"{{printf "%.999999d" 1}}"#, "template output too large: more than 1000 bytes"),
        (r#"{{printf "%.999999f" 1.5}}"#, "template output too large: more than 1000 bytes"),
        (r#"{{printf "%.999999g" 1.5}}"#, "template output too large: more than 1000 bytes"),
        (r#"{{printf "%.999999U" 1}}"#, "template output too large: more than 1000 bytes"),
        (r#"{{printf "%999999x" .s}}"#, "template output too large: more than 1000 bytes"),
        ("{{range 1000}}{{if eq $.s $.s}}{{end}}{{end}}", "the template took more than 10000 steps"),
        ("{{range 1000}}{{$x := slice $.s 1}}{{end}}", "the template took more than 10000 steps"),
    ] {
        let found = rendered(template, &data, FEW).expect_err(template);
        assert!(found.ends_with(limit), "{template}: {found}");
    }
}

#[test]
fn large_precisions_are_exact_where_they_fit() {
    let text = rendered(r#"{{printf "%.70000f" 0.5}}"#, &Data::Null, Options::LIKE_GO).expect("it fits");
    assert_eq!(text.len(), 70_002);
    let text =
        rendered(r#"{{printf "%.70000e|%.70000U" 0.5 1}}"#, &Data::Null, Options::LIKE_GO).expect("it fits");
    assert_eq!(text.len(), 70_006 + 1 + 70_002);
}

#[test]
fn deep_data_is_refused_where_it_would_be_walked() {
    let deep = (0..200).fold(Data::Null, |inner, _| Data::list([inner]));
    let data = Data::map([("deep", deep)]);
    for template in ["{{.deep}}", "{{json .deep}}", r#"{{printf "%q" .deep}}"#] {
        let found = rendered(template, &data, Options::LIKE_GO).expect_err(template);
        assert!(found.ends_with("depth limit exceeded: 100"), "{found}");
    }
    let found = rendered("{{fromJson .s}}", &Data::map([("s", "[".repeat(100_000))]), Options::LIKE_GO);
    assert!(found.is_err());
}

#[test]
fn sources_are_bounded() {
    for (source, expect) in [
        (format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000)), "nested deeper than 100 levels"),
        ("{{if 1}}".repeat(5000), "nested deeper than 100 levels"),
        (format!("{{{{if 1}}}}{}", "{{else if 1}}".repeat(5000)), "nested deeper than 100 levels"),
        ("{{$x := 1}}".repeat(1001), "more than 1000 variables"),
        ("x".repeat((1 << 20) + 1), "longer than 1048576 bytes"),
    ] {
        let error = Template::compile(&source).expect_err("too much").to_string();
        assert!(error.ends_with(expect), "{error}");
    }
}

#[test]
fn a_large_value_does_not_fit_the_contract_s_limit() {
    let data = Data::map([("params", Data::map([("large", "x".repeat(11 << 20))]))]);
    let found = rendered("{{.params.large}}", &data, Options::LIKE_GO).expect_err("eleven megabytes");
    assert!(found.contains("template output too large"), "{found}");
}
