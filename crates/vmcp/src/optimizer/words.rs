//! Words of names and descriptions: `createIssue`, `create_issue` and "creates issues" have the same two.

use bm25::Tokenizer;

/// What is longer is no word.
const MAX_WORD: usize = 64;

/// Words that stand in every description, or in every question, and tell nothing apart.
const NOISE: [&str; 62] = [
    "a", "able", "about", "all", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by",
    "can", "do", "does", "for", "from", "given", "had", "has", "have", "how", "i", "if", "in", "into", "is",
    "it", "its", "me", "my", "need", "of", "on", "or", "our", "please", "should", "so", "some", "such",
    "that", "the", "their", "them", "then", "there", "these", "this", "to", "tool", "tools", "want", "what",
    "which", "will", "with", "you", "your",
];

/// How texts become words.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Words;

impl Tokenizer for Words {
    fn tokenize(&self, text: &str) -> Vec<String> {
        words(text)
    }
}

/// The words of a text, in order: in lower case, without endings, without noise.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    // Whether the letter before was a small one, or a digit.
    let mut was_small = false;
    let mut was_capital = false;
    while let Some(char) = chars.next() {
        if !char.is_alphanumeric() {
            take(&mut word, &mut words);
            (was_small, was_capital) = (false, false);
            continue;
        }
        let next_is_small = chars.peek().is_some_and(|next| next.is_lowercase());
        // `fileName` and `HTTPServer`; where words have no spaces between them, each sign is one.
        let begins = char.is_uppercase() && (was_small || (was_capital && next_is_small));
        if begins || is_sign(char) {
            take(&mut word, &mut words);
        }
        word.extend(char.to_lowercase());
        if is_sign(char) {
            take(&mut word, &mut words);
        }
        was_small = char.is_lowercase() || char.is_numeric();
        was_capital = char.is_uppercase();
    }
    take(&mut word, &mut words);
    words
}

fn take(word: &mut String, words: &mut Vec<String>) {
    let taken = std::mem::take(word);
    if !taken.is_empty() && taken.len() <= MAX_WORD && NOISE.binary_search(&taken.as_str()).is_err() {
        words.push(stem(taken));
    }
}

/// Whether this is of a script that writes words without spaces.
fn is_sign(char: char) -> bool {
    matches!(char, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{0e00}'..='\u{0e7f}')
}

/// A word without the endings that English gives it. It need not be a word any more: what counts is that forms of one
/// word come to the same.
fn stem(mut word: String) -> String {
    if !word.is_ascii() {
        return word;
    }
    for (ending, instead, least) in [
        ("ies", "y", 2),
        ("sses", "ss", 1),
        ("shes", "sh", 1),
        ("ches", "ch", 1),
        ("xes", "x", 1),
        ("ss", "ss", 0),
        ("us", "us", 0),
        ("is", "is", 0),
        ("s", "", 2),
    ] {
        if word.len() >= ending.len() + least && word.ends_with(ending) {
            word.truncate(word.len() - ending.len());
            word.push_str(instead);
            break;
        }
    }
    for ending in ["ing", "ed"] {
        let has_vowel = |root: &str| root.contains(['a', 'e', 'i', 'o', 'u', 'y']);
        if let Some(root) = word.strip_suffix(ending).filter(|root| root.len() >= 3 && has_vowel(root)) {
            let doubled = root.as_bytes().windows(2).last().is_some_and(|two| two[0] == two[1]);
            let keeps = doubled && root.ends_with(['l', 's', 'z']);
            let length = root.len() - usize::from(doubled && !keeps);
            word.truncate(length);
            break;
        }
    }
    // `create` and `creating`, `file` and `filing`.
    if word.len() > 3 && word.ends_with('e') {
        word.pop();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_sorted() {
        assert!(NOISE.is_sorted());
    }

    #[test]
    fn names_and_sentences_have_the_same_words() {
        for (text, expect) in [
            ("createIssue", "creat issu"),
            ("create_issue", "creat issu"),
            ("It creates issues.", "creat issu"),
            ("creating an issue", "creat issu"),
            ("HTTPServer", "http server"),
            ("getURLOfPage2", "get url page2"),
            ("base64-encode", "base64 encod"),
            ("directories, classes, boxes, branches", "directory class box branch"),
            ("stopped running", "stop run"),
            ("calling", "call"),
            ("status of a bus", "status bus"),
            ("the of and", ""),
            ("日本 weather", "日 本 weather"),
            ("ÄnderungÜber", "änderung über"),
            ("", ""),
        ] {
            assert_eq!(words(text).join(" "), expect, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in ".{0,200}") {
            proptest::prop_assert!(words(&text).iter().all(|word| !word.is_empty()));
        }
    }
}
