//! The functions: their names, and how many values they take.

/// A function that the machine calls. `and` and `or` are not here, since they do not look at all of their values, nor is
/// `call`, since nothing in the data can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Not,
    Len,
    Index,
    Slice,
    Print,
    Printf,
    Println,
    Html,
    Js,
    UrlQuery,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Json,
    FromJson,
    Quote,
}

/// No bound on how many values.
const ANY: usize = usize::MAX;

const FUNCTIONS: [(&str, Function, usize, usize); 19] = [
    ("eq", Function::Eq, 2, ANY),
    ("json", Function::Json, 1, 1),
    ("index", Function::Index, 1, ANY),
    ("not", Function::Not, 1, 1),
    ("len", Function::Len, 1, 1),
    ("slice", Function::Slice, 1, 4),
    ("print", Function::Print, 0, ANY),
    ("printf", Function::Printf, 1, ANY),
    ("println", Function::Println, 0, ANY),
    ("html", Function::Html, 0, ANY),
    ("js", Function::Js, 0, ANY),
    ("urlquery", Function::UrlQuery, 0, ANY),
    ("ne", Function::Ne, 2, 2),
    ("lt", Function::Lt, 2, 2),
    ("le", Function::Le, 2, 2),
    ("gt", Function::Gt, 2, 2),
    ("ge", Function::Ge, 2, 2),
    ("fromJson", Function::FromJson, 1, 1),
    ("quote", Function::Quote, 1, 1),
];

impl Function {
    /// The function of a name, and how few and how many values it takes.
    pub(super) fn of(name: &str) -> Option<(Self, usize, usize)> {
        FUNCTIONS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|(_, function, least, most)| (*function, *least, *most))
    }

    pub(super) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|(_, known, ..)| *known == self).map_or("", |(name, ..)| name)
    }
}
