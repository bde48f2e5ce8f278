//! Go's rules, one row each. What is expected of the texts was made by Go 1.27; where there is an error, Go has one, too, if
//! sometimes only when it runs.

use super::*;

fn data_of_go() -> Data {
    let Data::Map(members) = data(
        r#"{"n": 1000000, "f": 2.5, "neg": -0.5, "s": "hi", "u": "héllo", "h": "<a href=\"x\">'&", "t": true, "z": null, "e": "", "l": ["a", "b", "c"], "nl": [1, "two", null, [3]], "m": {"b": 1, "a": "x", "k-y": true}, "mm": [{"id": 1, "tags": ["p", "q"]}, {"id": 2, "tags": []}], "js": "{\"k\":[1,2]}"}"#,
    ) else {
        return Data::Null;
    };
    let integer = ("i".into(), Data::Int(42));
    Data::map(members.iter().map(|(name, value)| (name.clone(), value.clone())).chain([integer]))
}

#[test]
fn texts_are_those_of_go() {
    let data = data_of_go();
    for (template, expect) in [
        ("{{.s}} {{ .s }} {{- .s -}} x", "hi hihix"),
        (r#"{{.s | printf "%s-%s" "a"}}"#, "a-hi"),
        ("{{(.s)}}{{((.s))}}", "hihi"),
        (r#"{{"a" | print "b" | print "c"}}"#, "cba"),
        ("{{.s |}}", "hi"),
        ("{{/* c */}}a{{- /* c */ -}} b", "ab"),
        ("a \n {{- 1 -}} \n b", "a1b"),
        ("{{\n.s\n|\nprint\n}}", "hi"),
        (
            r"{{1}} {{-1}} {{+1}} {{0x1F}} {{0b11}} {{0o17}} {{017}} {{1_000}} {{'a'}} {{'\n'}} {{'é'}} {{1e3}} {{1.5}} {{.5}} {{5.}} {{0x1p-2}} {{1e100}}",
            "1 -1 1 31 3 15 15 1000 97 10 233 1000 1.5 0.5 5 0.25 1e+100",
        ),
        (r#"{{"a\tb\u00e9\x41\101"}} {{`raw\n`}} {{true}} {{false}}"#, "a\tbéAA raw\\n true false"),
        ("{{$x := .l}}{{$x}}{{$x = 5}}{{$x}}", "[a b c]5"),
        ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if $x := 3}}{{$x}}{{end}}{{$x}}", "31"),
        ("{{($y := 7)}}{{$y}}", "77"),
        ("{{range .l}}{{.}}{{$.s}}{{end}}", "ahibhichi"),
        ("{{if .e}}1{{else if .s}}2{{else}}3{{end}}", "2"),
        ("{{if not .e}}1{{end}}", "1"),
        ("{{with .m}}{{.a}}{{end}}", "x"),
        ("{{with .e}}x{{else}}{{.s}}{{end}}", "hi"),
        ("{{with .z}}x{{else with .m}}{{.b}}{{else}}y{{end}}", "1"),
        ("{{with $x := .s}}{{$x}}{{.}}{{end}}", "hihi"),
        ("{{range $i, $v := .l}}{{$i}}={{$v}};{{end}}", "0=a;1=b;2=c;"),
        ("{{range $k, $v := .m}}{{$k}}={{$v}};{{end}}", "a=x;b=1;k-y=true;"),
        ("{{range .z}}x{{else}}none{{end}}", "none"),
        ("{{range .missing}}x{{else}}none{{end}}", "none"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range $i := 3}}{{$i}},{{end}}", "0,1,2,"),
        ("{{range 0}}x{{else}}none{{end}}", "none"),
        ("{{range -1}}x{{else}}none{{end}}", "none"),
        ("{{range .i}}{{if gt . 3}}{{break}}{{end}}{{.}}{{end}}", "0123"),
        (r#"{{range .l}}{{if eq . "b"}}{{continue}}{{end}}{{.}}{{end}}"#, "ac"),
        (r#"{{range .l}}{{with .}}{{if eq . "b"}}{{break}}{{end}}{{.}}{{end}}{{end}}{{.s}}"#, "ahi"),
        ("{{range .mm}}{{.id}}:{{range .tags}}{{.}}{{else}}-{{end}} {{end}}", "1:pq 2:- "),
        ("{{$v := 0}}{{range $v = .l}}{{end}}{{$v}}", "c"),
        ("{{range $i, $v := .e2}}x{{else}}[{{$v}}]{{end}}", "[<no value>]"),
        ("{{range .nl}}[{{.}}]{{end}}", "[1][two][<no value>][[3]]"),
        (
            r#"{{define "T"}}<{{.}}{{$}}>{{end}}{{template "T" .s}}{{template "T"}}"#,
            "<hihi><<no value><no value>>",
        ),
        (r#"{{block "B" .m}}{{.a}}{{end}}{{template "B" .m}}"#, "xx"),
        (
            r#"{{define "R"}}{{if .}}{{index . 0}}{{template "R" (slice . 1)}}{{end}}{{end}}{{template "R" .l}}"#,
            "abc",
        ),
        (r#"{{define "a"}} {{end}}{{define "a"}}x{{end}}{{template "a"}}"#, "x"),
        (
            r#"{{and 1 0 2}} {{and 1 2}} {{or 0 "" "x"}} {{or 0 ""}} {{and .missing .missing.x.y}}"#,
            "0 2 x  <no value>",
        ),
        ("{{or .s (index .l 99)}}", "hi"),
        ("{{and .e (index .l 99)}}|", "|"),
        ("{{1 | and 0}} {{1 | and 2}} {{0 | or 3}} {{.z | or}}", "0 1 3 <no value>"),
        ("{{not 0}} {{not .s}}", "true false"),
        (
            "{{eq 1.0 1.0}} {{eq .i 42}} {{eq .f 2.5}} {{eq .t true}} {{eq .l nil}}",
            "true true true true false",
        ),
        ("{{eq (index .s 0) 104}} {{lt (index .s 0) 200}}", "true true"),
        (r#"{{lt 1 2}} {{le 2 2}} {{gt .f 2.0}} {{ge "b" "a"}} {{lt "a" "B"}}"#, "true true true true false"),
        (r#"{{len .u}} {{len .l}} {{len .m}} {{len ""}}"#, "6 3 3 0"),
        (
            r#"{{index .l 1}} {{index .m "b"}} {{index .mm 0 "tags" 1}} {{index .m "none"}} {{index .s 0}} {{index .l}}"#,
            "b 1 q <no value> 104 [a b c]",
        ),
        (
            "{{slice .l 1}} {{slice .l 1 2}} {{slice .s 1}} {{slice .l 0 1 2}} {{slice .l}} {{slice .u 0 1}}",
            "[b c] [b] i [a] [a b c] h",
        ),
        (
            r#"{{print}}|{{print 1 2}} {{print 1 "a" 2 3 "b"}} {{print nil}} {{print .z .missing}} {{println 1 "a" nil}}|"#,
            "|1 2 1a2 3b <nil> <nil> <nil> 1 a <nil>\n|",
        ),
        (
            r#"{{html .h}} {{js .h}} {{urlquery "a b&c/ü"}} {{html .z}} {{html 1 2}} {{js "a\nb=\u2028é"}}"#,
            r#"&lt;a href=&#34;x&#34;&gt;&#39;&amp; \u003Ca href\u003D\"x\"\u003E\'\u0026 a+b%26c%2F%C3%BC &lt;no value&gt; 1 2 a\u000Ab\u003D\u2028é"#,
        ),
        (
            r#"{{json .m}} {{json .nl}} {{json .h}} {{json .f}} {{json 1e21}} {{json 1e-7}} {{json .neg}} {{json .i}} {{json nil}} {{json "\u2028\x01\b\f"}}"#,
            r#"{"a":"x","b":1,"k-y":true} [1,"two",null,[3]] "\u003ca href=\"x\"\u003e'\u0026" 2.5 1e+21 1e-7 -0.5 42 null "\u2028\u0001\b\f""#,
        ),
        (
            "{{(fromJson .js).k}} {{json (fromJson .js)}} {{range (fromJson .js).k}}{{.}};{{end}}",
            r#"[1 2] {"k":[1,2]} 1;2;"#,
        ),
        ("{{.js | fromJson | json}}", r#"{"k":[1,2]}"#),
        (
            "{{.n}} {{.f}} {{.neg}} {{.i}} {{.t}} {{.z}} {{.missing}} {{.l}} {{.m}} {{.nl}} {{.mm}}",
            "1e+06 2.5 -0.5 42 true <no value> <no value> [a b c] map[a:x b:1 k-y:true] [1 two <nil> [3]] [map[id:1 tags:[p q]] map[id:2 tags:[]]]",
        ),
        (
            r#"{{printf "%v|%d|%s|%q|%t|%f|%g|%e|%x|%X|%o|%b|%c|%U|%T" 1 2 "s" "q" true 1.5 1.5 1.5 255 255 8 5 65 8364 1.5}}"#,
            r#"1|2|s|"q"|true|1.500000|1.5|1.500000e+00|ff|FF|10|101|A|U+20AC|float64"#,
        ),
        (
            r#"{{printf "%5d|%-5d|%05d|%+d|% d|%x|%#x|%#o|%O" 42 42 42 42 42 -255 255 8 8}}"#,
            "   42|42   |00042|+42| 42|-ff|0xff|010|0o10",
        ),
        (
            r#"{{printf "%6.2f|%-8.3e|%+.1f|%08.3f|%g|%G|%.3g|%#g" .f .f .f .neg 1e21 1e-7 123456.0 1.0}}"#,
            "  2.50|2.500e+00|+2.5|-000.500|1e+21|1E-07|1.23e+05|1.00000",
        ),
        (
            r#"{{printf "%10s|%-10s|%.2s|%q|%#q|%+q|%x|% x|%#x|%X" .u .u .u .u .s .u .s .s .s .s}}"#,
            r#"     héllo|héllo     |hé|"héllo"|`hi`|"h\u00e9llo"|6869|68 69|0x6869|6869"#,
        ),
        (
            r#"{{printf "%d %s %t %f %x" .s 1 1 "x" true}}"#,
            "%!d(string=hi) %!s(int=1) %!t(int=1) %!f(string=x) %!x(bool=true)",
        ),
        (
            r#"{{printf "%v %d %s" .nl .nl .nl}}"#,
            "[1 two <nil> [3]] [%!d(float64=1) %!d(string=two) <nil> [%!d(float64=3)]] [%!s(float64=1) two <nil> [%!s(float64=3)]]",
        ),
        (r#"{{printf "%q %x %v" .l .l .m}}"#, r#"["a" "b" "c"] [61 62 63] map[a:x b:1 k-y:true]"#),
        (
            r#"{{printf "%#v %#v %#v %#v %#v" .m .nl .s .f .i}}"#,
            r#"map[string]interface {}{"a":"x", "b":1, "k-y":true} []interface {}{1, "two", interface {}(nil), []interface {}{3}} "hi" 2.5 42"#,
        ),
        (
            r#"{{printf "%d"}} {{printf "%d %d" 1}} {{printf "x" 1 "a" nil}} {{printf "%"}} {{printf "%!"}} {{printf "%z" 1}} {{printf "%%"}}"#,
            "%!d(MISSING) 1 %!d(MISSING) x%!(EXTRA int=1, string=a, <nil>) %!(NOVERB) %!!(MISSING) %!z(int=1) %",
        ),
        (r#"{{printf "%[2]d %[1]d|%[3]d|%[x]d|%[1]*d" 3 4}}"#, "4 3|%!d(BADINDEX)|%!d(BADINDEX)|  4"),
        (r#"{{printf "%*d|%-*d|%.*f|%*d" 5 1 5 1 2 1.234 "x" 1}}"#, "    1|1    |1.23|%!(BADWIDTH)1"),
        (
            r#"{{printf "%T %T %T %T %T %T %T" nil 1 1.5 "s" .l .m (index .s 0)}}"#,
            "<nil> int float64 string []interface {} map[string]interface {} uint8",
        ),
        (
            r#"{{printf "%s|%d|%v|%5v|%x" nil nil nil nil nil}}"#,
            "%!s(<nil>)|%!d(<nil>)|<nil>|<nil>|%!x(<nil>)",
        ),
        (r#"{{printf "%6v|%-6v|%06d|%t" .t .s -3 .s}}"#, "  true|hi    |-00003|%!t(string=hi)"),
        (r#"{{printf "%c%c %q %q %U %#U" 72 8364 65 10 65 65}}"#, r"H€ 'A' '\n' U+0041 U+0041 'A'"),
        (
            r#"{{printf "%b %x %X %.2x" 1.5 1.5 -1.5 3.14159}}"#,
            "6755399441055744p-52 0x1.8p+00 -0X1.8P+00 0x1.92p+01",
        ),
        (r#"{{printf "%e %E %.0e" 0.0 123456.789 15.0}}"#, "0.000000e+00 1.234568E+05 2e+01"),
        (r#"{{printf "%8.3d|%+08d|%-08d|" 5 5 5}}"#, "     005|+0000005|5       |"),
        (r#"{{printf "%.0f %.0f %.0f %.1f" 0.5 1.5 2.5 0.25}}"#, "0 2 2 0.2"),
        (r#"{{printf "%v %v %v" 1e20 1e-4 0.00001}}"#, "1e+20 0.0001 1e-05"),
        (
            r#"{{printf "%5t|%q|%d" true .nl .m}}"#,
            r#" true|[%!q(float64=1) "two" <nil> [%!q(float64=3)]]|map[%!d(string=a):%!d(string=x) %!d(string=b):%!d(float64=1) %!d(string=k-y):%!d(bool=true)]"#,
        ),
        ("{{(.z).x}}|{{$q := .z}}{{$q.x}}", "<no value>|<no value>"),
        ("{{.missing.a.b}}", "<no value>"),
        (r#"{{template "T" .z}}{{define "T"}}{{.x}}{{end}}"#, "<no value>"),
        ("{{-1 -}} x", "-1x"),
    ] {
        assert_eq!(rendered(template, &data, Options::LIKE_GO).as_deref(), Ok(expect), "{template}");
    }
}

#[test]
fn errors_are_where_go_has_them() {
    let data = data_of_go();
    for (template, expect) in [
        ("{{range .e}}{{end}}", "line 1, column 3: .e: is a text, which range cannot walk"),
        (
            "{{range $i, $e := 3}}{{end}}",
            "line 1, column 3: is an integer, over which a range has one variable",
        ),
        ("{{range .s}}{{end}}", "line 1, column 3: .s: is a text, which range cannot walk"),
        ("{{range .n}}{{end}}", "line 1, column 3: .n: is a number, which range cannot walk"),
        ("{{and}}", "line 1, column 3: and takes at least 1, not 0"),
        (
            r#"{{eq 1 1}} {{eq 1 2 3 1}} {{eq "a" .s "hi"}} {{eq .z nil}} {{eq .z .missing}} {{eq .s nil}} {{ne 1 2}} {{eq 1.0 1}}"#,
            "line 1, column 106: eq: a number and an integer do not compare",
        ),
        ("{{eq .l .l}}", "line 1, column 3: .l: eq: a list does not compare"),
        ("{{eq .m 1}}", "line 1, column 3: .m: eq: an object and an integer do not compare"),
        ("{{lt .t true}}", "line 1, column 3: .t: lt: a boolean is neither less nor more than anything"),
        ("{{lt .z 1}}", "line 1, column 3: .z: lt: null is neither less nor more than anything"),
        ("{{lt 1 1.5}}", "line 1, column 3: lt: an integer and a number do not compare"),
        ("{{eq 1}}", "line 1, column 3: eq takes at least 2, not 1"),
        ("{{ne 1 2 3}}", "line 1, column 3: ne takes 2 values, not 3"),
        ("{{len .z}}", "line 1, column 3: .z: len: null has no length"),
        ("{{len 3}}", "line 1, column 3: len: an integer has no length"),
        (r#"{{index .m "none" "x"}}"#, "line 1, column 3: .m: index: there is nothing in null to find"),
        ("{{index .l 1.0}}", "line 1, column 3: .l: index: a number is no index here"),
        ("{{index .m 1}}", "line 1, column 3: .m: index: an integer is no index here"),
        ("{{index .z 1}}", "line 1, column 3: .z: index: there is nothing in null to find"),
        ("{{index .missing 1}}", "line 1, column 3: index: there is nothing in null to find"),
        ("{{index .l -1}}", "line 1, column 3: .l: index: index -1 is out of range: the length is 3"),
        ("{{index .s 2}}", "line 1, column 3: .s: index: index 2 is out of range: the length is 2"),
        ("{{index .l nil}}", "line 1, column 3: .l: index: null is no index here"),
        ("{{index 3 1}}", "line 1, column 3: index: there is nothing in an integer to find"),
        ("{{slice .l 2 1}}", "line 1, column 3: .l: slice: a slice from 2 to 1 is none"),
        ("{{slice .s 0 9}}", "line 1, column 3: .s: slice: index 9 is out of range: the length is 2"),
        ("{{slice .s 0 1 2}}", "line 1, column 3: .s: slice: a text cannot be sliced like that"),
        ("{{slice .m 1}}", "line 1, column 3: .m: slice: an object cannot be sliced like that"),
        ("{{call .s}}", "line 1, column 3: there is nothing to call: data holds no functions"),
        ("{{call nil}}", "line 1, column 3: there is nothing to call: data holds no functions"),
        ("{{fromJson 3}}", "line 1, column 3: fromJson: takes a text, not an integer"),
        ("{{fromJson .z}}", "line 1, column 3: .z: fromJson: takes a text, not null"),
        (
            r#"{{quote .u}} {{quote "a\n\x00\u200b"}} {{quote 1}}"#,
            "line 1, column 42: quote: takes a text, not an integer",
        ),
        ("{{printf 3}}", "line 1, column 3: printf: takes a text, not an integer"),
        ("{{printf .z}}", "line 1, column 3: .z: printf: takes a text, not null"),
        ("{{.s.x}}", r#"line 1, column 5: .s: is a text and has no member "x""#),
        ("{{.z.x}}", r#"line 1, column 5: .z: is null and has no member "x""#),
        ("{{.l.x}}", r#"line 1, column 5: .l: is a list and has no member "x""#),
        ("{{range .nl}}{{.x}}{{end}}", r#"line 1, column 16: .nl[0]: is a number and has no member "x""#),
        ("{{", "line 1, column 1: this action is not closed"),
        ("{{}}", "line 1, column 3: expected a value after an action"),
        ("{{ }}", "line 1, column 4: expected a value after an action"),
        ("{{.", "line 1, column 1: this action is not closed"),
        ("{{if}}x{{end}}", "line 1, column 5: expected a value after if"),
        ("{{if .s}}", "line 1, column 3: this if is not closed"),
        ("{{end}}", r#"line 1, column 3: expected an action, for nothing is open here, found "end""#),
        ("{{else}}", r#"line 1, column 3: expected an action, for nothing is open here, found "else""#),
        (
            "{{if .s}}{{else}}{{else}}{{end}}",
            "line 1, column 16: expected end: there was an else already, found the end of the action",
        ),
        (
            "{{range .l}}{{else if .s}}{{end}}",
            r#"line 1, column 20: expected the end of the action, found "if""#,
        ),
        ("{{break}}", "line 1, column 3: break outside of a range"),
        ("{{continue}}", "line 1, column 3: continue outside of a range"),
        ("{{range .l}}{{end}}{{break}}", "line 1, column 22: break outside of a range"),
        (
            r#"{{range .l}}{{block "b" .}}{{break}}{{end}}{{end}}"#,
            "line 1, column 30: break outside of a range",
        ),
        ("{{.s .t}}", "line 1, column 3: .s is no function, it takes no values"),
        (r#"{{"a""b"}}"#, r#"line 1, column 6: expected a space or the end of the value, found "\"b\"""#),
        (r#"{{"a".x}}"#, r#"line 1, column 6: "a" has no members"#),
        ("{{1 2}}", "line 1, column 3: 1 is no function, it takes no values"),
        ("{{nil}}", "line 1, column 3: nil alone is no value to print or to choose by"),
        ("{{.a | 1}}", "line 1, column 8: 1 is no function, it takes no values"),
        ("{{| .a}}", r#"line 1, column 3: expected a value or a function, found "|""#),
        ("{{.a || print}}", r#"line 1, column 7: expected a value or a function, found "|""#),
        ("{{$y}}", "line 1, column 3: there is no variable $y here"),
        ("{{$y = 1}}", "line 1, column 3: there is no variable $y here"),
        ("{{x}}", r#"line 1, column 3: there is no function "x""#),
        ("{{print(1)}}", r#"line 1, column 8: expected a space or the end of the value, found "(""#),
        ("{{(1}}", "line 1, column 3: this parenthesis is not closed"),
        ("{{1)}}", "line 1, column 4: this parenthesis closes nothing"),
        ("{{1 := 2}}", r#"line 1, column 5: expected the end of the action, found ":=""#),
        ("{{$x, $y := 1}}", r#"line 1, column 5: expected only one variable here, found ",""#),
        ("{{range $i, 3 := .l}}{{end}}", r#"line 1, column 13: expected a second variable, found "3""#),
        ("{{define T}}{{end}}", r#"line 1, column 10: expected a template's name in quotes, found "T""#),
        (
            r#"{{if 1}}{{define "x"}}{{end}}{{end}}"#,
            "line 1, column 11: a definition stands at the top, not inside of something",
        ),
        (
            r#"{{define "a"}}x{{end}}{{define "a"}}y{{end}}"#,
            r#"line 1, column 23: the template "a" is defined twice"#,
        ),
        ("{{template nope}}", r#"line 1, column 12: expected a template's name in quotes, found "nope""#),
        (r#"{{template "nope"}}"#, r#"line 1, column 3: there is no template "nope""#),
        ("{{'ab'}}", "line 1, column 3: 'ab' is not a valid constant"),
        ("{{''}}", "line 1, column 3: '' is not a valid constant"),
        ("{{'a}}", "line 1, column 3: this character constant is not closed"),
        (r#"{{"a}}"#, "line 1, column 3: this quoted text is not closed"),
        ("{{`a}}", "line 1, column 3: this raw text is not closed"),
        ("{{/* x}}", "line 1, column 1: this comment is not closed"),
        ("{{/* x */ 1}}", "line 1, column 10: expected }} after the comment: it is alone in its action"),
        ("{{1i}}", "line 1, column 3: imaginary numbers are not supported: 1i"),
        ("{{08}}", r#"line 1, column 3: "08" is not a number"#),
        ("{{0x}}", r#"line 1, column 3: "0x" is not a number"#),
        ("{{1a}}", r#"line 1, column 3: "1a" is not a number"#),
        ("{{9223372036854775808}}", "line 1, column 3: 9223372036854775808 does not fit 64 bits"),
        ("{{.a:b}}", "line 1, column 5: expected := to declare a variable, found a lone colon"),
        ("{{a:=1}}", r#"line 1, column 3: there is no function "a""#),
        ("{{:}}", "line 1, column 3: expected := to declare a variable, found a lone colon"),
        ("{{@}}", r#"line 1, column 3: expected a value or a function, found "@""#),
        ("{{§}}", "line 1, column 3: unexpected character '§' in an action"),
        (r#"{{"\q"}}"#, r#"line 1, column 3: "\q" is not a valid constant"#),
        (r#"{{"\xff"}}"#, r#"line 1, column 3: "\xff" is not UTF-8"#),
        ("{{.a.}}", r#"line 1, column 5: expected a space or the end of the value, found ".""#),
        ("{{..a}}", "line 1, column 4: . has no members"),
        ("{{$x.a := 1}}", "line 1, column 3: there is no variable $x here"),
        ("{{end", "line 1, column 1: this action is not closed"),
        ("{{if true}}{{end .x}}", r#"line 1, column 18: expected the end of the action, found ".x""#),
        ("{{with}}{{end}}", "line 1, column 7: expected a value after with"),
        ("{{break 1}}", "line 1, column 3: break outside of a range"),
        ("{{range .l}}{{break 1}}{{end}}", r#"line 1, column 21: expected the end of the action, found "1""#),
        ("{{- }}", "line 1, column 5: expected a value after an action"),
        ("{{ -}}", "line 1, column 3: expected a value after an action"),
        ("{{--1}}", r#"line 1, column 3: "--1" is not a number"#),
    ] {
        assert_eq!(rendered(template, &data, Options::LIKE_GO), Err(expect.to_owned()), "{template}");
    }
}
