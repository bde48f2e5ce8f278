//! The table of transitions, whole runs, and the log in memory.

use super::*;

fn failure() -> Failure {
    Failure { kind: FailureKind::Tool, message: "no".to_owned() }
}

/// An event by a letter: s(kip), S(ent), a(ttempt failed), l(ost), d(one), f(ailed).
fn event(letter: char) -> TaskEvent {
    match letter {
        's' => TaskEvent::Skipped,
        'S' => TaskEvent::Sent,
        'a' => TaskEvent::AttemptFailed(failure()),
        'l' => TaskEvent::Lost,
        'd' => TaskEvent::Done(Answer::default()),
        _ => TaskEvent::Failed(failure()),
    }
}

#[test]
fn events_follow_one_another_as_they_may() {
    for (letters, expect) in [
        ("s", "Over"),
        ("f", "Over"),
        ("S", "Running"),
        ("Sd", "Over"),
        ("Sf", "Over"),
        ("Sa", "Waiting"),
        ("SaSaSd", "Over"),
        ("Saf", "Over"),
        ("SlSd", "Over"),
        ("SlSlf", "Over"),
        ("d", "illegal"),
        ("a", "illegal"),
        ("l", "illegal"),
        ("SS", "illegal"),
        ("Ss", "illegal"),
        ("Sas", "illegal"),
        ("ss", "illegal"),
        ("SdS", "illegal"),
        ("Sdd", "illegal"),
        ("Sdf", "illegal"),
        ("fS", "illegal"),
        ("sl", "illegal"),
        ("sa", "illegal"),
    ] {
        let state = letters.chars().try_fold(TaskState::NEW, |state, letter| state.after(&event(letter)));
        let found = match state {
            None => "illegal",
            Some(TaskState::Waiting { .. }) => "Waiting",
            Some(TaskState::Running { .. }) => "Running",
            Some(TaskState::Over(_)) => "Over",
        };
        assert_eq!(found, expect, "{letters}");
    }
}

fn began() -> Event {
    Event::Began(Began {
        workflow: "w".into(),
        params: Data::Null,
        started: "2024-01-01T12:00:00Z".into(),
        caller: None,
    })
}

fn of(step: &str, iteration: Option<usize>, letter: char) -> Event {
    Event::Task { task: Task { step: step.into(), iteration }, event: event(letter) }
}

#[test]
fn a_run_begins_once_and_ends_once() {
    let ended = || Event::Ended(End::Cancelled);
    for (events, expect) in [
        (
            vec![
                began(),
                of("a", None, 'S'),
                of("a", Some(1), 'S'),
                of("a", Some(1), 'd'),
                of("a", None, 'd'),
                ended(),
            ],
            None,
        ),
        (vec![began(), of("a", None, 'S'), ended()], None),
        (vec![of("a", None, 'S')], Some("it has not begun")),
        (vec![ended()], Some("it has not begun")),
        (vec![began(), began()], Some("it began twice")),
        (vec![began(), ended(), of("a", None, 'S')], Some("the run is over")),
        (vec![began(), of("a", Some(0), 'S')], Some("a[0] was")),
        (vec![began(), of("a", None, 'S'), of("a", None, 'd'), of("a", Some(0), 'S')], Some("a[0] was")),
    ] {
        let found = Ledger::replay(&events);
        match expect {
            None => assert_eq!(found.unwrap().length(), events.len() as u64),
            Some(what) => {
                let error = found.unwrap_err();
                assert_eq!(error.position, events.len() as u64 - 1);
                assert!(error.what.starts_with(what), "{error}");
            }
        }
    }
}

#[test]
fn events_are_read_as_they_were_written() {
    for event in [
        began(),
        of("a", Some(3), 'a'),
        of("a", None, 'd'),
        of("a", None, 's'),
        Event::Ended(End::Completed(Data::map([("x", "y")]))),
        Event::Ended(End::TimedOut),
    ] {
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
    }
}

#[tokio::test]
async fn a_log_is_written_by_one_at_a_time_and_old_runs_make_room() {
    let log = MemoryLog::new(2);
    let end = Event::Ended(End::Cancelled);
    assert_eq!(log.append("a", 1, &began()).await, Err(LogError::Moved));
    log.append("a", 0, &began()).await.unwrap();
    assert_eq!(log.append("a", 0, &began()).await, Err(LogError::Moved));
    log.append("b", 0, &began()).await.unwrap();
    assert!(matches!(log.append("c", 0, &began()).await, Err(LogError::Unavailable(_))));
    log.append("b", 1, &end).await.unwrap();
    log.append("c", 0, &began()).await.unwrap();
    assert_eq!(log.read("b").await.unwrap(), []);
    assert_eq!(log.read("a").await.unwrap(), [began()]);
}
