//! Names that every client takes: of at most [`MAX_NAME`] characters, tools' of the characters that the protocol has for
//! them. What is longer or odder is cut and told apart by a digest, so that it is the same name whenever it is made, and the
//! view says what it stands for.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};

use super::Kind;

/// How many characters a name has at most.
pub const MAX_NAME: usize = 64;
/// How many of them are the digest's, with what stands before it.
const DIGEST: usize = 9;

/// How a name is spelt that cannot stay as it is.
pub(super) fn respelled(wanted: &str, kind: Kind) -> Option<String> {
    let is_plain = |character: char| match kind {
        Kind::Tools => character.is_ascii_alphanumeric() || "_-.".contains(character),
        // Whatever people read.
        _ => !character.is_control(),
    };
    if wanted.chars().all(is_plain) && wanted.chars().count() <= MAX_NAME {
        return None;
    }
    let kept = wanted.chars().take(MAX_NAME - DIGEST);
    let mut name: String = kept.map(|character| if is_plain(character) { character } else { '_' }).collect();
    name.push('_');
    for byte in &digest(&SHA256, wanted.as_bytes()).as_ref()[..(DIGEST - 1) / 2] {
        // Writing to a text does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_told_apart() {
        let long = "x".repeat(65);
        for (wanted, kind, expect) in [
            ("github_create", Kind::Tools, None),
            (&long[..64], Kind::Tools, None),
            (&long, Kind::Tools, Some(format!("{}_9537c5fd", "x".repeat(55)))),
            ("a b", Kind::Tools, Some("a_b_c8687a08".to_owned())),
            ("a/b", Kind::Tools, Some("a_b_c14cddc0".to_owned())),
            ("a b é", Kind::Prompts, None),
            ("a\nb", Kind::Prompts, Some("a_b_7e18f737".to_owned())),
        ] {
            assert_eq!(respelled(wanted, kind), expect, "{wanted:?}");
        }
        let cut = respelled(&"é".repeat(100), Kind::Prompts).expect("it is too long");
        assert_eq!(cut.chars().count(), MAX_NAME);
    }
}
