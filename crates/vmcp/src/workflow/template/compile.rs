//! From a template's text to its program, in one pass: what is known before there is data is checked here.
//!
//! Some of it, Go only says when it gets there: variables, functions' numbers of values and templates that do not exist,
//! arguments for what is no function. Here a template that compiles cannot fail for those.

mod expression;

use std::collections::HashMap;

use thiserror::Error;

use super::Reference;
use super::data::Data;
use super::literal;
use super::program::{Definition, Op, Program, Slot, line_and_column};
use super::token::{Keyword, Token, TokenKind, tokens};

/// How deep blocks and parentheses may be nested.
const MAX_DEPTH: usize = 100;

/// How many variables a template may have, each named one by itself.
const MAX_VARIABLES: u32 = 1000;

/// How long a template may be.
const MAX_SOURCE: usize = 1 << 20;

/// Why a template is none, and where.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct CompileError {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
}

impl CompileError {
    pub(super) fn new(source: &str, at: usize, problem: Problem) -> Self {
        let (line, column) = line_and_column(source, at);
        Self { line, column, problem }
    }
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum Problem {
    /// Something begins and does not end.
    #[error("this {0} is not closed")]
    Unclosed(&'static str),
    /// A parenthesis closes nothing.
    #[error("this parenthesis closes nothing")]
    Unopened,
    /// A comment shares its action.
    #[error("expected }}}} after the comment: it is alone in its action")]
    CommentAndMore,
    /// A colon that declares nothing.
    #[error("expected := to declare a variable, found a lone colon")]
    LoneColon,
    /// A character that means nothing in an action.
    #[error("unexpected character {0:?} in an action")]
    BadCharacter(char),
    /// A character that ends no name.
    #[error("expected a space or the end of {word:?}, found {character:?}{}", hyphen_hint(*character))]
    BadCharacterAfter {
        /// What it follows.
        word: String,
        /// The character.
        character: char,
    },
    /// Looks like a number and is none.
    #[error("{0:?} is not a number")]
    BadNumber(String),
    /// A number beyond 64 bits.
    #[error("{0} does not fit 64 bits")]
    Overflow(String),
    /// Complex numbers.
    #[error("imaginary numbers are not supported: {0}")]
    Imaginary(String),
    /// Escapes that are none.
    #[error("{0} is not a valid constant")]
    BadConstant(String),
    /// Escapes that make no text.
    #[error("{0} is not UTF-8")]
    NotUtf8(String),
    /// Another token was wanted.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What may stand here.
        expected: &'static str,
        /// What stands here.
        found: String,
    },
    /// Nothing where a value is wanted.
    #[error("expected a value after {0}")]
    MissingValue(&'static str),
    /// A function that does not exist.
    #[error("there is no function {0:?}")]
    NoFunction(String),
    /// `call`.
    #[error("there is nothing to call: data holds no functions")]
    Call,
    /// A variable that was not declared.
    #[error("there is no variable {0} here")]
    NoVariable(String),
    /// A template that was not defined.
    #[error("there is no template {0:?}")]
    NoTemplate(String),
    /// A name that was given twice.
    #[error("the template {0:?} is defined twice")]
    DefinedTwice(String),
    /// A definition in a block.
    #[error("a definition stands at the top, not inside of something")]
    NestedDefinition,
    /// An `else` that belongs to nothing.
    #[error("this has an else, and nothing that it could be otherwise to")]
    ElseInNamed,
    /// Too few or too many values for a function.
    #[error("{name} takes {takes}, not {given}")]
    WrongCount {
        /// The function.
        name: String,
        /// What it takes.
        takes: String,
        /// How many it was given.
        given: usize,
    },
    /// Values for what is no function.
    #[error("{0} is no function, it takes no values")]
    NotAFunction(String),
    /// `nil` alone.
    #[error("nil alone is no value to print or to choose by")]
    NilAlone,
    /// A member of a constant.
    #[error("{0} has no members")]
    NoMembers(String),
    /// `break` or `continue` outside of a loop.
    #[error("{0} outside of a range")]
    OutsideOfRange(&'static str),
    /// Blocks in blocks, or parentheses in parentheses.
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// A template that is too long.
    #[error("longer than {MAX_SOURCE} bytes")]
    TooLong,
    /// More of something than there is room for.
    #[error("more than {MAX_VARIABLES} variables")]
    TooManyVariables,
}

fn hyphen_hint(character: char) -> &'static str {
    if character == '-' { "; a name with a hyphen is reached with index" } else { "" }
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Ending {
    Else,
    End,
    Source,
}

pub(super) struct Compiler<'s> {
    source: &'s str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    ops: Vec<Op>,
    positions: Vec<u32>,
    constants: Vec<Data>,
    definitions: Vec<Definition>,
    /// Where templates are called, until all are known.
    calls: Vec<(usize, String)>,
    references: Vec<Reference>,
    body: Body<'s>,
}

/// What is being compiled: the whole, a definition, a block.
struct Body<'s> {
    /// Variables that can be seen, and where they are.
    scope: Vec<(&'s str, Slot)>,
    slots: u32,
    /// The ranges around, innermost last: where their next step is, and the breaks that want to know their end.
    ranges: Vec<Loop>,
}

/// What compiles a block whose keyword was just read.
type Block<'s> = fn(&mut Compiler<'s>, Token) -> Result<(), CompileError>;

struct Loop {
    next: u32,
    breaks: Vec<usize>,
}

impl Body<'_> {
    fn new() -> Self {
        Self { scope: vec![("$", 0)], slots: 1, ranges: Vec::new() }
    }
}

/// A program and what it refers to.
pub(super) fn compile(source: &str) -> Result<(Program, Vec<Reference>), CompileError> {
    if source.len() > MAX_SOURCE {
        return Err(CompileError::new(source, 0, Problem::TooLong));
    }
    let tokens = tokens(source)?;
    let mut compiler = Compiler {
        source,
        ops: Vec::with_capacity(tokens.len()),
        positions: Vec::with_capacity(tokens.len()),
        tokens,
        at: 0,
        depth: 0,
        constants: Vec::new(),
        definitions: Vec::new(),
        calls: Vec::new(),
        references: Vec::new(),
        body: Body::new(),
    };
    compiler.whole()?;
    compiler.link()?;
    let is_single = compiler.is_single();
    let program = Program {
        source: source.into(),
        ops: compiler.ops,
        positions: compiler.positions,
        constants: compiler.constants,
        definitions: compiler.definitions,
        slots: compiler.body.slots,
        is_single,
    };
    Ok((program, compiler.references))
}

impl<'s> Compiler<'s> {
    fn peek(&self) -> Token {
        self.tokens[self.at]
    }

    /// The next token; the last one stays.
    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn skip_spaces(&mut self) {
        while self.peek().kind == TokenKind::Space {
            self.at += 1;
        }
    }

    fn next_solid(&mut self) -> Token {
        self.skip_spaces();
        self.next()
    }

    fn peek_solid(&mut self) -> Token {
        self.skip_spaces();
        self.peek()
    }

    fn text_of(&self, token: Token) -> &'s str {
        &self.source[token.start..token.end]
    }

    fn fail<T>(&self, at: usize, problem: Problem) -> Result<T, CompileError> {
        Err(CompileError::new(self.source, at, problem))
    }

    fn unexpected<T>(&self, token: Token, expected: &'static str) -> Result<T, CompileError> {
        let found = match token.kind {
            TokenKind::End => "the end of the template".to_owned(),
            TokenKind::Close => "the end of the action".to_owned(),
            TokenKind::Space => "a space".to_owned(),
            TokenKind::Text => "text".to_owned(),
            TokenKind::Open => "an action".to_owned(),
            _ => format!("{:?}", self.text_of(token)),
        };
        self.fail(token.start, Problem::Expected { expected, found })
    }

    /// Adds an instruction and returns its index.
    fn emit(&mut self, at: usize, op: Op) -> usize {
        self.ops.push(op);
        self.positions.push(offset(at));
        self.ops.len() - 1
    }

    fn here(&self) -> u32 {
        offset(self.ops.len())
    }

    /// Points an instruction that jumps to what comes next.
    fn land(&mut self, jump: usize) {
        let here = self.here();
        match &mut self.ops[jump] {
            Op::Jump(to)
            | Op::JumpUnless(to)
            | Op::ShortCircuit { to, .. }
            | Op::With { otherwise: to }
            | Op::Range { otherwise: to, .. }
            | Op::Next { end: to, .. }
            | Op::Break(to) => *to = here,
            _ => {}
        }
    }

    fn enter(&mut self, at: usize) -> Result<(), CompileError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { self.fail(at, Problem::TooDeep) } else { Ok(()) }
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Texts and actions up to the end, with definitions between them.
    fn whole(&mut self) -> Result<(), CompileError> {
        match self.nodes(true)? {
            (Ending::Source, at) => {
                self.emit(at.start, Op::End);
                Ok(())
            }
            (_, at) => self.unexpected(at, "an action, for nothing is open here"),
        }
    }

    /// Texts and actions up to an `else`, an `end`, or the end of the source, and the token that ended them.
    fn nodes(&mut self, is_top: bool) -> Result<(Ending, Token), CompileError> {
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::Text => {
                    let op = Op::Text { start: offset(token.start), end: offset(token.end) };
                    self.emit(token.start, op);
                }
                TokenKind::Open => match self.peek_solid().kind {
                    TokenKind::Keyword(Keyword::Define) if is_top => {
                        self.next();
                        self.definition(token)?;
                    }
                    TokenKind::Keyword(Keyword::End) => return Ok((Ending::End, self.next())),
                    TokenKind::Keyword(Keyword::Else) => return Ok((Ending::Else, self.next())),
                    _ => self.action(token)?,
                },
                TokenKind::End => return Ok((Ending::Source, token)),
                _ => return self.unexpected(token, "text or an action"),
            }
        }
    }

    fn action(&mut self, open: Token) -> Result<(), CompileError> {
        let first = self.peek_solid();
        let TokenKind::Keyword(keyword) = first.kind else { return self.print_action(first) };
        if keyword != Keyword::Nil {
            self.next();
        }
        match keyword {
            Keyword::If => self.block(first, Self::if_block),
            Keyword::With => self.block(first, Self::with_block),
            Keyword::Range => self.block(first, Self::range_block),
            Keyword::Block => self.block(first, Self::named_block),
            Keyword::Template => self.template_call(first),
            Keyword::Break => self.break_action(first),
            Keyword::Continue => self.continue_action(first),
            Keyword::Nil => self.print_action(first),
            Keyword::Define => self.fail(first.start, Problem::NestedDefinition),
            Keyword::Else | Keyword::End => self.unexpected(open, "an action"),
        }
    }

    /// Runs what compiles a block in a scope of its own.
    fn block(&mut self, keyword: Token, compile: Block<'s>) -> Result<(), CompileError> {
        self.enter(keyword.start)?;
        let seen = self.body.scope.len();
        compile(self, keyword)?;
        self.body.scope.truncate(seen);
        self.leave();
        Ok(())
    }

    fn close(&mut self) -> Result<(), CompileError> {
        let token = self.next_solid();
        if token.kind == TokenKind::Close { Ok(()) } else { self.unexpected(token, "the end of the action") }
    }

    fn print_action(&mut self, first: Token) -> Result<(), CompileError> {
        let declares = self.pipeline("an action", TokenKind::Close)?;
        self.emit(first.start, if declares { Op::Pop } else { Op::Print });
        Ok(())
    }

    /// Nodes that must be ended by `end`, or may be by `else`.
    fn inner(&mut self, keyword: Token, what: &'static str) -> Result<Ending, CompileError> {
        match self.nodes(false)? {
            (Ending::Source, _) => self.fail(keyword.start, Problem::Unclosed(what)),
            (Ending::End, _) => self.close().map(|()| Ending::End),
            (Ending::Else, _) => Ok(Ending::Else),
        }
    }

    /// What follows the word `else` of an `if` or a `with`: more of its kind, or the rest.
    fn otherwise(
        &mut self,
        keyword: Token,
        what: &'static str,
        again: Option<(Keyword, Block<'s>)>,
    ) -> Result<(), CompileError> {
        let token = self.peek_solid();
        if let Some((_, compile)) = again.filter(|(keyword, _)| token.kind == TokenKind::Keyword(*keyword)) {
            self.next();
            return self.block(token, compile);
        }
        self.close()?;
        match self.inner(keyword, what)? {
            Ending::Else => self.unexpected(token, "end: there was an else already"),
            _ => Ok(()),
        }
    }

    fn if_block(&mut self, keyword: Token) -> Result<(), CompileError> {
        self.pipeline("if", TokenKind::Close)?;
        let unless = self.emit(keyword.start, Op::JumpUnless(0));
        if self.inner(keyword, "if")? == Ending::End {
            self.land(unless);
            return Ok(());
        }
        let over = self.emit(keyword.start, Op::Jump(0));
        self.land(unless);
        self.otherwise(keyword, "if", Some((Keyword::If, Self::if_block)))?;
        self.land(over);
        Ok(())
    }

    fn with_block(&mut self, keyword: Token) -> Result<(), CompileError> {
        self.pipeline("with", TokenKind::Close)?;
        let with = self.emit(keyword.start, Op::With { otherwise: 0 });
        let ending = self.inner(keyword, "with")?;
        self.emit(keyword.start, Op::EndWith);
        let over = self.emit(keyword.start, Op::Jump(0));
        self.land(with);
        if ending == Ending::Else {
            self.otherwise(keyword, "with", Some((Keyword::With, Self::with_block)))?;
        }
        self.land(over);
        Ok(())
    }

    fn range_block(&mut self, keyword: Token) -> Result<(), CompileError> {
        let (index, element) = self.range_pipeline()?;
        let range = self.emit(keyword.start, Op::Range { otherwise: 0, has_index: index.is_some() });
        let next = self.emit(keyword.start, Op::Next { end: 0, index, element });
        self.body.ranges.push(Loop { next: offset(next), breaks: Vec::new() });
        let ending = self.inner(keyword, "range")?;
        self.emit(keyword.start, Op::Jump(offset(next)));
        let breaks = self.body.ranges.pop().map(|range| range.breaks).unwrap_or_default();
        self.land(range);
        if ending == Ending::Else {
            self.otherwise(keyword, "range", None)?;
        }
        self.land(next);
        breaks.into_iter().for_each(|jump| self.land(jump));
        Ok(())
    }

    fn break_action(&mut self, keyword: Token) -> Result<(), CompileError> {
        let jump = self.emit(keyword.start, Op::Break(0));
        let Some(range) = self.body.ranges.last_mut() else {
            return self.fail(keyword.start, Problem::OutsideOfRange("break"));
        };
        range.breaks.push(jump);
        self.close()
    }

    fn continue_action(&mut self, keyword: Token) -> Result<(), CompileError> {
        let Some(range) = self.body.ranges.last() else {
            return self.fail(keyword.start, Problem::OutsideOfRange("continue"));
        };
        let next = range.next;
        self.emit(keyword.start, Op::Continue(next));
        self.close()
    }

    /// A quoted name.
    fn name(&mut self) -> Result<String, CompileError> {
        let token = self.next_solid();
        let text = self.text_of(token);
        match token.kind {
            TokenKind::RawQuoted => Ok(literal::raw(text)),
            TokenKind::Quoted => literal::quoted(text).or_else(|bad| self.bad_literal(token, &bad)),
            _ => self.unexpected(token, "a template's name in quotes"),
        }
    }

    fn template_call(&mut self, keyword: Token) -> Result<(), CompileError> {
        let name = self.name()?;
        if self.peek_solid().kind == TokenKind::Close {
            self.next();
            self.emit(keyword.start, Op::Nil);
        } else {
            self.pipeline("template", TokenKind::Close)?;
        }
        self.call_template(keyword, name);
        Ok(())
    }

    fn call_template(&mut self, keyword: Token, name: String) {
        let call = self.emit(keyword.start, Op::Template(0));
        self.calls.push((call, name));
    }

    fn definition(&mut self, open: Token) -> Result<(), CompileError> {
        let name = self.name()?;
        self.close()?;
        self.named(open, name, "define")
    }

    fn named_block(&mut self, keyword: Token) -> Result<(), CompileError> {
        let name = self.name()?;
        self.pipeline("block", TokenKind::Close)?;
        self.named(keyword, name.clone(), "block")?;
        self.call_template(keyword, name);
        Ok(())
    }

    /// A named body, out of the way of what is around it.
    fn named(&mut self, keyword: Token, name: String, what: &'static str) -> Result<(), CompileError> {
        let over = self.emit(keyword.start, Op::Jump(0));
        let entry = self.here();
        let outer = std::mem::replace(&mut self.body, Body::new());
        let ending = self.inner(keyword, what)?;
        let body = std::mem::replace(&mut self.body, outer);
        if ending == Ending::Else {
            return self.fail(keyword.start, Problem::ElseInNamed);
        }
        let is_empty = self.ops[entry as usize..].iter().all(|op| self.is_blank(op));
        self.emit(keyword.start, Op::Return);
        self.land(over);
        let definition = Definition { name, entry, slots: body.slots };
        self.define(keyword, definition, is_empty)
    }

    fn is_blank(&self, op: &Op) -> bool {
        matches!(op, Op::Text { start, end } if self.source[*start as usize..*end as usize].trim().is_empty())
    }

    /// A definition with nothing in it gives way to one with something.
    fn define(&mut self, at: Token, new: Definition, is_empty: bool) -> Result<(), CompileError> {
        let Some(known) = self.definitions.iter().position(|known| known.name == new.name) else {
            self.definitions.push(new);
            return Ok(());
        };
        let entry = self.definitions[known].entry as usize;
        let was_empty =
            self.ops[entry..].iter().take_while(|op| **op != Op::Return).all(|op| self.is_blank(op));
        if was_empty {
            self.definitions[known] = new;
        } else if !is_empty {
            return self.fail(at.start, Problem::DefinedTwice(new.name));
        }
        Ok(())
    }

    /// Gives each call its template.
    fn link(&mut self) -> Result<(), CompileError> {
        if self.calls.is_empty() {
            return Ok(());
        }
        let known: HashMap<&str, usize> =
            self.definitions.iter().enumerate().map(|(index, known)| (&*known.name, index)).collect();
        for (call, name) in &self.calls {
            let Some(index) = known.get(&**name) else {
                let at = self.positions[*call] as usize;
                return Err(CompileError::new(self.source, at, Problem::NoTemplate(name.clone())));
            };
            self.ops[*call] = Op::Template(offset(*index));
        }
        Ok(())
    }

    /// Whether the source is one action that prints, and nothing else.
    fn is_single(&self) -> bool {
        let opens = self.tokens.iter().filter(|token| token.kind == TokenKind::Open).count();
        let starts = self.tokens.first().is_some_and(|token| token.kind == TokenKind::Open);
        let ends = self.tokens.len() >= 2 && self.tokens[self.tokens.len() - 2].kind == TokenKind::Close;
        opens == 1 && starts && ends && self.ops.len() >= 2 && self.ops[self.ops.len() - 2] == Op::Print
    }
}

/// Sources are short enough, and so is what is made of them.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
