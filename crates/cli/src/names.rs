//! What a server is called when nobody named it.

use model::WorkloadName;
use url::Url;

/// Programs that run another one, which is what people call the server by.
const LAUNCHERS: [&str; 12] =
    ["npx", "uvx", "bunx", "pnpm", "yarn", "uv", "pipx", "python", "python3", "node", "deno", "env"];
/// Words between a launcher and what it launches.
const VERBS: [&str; 6] = ["run", "dlx", "exec", "x", "tool", "tools"];

/// From a command line: `npx -y @scope/server-time` is `scope-server-time`.
pub(crate) fn of_command(command: &[String]) -> WorkloadName {
    let mut words = command.iter().map(String::as_str);
    let program = words.next().unwrap_or_default();
    let program = base_name(program);
    if !LAUNCHERS.contains(&program) {
        return WorkloadName::derive(program);
    }
    let is_variable = |word: &str| program == "env" && word.contains('=');
    let launched = words.find(|word| !word.starts_with('-') && !VERBS.contains(word) && !is_variable(word));
    WorkloadName::derive(launched.map_or(program, package_name))
}

/// From an image: `ghcr.io/org/server-time:1.2` is `server-time`.
pub(crate) fn of_image(image: &str) -> WorkloadName {
    let name = base_name(image.split('@').next().unwrap_or(image));
    WorkloadName::derive(name.split(':').next().unwrap_or(name))
}

/// From a URL: the second-to-last label of its host, `mcp.example.com` is `example`.
pub(crate) fn of_url(url: &Url) -> WorkloadName {
    let Some(url::Host::Domain(host)) = url.host() else {
        return WorkloadName::derive(url.host_str().unwrap_or_default());
    };
    let mut labels = host.rsplit('.');
    let last = labels.next().unwrap_or_default();
    WorkloadName::derive(labels.next().unwrap_or(last))
}

/// A package without its version, a script without its folders and ending.
fn package_name(text: &str) -> &str {
    let is_package = text.starts_with('@') || !text.contains('/');
    let name = if is_package { text } else { base_name(text) };
    let version = name.char_indices().skip(1).find(|(_, c)| *c == '@').map_or(name.len(), |(at, _)| at);
    let name = &name[..version];
    let name = name.split("==").next().unwrap_or(name);
    [".js", ".mjs", ".cjs", ".ts", ".py"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_called_by_what_it_launches() {
        for (line, expect) in [
            (
                "npx -y @modelcontextprotocol/server-everything stdio",
                "modelcontextprotocol-server-everything",
            ),
            ("npx -y @scope/name@1.2.3", "scope-name"),
            ("uvx mcp-server-time==2026.1 --local-timezone UTC", "mcp-server-time"),
            ("uv run server.py", "server"),
            ("python3 -m mcp_server_git", "mcp-server-git"),
            ("/usr/bin/node /srv/app/dist/index.mjs --x", "index"),
            ("env A=1 time-server", "time-server"),
            ("./bin/my-server --stdio", "my-server"),
            ("npx", "npx"),
            ("", "mcp-server"),
        ] {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(of_command(&words).as_str(), expect, "{line}");
        }
    }

    #[test]
    fn an_image_is_called_by_its_last_part() {
        for (image, expect) in [
            ("alpine:3", "alpine"),
            ("localhost:5000/org/server-time", "server-time"),
            ("ghcr.io/x/y:1@sha256:ab", "y"),
        ] {
            assert_eq!(of_image(image).as_str(), expect, "{image}");
        }
    }

    #[test]
    fn a_url_is_called_by_its_domain() {
        for (url, expect) in [
            ("https://mcp.example.com/mcp", "example"),
            ("http://localhost:8080/mcp", "localhost"),
            ("http://127.0.0.1:1/", "127-0-0-1"),
            ("http://[::1]:1/", "1"),
        ] {
            assert_eq!(of_url(&Url::parse(url).unwrap()).as_str(), expect, "{url}");
        }
    }
}
