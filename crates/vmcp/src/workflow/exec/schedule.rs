//! Which steps can start now. Pure: what has happened in, places of steps out.

use std::collections::BTreeSet;

use super::super::plan::Plan;

/// Where the steps of a run stand.
#[derive(Clone, Debug)]
pub(super) struct Schedule<'p> {
    plan: &'p Plan,
    waiting: BTreeSet<usize>,
    running: BTreeSet<usize>,
    most: usize,
}

impl<'p> Schedule<'p> {
    /// All wait.
    pub(super) fn new(plan: &'p Plan, most: usize) -> Self {
        Self { plan, waiting: (0..plan.steps.len()).collect(), running: BTreeSet::new(), most }
    }

    /// Takes those that start now: whatever they wait for is over, and there is room.
    pub(super) fn start(&mut self) -> Vec<usize> {
        let mut started = Vec::new();
        for place in &self.plan.order {
            let is_ready = self.waiting.contains(place)
                && self.plan.steps[*place].needs.iter().all(|need| self.is_over(*need));
            if is_ready && self.running.len() < self.most {
                self.running.insert(*place);
                started.push(*place);
            }
        }
        self.waiting.retain(|place| !self.running.contains(place));
        started
    }

    /// A step that had started before goes on.
    pub(super) fn begin(&mut self, place: usize) {
        self.waiting.remove(&place);
        self.running.insert(place);
    }

    /// A step is over, or was before it started.
    pub(super) fn over(&mut self, place: usize) {
        self.running.remove(&place);
        self.waiting.remove(&place);
    }

    /// Those that have not started, which they will not do now.
    pub(super) fn skip_rest(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.waiting).into_iter().collect()
    }

    fn is_over(&self, place: usize) -> bool {
        !self.waiting.contains(&place) && !self.running.contains(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::plan::tests::plan;
    use super::*;

    #[test]
    fn a_step_starts_when_its_own_needs_are_over() {
        let plan = plan(
            "  - {id: a, tool: t}\n  - {id: b, tool: t}\n  - {id: c, tool: t, dependsOn: [a]}\n  - {id: d, tool: t, dependsOn: [b, c]}",
            "",
        )
        .expect("a plan");
        let mut schedule = Schedule::new(&plan, 2);
        assert_eq!(schedule.start(), [0, 1]);
        assert!(schedule.start().is_empty());
        schedule.over(0);
        assert_eq!(schedule.start(), [2], "b is not waited for");
        schedule.over(2);
        assert!(schedule.start().is_empty());
        schedule.over(1);
        assert_eq!(schedule.clone().skip_rest(), [3]);
        assert_eq!(schedule.start(), [3]);
        assert_eq!(Schedule::new(&plan, 1).start(), [0], "no more than there is room for");
    }
}
