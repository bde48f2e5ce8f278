//! Whether what clients were told is true.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use serde_json::Value;
use testkit::wire::PATIENCE;

/// What a client was told of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was carried out.
    Done,
    /// Nobody knows.
    Unknown,
    /// Nothing: the connection to the proxy was lost.
    Nothing,
    /// Something that no client of a living session deserves.
    Untrue(String),
}

impl Told {
    pub(super) fn read(status: u16, answer: &Value, id: &str) -> Self {
        let odd = || Self::Untrue(format!("{status} {answer:.300}"));
        if status != 200 || answer["id"] != id {
            return odd();
        }
        match answer["error"]["code"].as_i64() {
            Some(-31001) => Self::Unknown,
            Some(_) => odd(),
            None if answer["result"]["isError"] == true => odd(),
            None if answer["result"].is_object() => Self::Done,
            None => odd(),
        }
    }
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) id: String,
    /// Whether it is in the journal if it was carried out.
    pub(super) acts: bool,
    pub(super) told: Told,
    pub(super) took: Duration,
}

/// All calls, and what is wrong already.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) calls: Vec<Call>,
    pub(super) broken: Vec<String>,
}

/// What came out.
#[derive(Debug)]
pub(super) struct Report {
    deeds: BTreeMap<&'static str, usize>,
    calls: usize,
    unknown: usize,
    unknown_but_done: usize,
    nothing: usize,
    /// Milliseconds: half, 99 of 100, the slowest.
    took: [f64; 3],
    broken: Vec<String>,
}

impl Report {
    pub(super) fn is_clean(&self) -> bool {
        self.broken.is_empty() && self.calls > 0
    }
}

/// Compares what was told with what was done, by the backend and by others.
pub(super) fn check(
    history: History,
    journal: &str,
    strange: &str,
    deeds: &BTreeMap<&'static str, usize>,
) -> Report {
    let mut done: HashMap<&str, usize> = HashMap::new();
    journal.lines().for_each(|line| *done.entry(line).or_default() += 1);
    let mut broken = history.broken;
    broken.extend(strange.lines().map(|id| format!("{id} was carried out by another server")));
    for (id, times) in &done {
        if *times > 1 {
            broken.push(format!("{id} was carried out {times} times"));
        }
    }
    let (mut unknown, mut unknown_but_done, mut nothing) = (0, 0, 0);
    for call in &history.calls {
        let there = done.contains_key(&*call.id);
        match call.told {
            Told::Done if call.acts && !there => {
                broken.push(format!("{} was told to be done, and was not", call.id))
            }
            Told::Unknown if !call.acts => broken.push(format!("{} only reads, and was given up", call.id)),
            Told::Unknown => {
                unknown += 1;
                unknown_but_done += usize::from(there);
            }
            Told::Nothing if call.took >= PATIENCE => {
                broken.push(format!("{} was told nothing for {:.0?}", call.id, call.took));
            }
            Told::Nothing => nothing += 1,
            Told::Done | Told::Untrue(_) => {}
        }
    }
    let mut took: Vec<f64> = history.calls.iter().map(|call| call.took.as_secs_f64() * 1e3).collect();
    took.sort_by(f64::total_cmp);
    let at = |part: usize| took.get(took.len().saturating_sub(1) * part / 1000).copied().unwrap_or_default();
    let took = [at(500), at(990), at(1000)];
    let calls = history.calls.len();
    Report { deeds: deeds.clone(), calls, unknown, unknown_but_done, nothing, took, broken }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (deed, times) in &self.deeds {
            writeln!(f, "{times:>7} {deed}")?;
        }
        writeln!(f, "{:>7} calls", self.calls)?;
        writeln!(
            f,
            "{:>7} told that nobody knows, of which {} had been carried out",
            self.unknown, self.unknown_but_done
        )?;
        writeln!(f, "{:>7} told nothing, since their proxy was killed", self.nothing)?;
        let [half, most, slowest] = self.took;
        writeln!(f, "        p50 {half:.1} ms, p99 {most:.1} ms, slowest {slowest:.0} ms")?;
        match self.broken.len() {
            0 => write!(f, "every promise kept"),
            count => {
                writeln!(f, "{count} promises broken:")?;
                self.broken.iter().take(20).try_for_each(|what| writeln!(f, "  {what}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(id: &str, acts: bool, told: Told) -> Call {
        Call { id: id.to_owned(), acts, told, took: Duration::from_millis(1) }
    }

    #[test]
    fn the_checker_finds_each_kind_of_lie() {
        for (told, journal, acts, clean) in [
            (Told::Done, "a", true, true),
            (Told::Done, "", true, false),
            (Told::Done, "a\na", true, false),
            (Told::Unknown, "", true, true),
            (Told::Unknown, "a", true, true),
            (Told::Unknown, "a\na", true, false),
            (Told::Unknown, "", false, false),
            (Told::Nothing, "a", true, true),
            (Told::Nothing, "a\na", true, false),
        ] {
            let history = History { calls: vec![call("a", acts, told.clone())], broken: Vec::new() };
            let report = check(history, journal, "", &BTreeMap::new());
            assert_eq!(report.is_clean(), clean, "{told:?} {journal:?}");
        }
    }

    #[test]
    fn what_hangs_and_what_others_did_is_seen() {
        let stuck = Call { took: PATIENCE, ..call("a", true, Told::Nothing) };
        let history = || History { calls: vec![call("b", true, Told::Nothing)], broken: Vec::new() };
        assert!(check(history(), "", "", &BTreeMap::new()).is_clean());
        assert!(!check(history(), "", "b", &BTreeMap::new()).is_clean());
        let history = History { calls: vec![stuck], broken: Vec::new() };
        assert!(!check(history, "", "", &BTreeMap::new()).is_clean());
    }

    #[test]
    fn what_a_client_does_not_deserve_is_seen() {
        let ok = json!({"id": "a", "result": {}});
        assert_eq!(Told::read(200, &ok, "a"), Told::Done);
        assert_eq!(Told::read(200, &json!({"id": "a", "error": {"code": -31001}}), "a"), Told::Unknown);
        for (status, answer) in [
            (404, json!({"id": "a", "error": {"code": -32001}})),
            (502, json!({"id": "a", "error": {"code": -32603}})),
            (200, json!({"id": "b", "result": {}})),
            (200, json!({"id": "a", "error": {"code": -32603}})),
            (200, Value::Null),
        ] {
            assert!(matches!(Told::read(status, &answer, "a"), Told::Untrue(_)), "{status} {answer}");
        }
    }
}
