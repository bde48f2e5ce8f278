//! A template's text as tokens: texts between actions, trimmed as their neighbours ask, and what stands in actions.
//!
//! Spaces in actions are tokens, since they decide: `.a .b` are two operands, `.a.b` is one.

use super::compile::{CompileError, Problem};

/// What a token is. Its text is a part of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Outside of actions.
    Text,
    Open,
    Close,
    Space,
    Assign,
    Declare,
    Pipe,
    OpenParen,
    CloseParen,
    /// `.name`
    Field,
    /// `.`
    Dot,
    /// `$` or `$name`
    Variable,
    Identifier,
    /// `true` or `false`
    Bool,
    Number,
    Character,
    Quoted,
    RawQuoted,
    /// Any other printable character: `,` where it is wanted.
    Other,
    Keyword(Keyword),
    End,
}

/// Words that are no functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Keyword {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "block" => Self::Block,
            "break" => Self::Break,
            "continue" => Self::Continue,
            "define" => Self::Define,
            "else" => Self::Else,
            "end" => Self::End,
            "if" => Self::If,
            "nil" => Self::Nil,
            "range" => Self::Range,
            "template" => Self::Template,
            "with" => Self::With,
            _ => return None,
        })
    }
}

/// A token and where its text is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const COMMENT: &str = "/*";
const COMMENT_END: &str = "*/";
const TRIMMED: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens of a source, the last one [`TokenKind::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, CompileError> {
    let mut lexer = Lexer { source, at: 0, tokens: Vec::with_capacity(16) };
    while lexer.text()? {
        lexer.action()?;
    }
    lexer.push(TokenKind::End, source.len());
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token>,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        self.tokens.push(Token { kind, start, end: self.at });
    }

    fn fail<T>(&self, at: usize, problem: Problem) -> Result<T, CompileError> {
        Err(CompileError::new(self.source, at, problem))
    }

    /// Text up to the next action, comments left out; whether there is an action.
    fn text(&mut self) -> Result<bool, CompileError> {
        loop {
            let start = self.at;
            let Some(length) = find_open(self.rest()) else {
                self.at = self.source.len();
                if start < self.at {
                    self.push(TokenKind::Text, start);
                }
                return Ok(false);
            };
            let open = start + length;
            let trims = is_left_trim(&self.source[open + OPEN.len()..]);
            let text = &self.source[start..open];
            self.at = start + if trims { text.trim_end_matches(TRIMMED) } else { text }.len();
            if start < self.at {
                self.push(TokenKind::Text, start);
            }
            self.at = open + OPEN.len() + if trims { 2 } else { 0 };
            if !self.rest().starts_with(COMMENT) {
                self.push(TokenKind::Open, open);
                return Ok(true);
            }
            self.comment(open)?;
        }
    }

    fn comment(&mut self, open: usize) -> Result<(), CompileError> {
        let Some(length) = self.rest()[COMMENT.len()..].find(COMMENT_END) else {
            return self.fail(open, Problem::Unclosed("comment"));
        };
        self.at += COMMENT.len() + length + COMMENT_END.len();
        if !self.close() {
            return self.fail(self.at, Problem::CommentAndMore);
        }
        Ok(())
    }

    /// Takes the end of an action, if it is here, and what it trims.
    fn close(&mut self) -> bool {
        let rest = self.rest();
        if let Some(after) = right_trim(rest) {
            self.at = self.source.len() - after.trim_start_matches(TRIMMED).len();
            return true;
        }
        if rest.starts_with(CLOSE) {
            self.at += CLOSE.len();
            return true;
        }
        false
    }

    fn action(&mut self) -> Result<(), CompileError> {
        let open = self.tokens.last().map_or(self.at, |token| token.start);
        let mut parens = Vec::new();
        loop {
            let start = self.at;
            if self.close() {
                if let Some(paren) = parens.pop() {
                    return self.fail(paren, Problem::Unclosed("parenthesis"));
                }
                // What was trimmed is no part of the token.
                self.tokens.push(Token { kind: TokenKind::Close, start, end: start });
                return Ok(());
            }
            let Some(character) = self.peek() else {
                return self.fail(open, Problem::Unclosed("action"));
            };
            match character {
                '(' => parens.push(start),
                ')' if parens.pop().is_none() => return self.fail(start, Problem::Unopened),
                _ => {}
            }
            let kind = self.token(character, start)?;
            self.push(kind, start);
        }
    }

    fn token(&mut self, first: char, start: usize) -> Result<TokenKind, CompileError> {
        if is_space(first) {
            return Ok(self.spaces());
        }
        match first {
            '.' if !self.rest()[1..].starts_with(|next: char| next.is_ascii_digit()) => {
                self.name(start, TokenKind::Dot, TokenKind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => self.number(start),
            '$' => self.name(start, TokenKind::Variable, TokenKind::Variable),
            '"' => self.quoted(start, '"', "quoted text", TokenKind::Quoted),
            '\'' => self.quoted(start, '\'', "character constant", TokenKind::Character),
            '`' => self.raw_quoted(start),
            _ if is_alphanumeric(first) => self.word(start),
            _ => self.sign(first, start),
        }
    }

    fn sign(&mut self, sign: char, start: usize) -> Result<TokenKind, CompileError> {
        self.at += sign.len_utf8();
        Ok(match sign {
            '=' => TokenKind::Assign,
            ':' if self.rest().starts_with('=') => {
                self.at += 1;
                TokenKind::Declare
            }
            ':' => return self.fail(start, Problem::LoneColon),
            '|' => TokenKind::Pipe,
            '(' => TokenKind::OpenParen,
            ')' => TokenKind::CloseParen,
            '!'..='~' => TokenKind::Other,
            _ => return self.fail(start, Problem::BadCharacter(sign)),
        })
    }

    /// A run of spaces; the one before a trimming end belongs to that.
    fn spaces(&mut self) -> TokenKind {
        while let Some(next) = self.peek().filter(|next| is_space(*next)) {
            if right_trim(self.rest()).is_some() {
                break;
            }
            self.at += next.len_utf8();
        }
        TokenKind::Space
    }

    fn skip_alphanumeric(&mut self) {
        let rest = self.rest();
        self.at += rest.find(|next| !is_alphanumeric(next)).unwrap_or(rest.len());
    }

    /// A field or a variable: a sign and a name, or the sign alone.
    fn name(&mut self, start: usize, alone: TokenKind, named: TokenKind) -> Result<TokenKind, CompileError> {
        self.at += 1;
        if self.is_at_terminator() {
            return Ok(alone);
        }
        self.skip_alphanumeric();
        self.terminated(start, named)
    }

    fn word(&mut self, start: usize) -> Result<TokenKind, CompileError> {
        self.skip_alphanumeric();
        let kind = match &self.source[start..self.at] {
            "true" | "false" => TokenKind::Bool,
            word => Keyword::of(word).map_or(TokenKind::Identifier, TokenKind::Keyword),
        };
        self.terminated(start, kind)
    }

    fn is_at_terminator(&self) -> bool {
        let Some(next) = self.peek() else { return true };
        is_space(next) || ".,|:()".contains(next) || self.rest().starts_with(CLOSE)
    }

    fn terminated(&self, start: usize, kind: TokenKind) -> Result<TokenKind, CompileError> {
        match self.peek() {
            Some(next) if !self.is_at_terminator() => {
                let word = self.source[start..self.at].to_owned();
                self.fail(self.at, Problem::BadCharacterAfter { word, character: next })
            }
            _ => Ok(kind),
        }
    }

    fn number(&mut self, start: usize) -> Result<TokenKind, CompileError> {
        self.accept("+-");
        let mut digits = "0123456789_";
        let mut exponent = "eE";
        if self.accept("0") {
            if self.accept("xX") {
                (digits, exponent) = ("0123456789abcdefABCDEF_", "pP");
            } else if self.accept("oO") {
                (digits, exponent) = ("01234567_", "");
            } else if self.accept("bB") {
                (digits, exponent) = ("01_", "");
            }
        }
        self.accept_all(digits);
        if self.accept(".") {
            self.accept_all(digits);
        }
        if self.accept(exponent) {
            self.accept("+-");
            self.accept_all("0123456789_");
        }
        // Imaginary ones are numbers here, so that they can be refused as what they are.
        self.accept("i");
        let is_number = self.peek().is_none_or(|next| !is_alphanumeric(next) && !"+-".contains(next));
        if is_number {
            return Ok(TokenKind::Number);
        }
        let rest = self.rest();
        self.at += rest.find(|next| !is_alphanumeric(next) && !"+-".contains(next)).unwrap_or(rest.len());
        self.fail(start, Problem::BadNumber(self.source[start..self.at].to_owned()))
    }

    fn accept(&mut self, any: &str) -> bool {
        let accepted = self.peek().is_some_and(|next| any.contains(next));
        self.at += usize::from(accepted);
        accepted
    }

    fn accept_all(&mut self, any: &str) {
        while self.accept(any) {}
    }

    fn quoted(
        &mut self,
        start: usize,
        quote: char,
        what: &'static str,
        kind: TokenKind,
    ) -> Result<TokenKind, CompileError> {
        let mut characters = self.rest().char_indices().skip(1);
        while let Some((at, character)) = characters.next() {
            let character = if character == '\\' {
                match characters.next() {
                    Some((_, escaped)) if escaped != '\n' => continue,
                    _ => '\n',
                }
            } else {
                character
            };
            if character == '\n' {
                break;
            }
            if character == quote {
                self.at += at + 1;
                return Ok(kind);
            }
        }
        self.fail(start, Problem::Unclosed(what))
    }

    fn raw_quoted(&mut self, start: usize) -> Result<TokenKind, CompileError> {
        let Some(length) = self.rest()[1..].find('`') else {
            return self.fail(start, Problem::Unclosed("raw text"));
        };
        self.at += length + 2;
        Ok(TokenKind::RawQuoted)
    }
}

/// Where the next action begins. A searcher for texts would take longer to be made than most templates take to be read.
fn find_open(text: &str) -> Option<usize> {
    text.as_bytes().windows(2).position(|pair| pair == OPEN.as_bytes())
}

fn is_space(character: char) -> bool {
    TRIMMED.contains(&character)
}

fn is_alphanumeric(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn is_left_trim(after: &str) -> bool {
    after.strip_prefix('-').is_some_and(|rest| rest.starts_with(TRIMMED))
}

/// What follows an end that trims, if one is here.
fn right_trim(rest: &str) -> Option<&str> {
    rest.strip_prefix(TRIMMED)?.strip_prefix('-')?.strip_prefix(CLOSE)
}
