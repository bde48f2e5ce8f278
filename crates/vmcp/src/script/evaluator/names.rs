//! Names in a script: which are there already, and what tools are called.

use std::collections::BTreeSet;

/// Functions and words that tools and variables do not take the place of.
const BUILTINS: [&str; 76] = [
    "False",
    "None",
    "True",
    "abs",
    "all",
    "and",
    "any",
    "as",
    "assert",
    "bool",
    "break",
    "call_tool",
    "chr",
    "class",
    "continue",
    "def",
    "del",
    "dict",
    "dir",
    "elif",
    "else",
    "enumerate",
    "except",
    "fail",
    "filter",
    "finally",
    "float",
    "for",
    "from",
    "getattr",
    "global",
    "hasattr",
    "hash",
    "if",
    "import",
    "in",
    "int",
    "is",
    "json",
    "lambda",
    "len",
    "list",
    "load",
    "map",
    "max",
    "min",
    "nonlocal",
    "not",
    "or",
    "ord",
    "parallel",
    "pass",
    "print",
    "raise",
    "range",
    "repr",
    "return",
    "reversed",
    "set",
    "sorted",
    "str",
    "struct",
    "try",
    "tuple",
    "type",
    "while",
    "with",
    "yield",
    "zip",
    "__call",
    "__script",
    "async",
    "await",
    "sum",
    "bytes",
    "record",
];

/// Whether a script has this already.
pub(super) fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name)
}

/// Whether it can be the name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    let is_letter = |char: char| char.is_ascii_alphabetic() || char == '_';
    name.starts_with(is_letter) && name.chars().all(|char| is_letter(char) || char.is_ascii_digit())
}

/// Tools that are functions, with the names of those. The first to have a name keeps it.
pub(super) fn functions(tools: &[String]) -> Vec<(String, &str)> {
    let mut taken = BTreeSet::new();
    let named = tools.iter().map(|tool| (function(tool), tool.as_str()));
    named.filter(|(name, _)| is_name(name) && !is_builtin(name) && taken.insert(name.clone())).collect()
}

fn function(tool: &str) -> String {
    let spelt = |char: char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '_' };
    let name: String = tool.chars().map(spelt).collect();
    if name.starts_with(|char: char| char.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// What makes functions of tools.
pub(super) fn prelude(functions: &[(String, &str)]) -> String {
    let mut text = "def call_tool(*args, **kwargs):\n    return __call(None, args, kwargs)\n".to_owned();
    for (name, tool) in functions {
        // A JSON string is one of Starlark, as long as it has no `\u` of two halves: names of tools are of few signs.
        let tool = serde_json::Value::from(*tool);
        text.push_str(&format!("def {name}(*args, **kwargs):\n    return __call({tool}, args, kwargs)\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_functions_under_names_that_can_be_said() {
        let tools = ["a-b.c", "a_b_c", "2x", "for", "print", "ü", "github_list"].map(str::to_owned);
        let found: Vec<_> = functions(&tools).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, ["a_b_c", "_2x", "_", "github_list"]);
        assert!(is_name("_a1") && !is_name("1a") && !is_name("a b") && !is_name(""));
    }
}
