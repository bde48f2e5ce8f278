//! What scripts come to, with tools that answer here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Value as Json, json};

use super::*;

const LIMITS: Limits =
    Limits { steps: 10_000, calls: 50, parallel: 4, output: 64 * 1024, heap: 64 * 1024 * 1024 };
const TOOLS: [&str; 4] = ["echo", "notes-list", "fails", "for"];

/// What was said, and what is answered: calls are answered the last one first.
#[derive(Clone, Default)]
struct Here {
    said: Rc<RefCell<Vec<String>>>,
    under_way: Rc<RefCell<VecDeque<Answer>>>,
    most_at_once: Rc<RefCell<usize>>,
}

impl Line for Here {
    fn say(&mut self, said: &Said) -> io::Result<()> {
        match said {
            Said::Call { id, tool, arguments } => {
                self.said.borrow_mut().push(format!("{tool} {arguments}"));
                let outcome = match tool.as_str() {
                    "fails" => Err("fails: it always does".to_owned()),
                    "notes-list" => Ok(json!(["a", "b"])),
                    _ => Ok(serde_json::from_str(arguments.get()).unwrap()),
                };
                let mut under_way = self.under_way.borrow_mut();
                under_way.push_back(Answer { id: *id, outcome });
                let mut most = self.most_at_once.borrow_mut();
                *most = under_way.len().max(*most);
            }
            Said::Print(text) => self.said.borrow_mut().push(format!("print {text}")),
            Said::Done(value) => self.said.borrow_mut().push(value.get().to_owned()),
            Said::Failed(message) => self.said.borrow_mut().push(format!("failed: {message}")),
        }
        Ok(())
    }

    fn hear(&mut self) -> io::Result<Answer> {
        self.under_way.borrow_mut().pop_back().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn job(script: &str, data: Json) -> Job {
    let Json::Object(data) = data else { panic!("an object") };
    Job { script: script.to_owned(), data, tools: TOOLS.map(str::to_owned).to_vec(), limits: LIMITS }
}

fn evaluated(job: &Job) -> Here {
    let here = Here::default();
    evaluate(job, here.clone()).unwrap();
    here
}

/// All that a script says, its outcome last.
fn said(script: &str) -> Vec<String> {
    evaluated(&job(script, json!({}))).said.take()
}

fn outcome(script: &str) -> String {
    said(script).pop().unwrap()
}

#[test]
fn values_are_returned_as_json() {
    for (script, expect) in [
        ("return 1", "1"),
        ("x = 1", "null"),
        ("# nothing", "null"),
        ("return 10 // 4, 2.5, 1e300, -0.0", "[2,2.5,1e+300,-0.0]"),
        ("return 1 << 70", "1180591620717411303424"),
        ("return {'a': [True, None, 'ü\\n'], 'b': ()}", r#"{"a":[true,null,"ü\n"],"b":[]}"#),
        ("return struct(a = 1, b = struct(c = 'x'))", r#"{"a":1,"b":{"c":"x"}}"#),
        ("x = []\nfor i in range(4):\n  if i % 2:\n    x.append(i)\nreturn x", "[1,3]"),
        ("def f(a, b = 2):\n\treturn a * b\nreturn f(4)", "8"),
        ("a = 'x'\nreturn f'{a}y'", "\"xy\""),
        ("return json.decode('[1, {\"a\": 2}]')", r#"[1,{"a":2}]"#),
        ("return [x * 2 for x in [1, 2] if x > 1]", "[4]"),
        ("return '''a\n  b'''", r#""a\n  b""#),
        ("return sorted([3, 1, 2], reverse = True)", "[3,2,1]"),
    ] {
        assert_eq!(outcome(script), expect, "{script}");
    }
}

#[test]
fn tools_are_functions() {
    for (script, expect) in [
        ("return echo(a = 1, b = 'x')", &[r#"echo {"a":1,"b":"x"}"#, r#"{"a":1,"b":"x"}"#][..]),
        ("return echo(1, [2], c = 3)['arg1']", &[r#"echo {"arg0":1,"arg1":[2],"c":3}"#, "[2]"]),
        ("return len(notes_list())", &["notes-list {}", "2"]),
        ("return call_tool('for', name = 'n')", &[r#"for {"name":"n"}"#, r#"{"name":"n"}"#]),
        ("return call_tool('notes-list')[0]", &["notes-list {}", "\"a\""]),
        ("print('one', 2)\nreturn 3", &["print one 2", "3"]),
        ("x = fails()\nreturn 1", &["fails {}", "failed: line 1: fails: it always does"]),
        ("\nreturn call_tool(1)", &["failed: line 2: call_tool: its first argument is the name of a tool"]),
        ("return echo(a = print)", &["failed: line 1: echo: its arguments: a function cannot be given out"]),
    ] {
        assert_eq!(said(script), expect, "{script}");
    }
}

#[test]
fn numbers_stay_whole_and_exact() {
    let data = json!({"whole": 3.0, "big": 9_007_199_254_740_993_i64, "far": 18_446_744_073_709_551_615_u64,
        "half": 0.5, "huge": 1e20});
    let job = job("return [type(whole), whole, big, far, half, huge]", data);
    let expect = r#"["int",3,9007199254740993,18446744073709551615,0.5,1e+20]"#;
    assert_eq!(evaluated(&job).said.take().pop().unwrap(), expect);
}

#[test]
fn variables_do_not_take_the_place_of_functions() {
    for (data, expect) in [
        (json!({"x": {"y": [1]}}), "[1]"),
        (json!({"echo": 1}), "failed: data: \"echo\" is the name of a function of the script"),
        (json!({"notes_list": 1}), "failed: data: \"notes_list\" is the name of a function of the script"),
        (json!({"len": 1}), "failed: data: \"len\" is the name of a function of the script"),
        (json!({"a b": 1}), "failed: data: \"a b\" is not a name that a script can use"),
    ] {
        assert_eq!(evaluated(&job("return x['y']", data)).said.take(), [expect]);
    }
}

#[test]
fn calls_in_parallel_are_under_way_at_once_and_everything_runs_once() {
    let script = "
seen = []
def ask(n):
    print('before', n)
    first = echo(n = n)['n']
    seen.append(first)
    return first * 10 + len(notes_list())
results = parallel([lambda: ask(1), lambda: ask(2), lambda: ask(3)])
return [results, sorted(seen)]
";
    let here = evaluated(&job(script, json!({})));
    let said = here.said.take();
    assert_eq!(said.last().unwrap(), "[[12,22,32],[1,2,3]]");
    assert_eq!(said.iter().filter(|line| line.starts_with("print")).count(), 3);
    assert_eq!(said.iter().filter(|line| line.starts_with("echo")).count(), 3);
    assert!(*here.most_at_once.borrow() >= 3);
}

#[test]
fn no_more_calls_are_under_way_than_may_be() {
    let script = "return parallel([(lambda n: lambda: echo(n = n)['n'])(n) for n in range(20)])";
    let here = evaluated(&job(script, json!({})));
    let expect: Vec<i32> = (0..20).collect();
    assert_eq!(here.said.borrow().last().unwrap(), &serde_json::to_string(&expect).unwrap());
    assert_eq!(*here.most_at_once.borrow(), LIMITS.parallel);
}

#[test]
fn parallel_within_parallel_is_in_order() {
    let script = "
def two(n):
    return parallel([lambda: echo(n = n)['n'], lambda: echo(n = n + 1)['n']])
return parallel([lambda: two(0), lambda: two(10), lambda: two(20), lambda: 5])
";
    assert_eq!(outcome(script), "[[0,1],[10,11],[20,21],5]");
    assert_eq!(outcome("return parallel([])"), "[]");
}

#[test]
fn what_fails_in_parallel_ends_the_script() {
    let script = "return parallel([lambda: echo(), lambda: fails(), lambda: echo()])";
    assert_eq!(outcome(script), "failed: line 1: fails: it always does");
    assert!(outcome("return parallel([1])").contains("parallel: a int is not a function"));
    assert!(outcome("return parallel(1)").starts_with("failed: line 1: "));
}

#[test]
fn hostile_scripts_end_with_a_reason() {
    for (script, part) in [
        (
            "for a in range(1000):\n  for b in range(1000):\n    c = a",
            "line 3: the script has more than 10000 steps",
        ),
        ("def f(n):\n  return f(n + 1)\nreturn f(0)", "stack overflow"),
        ("s = 'a'\nfor i in range(64):\n  s = s + s\nreturn len(s)", "more than 64 MiB of memory"),
        ("x = []\nfor i in range(64):\n  x = [x, x]\nreturn x", "it has more than 64 values within values"),
        ("x = 'a' * 60000\nreturn [x, x]", "the script's result: it has more than 65536 bytes"),
        ("return echo(x = ['a' * 60000] * 9)", "its arguments: it has more than 65536 bytes"),
        ("for i in range(99):\n  echo()", "line 2: the script makes more than 50 calls"),
        ("f = lambda: parallel([f])\nreturn f()", "failed: "),
        ("return parallel([lambda: 1] * 2000)", "parallel: more than 1000 functions"),
        ("x = {}\nx['x'] = x\nreturn x", "failed: "),
        ("while True:\n  pass", "failed: line 1: "),
        ("load('a', 'b')", "failed: "),
        ("import os", "failed: "),
        ("return open('/etc/passwd')", "failed: line 1: "),
        ("return float('nan')", "a number is infinite, or none"),
        ("return {1: 2}", "a key is a int, not a string"),
        ("return (", "failed: "),
        ("return 1 +", "failed: line 1: "),
        ("'''", "failed: "),
        ("fail('no more')", "no more"),
        ("return 1 // 0", "failed: line 1: "),
        ("return __call", "a function cannot be given out"),
    ] {
        let found = outcome(script);
        assert!(found.contains(part), "{script}: {found}");
    }
}
