//! A package as an image, built by a container runtime unless it has that image.
//!
//! Which version is meant is found out by a build too, so that a machine needs nothing but a runtime. The name of an image
//! says what is in it; whoever has one of that name has that.
//!
//! Absent on purpose: logins to registries, as for installations. A login would stay in what a runtime keeps of a build.

use std::collections::{BTreeMap, HashMap, VecDeque};

use model::RunConfig;
use model::package::{PackageSpec, Scheme};
use workload::container::{ImageBuild, Runtime};

use super::image::{self, ImageConfig, ImageRecipe, image};
use super::{PackageError, Tell};
use crate::images::fetch;
use crate::plan::Surroundings;

/// What is told of a build that failed.
const LAST_WORDS: usize = 25;
/// What a version is looked up as, until that is known.
const LOOK_UP: &str = "toolhivelocal/skep-look-up";

/// Variables that a runtime hands to commands of a build, and that are in no image.
const PROXIES: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];

/// Where the tools of each scheme look, as variables are called in a build.
const REGISTRIES: [(Scheme, &str); 10] = [
    (Scheme::Npx, "NPM_CONFIG_REGISTRY"),
    (Scheme::Uvx, "UV_DEFAULT_INDEX"),
    (Scheme::Uvx, "UV_INDEX_URL"),
    (Scheme::Uvx, "PIP_INDEX_URL"),
    (Scheme::Uvx, "PIP_DEFAULT_TIMEOUT"),
    (Scheme::Go, "GOPROXY"),
    (Scheme::Go, "GONOSUMDB"),
    (Scheme::Go, "GONOSUMCHECK"),
    (Scheme::Go, "GOSUMDB"),
    (Scheme::Go, "GOPRIVATE"),
];

/// Pins the package of a configuration, and sees to it that its image is there.
pub(super) async fn pin(
    config: &mut RunConfig,
    around: &Surroundings,
    spec: PackageSpec,
    tell: Tell<'_>,
) -> Result<(), PackageError> {
    let mut made = image_config(config, around, spec);
    // Said at once, and not after a version was looked up.
    if made.package.is_local() {
        return Err(PackageError::FolderImage(made.package.name().to_owned()));
    }
    if made.package.exact().is_none() {
        config.image.clear();
        made.package = version(&made, around, tell).await?;
    }
    let recipe = image(&made)?;
    let name = if config.image.is_empty() { recipe.name.clone() } else { config.image.clone() };
    built(&made, &recipe, &name, around, tell).await?;
    config.image = name;
    config.skep_mut().package = made.package.to_string();
    Ok(())
}

/// Sees to it that the image of a pinned package is there.
pub(super) async fn ready(
    config: &RunConfig,
    around: &Surroundings,
    spec: PackageSpec,
    tell: Tell<'_>,
) -> Result<(), PackageError> {
    let made = image_config(config, around, spec);
    built(&made, &image(&made)?, &config.image, around, tell).await
}

/// Builds the image of a package, unless it is there, and gives its name.
///
/// # Errors
/// [`PackageError`].
pub async fn build(
    made: &ImageConfig,
    tag: Option<&str>,
    around: &Surroundings,
    tell: Tell<'_>,
) -> Result<String, PackageError> {
    if made.package.is_local() {
        return Err(PackageError::FolderImage(made.package.name().to_owned()));
    }
    let recipe =
        image(&ImageConfig { build_env: registries(made.package.scheme(), around), ..made.clone() })?;
    let name = tag.unwrap_or(&recipe.name);
    match tag {
        // Whatever had the name before has it no more.
        Some(_) => Builder::find(made, around, tell).await?.make(&recipe, name).await?,
        None => built(made, &recipe, name, around, tell).await?,
    }
    Ok(name.to_owned())
}

fn image_config(config: &RunConfig, around: &Surroundings, package: PackageSpec) -> ImageConfig {
    let program = config.skep.as_ref().map(|skep| skep.command.clone());
    ImageConfig {
        program: program.filter(|program| !program.is_empty()),
        args: Vec::new(),
        runtime: config.runtime_config.clone().unwrap_or_default(),
        build_env: registries(package.scheme(), around),
        logins: BTreeMap::new(),
        ca: None,
        package,
    }
}

/// Where packages are, if the user's tools are told.
fn registries(scheme: Scheme, around: &Surroundings) -> BTreeMap<String, String> {
    let said = |called: &str| {
        around.packages.env.iter().find(|(name, _)| name.eq_ignore_ascii_case(called)).map(|(_, value)| value)
    };
    let theirs = REGISTRIES.iter().filter(|(of, _)| *of == scheme);
    theirs.filter_map(|(_, name)| Some(((*name).to_owned(), said(name)?.clone()))).collect()
}

async fn built(
    made: &ImageConfig,
    recipe: &ImageRecipe,
    name: &str,
    around: &Surroundings,
    tell: Tell<'_>,
) -> Result<(), PackageError> {
    let builder = Builder::find(made, around, tell).await?;
    if builder.runtime.inspect_image(name).await?.is_some() {
        return Ok(());
    }
    builder.make(recipe, name).await
}

/// Asks the registry, inside of a build.
async fn version(
    made: &ImageConfig,
    around: &Surroundings,
    tell: Tell<'_>,
) -> Result<PackageSpec, PackageError> {
    let builder = Builder::find(made, around, tell).await?;
    let dockerfile = image::look_up(made)?;
    tell(&format!("looking up {} …", made.package));
    builder.bases(&dockerfile).await?;
    let name = format!("{LOOK_UP}:{}", uuid::Uuid::new_v4().simple());
    let recipe = ImageRecipe { name: name.clone(), dockerfile, files: BTreeMap::new() };
    let said = builder.lines(&name, context(&recipe)?, true).await?;
    if let Err(error) = builder.runtime.remove_image(&name).await {
        tracing::warn!(%error, "what a version was looked up with is left behind");
    }
    let unsaid = || PackageError::Unreadable {
        package: made.package.to_string(),
        what: "its version was not said".to_owned(),
    };
    Ok(made.package.at(said.iter().find_map(|line| image::version(line)).ok_or_else(unsaid)?)?)
}

/// A runtime that builds.
struct Builder<'a> {
    runtime: Runtime,
    package: &'a PackageSpec,
    around: &'a Surroundings,
    tell: Tell<'a>,
}

impl<'a> Builder<'a> {
    async fn find(
        made: &'a ImageConfig,
        around: &'a Surroundings,
        tell: Tell<'a>,
    ) -> Result<Self, PackageError> {
        let runtime = Runtime::find(&around.runtimes.sockets).await?;
        Ok(Self { runtime, package: &made.package, around, tell })
    }

    /// Fetches what a Dockerfile begins from: as this user, and so that it can be said that this is what failed.
    async fn bases(&self, dockerfile: &str) -> Result<(), PackageError> {
        for base in image::bases(dockerfile) {
            if self.runtime.inspect_image(base).await?.is_none() {
                let fetched = fetch(&self.runtime, base, self.around, self.tell).await;
                fetched.map_err(|why| PackageError::NoBase {
                    package: self.package.to_string(),
                    base: base.to_owned(),
                    why,
                })?;
            }
        }
        Ok(())
    }

    async fn make(&self, recipe: &ImageRecipe, name: &str) -> Result<(), PackageError> {
        (self.tell)(&format!("building an image of {} …", self.package));
        self.bases(&recipe.dockerfile).await?;
        self.lines(name, context(recipe)?, false).await.map(drop)
    }

    /// Builds, and gives the last that was said.
    async fn lines(
        &self,
        name: &str,
        context: Vec<u8>,
        is_fresh: bool,
    ) -> Result<VecDeque<String>, PackageError> {
        let proxies = self.around.env.iter().filter(|(name, _)| PROXIES.contains(&name.as_str()));
        let args: HashMap<_, _> = proxies.cloned().collect();
        let network = self.around.runtimes.build_network.as_deref();
        let mut words = VecDeque::new();
        let told = |line: &str| {
            // Docker and Podman write it differently.
            if line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("step ")) {
                (self.tell)(line);
            }
            if words.len() == LAST_WORDS {
                words.pop_front();
            }
            words.push_back(line.trim_end().to_owned());
        };
        let build = ImageBuild { tag: name, context, args: &args, network, is_fresh };
        match self.runtime.build_image(build, told).await {
            Ok(()) => Ok(words),
            Err(error) => Err(PackageError::Failed {
                package: self.package.to_string(),
                what: "building an image".to_owned(),
                how: format!("failed: {error}"),
                words: words.into(),
            }),
        }
    }
}

/// The archive that a build is sent.
fn context(recipe: &ImageRecipe) -> Result<Vec<u8>, PackageError> {
    let mut archive = tar::Builder::new(Vec::new());
    let dockerfile = ("Dockerfile", &recipe.dockerfile);
    let files = recipe.files.iter().map(|(path, text)| (path.as_str(), text));
    let added = files.chain([dockerfile]).try_for_each(|(path, text)| {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, text.as_bytes())
    });
    let archive = added.and_then(|()| archive.into_inner());
    archive.map_err(PackageError::on(std::path::Path::new("a build's context"), "written"))
}
