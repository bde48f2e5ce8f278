//! What holds of every template.

use proptest::prelude::*;

use super::*;

const TIGHT: Options = Options {
    limits: Limits { output: 500, steps: 2000, depth: 10 },
    numbers: Numbers::LikeGo,
    missing: OnMissing::NoValue,
};

fn some_data() -> Data {
    data(r#"{"a":{"b":[1,2.5,"x",null,{"c":true}]},"s":"héllo <w>","n":1000000,"l":["x","y"],"t":true}"#)
}

/// Pieces of which something like templates is made.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "{{/*",
        "*/}}",
        "if ",
        "else",
        "end",
        "range ",
        "with ",
        "define \"T\"",
        "template \"T\" ",
        "block \"B\" ",
        "break",
        "continue",
        "nil",
        ".",
        ".a.b",
        ".s",
        ".l",
        ".n",
        "$",
        "$x",
        " := ",
        " = ",
        ", ",
        " | ",
        "(",
        ")",
        "1",
        "2.5",
        "'c'",
        "\"t\"",
        "`r`",
        "eq ",
        "and ",
        "or ",
        "not ",
        "len ",
        "index ",
        "slice ",
        "print ",
        "printf \"%5.2v|%q\" ",
        "println ",
        "html ",
        "js ",
        "urlquery ",
        "json ",
        "fromJson ",
        "quote ",
        " ",
        "\n",
        "text",
        "{{end}}",
        "{{else}}",
        "{{range .l}}",
        "{{if .t}}",
        "{{.}}",
    ];
    prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,3}",
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_exceeds_its_bounds(pieces in proptest::collection::vec(piece(), 0..40)) {
        let source = pieces.concat();
        let Ok(template) = Template::compile(&source) else { return Ok(()) };
        if let Ok(text) = template.render(&some_data(), TIGHT) {
            prop_assert!(text.len() <= TIGHT.limits.output);
        }
        prop_assert_eq!(template.source(), source);
    }

    #[test]
    fn text_without_actions_is_itself(text in "[^{]*") {
        prop_assert_eq!(rendered(&text, &Data::Null, Options::LIKE_GO), Ok(text));
    }

    #[test]
    fn trimming_takes_the_spaces_and_nothing_else(
        before in "[a \t\r\n\u{b}\u{a0}]{0,8}", after in "[a \t\r\n\u{b}\u{a0}]{0,8}", left: bool, right: bool, comment: bool,
    ) {
        let spaces = [' ', '\t', '\r', '\n'];
        let open = if left { "{{- " } else { "{{" };
        let close = if right { " -}}" } else { "}}" };
        let (inner, shown) = if comment { ("/* c */", "") } else { ("1", "1") };
        let found = rendered(&format!("{before}{open}{inner}{close}{after}"), &Data::Null, Options::LIKE_GO);
        let before = if left { before.trim_end_matches(spaces) } else { &before };
        let after = if right { after.trim_start_matches(spaces) } else { &after };
        prop_assert_eq!(found, Ok(format!("{before}{shown}{after}")));
    }

    #[test]
    fn quoted_texts_are_read_as_they_were(text in "\\PC*") {
        let quoted = super::super::quote::quote_text(&text, false);
        prop_assert_eq!(rendered(&format!("{{{{{quoted}}}}}"), &Data::Null, Options::LIKE_GO), Ok(text));
    }

    #[test]
    fn numbers_keep_their_value(number in any::<i64>(), float in proptest::num::f64::NORMAL) {
        let json = format!(r#"{{"i":{number},"f":{float:e}}}"#);
        let text = rendered("{{json .i}} {{printf \"%v\" .f}} {{json .f}}", &data(&json), Options::LIKE_GO).expect("it renders");
        let parts: Vec<&str> = text.split(' ').collect();
        prop_assert_eq!(parts[0].parse::<i64>(), Ok(number));
        prop_assert_eq!(parts[1].parse::<f64>(), Ok(float));
        prop_assert_eq!(parts[2].parse::<f64>(), Ok(float));
    }

    #[test]
    fn what_json_writes_from_json_reads(text in "\\PC{0,20}") {
        let data = Data::map([("s", Data::from(text.as_str()))]);
        prop_assert_eq!(rendered("{{fromJson (json .s)}}", &data, Options::LIKE_GO), Ok(text));
    }
}
