//! Which variables of skep's own environment programs get without being asked to: what they need to find their way, and no
//! secrets. Nothing is read here.

/// How far a variable goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It means the same in a sandbox.
    Everywhere,
    /// It names what is outside of one.
    Outside,
}
use Reach::{Everywhere, Outside};

/// All of them. The last letters may be left open with `*`.
const HANDED_ON: [(&str, Reach); 22] = [
    ("HOME", Outside),
    ("LANG", Everywhere),
    ("LANGUAGE", Everywhere),
    ("LC_*", Everywhere),
    ("LOGNAME", Outside),
    ("PATH", Everywhere),
    ("SHELL", Outside),
    ("TERM", Outside),
    ("TMPDIR", Outside),
    ("TZ", Everywhere),
    ("USER", Everywhere),
    ("XDG_*", Outside),
    // Without these nothing is reached from behind a company's proxy, or trusted.
    ("HTTP_PROXY", Everywhere),
    ("HTTPS_PROXY", Everywhere),
    ("NO_PROXY", Everywhere),
    ("http_proxy", Everywhere),
    ("https_proxy", Everywhere),
    ("no_proxy", Everywhere),
    ("SSL_CERT_FILE", Everywhere),
    ("SSL_CERT_DIR", Everywhere),
    ("NODE_EXTRA_CA_CERTS", Everywhere),
    ("REQUESTS_CA_BUNDLE", Everywhere),
];

/// Whether a command that nothing isolates gets this variable.
#[must_use]
pub fn is_handed_on(name: &str) -> bool {
    reach(name).is_some()
}

/// Whether one in a sandbox does, which has a home and folders of its own.
pub(crate) fn is_handed_inside(name: &str) -> bool {
    reach(name) == Some(Everywhere)
}

fn reach(name: &str) -> Option<Reach> {
    let is_it = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    HANDED_ON.iter().find(|(pattern, _)| is_it(pattern)).map(|(_, reach)| *reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_handed_on_unasked_and_places_of_the_host_not_inside() {
        for (name, outside, inside) in [
            ("PATH", true, true),
            ("LC_ALL", true, true),
            ("https_proxy", true, true),
            ("HOME", true, false),
            ("TMPDIR", true, false),
            ("XDG_CACHE_HOME", true, false),
            ("AWS_SECRET_ACCESS_KEY", false, false),
            ("GITHUB_TOKEN", false, false),
            ("PATHS", false, false),
        ] {
            assert_eq!((is_handed_on(name), is_handed_inside(name)), (outside, inside), "{name}");
        }
    }
}
