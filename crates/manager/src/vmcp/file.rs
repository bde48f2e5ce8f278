//! A virtual MCP's file, to be read again.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{VmcpError, read, target};
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
    /// What stands in it now.
    pub(crate) async fn now(&self) -> io::Result<String> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await.map_err(io::Error::other)?
    }

    /// What a text in its place would say.
    pub(crate) fn target(&self, text: &str) -> Result<Virtual, VmcpError> {
        target(&read(text, &self.environment)?, &self.around)
    }
}
