//! A package as an image: the Dockerfile, what is sent along with it, and what the image is called. Pure.
//!
//! INVARIANT: what logs in to a registry is in the first stage only, and not in the image.
//!
//! Both stages do with Debian's and with Alpine's tools, whichever the base has, and with no user of the base's: the server
//! has a number of its own. The name says by its digest what is in the image, so that one that is there is the one wanted.
//!
//! Absent on purpose: who builds it (`build`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::PackageSpec;
use model::package::{Scheme, normal_name};
use model::run_config::RuntimeConfig;

use super::PackageError;
use super::cache::hex;
use super::pin::{requirements, variables};

/// The folder of the context that holds what is not the package's; no module has such.
const OURS: &str = ".skep";
/// Whom the server runs as: a number that no base gives to anybody.
const USER: &str = "65532:65532";
/// Where Debian and Alpine have the certificates that they trust.
const TRUSTED: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A file that logs in to a registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Login {
    /// npm's.
    Npmrc,
    /// What curl, git, pip and go read.
    Netrc,
}

impl Login {
    fn file(self) -> &'static str {
        match self {
            Self::Npmrc => ".npmrc",
            Self::Netrc => ".netrc",
        }
    }

    fn is_for(self, scheme: Scheme) -> bool {
        match self {
            Self::Npmrc => scheme == Scheme::Npx,
            Self::Netrc => scheme != Scheme::Npx,
        }
    }
}

/// What an image is made of.
#[derive(Clone)]
pub struct ImageConfig {
    /// At one version, or a folder.
    pub package: PackageSpec,
    /// Which of its programs, if not the one of its name.
    pub program: Option<String>,
    /// What the program is always given.
    pub args: Vec<String>,
    /// Bases and variables.
    pub runtime: RuntimeConfig,
    /// Variables of the first stage.
    pub build_env: BTreeMap<String, String>,
    /// What logs in to registries.
    pub logins: BTreeMap<Login, String>,
    /// A certificate to trust while it is built.
    pub ca: Option<String>,
}

/// Variables and logins are secret.
impl fmt::Debug for ImageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageConfig").field("package", &self.package).finish_non_exhaustive()
    }
}

/// How an image is made.
#[derive(Clone, PartialEq, Eq)]
pub struct ImageRecipe {
    /// What it is called.
    pub name: String,
    pub dockerfile: String,
    /// What the context has beside a folder's own files, by path.
    pub files: BTreeMap<String, String>,
}

impl fmt::Debug for ImageRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageRecipe").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The image of a package.
///
/// # Errors
/// [`PackageError`], for what could be misread by a shell or by Docker.
pub fn image(config: &ImageConfig) -> Result<ImageRecipe, PackageError> {
    let ImageConfig { package, runtime, build_env, .. } = config;
    requirements(&runtime.build_with, package)?;
    variables(&runtime.runtime_env)?;
    variables(build_env)?;
    refuse_unless(is_reference(base(config)), "an image", base(config))?;
    for name in &runtime.additional_packages {
        refuse_unless(is_system_package(name), "a package of a system", name)?;
    }
    if let Some(program) = &config.program {
        refuse_unless(is_system_package(program), "a program", program)?;
    }
    if package.exact().is_none() && !package.is_local() {
        return Err(PackageError::NotOneVersion(package.to_string()));
    }
    let files = files(config);
    let dockerfile = format!(
        "# Made by skep of {package}\n{}\n{}",
        builder(config, files.keys().map(String::as_str)),
        server(config)?
    );
    let digest = hex([&*dockerfile, &format!("{files:?}")].concat().as_bytes());
    Ok(ImageRecipe { name: name(package, &digest[..12]), dockerfile, files })
}

/// What a build says of the version that was looked up.
const VERSION: &str = "skep-version=";

/// A Dockerfile whose build says which version a package is: for [`version`].
///
/// # Errors
/// [`PackageError`], as for [`image`].
pub(super) fn look_up(config: &ImageConfig) -> Result<String, PackageError> {
    let ImageConfig { package, runtime, build_env, .. } = config;
    requirements(&runtime.build_with, package)?;
    variables(build_env)?;
    refuse_unless(is_reference(base(config)), "an image", base(config))?;
    let text = package.to_string();
    let (_, asked) = text.split_once("://").unwrap_or_default();
    let run = match package.scheme() {
        Scheme::Npx => format!(
            "npm install --package-lock-only --ignore-scripts --no-audit --no-fund -- '{asked}' && \\\n    \
             echo \"{VERSION}$(node -p \"require('./package-lock.json').packages['node_modules/{}'].version\")\"",
            package.name()
        ),
        Scheme::Uvx => format!(
            "pip install --quiet --dry-run --no-deps --ignore-installed --report report.json -- '{asked}' && \\\n    \
             python -c \"import json; print('{VERSION}' + json.load(open('report.json'))['install'][0]['metadata']['version'])\""
        ),
        Scheme::Go => format!(
            "GOBIN=/look go install -- '{asked}{}' && go version -m /look/* > said && \\\n    \
             while read -r kind path version rest; do if [ \"$kind\" = mod ]; then echo \"{VERSION}$version\"; fi; done < said",
            if asked.contains('@') { "" } else { "@latest" }
        ),
    };
    let env: String = env(build_env).map(|line| line + "\n").collect();
    Ok(format!("FROM {}\nUSER 0:0\n{env}WORKDIR /look\nRUN {run}\n", base(config)))
}

/// The version, if this line of a build says it.
pub(super) fn version(line: &str) -> Option<&str> {
    line.strip_prefix(VERSION).map(str::trim).filter(|version| !version.is_empty())
}

/// The images that a Dockerfile begins from.
pub(super) fn bases(dockerfile: &str) -> BTreeSet<&str> {
    let from = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM "));
    from.filter_map(|rest| rest.split(' ').next()).collect()
}

fn refuse_unless(is_one: bool, of: &'static str, text: &str) -> Result<(), PackageError> {
    if is_one { Ok(()) } else { Err(PackageError::Unfit { of, text: text.to_owned() }) }
}

/// `HOST:PORT/PATH:TAG@DIGEST`, as far as letters go.
fn is_reference(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._/:@-".contains(c))
}

fn is_system_package(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c))
}

fn name(package: &PackageSpec, digest: &str) -> String {
    let plain = match package.scheme() {
        Scheme::Uvx => normal_name(package.name()),
        Scheme::Npx | Scheme::Go => package.workload_name().as_str().to_ascii_lowercase(),
    };
    // A tag has fewer letters than a version.
    let version = package.exact().unwrap_or("built").replace(['+', '!'], "_");
    let version = &version[..version.len().min(100)];
    format!("toolhivelocal/{}-{plain}:{version}-{digest}", package.scheme().as_str())
}

fn files(config: &ImageConfig) -> BTreeMap<String, String> {
    let scheme = config.package.scheme();
    let logins = config.logins.iter().filter(|(login, _)| login.is_for(scheme));
    let logins = logins.map(|(login, text)| (format!("{OURS}/{}", login.file()), text.clone()));
    logins.chain(config.ca.clone().map(|ca| (format!("{OURS}/ca.crt"), ca))).collect()
}

fn builder<'a>(config: &ImageConfig, files: impl Iterator<Item = &'a str>) -> String {
    let scheme = config.package.scheme();
    let mut lines = vec![format!("FROM {} AS builder", base(config))];
    for file in files {
        if let Some(login) = file.strip_prefix(".skep/").filter(|file| file.starts_with('.')) {
            lines.push(format!("COPY {file} /root/{login}"));
        } else {
            lines.push(format!("COPY {file} /tmp/skep-ca.crt"));
            lines.push(format!("RUN mkdir -p /etc/ssl/certs && cat /tmp/skep-ca.crt >> {TRUSTED}"));
            for name in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "PIP_CERT"] {
                lines.push(format!("ENV {name}={TRUSTED}"));
            }
        }
    }
    let packages = ["ca-certificates", "git"].into_iter();
    let packages = packages.chain(config.runtime.additional_packages.iter().map(String::as_str));
    lines.push(add_packages(&packages.collect::<Vec<_>>().join(" ")));
    lines.extend(env(&config.build_env));
    lines.extend(match scheme {
        Scheme::Npx => of_npm(&config.package),
        Scheme::Uvx => of_python(&config.package, &config.runtime.build_with),
        Scheme::Go => of_go(&config.package),
    });
    lines.join("\n") + "\n"
}

/// With the tool that the base has.
fn add_packages(packages: &str) -> String {
    format!(
        "RUN if command -v apk >/dev/null; then apk add --no-cache {packages}; \\\n    \
         else apt-get update && apt-get install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*; fi"
    )
}

fn base(config: &ImageConfig) -> &str {
    match (&*config.runtime.builder_image, config.package.scheme()) {
        ("", Scheme::Npx) => "node:24-alpine",
        ("", Scheme::Uvx) => "python:3.14-slim",
        ("", Scheme::Go) => "golang:1.26-alpine",
        (image, _) => image,
    }
}

fn of_npm(package: &PackageSpec) -> Vec<String> {
    let text = package.to_string();
    let text = text.strip_prefix("npx://").unwrap_or_default();
    vec![
        "WORKDIR /app".to_owned(),
        format!("RUN npm install --omit=dev --no-audit --no-fund --save-exact -- {text}"),
    ]
}

fn of_python(package: &PackageSpec, with: &[String]) -> Vec<String> {
    let text = package.to_string();
    let text = text.strip_prefix("uvx://").unwrap_or_default().replacen('@', "==", 1);
    let with: String = with.iter().map(|text| format!("--with '{text}' ")).collect();
    vec![
        "ENV UV_TOOL_DIR=/opt/uv-tools UV_TOOL_BIN_DIR=/opt/uv-tools/bin UV_PYTHON_DOWNLOADS=never"
            .to_owned(),
        "RUN pip install --no-cache-dir uv".to_owned(),
        format!("RUN uv tool install --compile-bytecode {with}-- '{text}'"),
    ]
}

fn of_go(package: &PackageSpec) -> Vec<String> {
    if package.is_local() {
        return vec![
            "WORKDIR /src".to_owned(),
            "COPY . .".to_owned(),
            "RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -o /app/mcp-server .".to_owned(),
        ];
    }
    let text = package.to_string();
    let text = text.strip_prefix("go://").unwrap_or_default();
    vec![format!(
        "RUN CGO_ENABLED=0 GOBIN=/out go install -trimpath -- {text} && mkdir /app && mv /out/* /app/mcp-server"
    )]
}

fn server(config: &ImageConfig) -> Result<String, PackageError> {
    let package = &config.package;
    let own = config.program.as_deref();
    let plain = package.name().rsplit('/').next().unwrap_or_default();
    let (base, copies, mut entry) = match package.scheme() {
        Scheme::Npx => {
            let entry = match own {
                Some(program) => vec![format!("/app/node_modules/.bin/{program}")],
                // npm knows which of its programs a package means.
                None => ["npx", "--no", "--", package.name()].map(str::to_owned).to_vec(),
            };
            (base(config), vec!["WORKDIR /app", "COPY --from=builder /app /app"], entry)
        }
        Scheme::Uvx => {
            let entry = vec![format!("/opt/uv-tools/bin/{}", own.unwrap_or(plain))];
            (base(config), vec!["COPY --from=builder /opt/uv-tools /opt/uv-tools"], entry)
        }
        Scheme::Go => {
            let copies = vec![
                "COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
                "COPY --from=builder /app/mcp-server /app/mcp-server",
            ];
            ("alpine:3.23", copies, vec!["/app/mcp-server".to_owned()])
        }
    };
    entry.extend(config.args.iter().cloned());
    // As JSON no shell reads it.
    let entry = serde_json::to_string(&entry).map_err(|error| PackageError::Unreadable {
        package: package.to_string(),
        what: error.to_string(),
    })?;
    let mut lines = vec![format!("FROM {base}")];
    lines.extend(copies.into_iter().map(str::to_owned));
    lines.push(format!("RUN mkdir -p /home/sandbox && chown {USER} /home/sandbox"));
    lines.push("ENV HOME=/home/sandbox".to_owned());
    lines.extend(env(&config.runtime.runtime_env));
    lines.push(format!("USER {USER}"));
    lines.push(format!("ENTRYPOINT {entry}"));
    Ok(lines.join("\n") + "\n")
}

/// Variables; their values have no quotes and no backslashes, and what looks like a variable is none.
fn env(variables: &BTreeMap<String, String>) -> impl Iterator<Item = String> {
    variables.iter().map(|(name, value)| format!("ENV {name}=\"{}\"", value.replace('$', "\\$")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(package: &str) -> ImageConfig {
        ImageConfig {
            package: package.parse().unwrap(),
            program: None,
            args: Vec::new(),
            runtime: RuntimeConfig::default(),
            build_env: BTreeMap::new(),
            logins: BTreeMap::new(),
            ca: None,
        }
    }

    #[test]
    fn a_python_package_with_everything() {
        let mut config = config("uvx://A_b[x]==1.0+c");
        config.args = vec!["--say".to_owned(), "a \"b\" $c".to_owned()];
        config.runtime.builder_image = "python:3.13-alpine".to_owned();
        config.runtime.additional_packages = vec!["libpq".to_owned()];
        config.runtime.build_with = vec!["httpx<1".to_owned()];
        config.runtime.runtime_env.insert("A".to_owned(), "$b c".to_owned());
        config.build_env.insert("UV_INDEX_URL".to_owned(), "https://py.example/simple".to_owned());
        config.logins.insert(Login::Netrc, "hunter2".to_owned());
        config.logins.insert(Login::Npmrc, "not for Python".to_owned());
        config.ca = Some("PEM".to_owned());
        let recipe = image(&config).unwrap();
        let expect = r#"# Made by skep of uvx://A_b[x]@1.0+c
FROM python:3.13-alpine AS builder
COPY .skep/.netrc /root/.netrc
COPY .skep/ca.crt /tmp/skep-ca.crt
RUN mkdir -p /etc/ssl/certs && cat /tmp/skep-ca.crt >> /etc/ssl/certs/ca-certificates.crt
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
RUN if command -v apk >/dev/null; then apk add --no-cache ca-certificates git libpq; \
    else apt-get update && apt-get install -y --no-install-recommends ca-certificates git libpq && rm -rf /var/lib/apt/lists/*; fi
ENV UV_INDEX_URL="https://py.example/simple"
ENV UV_TOOL_DIR=/opt/uv-tools UV_TOOL_BIN_DIR=/opt/uv-tools/bin UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv
RUN uv tool install --compile-bytecode --with 'httpx<1' -- 'A_b[x]==1.0+c'

FROM python:3.13-alpine
COPY --from=builder /opt/uv-tools /opt/uv-tools
RUN mkdir -p /home/sandbox && chown 65532:65532 /home/sandbox
ENV HOME=/home/sandbox
ENV A="\$b c"
USER 65532:65532
ENTRYPOINT ["/opt/uv-tools/bin/A_b","--say","a \"b\" $c"]
"#;
        assert_eq!(recipe.dockerfile, expect);
        assert!(recipe.name.starts_with("toolhivelocal/uvx-a-b:1.0_c-"), "{}", recipe.name);
        let files: Vec<_> = recipe.files.keys().map(String::as_str).collect();
        assert_eq!(files, [".skep/.netrc", ".skep/ca.crt"]);
        assert!(!format!("{config:?}{recipe:?}").contains("hunter2"));
    }

    #[test]
    fn each_scheme_has_its_way() {
        for (package, parts) in [
            (
                "npx://@s/a@1.2.3",
                &[
                    "FROM node:24-alpine AS builder",
                    "--save-exact -- @s/a@1.2.3",
                    r#"["npx","--no","--","@s/a"]"#,
                ][..],
            ),
            (
                "go://a.b/c@v1.2.3",
                &["go install -trimpath -- a.b/c@v1.2.3", "FROM alpine:3.23", r#"["/app/mcp-server"]"#],
            ),
            ("go:///src/c", &["COPY . .", "go build"]),
        ] {
            let recipe = image(&config(package)).unwrap();
            for part in parts {
                assert!(recipe.dockerfile.contains(part), "{part}: {}", recipe.dockerfile);
            }
            assert!(recipe.dockerfile.contains("\nUSER 65532:65532\n"));
        }
    }

    #[test]
    fn a_version_is_looked_up_by_a_build_that_says_it() {
        for (package, parts) in [
            ("npx://@s/a@^1", &["FROM node:24-alpine\n", "-- '@s/a@^1'", "node_modules/@s/a"][..]),
            ("uvx://a_b[x]>=1,<2", &["FROM python:3.14-slim\n", "-- 'a_b[x]>=1,<2'"]),
            ("go://a.b/c", &["FROM golang:1.26-alpine\n", "-- 'a.b/c@latest'"]),
        ] {
            let dockerfile = look_up(&config(package)).unwrap();
            for part in parts {
                assert!(dockerfile.contains(part), "{part}: {dockerfile}");
            }
            // Its own words are not taken for the answer.
            assert!(dockerfile.lines().all(|line| version(line).is_none()), "{dockerfile}");
            assert_eq!(bases(&dockerfile).len(), 1);
        }
        assert_eq!(
            (version("skep-version=1.2.3 "), version("skep-version="), version("1.2.3")),
            (Some("1.2.3"), None, None)
        );
        let recipe = image(&config("go://a.b/c@v1.2.3")).unwrap();
        assert_eq!(
            bases(&recipe.dockerfile).into_iter().collect::<Vec<_>>(),
            ["alpine:3.23", "golang:1.26-alpine"]
        );
    }

    #[test]
    fn another_content_has_another_name() {
        let plain = image(&config("npx://a@1.2.3")).unwrap();
        assert_eq!(plain, image(&config("npx://a@1.2.3")).unwrap());
        let changes: [fn(&mut ImageConfig); 4] = [
            |config| config.ca = Some("PEM".to_owned()),
            |config| config.args.push("x".to_owned()),
            |config| config.runtime.builder_image = "node:22".to_owned(),
            |config| drop(config.logins.insert(Login::Npmrc, "t".to_owned())),
        ];
        for change in changes {
            let mut other = config("npx://a@1.2.3");
            change(&mut other);
            assert_ne!(image(&other).unwrap().name, plain.name);
        }
    }

    #[test]
    fn what_a_shell_or_docker_would_misread_is_refused() {
        let refused = |package: &str, change: fn(&mut ImageConfig)| {
            let mut config = config(package);
            change(&mut config);
            image(&config).map(|recipe| recipe.dockerfile).unwrap_err().to_string()
        };
        for (change, expect) in [
            (
                (|config| config.runtime.builder_image = "node:24\nRUN id".to_owned())
                    as fn(&mut ImageConfig),
                "no name of an image",
            ),
            (|config| config.runtime.builder_image = "-x".to_owned(), "no name of an image"),
            (
                |config| config.runtime.additional_packages = vec!["git;id".to_owned()],
                "no name of a package of a system",
            ),
            (|config| drop(config.build_env.insert("A".to_owned(), "$(id)".to_owned())), "cannot be set"),
            (
                |config| drop(config.runtime.runtime_env.insert("A".to_owned(), "a\nUSER root".to_owned())),
                "cannot be set",
            ),
            (|config| config.runtime.build_with = vec!["x".to_owned()], "for uvx://"),
            (|config| config.program = Some("../x".to_owned()), "no name of a program"),
        ] {
            let error = refused("npx://a@1.2.3", change);
            assert!(error.contains(expect), "{error}");
        }
        assert!(refused("npx://a@^1", |_| ()).contains("names no one version"));
    }
}
