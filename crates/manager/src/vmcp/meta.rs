//! The tools over tools that are asked for: those of the optimizer, and scripts.

use std::sync::Arc;

use vmcp::config::Config;
use vmcp::hub::MetaTools;
use vmcp::optimizer::{Embed, Optimizer, Policy};
use vmcp::script::Scripts;

use super::{Beside, VmcpError, VmcpFile, embedding};

/// How tools are found where nothing is said of it.
const BY_WORDS: Policy = Policy { most: 8, semantic_ratio: 0.5, distance: 1.0 };

/// What a file asks for.
pub(super) fn tools(config: &Config, beside: &Beside, file: &VmcpFile) -> Result<MetaTools, VmcpError> {
    let optimizer = match &config.optimizer {
        None => beside.optimizes.then(|| Optimizer::new(BY_WORDS, None)),
        Some(said) => {
            let policy = Policy {
                most: said.max_tools,
                semantic_ratio: said.semantic_ratio,
                distance: said.distance_threshold,
            };
            let service =
                said.embedding.as_ref().map(|said| embedding::Service::new(said, &file.environment));
            let service = service.transpose()?.map(|service| Arc::new(service) as Arc<dyn Embed>);
            Some(Optimizer::new(policy, service))
        }
    };
    Ok(MetaTools { optimizer: optimizer.map(Arc::new), scripts: scripts(config, file)? })
}

/// What is asked for where there is no file.
pub(super) fn tools_of_group(beside: &Beside) -> MetaTools {
    MetaTools { optimizer: beside.optimizes.then(|| Arc::new(Optimizer::new(BY_WORDS, None))), scripts: None }
}

#[cfg(feature = "starlark")]
fn scripts(config: &Config, file: &VmcpFile) -> Result<Option<Arc<Scripts>>, VmcpError> {
    let said = &config.code_mode;
    if !said.is_enabled {
        return Ok(None);
    }
    let settings = vmcp::script::Settings {
        steps: said.step_limit as u64,
        parallel: said.max_parallel,
        call_within: said.call_timeout,
    };
    let evaluators = super::scripting::Processes::new(&file.around.skep);
    let evaluators = evaluators.map_err(|error| VmcpError::Scripts(error.to_string()))?;
    Ok(Some(Arc::new(Scripts::new(settings, Arc::new(evaluators)))))
}

/// What asks for them was refused when it was read.
#[cfg(not(feature = "starlark"))]
fn scripts(_config: &Config, _file: &VmcpFile) -> Result<Option<Arc<Scripts>>, VmcpError> {
    Ok(None)
}
