//! A virtual MCP's file, read at the start and again when it changes.

use std::fmt;
use std::io;
use std::path::PathBuf;

use vmcp::config::Config;

use super::{Beside, VmcpError, read, target};
use crate::plan::Surroundings;
use crate::target::Virtual;

/// Where a file is, and what it is read with.
#[derive(Clone)]
pub struct VmcpFile {
    /// Where.
    pub path: PathBuf,
    /// What stood in it when it was read.
    pub text: String,
    pub environment: fn(&str) -> Option<String>,
    pub around: Surroundings,
}

impl fmt::Debug for VmcpFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmcpFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl VmcpFile {
    /// What it says, and what that comes to.
    pub(super) fn read(self, beside: &Beside) -> Result<(Config, Virtual), VmcpError> {
        let config = read(&self.text, &self.environment)?;
        let target = target(&config, &self, beside)?;
        let followed = Followed { file: self, beside: beside.clone(), config: config.clone() };
        Ok((config, Virtual { file: Some(followed), ..target }))
    }
}

/// A file that is served: what it said when it was read, and what was said beside it.
#[derive(Clone)]
pub struct Followed {
    pub(crate) file: VmcpFile,
    pub(crate) config: Config,
    beside: Beside,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Followed").field(&self.file.path).finish()
    }
}

impl Followed {
    /// What stands in it now.
    pub(crate) async fn now(&self) -> io::Result<String> {
        let path = self.file.path.clone();
        tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await.map_err(io::Error::other)?
    }

    /// What another text in its place comes to.
    pub(crate) fn saying(&self, text: &str) -> Result<Virtual, VmcpError> {
        let file = VmcpFile { text: text.to_owned(), ..self.file.clone() };
        Ok(file.read(&self.beside)?.1)
    }
}
