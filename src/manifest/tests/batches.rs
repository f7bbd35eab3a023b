//! Batches, case by case.

use super::super::changes::{Change, Effect};
use super::super::command::{Batch, Command, Operation, Registration};
use super::super::model::{label, registration, session};
use super::super::outcome::{Outcome, Reason, Refusal};
use super::super::path::PathError;
use super::super::state::State;
use crate::ids::{Digest, LogIndex, SegmentId, UnixNanos};
use crate::limits::{BATCH_OPERATIONS_MAX, SEGMENT_BYTES_MAX};

/// A state with one session, and its next proposal.
struct Shard {
    state: State,
    number: u64,
}

impl Shard {
    fn new() -> Self {
        let mut state = State::new();
        state.apply(LogIndex(1), &Command::OpenSession { session: session(1) }.encode());
        Self { state, number: 0 }
    }

    fn bytes(&self, operations: Vec<Operation>) -> Vec<u8> {
        let (session, number, low_water) = (session(1), self.number, self.number);
        let batch = Batch { session, number, low_water, proposed_at: UnixNanos(9), operations };
        Command::Batch(batch).encode().to_vec()
    }

    fn apply(&mut self, operations: Vec<Operation>) -> Effect {
        self.number += 1;
        let bytes = self.bytes(operations);
        self.state.apply(LogIndex(self.number + 1), &bytes)
    }

    fn refused(&mut self, operations: Vec<Operation>) -> Refusal {
        let outcome = self.apply(operations).outcome;
        let Outcome::Refused(refusal) = outcome else { panic!("not refused: {outcome:?}") };
        refusal
    }

    fn reason(&mut self, operation: Operation) -> Reason {
        let refusal = self.refused(vec![operation]);
        let Refusal::Operation { ordinal: 0, reason } = refusal else {
            panic!("refused for all: {refusal:?}")
        };
        reason
    }
}

fn register(path: &str, content: u8) -> Operation {
    Operation::Register(registration(path, content))
}

fn update(path: &str, content: u8) -> Operation {
    Operation::Update(registration(path, content))
}

fn delete(path: &str) -> Operation {
    Operation::Delete { path: path.to_owned(), reason: "compaction:7".to_owned() }
}

#[test]
fn m1_an_entry_has_all_that_was_said_and_is_found_by_path_id_and_label() {
    let mut shard = Shard::new();
    let said = Registration {
        flat: Some(Digest([9; 32])),
        labels: vec![label("measurement", "cpu"), label("database", "db")],
        ..registration("db/cpu/1.parquet", 3)
    };
    let effect = shard.apply(vec![Operation::Register(said)]);
    let id = SegmentId { index: LogIndex(2), ordinal: 0 };
    assert_eq!(effect.changes.ids().collect::<Vec<_>>(), [Some(id)]);
    let entry = shard.state.entry(&id).expect("registered");
    assert_eq!((entry.bytes, entry.version, entry.flat), (300, 1, Some(Digest([9; 32]))));
    assert_eq!(entry.labels().collect::<Vec<_>>(), [("database", "db"), ("measurement", "cpu")]);
    assert_eq!(entry.label("measurement"), Some("cpu"));
    assert_eq!(shard.state.by_path("db/cpu/1.parquet"), Some(entry));
    assert_eq!(shard.state.by_label("measurement", "cpu", None, 10).entries, [entry]);
    assert_eq!(shard.state.by_label("measurement", "cpu", Some(id), 10).entries.len(), 0);
}

#[test]
fn m2_registering_the_same_content_again_changes_nothing_and_other_content_is_refused() {
    let mut shard = Shard::new();
    shard.apply(vec![register("a", 1)]);
    let id = SegmentId { index: LogIndex(2), ordinal: 0 };
    let again = shard.apply(vec![register("a", 1)]);
    assert_eq!(again.outcome, Outcome::Applied { index: LogIndex(3), changed: 0, unchanged: 1 });
    assert_eq!(again.changes.0, [Change::Unchanged { ordinal: 0, id: Some(id) }]);
    assert_eq!(shard.reason(register("a", 2)), Reason::AlreadyExists { id });
}

#[test]
fn m2_an_update_is_a_new_segment_of_the_next_version_at_a_path_that_must_be_there() {
    let mut shard = Shard::new();
    assert_eq!(shard.reason(update("a", 1)), Reason::NotFound);
    shard.apply(vec![register("a", 1)]);
    let effect = shard.apply(vec![update("a", 2)]);
    let entry = shard.state.by_path("a").expect("updated");
    assert_eq!((entry.id.index, entry.version, entry.root), (LogIndex(4), 2, Digest([2; 32])));
    let [Change::Updated { entry: came, previous }] = &*effect.changes.0 else { panic!("{effect:?}") };
    assert_eq!((came, previous.version), (entry, 1));
    assert_eq!(shard.state.entry(&previous.id), None);
    let again = shard.apply(vec![update("a", 2)]);
    assert_eq!(again.changes.changed(), 0, "an update that says nothing new changes nothing");
    let later = Operation::Update(Registration { sealed_at: UnixNanos(99), ..registration("a", 2) });
    assert_eq!(shard.apply(vec![later]).changes.changed(), 0, "saying it later is nothing new");
}

#[test]
fn m2_a_delete_gives_its_reason_and_an_unknown_path_is_a_success() {
    let mut shard = Shard::new();
    shard.apply(vec![register("a", 1)]);
    let effect = shard.apply(vec![delete("a"), delete("a")]);
    assert_eq!(effect.outcome, Outcome::Applied { index: LogIndex(3), changed: 1, unchanged: 1 });
    assert!(matches!(&effect.changes.0[0], Change::Deleted { reason, .. } if &**reason == "compaction:7"));
    assert!(shard.state.is_empty());
    assert_eq!(shard.state.bytes_total(), 0);
}

#[test]
fn m2_a_batch_is_all_or_nothing_and_names_the_operation_that_failed() {
    let mut shard = Shard::new();
    let labelled = Registration { labels: vec![label("n", "v")], ..registration("kept", 1) };
    shard.apply(vec![Operation::Register(labelled), register("gone", 2)]);
    let before: Vec<_> = shard.state.page(None, 10).entries.into_iter().cloned().collect();
    let refusal = shard.refused(vec![
        delete("kept"),
        update("gone", 3),
        register("new", 4),
        delete("new"),
        update("no", 1),
    ]);
    assert_eq!(refusal, Refusal::Operation { ordinal: 4, reason: Reason::NotFound });
    let after: Vec<_> = shard.state.page(None, 10).entries.into_iter().cloned().collect();
    assert_eq!(before, after);
    assert_eq!(shard.state.by_label("n", "v", None, 10).entries, [&before[1]]);
    assert_eq!(shard.state.bytes_total(), 300);
}

#[test]
fn m2_later_operations_of_a_batch_see_earlier_ones() {
    let mut shard = Shard::new();
    shard.apply(vec![register("a", 1)]);
    let effect = shard.apply(vec![delete("a"), register("a/b", 2), update("a/b", 3)]);
    assert!(matches!(effect.outcome, Outcome::Applied { changed: 3, .. }), "{effect:?}");
    let ids: Vec<_> = effect.changes.ids().map(|id| id.map(|id| id.ordinal)).collect();
    assert_eq!(ids, [None, Some(1), Some(2)]);
}

#[test]
fn no_path_is_file_to_one_segment_and_directory_to_another() {
    let mut shard = Shard::new();
    shard.apply(vec![register("a/b", 1), register("a-", 1), register("a.x/y", 1), register("c", 1)]);
    let by = |ordinal| Reason::Obstructed { by: SegmentId { index: LogIndex(2), ordinal } };
    assert_eq!(shard.reason(register("a", 1)), by(0));
    assert_eq!(shard.reason(register("a/b/c/d", 1)), by(0));
    assert_eq!(shard.reason(register("a.x", 1)), by(2));
    assert_eq!(shard.reason(register("c/d", 1)), by(3));
    shard.apply(vec![register("c.x", 1), register("c-", 1)]);
    assert_eq!(shard.reason(register("c/d", 1)), by(3), "names that sort between c and c/ hide nothing");
    let fits = shard.apply(vec![register("a/c", 1), register("ab", 1), register("c0", 1)]);
    assert!(matches!(fits.outcome, Outcome::Applied { changed: 3, .. }), "{fits:?}");
}

#[test]
fn every_rule_of_form_is_checked_at_apply() {
    let mut shard = Shard::new();
    let with = |change: fn(&mut Registration)| {
        let mut said = registration("a", 1);
        change(&mut said);
        Operation::Register(said)
    };
    assert_eq!(shard.reason(register("../a", 1)), Reason::Path(PathError::Parent { at: 0 }));
    assert_eq!(shard.reason(delete("/a")), Reason::Path(PathError::Absolute));
    assert_eq!(shard.reason(with(|said| said.sealed_at = UnixNanos(0))), Reason::SealedAtZero);
    let bytes = SEGMENT_BYTES_MAX + 1;
    assert_eq!(shard.reason(with(|said| said.bytes = SEGMENT_BYTES_MAX + 1)), Reason::TooLarge { bytes });
    let many = with(|said| said.labels = (0..33).map(|n| label(&n.to_string(), "")).collect());
    assert_eq!(shard.reason(many), Reason::TooManyLabels { labels: 33 });
    let invalid = |name: &str, value: &str| {
        let labels = vec![label("fine", ""), label(name, value)];
        Operation::Register(Registration { labels, ..registration("a", 1) })
    };
    for bad in [invalid("", "v"), invalid("a\0", "v"), invalid("a", "\n"), invalid("a", &"v".repeat(257))] {
        assert_eq!(shard.reason(bad), Reason::LabelInvalid { label: 1 });
    }
    assert_eq!(shard.reason(invalid("fine", "")), Reason::LabelRepeated { label: 1 });
    let reason = "r".repeat(257);
    let long = Operation::Delete { path: "a".to_owned(), reason };
    assert_eq!(shard.reason(long), Reason::DeleteReasonTooLong { bytes: 257 });
    assert_eq!(shard.refused(vec![]), Refusal::BatchEmpty);
    let operations = BATCH_OPERATIONS_MAX + 1;
    let refusal = shard.refused(vec![delete("a"); operations]);
    assert_eq!(refusal, Refusal::BatchTooLong { operations: 10_001 });
    assert!(shard.state.is_empty());
}

#[test]
fn m2_a_batch_is_checked_before_it_is_proposed_as_at_apply() {
    let mut shard = Shard::new();
    let path = "a/".repeat(500) + "b";
    let long = (0..3000).map(|at| register(&format!("{path}{at}"), 1)).collect::<Vec<_>>();
    let bytes = shard.bytes(long.clone()).len() as u64;
    let batches = [
        (vec![register("a", 1), register("a/../b", 1)], Some("Parent")),
        (vec![], Some("BatchEmpty")),
        (long, Some("EntryTooLong")),
        (vec![register("a", 1), delete("a")], None),
    ];
    assert!(bytes > 3_000_000, "{bytes}");
    for (operations, expected) in batches {
        let before = Command::check(&shard.bytes(operations.clone())).err();
        let at_apply = if let Outcome::Refused(refusal) = shard.apply(operations).outcome {
            Some(refusal)
        } else {
            None
        };
        assert_eq!(before, at_apply);
        assert_eq!(
            before.map(|refusal| format!("{refusal:?}").contains(expected.unwrap_or("?"))),
            expected.map(|_| true)
        );
    }
    assert_eq!(Command::check(b"garbage"), Err(Refusal::Undecodable));
    assert_eq!(Command::check(&Command::OpenSession { session: session(1) }.encode()), Ok(()));
}

#[test]
fn m4_a_proposal_that_comes_twice_happens_once_and_is_answered_alike() {
    let mut shard = Shard::new();
    let first = shard.apply(vec![register("a", 1)]);
    shard.apply(vec![delete("a")]);
    let late = { Shard { state: State::new(), number: 1 }.bytes(vec![register("a", 1)]) };
    let again = shard.state.apply(LogIndex(50), &late);
    assert_eq!(again.outcome, Outcome::Refused(Refusal::Expired { low_water: 2 }));
    let kept = { Shard { state: State::new(), number: 2 }.bytes(vec![delete("a")]) };
    let again = shard.state.apply(LogIndex(51), &kept);
    assert!(again.repeated && again.changes.0.is_empty());
    assert_eq!(again.outcome, Outcome::Applied { index: LogIndex(3), changed: 1, unchanged: 0 });
    assert!(shard.state.is_empty(), "the late registration did not bring it back: {first:?}");
}

#[test]
fn bytes_that_are_no_command_are_refused_and_move_only_the_index() {
    let mut shard = Shard::new();
    shard.apply(vec![register("a", 1)]);
    for (index, bytes) in [(10, &[][..]), (11, &[0xff; 64]), (12, b"garbage")] {
        let effect = shard.state.apply(LogIndex(index), bytes);
        assert_eq!(effect.outcome, Outcome::Refused(Refusal::Undecodable));
        assert_eq!(shard.state.applied(), LogIndex(index));
    }
    assert_eq!(shard.state.len(), 1);
}

#[test]
#[should_panic(expected = "entry 2 comes after 2")]
fn an_index_that_was_applied_is_never_applied_again() {
    let mut shard = Shard::new();
    shard.apply(vec![register("a", 1)]);
    shard.state.pass(LogIndex(2));
}

#[test]
fn m1_a_walk_by_pages_goes_on_where_it_was_whatever_changes() {
    let mut shard = Shard::new();
    shard.apply((0..50).map(|n| register(&format!("{n:02}"), 1)).collect());
    let page = shard.state.page(None, 10);
    let cursor = page.next.expect("more").to_owned();
    assert_eq!((page.entries.len(), &*cursor), (10, "09"));
    shard.apply(vec![delete("09"), delete("10"), register("0a", 1), register("05x", 1)]);
    let page = shard.state.page(Some(&cursor), 2);
    let paths: Vec<_> = page.entries.iter().map(|entry| entry.path().to_string()).collect();
    assert_eq!(paths, ["0a", "11"]);
    assert_eq!(shard.state.page(Some("49"), 10).next, None);
    assert_eq!(shard.state.page(None, usize::MAX).entries.len(), 50);
    assert_eq!(shard.state.page(None, 0).entries.len(), 1, "a page always goes on");
}
