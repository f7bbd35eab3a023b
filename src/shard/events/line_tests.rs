//! The line of events: places, gaps, repetition and what is kept back meanwhile.

use std::rc::Rc;

use super::*;
use crate::ids::{Digest, NodeId, SessionId, UnixNanos};
use crate::manifest::{Batch, Command, Operation, Registration, State, Tier};
use crate::raft::GroupRole;

fn entry() -> Rc<Entry> {
    let (mut state, session) = (State::new(), SessionId([1; 16]));
    state.apply(LogIndex(1), &Command::OpenSession { session }.encode());
    let registration = Registration {
        path: "a".to_owned(),
        bytes: 1,
        root: Digest([1; 32]),
        flat: None,
        origin: NodeId(1),
        sealed_at: UnixNanos(1),
        tier: Tier(0),
        labels: Vec::new(),
    };
    let operations = vec![Operation::Register(registration)];
    let batch = Batch { session, number: 0, low_water: 0, proposed_at: UnixNanos(1), operations };
    state.apply(LogIndex(2), &Command::Batch(batch).encode());
    Rc::clone(state.by_path("a").expect("it is registered"))
}

fn words(line: &Line, place: Place) -> Result<Option<Vec<&'static str>>, EventsGone> {
    let word = |event: Event| match event.what {
        Happening::Registered => "registered",
        Happening::Updated => "updated",
        Happening::Deleted { .. } => "deleted",
        Happening::Installed => "installed",
        Happening::Damaged => "damaged",
        Happening::Repaired => "repaired",
        Happening::Unavailable { .. } => "unavailable",
        Happening::Role { .. } => "role",
    };
    let told = line.after(place, |life| (life == 1).then_some(None))?;
    Ok(told.map(|events| events.into_iter().map(word).collect()))
}

/// All that there is goes to the disk.
fn write(line: &mut Line) {
    let (head, events) = line.unwritten(LogIndex(0));
    line.wrote(head.after + events.len() as u64);
}

fn after(life: u64, number: u64) -> Place {
    Place { life, number }
}

/// What an earlier start has left, which has told of entries up to `applied`.
fn found(last: u64, applied: u64, closed: bool) -> Option<EventsFound> {
    let applied = LogIndex(applied);
    Some(EventsFound { last, life: Some(1), applied, closed, ..EventsFound::default() })
}

#[test]
fn m6_nothing_is_told_that_is_not_written_and_a_disk_that_refuses_holds_nobody_up() {
    let (mut line, entry) = (Line::new(2, None), entry());
    line.stands_at(LogIndex(1));
    let start = line.end();
    line.begin(LogIndex(2));
    line.of_log(&entry, Happening::Registered);
    assert_eq!(words(&line, start), Ok(Some(vec![])), "it is not written");
    line.refused();
    assert_eq!(words(&line, start), Ok(Some(vec!["registered"])), "it cannot be");
    write(&mut line);
    line.local(&entry, Local::Landed);
    assert_eq!(words(&line, start), Ok(Some(vec!["registered"])), "the disk takes it again");
    write(&mut line);
    assert_eq!(words(&line, start), Ok(Some(vec!["registered", "installed"])));
    assert_eq!(words(&line, after(2, 1)), Ok(Some(vec!["installed"])));
    for nowhere in [after(2, 3), after(3, 1), after(1, 1)] {
        assert_eq!(words(&line, nowhere), Err(EventsGone), "{nowhere:?}");
    }
}

#[test]
fn m6_the_latest_are_in_memory_and_what_is_not_written_is_until_it_is_too_much() {
    let mut line = Line::new(2, None);
    line.stands_at(LogIndex(1));
    let start = line.end();
    for _ in 0..EVENTS_UNWRITTEN_MAX {
        line.of_node(Happening::Role { role: GroupRole::Leader, leader: None });
    }
    assert_eq!((line.latest.len(), line.is_broken()), (EVENTS_UNWRITTEN_MAX, false));
    write(&mut line);
    assert_eq!((line.latest.len(), line.is_unwritten()), (EVENTS_MAX, false));
    assert_eq!(words(&line, start), Ok(None), "the files have them");
    for _ in 0..=EVENTS_UNWRITTEN_MAX {
        line.of_node(Happening::Role { role: GroupRole::Leader, leader: None });
    }
    assert!(line.is_broken());
    assert_eq!(words(&line, start), Err(EventsGone), "the files end before what is in memory");
    line.mended();
    let (head, rest) = line.unwritten(LogIndex(0));
    assert_eq!((head.after + rest.len() as u64, rest.len()), (line.end().number, EVENTS_UNWRITTEN_MAX));
}

#[test]
fn m6_what_the_log_repeats_is_told_once_and_what_it_skips_is_a_gap() {
    let entry = entry();
    let mut line = Line::new(2, found(5, 3, true));
    line.stands_at(LogIndex(1));
    for index in 2..=4 {
        line.begin(LogIndex(index));
        line.of_log(&entry, Happening::Updated);
    }
    write(&mut line);
    assert_eq!(words(&line, after(1, 5)), Ok(Some(vec!["updated"])), "of entry 4 alone");
    line.begin(LogIndex(6));
    assert_eq!(words(&line, after(1, 5)), Err(EventsGone), "entry 5 has come with a snapshot");
    let mut line = Line::new(2, found(5, 3, true));
    line.stands_at(LogIndex(4));
    assert_eq!(words(&line, after(1, 5)), Err(EventsGone), "so has entry 4");
    let mut line = Line::new(2, found(5, 3, true));
    line.stands_at(LogIndex(1));
    line.installed_snapshot(LogIndex(3));
    assert_eq!(words(&line, after(1, 5)), Ok(Some(vec![])), "a snapshot of what was told is no gap");
    line.installed_snapshot(LogIndex(4));
    assert_eq!(words(&line, after(1, 5)), Err(EventsGone));
}

#[test]
fn m6_what_befalls_a_segment_of_an_old_manifest_waits_until_the_log_has_repeated_what_was_told() {
    let entry = entry();
    let mut line = Line::new(2, found(5, 3, true));
    line.stands_at(LogIndex(1));
    line.local(&entry, Local::Landed);
    assert!(!line.has_later() && !line.is_unwritten());
    line.begin(LogIndex(3));
    assert_eq!(line.take_later(), [(entry.id, Local::Landed)]);
    line.local(&entry, Local::Landed);
    write(&mut line);
    assert_eq!(words(&line, after(1, 5)), Ok(Some(vec!["installed"])));
}

#[test]
fn m6_after_a_kill_what_stands_here_and_was_not_told_is_told() {
    let entry = entry();
    let told = |line: &mut Line| {
        line.stands_at(LogIndex(3));
        line.local(&entry, Local::Held);
        line.local(&entry, Local::Held);
        write(line);
        words(line, after(1, 5)).expect("no gap").expect("in memory")
    };
    assert_eq!(told(&mut Line::new(2, found(5, 3, true))), [""; 0], "a stop tells all");
    assert_eq!(told(&mut Line::new(2, found(5, 3, false))), ["installed"], "once");
    let mut line = Line::new(2, found(5, 3, false));
    let segment = Some((entry.id, "a".to_owned()));
    let place = after(1, 4);
    line.had(&Event { place, applied: LogIndex(3), segment, what: Happening::Repaired });
    assert_eq!(told(&mut line), [""; 0], "it was told");
    let kept = found(5, 3, false).map(|found| EventsFound { installed_first: LogIndex(2), ..found });
    assert_eq!(told(&mut Line::new(2, kept)), [""; 0], "before the first file was begun");
}

#[test]
fn m6_what_stands_here_before_the_log_comes_to_it_is_told_then() {
    let entry = entry();
    // The files of an earlier start are gone, or its log is shorter than what it has fetched.
    for (found, start) in [(None, after(2, 0)), (found(5, 1, true), after(1, 5))] {
        let mut line = Line::new(2, found);
        line.stands_at(LogIndex(1));
        line.begin(LogIndex(2));
        line.of_log(&entry, Happening::Registered);
        line.local(&entry, Local::Held);
        write(&mut line);
        assert_eq!(words(&line, start), Ok(Some(vec!["registered", "installed"])));
        line.begin(LogIndex(3));
        line.local(&entry, Local::Held);
        assert!(!line.is_unwritten(), "once");
        assert!(line.told.ids.is_empty(), "what is not asked about again is not kept");
    }
    let mut line = Line::new(2, None);
    line.stands_at(LogIndex(2));
    line.local(&entry, Local::Held);
    assert!(!line.is_unwritten(), "whoever begins has walked the manifest");
}

#[test]
fn m6_damage_repair_and_lack_are_told_once_each_time() {
    let (mut line, entry) = (Line::new(2, None), entry());
    line.stands_at(LogIndex(2));
    let start = line.end();
    line.local(&entry, Local::Lost(LogIndex(1)));
    line.local(&entry, Local::Unavailable("not_here"));
    line.local(&entry, Local::Unavailable("not_here"));
    line.local(&entry, Local::Landed);
    for _ in 0..2 {
        line.local(&entry, Local::Lost(LogIndex(2)));
    }
    line.local(&entry, Local::Landed);
    line.local(&entry, Local::Lost(LogIndex(2)));
    line.forget(entry.id);
    line.local(&entry, Local::Unavailable("corrupt"));
    write(&mut line);
    let expected = ["unavailable", "installed", "damaged", "repaired", "damaged", "unavailable"];
    assert_eq!(words(&line, start), Ok(Some(expected.to_vec())), "what was never installed is not damaged");
    // What an earlier start had installed, and this one does not find.
    let kept = found(5, 3, true).map(|found| EventsFound { installed: LogIndex(2), ..found });
    let mut line = Line::new(3, kept);
    line.stands_at(LogIndex(3));
    line.local(&entry, Local::Lost(LogIndex(0)));
    write(&mut line);
    assert_eq!(words(&line, after(1, 5)), Ok(Some(vec!["damaged"])));
}

#[test]
fn m6_a_start_that_told_nothing_and_was_stopped_has_no_life_of_its_own() {
    let kept = found(5, 3, true).map(|found| EventsFound { silent: Some(7), ..found });
    let mut line = Line::new(8, kept);
    line.stands_at(LogIndex(3));
    assert_eq!(line.end(), after(1, 5), "the place is that of who told the last event");
    line.of_node(Happening::Role { role: GroupRole::Leader, leader: None });
    assert_eq!(line.end(), after(7, 6));
    assert_eq!(words(&line, after(7, 5)), Ok(Some(vec![])));
}
