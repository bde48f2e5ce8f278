//! All composite tools of a configuration, planned.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::plan::{Plan, PlanProblem};
use crate::config::Composite;

/// The composite tools of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct Workflows {
    composites: Vec<Composite>,
    plans: HashMap<String, Arc<Plan>>,
}

/// What is wrong with composite tools, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblems(pub Vec<(String, PlanProblem)>);

impl fmt::Display for PlanProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("composite tools cannot be run:")?;
        self.0.iter().try_for_each(|(name, problem)| write!(f, "\n  - {name}: {problem}"))
    }
}

impl std::error::Error for PlanProblems {}

impl Workflows {
    /// Plans these.
    ///
    /// # Errors
    /// Everything that is wrong with any of them.
    pub fn new(composites: Vec<Composite>) -> Result<Self, PlanProblems> {
        let (mut plans, mut all) = (HashMap::new(), Vec::new());
        for composite in &composites {
            match Plan::of(composite) {
                Ok(plan) => drop(plans.insert(composite.name.clone(), Arc::new(plan))),
                Err(problems) => {
                    all.extend(problems.into_iter().map(|problem| (composite.name.clone(), problem)));
                }
            }
        }
        if all.is_empty() { Ok(Self { composites, plans }) } else { Err(PlanProblems(all)) }
    }

    /// As they are written.
    #[must_use]
    pub fn composites(&self) -> &[Composite] {
        &self.composites
    }

    /// The plan of one, by its name in the configuration.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<Arc<Plan>> {
        self.plans.get(name).cloned()
    }
}
