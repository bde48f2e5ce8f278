//! Calls of a script, some of them at once, though a script is one thread.
//!
//! `parallel` takes functions. When one of them calls a tool, the call is made, and before its answer is waited for the next
//! function begins, on top of the one that waits; and so on, until as many calls are under way as may be. So the first call
//! of each function is made at once, everything runs exactly once, over the same values, and what fails ends the script and
//! with it all that is under way. What a function calls after its first answer it waits for alone.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use serde_json::Value as Json;
use serde_json::value::RawValue;
use starlark::eval::Evaluator;
use starlark::values::Value;
use starlark::values::list::AllocList;

use super::super::protocol::{Answer, Limits, Said};
use super::{Line, other};

thread_local! {
    /// Those of the script that is evaluated on this thread. The evaluator would carry them, but only types with an unsafe
    /// implementation.
    static HERE: RefCell<Option<Rc<Calls>>> = const { RefCell::new(None) };
}

/// What all calls of a script have in common.
pub(super) struct Calls {
    line: RefCell<Box<dyn Line>>,
    pub(super) limits: Limits,
    made: Cell<u64>,
    under_way: Cell<usize>,
    /// Answers that somebody further down waits for.
    early: RefCell<HashMap<u64, Result<Json, String>>>,
    batches: RefCell<Vec<Batch>>,
}

/// The functions of one `parallel`. They and their results are variables of the module, under names that no script can say.
#[derive(Clone, Copy)]
struct Batch {
    begun: usize,
    all: usize,
}

impl Calls {
    pub(super) fn new(line: Box<dyn Line>, limits: Limits) -> Self {
        Self {
            line: RefCell::new(line),
            limits,
            made: Cell::new(0),
            under_way: Cell::new(0),
            early: RefCell::default(),
            batches: RefCell::default(),
        }
    }

    /// Those of the script that is evaluated on this thread.
    pub(super) fn here() -> Option<Rc<Self>> {
        HERE.with_borrow(Clone::clone)
    }

    /// Does something with these as those of this thread.
    pub(super) fn during<T>(self: Rc<Self>, run: impl FnOnce(&Self) -> T) -> T {
        HERE.set(Some(Rc::clone(&self)));
        let done = run(&self);
        HERE.set(None);
        done
    }

    pub(super) fn say(&self, said: &Said) -> io::Result<()> {
        self.line.borrow_mut().say(said)
    }

    /// Calls a tool. Other functions may run meanwhile.
    pub(super) fn call<'v>(
        &self,
        tool: &str,
        arguments: String,
        evaluator: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Json> {
        let id = self.begin(tool, arguments)?;
        while self.under_way.get() < self.limits.parallel {
            let Some((batch, place)) = self.next() else { break };
            run(batch, place, evaluator)?;
        }
        let outcome = self.wait(id).map_err(|error| other(error.to_string()))?;
        self.under_way.set(self.under_way.get() - 1);
        outcome.map_err(other)
    }

    fn begin(&self, tool: &str, arguments: String) -> starlark::Result<u64> {
        let id = self.made.get() + 1;
        if id > self.limits.calls {
            return Err(other(format!("the script makes more than {} calls", self.limits.calls)));
        }
        self.made.set(id);
        let arguments = RawValue::from_string(arguments).map_err(|error| other(error.to_string()))?;
        let said = Said::Call { id, tool: tool.to_owned(), arguments };
        self.say(&said).map_err(|error| other(error.to_string()))?;
        self.under_way.set(self.under_way.get() + 1);
        Ok(id)
    }

    fn wait(&self, id: u64) -> io::Result<Result<Json, String>> {
        loop {
            if let Some(outcome) = self.early.borrow_mut().remove(&id) {
                return Ok(outcome);
            }
            let Answer { id: answered, outcome } = self.line.borrow_mut().hear()?;
            self.early.borrow_mut().insert(answered, outcome);
        }
    }

    /// A function that has not begun, of whichever `parallel`, the innermost first.
    fn next(&self) -> Option<(usize, usize)> {
        let batches = self.batches.borrow().len();
        (0..batches).rev().find_map(|batch| Some((batch, self.next_of(batch)?)))
    }

    fn next_of(&self, batch: usize) -> Option<usize> {
        let batch = &mut self.batches.borrow_mut()[batch];
        let place = batch.begun;
        (place < batch.all).then(|| {
            batch.begun += 1;
            place
        })
    }

    /// Runs all of these functions, and gives their results in order.
    pub(super) fn parallel<'v>(
        &self,
        functions: &[Value<'v>],
        evaluator: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<Value<'v>> {
        let batch = self.batches.borrow().len();
        self.batches.borrow_mut().push(Batch { begun: 0, all: functions.len() });
        for (place, function) in functions.iter().enumerate() {
            evaluator.module().set(&function_name(batch, place), *function);
        }
        while let Some(place) = self.next_of(batch) {
            run(batch, place, evaluator)?;
        }
        // What was begun before ran on top of what still waits, and so is over.
        let result =
            |place| evaluator.module().get(&result_name(batch, place)).unwrap_or_else(Value::new_none);
        let results: Vec<Value<'v>> = (0..functions.len()).map(result).collect();
        Ok(evaluator.heap().alloc(AllocList(results)))
    }
}

fn run(batch: usize, place: usize, evaluator: &mut Evaluator<'_, '_, '_>) -> starlark::Result<()> {
    let function = evaluator.module().get(&function_name(batch, place)).unwrap_or_else(Value::new_none);
    let result = evaluator.eval_function(function, &[], &[])?;
    evaluator.module().set(&result_name(batch, place), result);
    Ok(())
}

fn function_name(batch: usize, place: usize) -> String {
    format!("parallel {batch} {place}")
}

fn result_name(batch: usize, place: usize) -> String {
    format!("parallel {batch} {place} result")
}
