//! A compiled template: instructions for a machine with a stack, and the text they point into.

use super::data::Data;
use super::function::Function;

/// An instruction. Targets are indexes of instructions; `start` and `end` are places in the source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Op {
    /// Writes a part of the source.
    Text {
        start: u32,
        end: u32,
    },
    /// Writes the value on top, and takes it away.
    Print,
    /// Takes the value on top away.
    Pop,
    /// Pushes a constant.
    Constant(u32),
    /// Pushes nil.
    Nil,
    /// Pushes what the dot is.
    Dot,
    /// Pushes a variable.
    Load(u32),
    /// Puts the value on top into a variable and leaves it there.
    Store(u32),
    /// Puts a member of the value on top in its place. The member's name is a part of the source.
    Field {
        start: u32,
        end: u32,
    },
    /// Ends a pipeline: null becomes no value.
    Settle,
    /// Calls a function with so many values. If the last of them came through the pipe, it lies under the others.
    Call {
        function: Function,
        count: u32,
        is_piped: bool,
    },
    Jump(u32),
    /// Takes the value on top away, and jumps if it was false.
    JumpUnless(u32),
    /// Jumps if the value on top is this; takes it away if not.
    ShortCircuit {
        on: bool,
        to: u32,
    },
    /// Takes the value under the one on top away.
    DropUnder,
    /// Makes the value on top the dot, or jumps if it is false.
    With {
        otherwise: u32,
    },
    /// Gives the dot back.
    EndWith,
    /// Starts to walk the value on top, or jumps if there is nothing to walk.
    Range {
        otherwise: u32,
        has_index: bool,
    },
    /// The next element is the dot and in these variables, or the walk is over.
    Next {
        end: u32,
        index: Option<Slot>,
        element: Option<Slot>,
    },
    /// Ends the innermost walk.
    Break(u32),
    /// Goes on with the innermost walk.
    Continue(u32),
    /// Runs a definition with the value on top as its dot.
    Template(u32),
    /// Ends a definition.
    Return,
    /// Ends the template.
    End,
}

/// Where a variable is in its definition's frame.
pub(super) type Slot = u16;

/// A named template, or the whole.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) entry: u32,
    /// Variables, of which the first is `$`.
    pub(super) slots: u32,
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Program {
    pub(super) source: Box<str>,
    pub(super) ops: Vec<Op>,
    /// Where in the source each instruction is from.
    pub(super) positions: Vec<u32>,
    pub(super) constants: Vec<Data>,
    /// The named ones.
    pub(super) definitions: Vec<Definition>,
    /// How many variables the whole has.
    pub(super) slots: u32,
    /// Whether it is one action and nothing else.
    pub(super) is_single: bool,
}

impl Program {
    /// A part of the source.
    pub(super) fn text(&self, start: u32, end: u32) -> &str {
        &self.source[start as usize..end as usize]
    }
}

/// Line and column of a place in a text, from 1; columns count characters.
pub(super) fn line_and_column(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
