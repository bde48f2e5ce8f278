//! A path that a workload sees.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is mounted, and where it is seen. Whether it may be written to is said by the list that it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// A path of the host, seen under the same path.
    Same(String),
    /// A path of the host, seen under another.
    Path { host: String, inside: String },
    /// Something that is no path. Whoever cannot mount it must say so.
    Resource { uri: String, inside: String },
}

/// Characters that a shell would act on; no honest path has them.
const FORBIDDEN: [char; 6] = ['$', '&', ';', '|', '`', '\0'];

impl Mount {
    /// Reads `PATH`, `HOST:INSIDE` or `SCHEME://RESOURCE:INSIDE`.
    ///
    /// # Errors
    /// What is wrong and what helps.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains(FORBIDDEN) {
            return Err("has one of the characters $ & ; | ` or NUL: a path must do without");
        }
        if text.is_empty() {
            return Err("is empty: write PATH or HOST:INSIDE");
        }
        if let Some((scheme, rest)) = text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
            let (resource, inside) =
                pair(rest)?.ok_or("has no place inside: write SCHEME://RESOURCE:INSIDE")?;
            return Ok(Self::Resource {
                uri: format!("{scheme}://{resource}"),
                inside: checked_inside(inside)?,
            });
        }
        match pair(text)? {
            None => Ok(Self::Same(text.to_owned())),
            Some((host, inside)) => Ok(Self::Path { host: host.to_owned(), inside: checked_inside(inside)? }),
        }
    }

    /// The path of the host, if it is one. A relative one is relative to where the workload is run from.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Same(path) | Self::Path { host: path, .. } => Some(path),
            Self::Resource { .. } => None,
        }
    }

    /// The path that the workload sees. For [`Mount::Same`] it is the host's, and must be made absolute as that is.
    #[must_use]
    pub fn inside(&self) -> &str {
        match self {
            Self::Same(path) => path,
            Self::Path { inside, .. } | Self::Resource { inside, .. } => inside,
        }
    }
}

/// RFC 3986.
fn is_scheme(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(allowed)
}

fn pair(text: &str) -> Result<Option<(&str, &str)>, &'static str> {
    let Some((first, second)) = text.split_once(':') else { return Ok(None) };
    if second.contains(':') {
        return Err("has more than one colon: write HOST:INSIDE; ':ro' is said by the list it stands in");
    }
    if first.is_empty() || second.is_empty() {
        return Err("has nothing on one side of its colon: write HOST:INSIDE");
    }
    Ok(Some((first, second)))
}

fn checked_inside(path: &str) -> Result<String, &'static str> {
    if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err("has a place inside that is not absolute: begin it with / and do without ..");
    }
    Ok(path.to_owned())
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same(path) => f.write_str(path),
            Self::Path { host, inside } => write!(f, "{host}:{inside}"),
            Self::Resource { uri, inside } => write!(f, "{uri}:{inside}"),
        }
    }
}

impl Serialize for Mount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_three_forms() {
        for (text, host, inside) in [
            ("/data", Some("/data"), "/data"),
            ("./data", Some("./data"), "./data"),
            ("/a b:/c d", Some("/a b"), "/c d"),
            ("../up:/in", Some("../up"), "/in"),
            ("volume://name:/data", None, "/data"),
            ("a+b.c-1://x/y:/in", None, "/in"),
        ] {
            let mount = Mount::parse(text).unwrap();
            assert_eq!((mount.host(), mount.inside()), (host, inside), "{text}");
            assert_eq!(mount.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_mount_is_refused() {
        for text in [
            "",
            "$HOME",
            "/a&b",
            "/a;b",
            "/a|b",
            "/a`b`",
            "/a\0",
            "/a:/b:ro",
            "/a:/b:/c",
            ":/b",
            "/a:",
            "/a:b",
            "/a:/b/../c",
            "s://x",
            "s://x:/a:/b",
            "s://:/a",
            "s://x:a",
            "1s://x:/a",
        ] {
            assert!(Mount::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_is_written_as_it_was(text in "[a-z/.:$ ]{0,12}") {
            if let Ok(mount) = Mount::parse(&text) {
                prop_assert_eq!(mount.to_string(), text);
            }
        }
    }
}
