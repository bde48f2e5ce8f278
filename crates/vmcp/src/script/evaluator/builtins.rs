//! What a script has beside Starlark's own functions.

use std::rc::Rc;

use starlark::environment::GlobalsBuilder;
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::values::Value;
use starlark::values::dict::DictRef;
use starlark::values::tuple::TupleRef;

use super::calls::Calls;
use super::{other, value};

/// Functions that a `parallel` takes.
const MAX_FUNCTIONS: usize = 1_000;

/// `parallel`, and what functions of tools are made of.
#[starlark_module]
pub(super) fn builtins(builder: &mut GlobalsBuilder) {
    fn parallel<'v>(
        #[starlark(require = pos)] functions: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let functions: Vec<_> = functions.iterate(eval.heap())?.take(MAX_FUNCTIONS + 1).collect();
        if functions.len() > MAX_FUNCTIONS {
            return Err(other(format!("parallel: more than {MAX_FUNCTIONS} functions")));
        }
        if let Some(wrong) = functions.iter().find(|function| function.get_type() != "function") {
            let kind = wrong.get_type();
            return Err(other(format!("parallel: a {kind} is not a function: write lambda: tool(…)")));
        }
        calls()?.parallel(&functions, eval)
    }

    fn __call<'v>(
        #[starlark(require = pos)] tool: Value<'v>,
        #[starlark(require = pos)] args: Value<'v>,
        #[starlark(require = pos)] kwargs: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let positional: Vec<Value<'v>> =
            TupleRef::from_value(args).map(|args| args.iter().collect()).unwrap_or_default();
        let (tool, positional) = match tool.unpack_str() {
            Some(tool) => (tool, &positional[..]),
            None => {
                match positional.split_first().and_then(|(name, rest)| Some((name.unpack_str()?, rest))) {
                    Some(named) => named,
                    None => {
                        return Err(other("call_tool: its first argument is the name of a tool".to_owned()));
                    }
                }
            }
        };
        let calls = calls()?;
        let arguments = arguments(positional, kwargs, calls.limits.output)
            .map_err(|problem| other(format!("{tool}: its arguments: {problem}")))?;
        let answer = calls.call(tool, arguments, eval)?;
        Ok(value::from_json(&answer, eval.heap()))
    }
}

/// Arguments by name, with those by place as `arg0`, `arg1`, ….
fn arguments<'v>(positional: &[Value<'v>], named: Value<'v>, most: usize) -> Result<String, value::NoJson> {
    let mut writer = value::Writer { out: String::new(), most, depth: 0 };
    let named = DictRef::from_value(named);
    let by_place = positional.iter().enumerate().map(|(place, value)| (format!("arg{place}"), *value));
    let by_name = named.iter().flat_map(|named| named.iter());
    let by_name = by_name.filter_map(|(name, value)| Some((name.unpack_str()?.to_owned(), value)));
    writer.members(by_place.chain(by_name).map(Ok))?;
    Ok(writer.out)
}

fn calls() -> starlark::Result<Rc<Calls>> {
    Calls::here().ok_or_else(|| other("there is nobody to call tools".to_owned()))
}
