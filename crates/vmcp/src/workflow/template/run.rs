//! The machine that runs a program over data.
//!
//! Nothing in it recurses: templates that call one another have frames, ranges have walks. Every instruction costs a
//! step, and so does every few bytes that it handles, so that a run ends.

use std::collections::btree_map;

use thiserror::Error;

use super::Rendered;
use super::call::{CallError, Context};
use super::data::{Data, Map};
use super::format;
use super::limits::{Bounded, Exceeded, OnMissing, Options};
use super::path::path_to;
use super::program::{Op, Program, Slot, line_and_column};
use super::value::{Kind, Value};

/// Why a render failed, where in the template, and over which value.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("line {line}, column {column}: {}{fault}", path.as_ref().map_or_else(String::new, |path| format!("{path}: ")))]
pub struct RenderError {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// Where in the data the value is that could not be used, if it is in there.
    pub path: Option<String>,
    /// What went wrong.
    pub fault: Fault,
}

/// What went wrong in a render.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Fault {
    /// A member of what has none.
    #[error("is {noun} and has no member {name:?}")]
    NoMembers {
        /// What it is.
        noun: &'static str,
        /// What was asked of it.
        name: String,
    },
    /// A range over what holds nothing.
    #[error("is {noun}, which range cannot walk")]
    NotWalkable {
        /// What it is.
        noun: &'static str,
    },
    /// Two variables for what has no index.
    #[error("is an integer, over which a range has one variable")]
    OneVariable,
    /// What is to be printed is not there.
    #[error("there is no value to print")]
    NoValue,
    /// A function could not work with its values.
    #[error("{name}: {error}")]
    Call {
        /// The function.
        name: &'static str,
        /// Its complaint.
        error: CallError,
    },
    /// A limit was reached.
    #[error("{0}")]
    Exceeded(Exceeded),
}

/// A range under way.
struct Walk<'d> {
    over: Walked<'d>,
    dot: Value<'d>,
    /// How many dots were put aside before it.
    dots: usize,
}

enum Walked<'d> {
    Lent(std::iter::Enumerate<std::slice::Iter<'d, Data>>),
    Members(btree_map::Iter<'d, std::sync::Arc<str>, Data>),
    /// What was computed is shared, not borrowed: where the walk is.
    Own(std::sync::Arc<[Data]>, usize),
    OwnMembers(std::sync::Arc<Map>, Option<std::sync::Arc<str>>),
    Count {
        next: i64,
        end: i64,
    },
}

/// Where a template goes on when the one it called is done.
struct Frame<'d> {
    back: usize,
    dot: Value<'d>,
    base: usize,
}

/// What the machine does next.
enum Flow {
    Next,
    Jump(u32),
    End,
}

struct Machine<'p, 'd> {
    program: &'p Program,
    context: Context,
    options: Options,
    root: &'d Data,
    out: Bounded,
    dot: Value<'d>,
    dots: Vec<Value<'d>>,
    stack: Vec<Value<'d>>,
    variables: Vec<Value<'d>>,
    base: usize,
    walks: Vec<Walk<'d>>,
    frames: Vec<Frame<'d>>,
    at: usize,
    /// Whether the value of a single action is wanted rather than its text.
    keeps_value: bool,
}

/// What can stop the machine: a fault, and the value that it is about.
struct Stop<'d> {
    fault: Fault,
    value: Value<'d>,
}

impl From<Exceeded> for Stop<'_> {
    fn from(exceeded: Exceeded) -> Self {
        Stop { fault: Fault::Exceeded(exceeded), value: Value::Missing }
    }
}

/// Runs a program. With `keeps_value`, a single action's value is kept.
pub(super) fn run<'d>(
    program: &Program,
    data: &'d Data,
    options: Options,
    keeps_value: bool,
) -> Result<Rendered<'d>, RenderError> {
    let mut machine = Machine {
        program,
        context: Context::new(options),
        options,
        root: data,
        out: Bounded::with_room(options.limits, program.source.len()),
        dot: Value::Lent(data),
        dots: Vec::new(),
        stack: Vec::with_capacity(4),
        variables: Vec::new(),
        base: 0,
        walks: Vec::new(),
        frames: Vec::new(),
        at: 0,
        keeps_value: keeps_value && program.is_single,
    };
    machine.enter_frame(program.slots);
    let result = machine.run();
    result.map_err(|stop| machine.explain(stop))
}

impl<'d> Machine<'_, 'd> {
    fn run(&mut self) -> Result<Rendered<'d>, Stop<'d>> {
        while let Some(op) = self.program.ops.get(self.at).copied() {
            self.context.spend(1)?;
            if op == Op::Print && self.keeps_value {
                return Ok(Rendered::Value(self.pop()));
            }
            match self.step(op)? {
                Flow::Next => self.at += 1,
                Flow::Jump(to) => self.at = to as usize,
                Flow::End => break,
            }
        }
        let out = std::mem::replace(&mut self.out, Bounded::new(self.options.limits));
        Ok(Rendered::Text(out.into_string()))
    }

    fn step(&mut self, op: Op) -> Result<Flow, Stop<'d>> {
        match op {
            Op::Text { start, end } => {
                let text = self.program.text(start, end);
                self.context.spend_bytes(text.len())?;
                self.out.push_str(text)?;
            }
            Op::Print => self.print()?,
            Op::Pop => drop(self.pop()),
            Op::Constant(index) => {
                self.stack.push(Value::Own(self.program.constants[index as usize].clone()));
            }
            Op::Nil => self.stack.push(Value::Missing),
            Op::Dot => self.stack.push(self.dot.clone()),
            Op::Load(slot) => self.stack.push(self.variables[self.base + slot as usize].clone()),
            Op::Store(slot) => {
                let value = self.stack.last().cloned().unwrap_or(Value::Missing);
                self.variables[self.base + slot as usize] = value;
            }
            Op::Field { start, end } => self.field(start, end)?,
            Op::Settle => {
                if let Some(last) = self.stack.last_mut().filter(|last| last.is_null()) {
                    *last = Value::Missing;
                }
            }
            Op::Call { function, count, is_piped } => {
                let first = self.stack.len() - count as usize;
                let values = &mut self.stack[first..];
                if is_piped {
                    values.rotate_left(1);
                }
                let result = self.context.call(function, values).map_err(|error| {
                    let fault = error.into_fault(function);
                    Stop { fault, value: values.first().cloned().unwrap_or(Value::Missing) }
                })?;
                self.stack.truncate(first);
                self.stack.push(result);
            }
            Op::DropUnder => {
                let top = self.pop();
                self.pop();
                self.stack.push(top);
            }
            Op::Template(index) => return self.call_template(index),
            _ => return self.branch(op),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, op: Op) -> Result<Flow, Stop<'d>> {
        match op {
            Op::Jump(to) => Ok(Flow::Jump(to)),
            Op::JumpUnless(to) => {
                let is_true = self.is_true(&self.pop_value());
                self.stack.pop();
                Ok(if is_true { Flow::Next } else { Flow::Jump(to) })
            }
            Op::ShortCircuit { on, to } => {
                if self.is_true(&self.pop_value()) == on {
                    return Ok(Flow::Jump(to));
                }
                self.stack.pop();
                Ok(Flow::Next)
            }
            Op::With { otherwise } => {
                let value = self.pop();
                if !self.is_true(&value) {
                    return Ok(Flow::Jump(otherwise));
                }
                self.dots.push(std::mem::replace(&mut self.dot, value));
                Ok(Flow::Next)
            }
            Op::EndWith => {
                self.dot = self.dots.pop().unwrap_or(Value::Missing);
                Ok(Flow::Next)
            }
            Op::Range { otherwise, has_index } => self.start_walk(otherwise, has_index),
            Op::Next { end, index, element } => self.next_element(end, index, element),
            Op::Break(to) => {
                self.end_walk();
                Ok(Flow::Jump(to))
            }
            Op::Continue(to) => {
                let dots = self.walks.last().map_or(0, |walk| walk.dots);
                self.dots.truncate(dots);
                Ok(Flow::Jump(to))
            }
            Op::Return => Ok(self.leave_frame()),
            _ => Ok(Flow::End),
        }
    }

    fn pop(&mut self) -> Value<'d> {
        self.stack.pop().unwrap_or(Value::Missing)
    }

    /// A copy of what is on top.
    fn pop_value(&self) -> Value<'d> {
        self.stack.last().cloned().unwrap_or(Value::Missing)
    }

    fn is_true(&self, value: &Value<'d>) -> bool {
        value.kind(self.options.numbers).is_true()
    }

    fn print(&mut self) -> Result<(), Stop<'d>> {
        let value = self.pop();
        let before = self.out.len();
        match value.kind(self.options.numbers) {
            Kind::Text(text) => self.out.push_str(text)?,
            Kind::Nil if self.options.missing == OnMissing::Refuse => {
                return Err(Stop { fault: Fault::NoValue, value });
            }
            Kind::Nil => self.out.push_str("<no value>")?,
            kind => format::print_value(&mut self.out, kind, self.options.numbers)?,
        }
        self.context.spend_bytes(self.out.len() - before)?;
        Ok(())
    }

    fn field(&mut self, start: u32, end: u32) -> Result<(), Stop<'d>> {
        let value = self.pop();
        let name = self.program.text(start, end);
        let has_members = matches!(value, Value::Missing) || matches!(value.data(), Some(Data::Map(_)));
        if !has_members {
            let noun = value.kind(self.options.numbers).noun();
            return Err(Stop { fault: Fault::NoMembers { noun, name: name.to_owned() }, value });
        }
        self.stack.push(value.within(|data| data.get(name)));
        Ok(())
    }

    fn enter_frame(&mut self, slots: u32) {
        self.base = self.variables.len();
        self.variables.push(self.dot.clone());
        self.variables.resize(self.base + slots as usize, Value::Missing);
    }

    fn call_template(&mut self, index: u32) -> Result<Flow, Stop<'d>> {
        if self.frames.len() >= self.options.limits.depth {
            return Err(Exceeded::Depth(self.options.limits.depth).into());
        }
        let definition = &self.program.definitions[index as usize];
        // Its variables are made, so they are paid for.
        self.context.spend(u64::from(definition.slots))?;
        let value = self.pop();
        let dot = std::mem::replace(&mut self.dot, value);
        self.frames.push(Frame { back: self.at + 1, dot, base: self.base });
        self.enter_frame(definition.slots);
        Ok(Flow::Jump(definition.entry))
    }

    fn leave_frame(&mut self) -> Flow {
        let Some(frame) = self.frames.pop() else { return Flow::End };
        self.variables.truncate(self.base);
        self.base = frame.base;
        self.dot = frame.dot;
        Flow::Jump(u32::try_from(frame.back).unwrap_or(u32::MAX))
    }

    fn start_walk(&mut self, otherwise: u32, has_index: bool) -> Result<Flow, Stop<'d>> {
        let value = self.pop();
        let over = match (&value, value.kind(self.options.numbers)) {
            (_, kind)
                if !kind.is_true() && !matches!(kind, Kind::Text(_) | Kind::Bool(_) | Kind::Float(_)) =>
            {
                if has_index && matches!(kind, Kind::Int(_) | Kind::Uint(_) | Kind::Byte(_)) {
                    return Err(Stop { fault: Fault::OneVariable, value });
                }
                return Ok(Flow::Jump(otherwise));
            }
            (Value::Lent(Data::List(values)), _) => Walked::Lent(values.iter().enumerate()),
            (Value::Lent(Data::Map(members)), _) => Walked::Members(members.iter()),
            (Value::Own(Data::List(values)), _) => Walked::Own(values.clone(), 0),
            (Value::Own(Data::Map(members)), _) => Walked::OwnMembers(members.clone(), None),
            (_, Kind::Int(_) | Kind::Uint(_) | Kind::Byte(_)) if has_index => {
                return Err(Stop { fault: Fault::OneVariable, value });
            }
            (_, Kind::Int(end)) if end < 0 => return Ok(Flow::Jump(otherwise)),
            (_, Kind::Int(end)) => Walked::Count { next: 0, end },
            (_, Kind::Byte(end)) => Walked::Count { next: 0, end: i64::from(end) },
            // More than the steps that there are, either way.
            (_, Kind::Uint(_)) => Walked::Count { next: 0, end: i64::MAX },
            (_, kind) => return Err(Stop { fault: Fault::NotWalkable { noun: kind.noun() }, value }),
        };
        self.walks.push(Walk { over, dot: self.dot.clone(), dots: self.dots.len() });
        Ok(Flow::Next)
    }

    fn next_element(
        &mut self,
        end: u32,
        index: Option<Slot>,
        element: Option<Slot>,
    ) -> Result<Flow, Stop<'d>> {
        let next = self.walks.last_mut().and_then(|walk| walk.over.next());
        let Some((at, value)) = next else {
            self.end_walk();
            return Ok(Flow::Jump(end));
        };
        if let Some(slot) = index {
            self.variables[self.base + usize::from(slot)] = at;
        }
        if let Some(slot) = element {
            self.variables[self.base + usize::from(slot)] = value.clone();
        }
        self.dot = value;
        Ok(Flow::Next)
    }

    fn end_walk(&mut self) {
        if let Some(walk) = self.walks.pop() {
            self.dots.truncate(walk.dots);
            self.dot = walk.dot;
        }
    }

    /// Says where it stopped.
    fn explain(&self, stop: Stop<'d>) -> RenderError {
        let at = self.program.positions.get(self.at).copied().unwrap_or_default();
        let (line, column) = line_and_column(&self.program.source, at as usize);
        let path = match &stop.value {
            Value::Lent(value) => path_to(self.root, value),
            _ => None,
        };
        RenderError { line, column, path, fault: stop.fault }
    }
}

impl<'d> Walked<'d> {
    fn next(&mut self) -> Option<(Value<'d>, Value<'d>)> {
        let index = |at: usize| Value::Own(Data::Int(i64::try_from(at).unwrap_or(i64::MAX)));
        match self {
            Self::Lent(values) => values.next().map(|(at, value)| (index(at), Value::Lent(value))),
            Self::Members(members) => {
                members.next().map(|(name, value)| (Value::Own(Data::Text(name.clone())), Value::Lent(value)))
            }
            Self::Own(values, at) => {
                let value = values.get(*at)?.clone();
                *at += 1;
                Some((index(*at - 1), Value::Own(value)))
            }
            Self::OwnMembers(members, last) => {
                let after = last.take().map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
                let (name, value) =
                    members.range::<std::sync::Arc<str>, _>((after, std::ops::Bound::Unbounded)).next()?;
                *last = Some(name.clone());
                Some((Value::Own(Data::Text(name.clone())), Value::Own(value.clone())))
            }
            Self::Count { next, end } => {
                let at = *next;
                *next += 1;
                (at < *end).then_some((Value::Missing, Value::Own(Data::Int(at))))
            }
        }
    }
}
