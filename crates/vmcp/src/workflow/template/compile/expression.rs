//! Pipelines: values, functions and what is piped into them.

use super::super::Reference;
use super::super::data::Data;
use super::super::function::Function;
use super::super::literal::{self, BadLiteral};
use super::super::program::{Op, Slot};
use super::super::token::{Keyword, Token, TokenKind};
use super::{CompileError, Compiler, MAX_VARIABLES, Problem, offset};

/// What an operand turned out to be.
struct Operand<'s> {
    /// All of its text.
    text: &'s str,
    start: usize,
    what: What,
    /// The names that lead to it from the top, where that is known.
    path: Option<Vec<Box<str>>>,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Function,
    Nil,
    /// A constant or the dot.
    Constant,
    /// A member, a variable, something in parentheses.
    Value,
}

/// What a pipeline does with its value before it is used.
struct Declared<'s> {
    names: Vec<(&'s str, Token)>,
    assigns: bool,
}

/// How a command is called.
#[derive(Clone, Copy)]
struct Call {
    start: usize,
    is_piped: bool,
}

impl<'s> Compiler<'s> {
    /// A pipeline up to what ends it; whether it declares or assigns a variable.
    pub(super) fn pipeline(&mut self, context: &'static str, end: TokenKind) -> Result<bool, CompileError> {
        let declared = self.declared(context)?;
        self.commands(context, end)?;
        self.store(&declared)?;
        Ok(!declared.names.is_empty())
    }

    /// The pipeline of a range, and the variables that its elements go to.
    pub(super) fn range_pipeline(&mut self) -> Result<(Option<Slot>, Option<Slot>), CompileError> {
        let declared = self.declared("range")?;
        self.commands("range", TokenKind::Close)?;
        let slots = self.store(&declared)?;
        Ok(match slots.as_slice() {
            [] => (None, None),
            [element] => (None, Some(*element)),
            [index, element, ..] => (Some(*index), Some(*element)),
        })
    }

    /// `$x :=`, `$x =`, and in a range `$i, $x :=`.
    fn declared(&mut self, context: &'static str) -> Result<Declared<'s>, CompileError> {
        let mut declared = Declared { names: Vec::new(), assigns: false };
        loop {
            let variable = self.peek_solid();
            if variable.kind != TokenKind::Variable {
                break;
            }
            let back = self.at;
            self.next();
            let sign = self.peek_solid();
            let is_comma = sign.kind == TokenKind::Other && self.text_of(sign) == ",";
            match sign.kind {
                TokenKind::Assign | TokenKind::Declare => {
                    self.next();
                    declared.assigns = sign.kind == TokenKind::Assign;
                    declared.names.push((self.text_of(variable), variable));
                    break;
                }
                _ if is_comma && context == "range" && declared.names.is_empty() => {
                    self.next();
                    declared.names.push((self.text_of(variable), variable));
                    if self.peek_solid().kind != TokenKind::Variable {
                        let token = self.peek();
                        return self.unexpected(token, "a second variable");
                    }
                }
                _ if is_comma => return self.unexpected(sign, "only one variable here"),
                _ => {
                    self.at = back;
                    break;
                }
            }
        }
        Ok(declared)
    }

    /// Puts the value into the variables. They are seen only from here on.
    fn store(&mut self, declared: &Declared<'s>) -> Result<Vec<Slot>, CompileError> {
        let mut slots = Vec::new();
        for (name, token) in &declared.names {
            let slot = if declared.assigns { self.slot(name, *token)? } else { self.new_slot(*token)? };
            self.emit(token.start, Op::Store(u32::from(slot)));
            slots.push(slot);
        }
        if !declared.assigns {
            let names = declared.names.iter().map(|(name, _)| *name);
            self.body.scope.extend(names.zip(slots.iter().copied()));
        }
        Ok(slots)
    }

    fn slot(&self, name: &str, token: Token) -> Result<Slot, CompileError> {
        let known = self.body.scope.iter().rev().find(|(known, _)| *known == name);
        match known {
            Some((_, slot)) => Ok(*slot),
            None => self.fail(token.start, Problem::NoVariable(name.to_owned())),
        }
    }

    fn new_slot(&mut self, token: Token) -> Result<Slot, CompileError> {
        let slot = Slot::try_from(self.body.slots).ok().filter(|slot| u32::from(*slot) < MAX_VARIABLES);
        let Some(slot) = slot else { return self.fail(token.start, Problem::TooManyVariables) };
        self.body.slots += 1;
        Ok(slot)
    }

    /// The commands of a pipeline; the path of its value, if it is one command that has one.
    fn commands(
        &mut self,
        context: &'static str,
        end: TokenKind,
    ) -> Result<Option<Vec<Box<str>>>, CompileError> {
        let first = self.peek_solid();
        if first.kind == end {
            return self.fail(first.start, Problem::MissingValue(context));
        }
        let mut path = self.command(Call { start: first.start, is_piped: false })?;
        loop {
            let token = self.next_solid();
            match token.kind {
                // A pipe into nothing is nothing, as in Go.
                TokenKind::Pipe if self.peek_solid().kind == end => {}
                TokenKind::Pipe => {
                    path = None;
                    let start = self.peek().start;
                    self.command(Call { start, is_piped: true })?;
                }
                kind if kind == end => {
                    self.emit(first.start, Op::Settle);
                    return Ok(path);
                }
                _ if end == TokenKind::CloseParen => return self.unexpected(token, "a closing parenthesis"),
                _ => return self.unexpected(token, "the end of the action"),
            }
        }
    }

    fn command(&mut self, call: Call) -> Result<Option<Vec<Box<str>>>, CompileError> {
        let first = self.peek_solid();
        let Some(operand) = self.operand()? else { return self.unexpected(first, "a value or a function") };
        match operand.what {
            What::Function => return self.function(operand.text, call),
            What::Nil => return self.fail(operand.start, Problem::NilAlone),
            What::Constant | What::Value if call.is_piped => {
                return self.fail(operand.start, Problem::NotAFunction(operand.text.to_owned()));
            }
            What::Constant | What::Value => {}
        }
        if self.next_operand()?.is_some() {
            return self.fail(operand.start, Problem::NotAFunction(operand.text.to_owned()));
        }
        Ok(operand.path)
    }

    /// The next operand of the command, or none at its end. Operands have spaces between them.
    fn next_operand(&mut self) -> Result<Option<Operand<'s>>, CompileError> {
        let token = self.peek();
        if token.kind == TokenKind::Space {
            self.skip_spaces();
            return self.operand();
        }
        match token.kind {
            TokenKind::Close | TokenKind::CloseParen | TokenKind::Pipe => Ok(None),
            _ => self.unexpected(token, "a space or the end of the value"),
        }
    }

    fn function(&mut self, name: &'s str, call: Call) -> Result<Option<Vec<Box<str>>>, CompileError> {
        match name {
            "and" => return self.short_circuit(name, false, call).map(|()| None),
            "or" => return self.short_circuit(name, true, call).map(|()| None),
            "call" => return self.fail(call.start, Problem::Call),
            _ => {}
        }
        let Some((function, least, most)) = Function::of(name) else {
            return self.fail(call.start, Problem::NoFunction(name.to_owned()));
        };
        let mut path = None;
        let mut count = usize::from(call.is_piped);
        while let Some(operand) = self.argument()? {
            path = if function == Function::Index { self.indexed(path, &operand, count) } else { None };
            count += 1;
        }
        self.check_count(name, call, count, (least, most))?;
        let call_op = Op::Call { function, count: offset(count), is_piped: call.is_piped };
        self.emit(call.start, call_op);
        if let Some(path) = path.as_ref().filter(|_| !call.is_piped) {
            self.refer(path.clone());
        }
        Ok(path)
    }

    /// The path of what `index` with constants finds.
    fn indexed(
        &self,
        path: Option<Vec<Box<str>>>,
        operand: &Operand<'s>,
        count: usize,
    ) -> Option<Vec<Box<str>>> {
        if count == 0 {
            return operand.path.clone();
        }
        let mut path = path?;
        match self.constants.last() {
            Some(Data::Text(text)) if operand.text.starts_with(['"', '`']) => path.push((&**text).into()),
            _ => return None,
        }
        Some(path)
    }

    fn argument(&mut self) -> Result<Option<Operand<'s>>, CompileError> {
        let Some(operand) = self.next_operand()? else { return Ok(None) };
        if operand.what == What::Function {
            // A function among the values is called without any.
            let call = Call { start: operand.start, is_piped: false };
            let (function, least, most) = match operand.text {
                "call" => return self.fail(operand.start, Problem::Call),
                // These take one at least.
                "and" | "or" => (Function::Not, 1, usize::MAX),
                name => match Function::of(name) {
                    Some(known) => known,
                    None => return self.fail(operand.start, Problem::NoFunction(name.to_owned())),
                },
            };
            self.check_count(operand.text, call, 0, (least, most))?;
            self.emit(operand.start, Op::Call { function, count: 0, is_piped: false });
        }
        Ok(Some(operand))
    }

    fn check_count(
        &self,
        name: &str,
        call: Call,
        given: usize,
        (least, most): (usize, usize),
    ) -> Result<(), CompileError> {
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let takes = match (least, most) {
            (1, 1) => "one value".to_owned(),
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => format!("{least} values"),
            (least, most) => format!("{least} to {most} values"),
        };
        self.fail(call.start, Problem::WrongCount { name: name.to_owned(), takes, given })
    }

    /// `and` and `or`: the first value that decides, or the last.
    fn short_circuit(&mut self, name: &str, on: bool, call: Call) -> Result<(), CompileError> {
        let mut jumps = Vec::new();
        while let Some(operand) = self.argument()? {
            jumps.push(self.emit(operand.start, Op::ShortCircuit { on, to: 0 }));
        }
        self.check_count(name, call, jumps.len() + usize::from(call.is_piped), (1, usize::MAX))?;
        if call.is_piped {
            // What was piped lies under the one that decided.
            let over = self.emit(call.start, Op::Jump(0));
            jumps.into_iter().for_each(|jump| self.land(jump));
            self.emit(call.start, Op::DropUnder);
            self.land(over);
            return Ok(());
        }
        // The last value is the result either way.
        if let Some(last) = jumps.pop() {
            self.ops.truncate(last);
            self.positions.truncate(last);
        }
        jumps.into_iter().for_each(|jump| self.land(jump));
        Ok(())
    }

    /// A term and the members that are asked of it.
    fn operand(&mut self) -> Result<Option<Operand<'s>>, CompileError> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let fields = self.peek().start;
        while self.peek().kind == TokenKind::Field {
            let field = self.next();
            match operand.what {
                What::Value => {}
                // `.` and a constant have none; a function's are those of its result, in parentheses.
                _ => return self.fail(field.start, Problem::NoMembers(operand.text.to_owned())),
            }
            self.field(field);
            let name = &self.source[field.start + 1..field.end];
            if let Some(path) = &mut operand.path {
                path.push(name.into());
            }
            operand.text = &self.source[operand.start..field.end];
        }
        self.refer_to_fields(&operand, fields);
        Ok(Some(operand))
    }

    fn field(&mut self, field: Token) {
        self.emit(field.start, Op::Field { start: offset(field.start + 1), end: offset(field.end) });
    }

    /// Notes the members that an operand asks for.
    fn refer_to_fields(&mut self, operand: &Operand<'s>, fields: usize) {
        let is_chain = operand.text.starts_with('(');
        if is_chain && fields < operand.start + operand.text.len() {
            let names = self.source[fields + 1..operand.start + operand.text.len()].split('.');
            let path = names.map(Into::into).collect();
            self.refer(path);
        }
        if let Some(path) = operand.path.as_ref().filter(|path| !path.is_empty()) {
            self.refer(path.clone());
        }
    }

    fn refer(&mut self, names: Vec<Box<str>>) {
        let reference = Reference { names };
        if !self.references.contains(&reference) {
            self.references.push(reference);
        }
    }

    fn term(&mut self) -> Result<Option<Operand<'s>>, CompileError> {
        let token = self.peek();
        let (start, text) = (token.start, self.text_of(token));
        let (what, path) = match token.kind {
            TokenKind::Identifier => (What::Function, None),
            TokenKind::Dot => {
                self.emit(start, Op::Dot);
                (What::Constant, None)
            }
            TokenKind::Keyword(Keyword::Nil) => {
                self.emit(start, Op::Nil);
                (What::Nil, None)
            }
            TokenKind::Variable => {
                let slot = self.slot(text, token)?;
                self.emit(start, Op::Load(u32::from(slot)));
                (What::Value, (text == "$").then(Vec::new))
            }
            TokenKind::Field => {
                self.emit(start, Op::Dot);
                self.field(token);
                (What::Value, Some(vec![text[1..].into()]))
            }
            TokenKind::OpenParen => return self.parenthesized().map(Some),
            TokenKind::Bool => (self.constant(token, Data::Bool(text == "true")), None),
            TokenKind::Number | TokenKind::Character | TokenKind::Quoted | TokenKind::RawQuoted => {
                (self.literal(token)?, None)
            }
            _ => return Ok(None),
        };
        if what == What::Function && !matches!(text, "and" | "or" | "call") && Function::of(text).is_none() {
            return self.fail(start, Problem::NoFunction(text.to_owned()));
        }
        self.next();
        Ok(Some(Operand { text, start, what, path }))
    }

    fn parenthesized(&mut self) -> Result<Operand<'s>, CompileError> {
        let open = self.next();
        self.enter(open.start)?;
        let declared = self.declared("parentheses")?;
        let path = self.commands("a parenthesis", TokenKind::CloseParen)?;
        self.store(&declared)?;
        self.leave();
        let end = self.tokens[self.at - 1].end;
        Ok(Operand { text: &self.source[open.start..end], start: open.start, what: What::Value, path })
    }

    fn literal(&mut self, token: Token) -> Result<What, CompileError> {
        let text = self.text_of(token);
        let value = match token.kind {
            TokenKind::Number => literal::number(text),
            TokenKind::Character => literal::character(text),
            TokenKind::RawQuoted => Ok(Data::from(literal::raw(text))),
            _ => literal::quoted(text).map(Data::from),
        };
        let value = value.or_else(|bad| self.bad_literal(token, &bad))?;
        Ok(self.constant(token, value))
    }

    fn constant(&mut self, token: Token, value: Data) -> What {
        let index = offset(self.constants.len());
        self.constants.push(value);
        self.emit(token.start, Op::Constant(index));
        What::Constant
    }

    pub(super) fn bad_literal<T>(&self, token: Token, bad: &BadLiteral) -> Result<T, CompileError> {
        let text = self.text_of(token).to_owned();
        let problem = match bad {
            BadLiteral::Syntax if token.kind == TokenKind::Number => Problem::BadNumber(text),
            BadLiteral::Syntax => Problem::BadConstant(text),
            BadLiteral::Overflow => Problem::Overflow(text),
            BadLiteral::Imaginary => Problem::Imaginary(text),
            BadLiteral::NotUtf8 => Problem::NotUtf8(text),
        };
        self.fail(token.start, problem)
    }
}
