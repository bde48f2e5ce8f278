//! Where packages come from: what the user's tools are told, and so which hosts an installation may reach. Pure.
//!
//! Absent on purpose: logins. What is installed could read them.

use std::collections::BTreeSet;

use model::package::Scheme;
use workload::egress::{BadEgress, EgressConfig, EgressPolicy};

use super::PackageTools;

/// Where packages are when nobody says otherwise; the second host of PyPI has the files.
const NPM: &str = "https://registry.npmjs.org/";
const PYPI: [&str; 2] = ["https://pypi.org/simple", "https://files.pythonhosted.org/"];
const GO: [&str; 2] = ["https://proxy.golang.org", "https://sum.golang.org"];

/// Handed on to whoever installs, as they are.
const HANDED_ON: [&str; 8] = [
    "npm_config_cafile",
    "NPM_CONFIG_CAFILE",
    "PIP_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "GONOSUMDB",
    "GOSUMDB",
    "GOPRIVATE",
    "GOFLAGS",
];

/// Proxies that everything goes through, where there is one.
const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// A setting that is no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not the URL of a registry: write https://HOST/…")]
pub struct BadRegistry(pub String);

/// Where packages of one kind come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registry {
    hosts: BTreeSet<String>,
    ports: BTreeSet<u16>,
    /// What the tool is told.
    pub(super) env: Vec<(String, String)>,
}

impl Registry {
    /// As these settings say; `env` is what every command gets.
    pub(super) fn of(
        scheme: Scheme,
        tools: &PackageTools,
        env: &[(String, String)],
    ) -> Result<Self, BadRegistry> {
        let mut registry = Self::default();
        match scheme {
            Scheme::Npx => registry.npm(tools)?,
            Scheme::Uvx => registry.python(tools)?,
            Scheme::Go => registry.go(tools)?,
        }
        for name in PROXIES {
            if let Some(url) = value(env, &[name]).or_else(|| value(&tools.env, &[name])) {
                registry.allow(name, url)?;
            }
        }
        let handed_on = tools.env.iter().filter(|(name, _)| HANDED_ON.contains(&name.as_str()));
        registry.env.extend(handed_on.cloned());
        Ok(registry)
    }

    /// Nothing but these hosts, at their ports.
    pub(super) fn policy(&self) -> Result<EgressPolicy, BadEgress> {
        EgressPolicy::try_from(&EgressConfig {
            allow_host: Some(self.hosts.iter().cloned().collect()),
            allow_port: Some(self.ports.iter().copied().map(i64::from).collect()),
            insecure_allow_all: false,
        })
    }

    fn npm(&mut self, tools: &PackageTools) -> Result<(), BadRegistry> {
        let said = value(&tools.env, &["npm_config_registry", "NPM_CONFIG_REGISTRY"]);
        let lines = npmrc(&tools.npmrc);
        let line = lines.iter().find(|(key, _)| key == "registry").map(|(_, url)| url.as_str());
        let url = said.or(line).unwrap_or(NPM);
        self.allow("npm's registry", url)?;
        self.tell("npm_config_registry", url);
        for (key, url) in lines.iter().filter(|(key, _)| key.starts_with('@') && key.ends_with(":registry")) {
            self.allow(key, url)?;
            self.tell(&format!("npm_config_{key}"), url);
        }
        Ok(())
    }

    fn python(&mut self, tools: &PackageTools) -> Result<(), BadRegistry> {
        let said = value(&tools.env, &["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"]);
        let Some(url) = said else {
            return PYPI.iter().try_for_each(|url| self.allow("PyPI", url));
        };
        self.allow("the Python index", url)?;
        if url.contains("//pypi.org/") {
            self.allow("PyPI", PYPI[1])?;
        }
        self.tell("PIP_INDEX_URL", url);
        self.tell("UV_DEFAULT_INDEX", url);
        Ok(())
    }

    fn go(&mut self, tools: &PackageTools) -> Result<(), BadRegistry> {
        let Some(list) = value(&tools.env, &["GOPROXY"]) else {
            return GO.iter().try_for_each(|url| self.allow("Go's proxy", url));
        };
        let is_url = |part: &&str| !matches!(*part, "" | "direct" | "off");
        for url in list.split([',', '|']).map(str::trim).filter(is_url) {
            self.allow("GOPROXY", url)?;
        }
        self.allow("Go's proxy", GO[1])?;
        self.tell("GOPROXY", list);
        Ok(())
    }

    fn allow(&mut self, what: &str, url: &str) -> Result<(), BadRegistry> {
        // Not the URL itself: it may have a password in it.
        let (host, port) = host_of(url).ok_or_else(|| BadRegistry(what.to_owned()))?;
        self.hosts.insert(host);
        self.ports.insert(port);
        Ok(())
    }

    fn tell(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }
}

/// Host and port of a URL.
fn host_of(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.trim().parse().ok()?;
    let usual = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return None,
    };
    let host = uri.host().filter(|host| !host.is_empty() && !host.starts_with('['))?;
    Some((host.to_owned(), uri.port_u16().unwrap_or(usual)))
}

/// The first of these variables that says something.
fn value<'a>(env: &'a [(String, String)], names: &[&str]) -> Option<&'a str> {
    let of_name = |name: &&str| env.iter().find(|(key, value)| key == name && !value.is_empty());
    names.iter().find_map(of_name).map(|(_, value)| value.as_str())
}

/// The lines of an `.npmrc`; values that are made of variables are left out.
fn npmrc(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let plain = pairs.map(|(key, value)| (key.trim(), value.trim().trim_matches('"')));
    plain
        .filter(|(_, value)| !value.contains("${"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tools(env: &[(&str, &str)], npmrc: &str) -> PackageTools {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        PackageTools { folder: None, env, npmrc: npmrc.to_owned() }
    }

    #[test]
    fn an_installation_reaches_what_its_user_s_tools_are_told() {
        type Row<'a> = (Scheme, &'a [(&'a str, &'a str)], &'a str, &'a [&'a str], &'a [u16]);
        let rows: [Row<'_>; 9] = [
            (Scheme::Npx, &[], "", &["registry.npmjs.org"], &[443]),
            (
                Scheme::Npx,
                &[("npm_config_registry", "http://npm.example:4873")],
                "registry=https://no",
                &["npm.example"],
                &[4873],
            ),
            (
                Scheme::Npx,
                &[],
                "# c\nregistry = \"https://a.example/x/\"\n@s:registry=https://b.example\n//a.example/:_authToken=hunter2\n@t:registry=${T}\n",
                &["a.example", "b.example"],
                &[443],
            ),
            (Scheme::Uvx, &[], "", &["files.pythonhosted.org", "pypi.org"], &[443]),
            (
                Scheme::Uvx,
                &[("PIP_INDEX_URL", "https://me:pw@py.example:8443/simple")],
                "",
                &["py.example"],
                &[8443],
            ),
            (
                Scheme::Uvx,
                &[("PIP_INDEX_URL", "https://a.example"), ("UV_INDEX_URL", "https://b.example")],
                "",
                &["b.example"],
                &[443],
            ),
            (Scheme::Go, &[], "", &["proxy.golang.org", "sum.golang.org"], &[443]),
            (
                Scheme::Go,
                &[("GOPROXY", "https://go.example|direct")],
                "",
                &["go.example", "sum.golang.org"],
                &[443],
            ),
            (
                Scheme::Npx,
                &[("HTTPS_PROXY", "http://proxy.example:3128")],
                "",
                &["proxy.example", "registry.npmjs.org"],
                &[443, 3128],
            ),
        ];
        for (scheme, env, npmrc, hosts, ports) in rows {
            let tools = tools(env, npmrc);
            let registry = Registry::of(scheme, &tools, &[]).unwrap();
            assert_eq!(registry.hosts.iter().collect::<Vec<_>>(), hosts, "{env:?}");
            assert_eq!(registry.ports.iter().copied().collect::<Vec<_>>(), ports, "{env:?}");
            assert!(!format!("{:?}", registry.env).contains("hunter2"));
            registry.policy().unwrap();
        }
    }

    #[test]
    fn scopes_have_registries_of_their_own() {
        let registry = Registry::of(Scheme::Npx, &tools(&[], "@s:registry=https://b.example/"), &[]).unwrap();
        let told = ("npm_config_@s:registry".to_owned(), "https://b.example/".to_owned());
        assert!(registry.env.contains(&told), "{:?}", registry.env);
    }

    #[test]
    fn what_is_no_url_is_named_without_its_password() {
        for url in ["npm.example", "ftp://me:hunter2@x", "https://", "https://[::1]/hunter2"] {
            let error = Registry::of(Scheme::Npx, &tools(&[("npm_config_registry", url)], ""), &[]);
            let error = error.unwrap_err().to_string();
            assert!(error.contains("npm's registry") && !error.contains("hunter2"), "{error}");
        }
    }
}
