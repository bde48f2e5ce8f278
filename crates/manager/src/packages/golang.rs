//! What go is told, and what it has made: a program. Which version it is, the program itself says.
//!
//! What is built of a folder has no version; it is known by what it is made of, the program's digest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::PackageError;
use super::cache::hex;
use super::maker::{Maker, Step};
use super::pin::Made;
use super::program::Program;

const HELP: &str = "install Go (go.dev, or your system's package)";
/// What says that a folder, and all below it, is a module.
const MODULE: &str = "go.mod";

pub(super) async fn make(maker: &Maker<'_>) -> Result<Made, PackageError> {
    maker.job.needed("go", HELP)?;
    match maker.job.spec.is_local() {
        true => build(maker).await,
        false => install(maker).await,
    }
}

async fn install(maker: &Maker<'_>) -> Result<Made, PackageError> {
    let spec = &maker.job.spec;
    maker.tell(&format!("installing {} …", spec.name()));
    let text = spec.to_string();
    let asked = text.strip_prefix("go://").unwrap_or_default();
    let asked = if asked.contains('@') { asked.to_owned() } else { format!("{asked}@latest") };
    go(maker, "go install", &["install", "-trimpath", "--", &asked], None).await?;
    let programs = programs(maker)?;
    let (_, program) = programs.iter().next().ok_or_else(|| PackageError::NoProgram(spec.to_string()))?;
    let path = program.path.to_string_lossy().into_owned();
    let said = go(maker, "go version -m", &["version", "-m", &path], None).await?;
    let version = module_version(&said).ok_or_else(|| maker.unreadable("it does not say its version"))?;
    let pinned = spec.at(version)?;
    let programs = (!maker.is_there(&pinned)).then_some(programs);
    Ok(Made { pinned, programs })
}

async fn build(maker: &Maker<'_>) -> Result<Made, PackageError> {
    let folder = PathBuf::from(maker.job.spec.name());
    let no_module = || PackageError::NoModule(folder.clone());
    let folder = folder.canonicalize().map_err(|_| no_module())?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).ok_or_else(no_module)?;
    let module = folder.ancestors().find(|above| above.join(MODULE).is_file()).ok_or_else(no_module)?;
    maker.tell(&format!("building {} …", folder.display()));
    let file = maker.entry.join("bin").join(&name);
    let out = file.to_string_lossy().into_owned();
    let args = ["build", "-trimpath", "-buildvcs=false", "-o", &out, "."];
    go(maker, "go build", &args, Some((&folder, module))).await?;
    let built = std::fs::read(&file).map_err(PackageError::on(&file, "read"))?;
    let pinned = maker.job.spec.at(&format!("h1-{}", &hex(&built)[..12]))?;
    let programs = (!maker.is_there(&pinned)).then(|| programs(maker)).transpose()?;
    Ok(Made { pinned, programs })
}

/// `source`: where it runs, and what it has to see for that.
async fn go(
    maker: &Maker<'_>,
    what: &str,
    args: &[&str],
    source: Option<(&Path, &Path)>,
) -> Result<String, PackageError> {
    let below = |name: &str| maker.scratch.join(name).to_string_lossy().into_owned();
    let flags = maker.job.tools.env.iter().find(|(name, _)| name == "GOFLAGS");
    let flags = flags.map_or("", |(_, flags)| flags);
    let env = vec![
        ("GOBIN", maker.entry.join("bin").to_string_lossy().into_owned()),
        ("GOPATH", below("go")),
        ("GOCACHE", below("go-build")),
        // So that it can be removed.
        ("GOFLAGS", format!("{flags} -modcacherw").trim().to_owned()),
        ("CGO_ENABLED", "0".to_owned()),
    ];
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (cwd, read) = match source {
        Some((folder, module)) => (Some(folder.to_owned()), vec![module.to_owned()]),
        None => (None, Vec::new()),
    };
    maker.run(Step { what, program: "go".into(), args, env, read, cwd }).await
}

fn programs(maker: &Maker<'_>) -> Result<BTreeMap<String, Program>, PackageError> {
    let folder = maker.entry.join("bin");
    let found = std::fs::read_dir(&folder).map_err(PackageError::on(&folder, "read"))?;
    let names = found.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    Ok(names
        .map(|name| (name.clone(), Program { path: Path::new("bin").join(name), through: None }))
        .collect())
}

/// The version of the main module that a program says it is of.
fn module_version(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.trim().strip_prefix("mod\t")?.split('\t').nth(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_its_version() {
        let said = "/x/bin/s: go1.26.0\n\tpath\texample.com/a/cmd/s\n\tmod\texample.com/a\tv1.2.3\th1:abc=\n\tdep\texample.com/b\tv0.1.0\th1:x=\n";
        assert_eq!(module_version(said), Some("v1.2.3"));
        assert_eq!(module_version("/x/bin/s: go1.26.0\n"), None);
    }
}
