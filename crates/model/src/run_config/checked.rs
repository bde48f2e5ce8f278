//! What a run config means, judged as a whole before anything is started.

use std::fmt;
use std::str::FromStr;

use super::{RunConfig, SkepConfig};
use crate::label::{Label, is_reserved};
use crate::permissions::{NotAProfile, Problem};
use crate::{GroupName, PackageSpec, Profile, SecretRef, WorkloadName};

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Stdio,
    /// HTTP+SSE of 2024-11-05.
    Sse,
    StreamableHttp,
}

impl Transport {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Sse => "sse",
            Self::StreamableHttp => "streamable-http",
        }
    }
}

impl FromStr for Transport {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Stdio, Self::Sse, Self::StreamableHttp];
        let found = all.into_iter().find(|transport| transport.as_str() == text);
        found.ok_or("is no transport: write stdio, sse or streamable-http")
    }
}

/// What keeps a workload from the rest of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Nothing but an account's rights.
    None,
    /// What the kernel has for processes.
    Process,
    Container,
    Pod,
}

impl Isolation {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Process => "process",
            Self::Container => "container",
            Self::Pod => "pod",
        }
    }
}

impl FromStr for Isolation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::None, Self::Process, Self::Container, Self::Pod];
        let found = all.into_iter().find(|isolation| isolation.as_str() == text);
        found.ok_or("is no isolation: write process, container, pod or none")
    }
}

/// What is run.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    Image(String),
    /// A server that runs elsewhere, by its URL.
    Remote(String),
    Command {
        program: String,
        args: Vec<String>,
    },
    /// A program of a package, at one version.
    Package {
        package: PackageSpec,
        /// Which one, where it is not the package's only one or the one of its name.
        program: Option<String>,
        args: Vec<String>,
    },
}

/// Arguments and URLs may hold tokens.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => f.debug_tuple("Image").field(image).finish(),
            Self::Remote(_) => f.write_str("Remote(…)"),
            Self::Command { program, .. } => {
                f.debug_struct("Command").field("program", program).finish_non_exhaustive()
            }
            Self::Package { package, .. } => {
                f.debug_struct("Package").field("package", package).finish_non_exhaustive()
            }
        }
    }
}

/// A run config that can be run. What is not here is taken from the config as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub name: WorkloadName,
    pub group: GroupName,
    pub source: Source,
    pub transport: Transport,
    /// The endpoint that clients are told: never stdio.
    pub proxy_mode: Transport,
    pub isolation: Isolation,
    pub profile: Option<Profile>,
    /// Whether egress is restricted: not where the network is not one that can be isolated.
    pub isolate_network: bool,
    pub secrets: Vec<SecretRef>,
    /// The user's.
    pub labels: Vec<Label>,
}

/// Everything that keeps a run config from being run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    fn add(&mut self, field: &str, value: &str, help: &str) {
        self.0.push(Problem { field: field.to_owned(), value: format!("{value:?}"), help: help.to_owned() });
    }

    /// Takes a judgement's value, or notes what is wrong.
    fn judge<T>(&mut self, field: &str, value: &str, judged: Result<T, &str>) -> Option<T> {
        judged.map_err(|help| self.add(field, value, help)).ok()
    }
}

impl RunConfig {
    /// Judges the configuration.
    ///
    /// # Errors
    /// [`Problems`], all of them.
    pub fn checked(&self) -> Result<Run, Problems> {
        let mut problems = Problems(Vec::new());
        let name = self.checked_name(&mut problems);
        let group = self.checked_group(&mut problems);
        let source = self.checked_source(&mut problems);
        let transport = self.checked_transport(&mut problems);
        let proxy_mode = transport.and_then(|transport| self.checked_proxy_mode(transport, &mut problems));
        let isolation = source.as_ref().and_then(|source| self.checked_isolation(source, &mut problems));
        let profile = self.checked_profile(&mut problems);
        let secrets = self.checked_secrets(&mut problems);
        let labels = self.checked_labels(&mut problems);
        let everything = (name, group, source, transport, proxy_mode, isolation);
        let (Some(name), Some(group), Some(source), Some(transport), Some(proxy_mode), Some(isolation)) =
            everything
        else {
            return Err(problems);
        };
        if !problems.0.is_empty() {
            return Err(problems);
        }
        let mode = profile.as_ref().and_then(|profile| profile.network.as_ref()).map(|network| &network.mode);
        let isolate_network = self.isolate_network && mode.is_none_or(|mode| mode.can_isolate());
        Ok(Run {
            name,
            group,
            source,
            transport,
            proxy_mode,
            isolation,
            profile,
            isolate_network,
            secrets,
            labels,
        })
    }

    fn checked_name(&self, problems: &mut Problems) -> Option<WorkloadName> {
        let name = WorkloadName::new(&self.name);
        name.map_err(|_| problems.add("name", &self.name, "is not a workload name")).ok()
    }

    fn checked_group(&self, problems: &mut Problems) -> Option<GroupName> {
        if self.group.is_empty() {
            return Some(GroupName::default());
        }
        let group = GroupName::new(&self.group);
        group.map_err(|_| problems.add("group", &self.group, "is not a group name")).ok()
    }

    fn checked_source(&self, problems: &mut Problems) -> Option<Source> {
        if let Some(skep) = self.skep.as_ref().filter(|skep| !skep.package.is_empty()) {
            return self.checked_package(skep, problems);
        }
        let skep = self.skep.as_ref().filter(|skep| !skep.command.is_empty());
        match (&*self.remote_url, &*self.image, skep) {
            ("", "", None) => {
                problems.add(
                    "image",
                    "",
                    "is not there, nor are remote_url, skep.command and skep.package: say what is run",
                );
                None
            }
            ("", "", Some(skep)) => {
                Some(Source::Command { program: skep.command.clone(), args: skep.args.clone() })
            }
            (_, _, Some(skep)) => {
                problems.add("skep.command", &skep.command, "is there beside image or remote_url: leave one");
                None
            }
            ("", image, None) => Some(Source::Image(image.to_owned())),
            // As in ToolHive, a remote server has no image, whatever stands there.
            (url, _, None) => Some(Source::Remote(url.to_owned())),
        }
    }

    fn checked_package(&self, skep: &SkepConfig, problems: &mut Problems) -> Option<Source> {
        let is_contained = skep.isolation == Isolation::Container.as_str();
        if !self.remote_url.is_empty() || (!self.image.is_empty() && !is_contained) {
            problems.add("skep.package", &skep.package, "is there beside image or remote_url: leave one");
            return None;
        }
        let package = PackageSpec::from_str(&skep.package);
        let package = package.map_err(|error| {
            problems.add("skep.package", &skep.package, &error.to_string());
        });
        let package = package.ok()?;
        if package.exact().is_none() {
            problems.add("skep.package", &skep.package, "names no one version: `skep run` finds it out");
            return None;
        }
        if is_contained && self.image.is_empty() {
            problems.add("skep.package", &skep.package, "is no image yet: `skep run` builds it");
            return None;
        }
        if is_contained {
            return Some(Source::Image(self.image.clone()));
        }
        let program = Some(skep.command.clone()).filter(|program| !program.is_empty());
        Some(Source::Package { package, program, args: skep.args.clone() })
    }

    fn checked_transport(&self, problems: &mut Problems) -> Option<Transport> {
        match &*self.transport {
            "" => Some(Transport::StreamableHttp),
            text => problems.judge("transport", text, text.parse()),
        }
    }

    /// What a server speaks over HTTP is what its clients get; a stdio server's is chosen.
    fn checked_proxy_mode(&self, transport: Transport, problems: &mut Problems) -> Option<Transport> {
        match (transport, &*self.proxy_mode) {
            (Transport::Stdio, "" | "stdio") => Some(Transport::StreamableHttp),
            (Transport::Stdio, text) => problems.judge("proxy_mode", text, text.parse()),
            (transport, _) => Some(transport),
        }
    }

    fn checked_isolation(&self, source: &Source, problems: &mut Problems) -> Option<Isolation> {
        match (source, self.skep.as_ref().map_or("", |skep| &*skep.isolation)) {
            (Source::Remote(_), "") => Some(Isolation::None),
            (Source::Image(_), "") => Some(Isolation::Container),
            (Source::Command { .. } | Source::Package { .. }, "") => Some(Isolation::Process),
            (_, text) => problems.judge("skep.isolation", text, text.parse()),
        }
    }

    fn checked_profile(&self, problems: &mut Problems) -> Option<Profile> {
        self.profile().unwrap_or_else(|NotAProfile(wrong)| {
            let placed = |problem: Problem| Problem {
                field: format!("permission_profile.{}", problem.field),
                ..problem
            };
            problems.0.extend(wrong.into_iter().map(placed));
            None
        })
    }

    fn checked_secrets(&self, problems: &mut Problems) -> Vec<SecretRef> {
        let mut read = Vec::new();
        for (index, text) in self.secrets.iter().enumerate() {
            match SecretRef::parse(text) {
                Ok(secret) => read.push(secret),
                // Not shown: it may be the secret.
                Err(_) => problems.0.push(Problem {
                    field: format!("secrets[{index}]"),
                    value: "what is there".to_owned(),
                    help: "is no reference to a secret: write NAME,target=VARIABLE".to_owned(),
                }),
            }
        }
        read
    }

    fn checked_labels(&self, problems: &mut Problems) -> Vec<Label> {
        let users = self.container_labels.iter().filter(|(key, _)| !is_reserved(key));
        let label = |(key, value): (&String, &String)| match Label::new(key, value) {
            Ok(label) => Some(label),
            Err(error) => {
                problems.add("container_labels", key, &format!("is wrong: {error}"));
                None
            }
        };
        users.filter_map(label).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Document;

    fn checked(text: &str) -> Result<Run, Problems> {
        RunConfig::parse(text).unwrap().checked()
    }

    #[test]
    fn what_is_not_said_follows_from_what_is_run() {
        for (text, isolation, transport, proxy_mode) in [
            (
                r#"{"name":"a","image":"i"}"#,
                Isolation::Container,
                Transport::StreamableHttp,
                Transport::StreamableHttp,
            ),
            (
                r#"{"name":"a","remote_url":"https://a","image":"i","transport":"sse"}"#,
                Isolation::None,
                Transport::Sse,
                Transport::Sse,
            ),
            (
                r#"{"name":"a","transport":"stdio","skep":{"command":"c"}}"#,
                Isolation::Process,
                Transport::Stdio,
                Transport::StreamableHttp,
            ),
            (
                r#"{"name":"a","transport":"stdio","image":"i","proxy_mode":"sse","skep":{"isolation":"pod"}}"#,
                Isolation::Pod,
                Transport::Stdio,
                Transport::Sse,
            ),
            (
                r#"{"name":"a","transport":"sse","image":"i","proxy_mode":"streamable-http"}"#,
                Isolation::Container,
                Transport::Sse,
                Transport::Sse,
            ),
        ] {
            let run = checked(text).unwrap();
            assert_eq!(
                (run.isolation, run.transport, run.proxy_mode),
                (isolation, transport, proxy_mode),
                "{text}"
            );
            assert!(run.group.is_default());
        }
    }

    #[test]
    fn egress_is_restricted_where_it_can_be() {
        for (network, isolated) in
            [("{}", true), (r#"{"mode":"bridge"}"#, true), (r#"{"mode":"none"}"#, false)]
        {
            let text = format!(
                r#"{{"name":"a","image":"i","isolate_network":true,"permission_profile":{{"network":{network}}}}}"#
            );
            assert_eq!(checked(&text).unwrap().isolate_network, isolated, "{network}");
        }
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once_and_no_secret_is_shown() {
        let text = r#"{"name":"a/b","group":"A","image":"i","transport":"inspector","skep":{"command":"c","isolation":"x"},
            "secrets":["ok,target=X","hunter2"],"container_labels":{"toolhive-name":"a","a b":"c","ok":"1"},
            "permission_profile":{"network":{"mod":1}}}"#;
        let Problems(problems) = checked(text).unwrap_err();
        let fields: Vec<&str> = problems.iter().map(|problem| &*problem.field).collect();
        let expect = [
            "name",
            "group",
            "skep.command",
            "transport",
            "permission_profile.network.mod",
            "secrets[1]",
            "container_labels",
        ];
        assert_eq!(fields, expect);
        assert!(!Problems(problems).to_string().contains("hunter2"));
        let nothing = checked(r#"{"name":"a"}"#).unwrap_err().to_string();
        assert!(nothing.starts_with("image: \"\" is not there"), "{nothing}");
    }

    #[test]
    fn a_package_in_a_container_is_an_image_once_that_is_built() {
        let of = |image: &str, isolation: &str| {
            let text =
                r#"{"name":"a","image":"IMAGE","skep":{"package":"npx://x@1.2.3","isolation":"LEVEL"}}"#;
            checked(&text.replace("IMAGE", image).replace("LEVEL", isolation))
                .map(|run| run.source)
                .map_err(|problems| problems.to_string())
        };
        assert_eq!(of("i", "container"), Ok(Source::Image("i".to_owned())));
        assert!(of("", "container").unwrap_err().contains("is no image yet"));
        assert!(of("i", "process").unwrap_err().contains("beside image"));
        assert!(matches!(of("", "process"), Ok(Source::Package { .. })));
    }
}
