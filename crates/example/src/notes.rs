//! What resources change: notes that clients write, and how often each resource was touched.

use std::collections::BTreeMap;

use parking_lot::Mutex;

const MAX_NOTES: usize = 256;
/// Characters of a note's name, which stands in its URI.
const MAX_NAME: usize = 64;
const MAX_TEXT: usize = 64 * 1024;

/// Why a note was not written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotWritten {
    Name,
    TooLong,
    TooMany,
}

#[derive(Debug, Default)]
pub(crate) struct Notes {
    texts: Mutex<BTreeMap<String, String>>,
    touched: Mutex<BTreeMap<String, u64>>,
}

impl Notes {
    /// Writes a note; true where it is new.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub(crate) fn write(&self, name: &str, text: String) -> Result<bool, NotWritten> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if name.is_empty() || name.len() > MAX_NAME || !plain {
            return Err(NotWritten::Name);
        }
        if text.len() > MAX_TEXT {
            return Err(NotWritten::TooLong);
        }
        let mut texts = self.texts.lock();
        if texts.len() >= MAX_NOTES && !texts.contains_key(name) {
            return Err(NotWritten::TooMany);
        }
        Ok(texts.insert(name.to_owned(), text).is_none())
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        self.texts.lock().get(name).cloned()
    }

    /// In alphabetical order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.texts.lock().keys().cloned().collect()
    }

    /// Counts a touch of a resource that is known to exist; gives the count.
    pub(crate) fn touch(&self, uri: &str) -> u64 {
        let mut touched = self.touched.lock();
        let count = touched.entry(uri.to_owned()).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn touches(&self, uri: &str) -> u64 {
        self.touched.lock().get(uri).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_plain_names_and_bounds() {
        let notes = Notes::default();
        let write = |name: &str| notes.write(name, "text".to_owned());
        assert_eq!((write("a-1"), write("a-1")), (Ok(true), Ok(false)));
        for bad in ["", "a/b", "ä", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(write(bad), Err(NotWritten::Name), "{bad}");
        }
        assert_eq!(notes.write("b", "x".repeat(MAX_TEXT + 1)), Err(NotWritten::TooLong));
        for number in 1..MAX_NOTES {
            write(&format!("n{number}")).unwrap();
        }
        assert_eq!((write("one-more"), write("a-1")), (Err(NotWritten::TooMany), Ok(false)));
        assert_eq!(notes.names()[0], "a-1");
    }
}
