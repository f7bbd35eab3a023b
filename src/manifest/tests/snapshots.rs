//! Snapshots that are damaged, incomplete, or made by somebody who means harm.

use rkyv::rancor;
use rkyv::util::AlignedVec;

use super::super::format::{EntryRecord, Head, LabelRecord, Part, SNAPSHOT_VERSION, SessionRecord};
use super::super::install::{Installer, SnapshotError};
use super::super::model::{Chance, session, some_command};
use super::super::outcome::Outcome;
use super::super::path::PathError;
use super::super::state::State;
use crate::ids::{Digest, LogIndex, NodeId, SegmentId, SessionId, UnixNanos};
use crate::wire::archive::{ArchiveHeader, ArchiveKind, archive_buffer, seal_archive};

type Bytes = Vec<u8>;

/// The whole snapshot of a state, in parts of about `slice_bytes`.
pub(super) fn parts(state: &mut State, slice_bytes: usize) -> Vec<Bytes> {
    let mut writer = state.freeze().with_slices(slice_bytes);
    std::iter::from_fn(|| writer.next_part(state).expect("the same state"))
        .map(|part| part.to_vec())
        .collect()
}

fn install(parts: &[Bytes]) -> Result<State, SnapshotError> {
    State::install(parts.iter().map(|part| &**part))
}

fn some_parts() -> Vec<Bytes> {
    let (mut chance, mut state) = (Chance(11), State::new());
    for round in 1..300 {
        state.apply(LogIndex(round), &some_command(&mut chance, round).encode());
    }
    let parts = parts(&mut state, 500);
    assert!(parts.len() > 8, "{}", parts.len());
    parts
}

#[test]
fn m7_an_empty_state_has_a_snapshot_too() {
    let mut state = State::new();
    let parts = parts(&mut state, 1000);
    let installed = install(&parts).expect("our own");
    assert_eq!((installed.len(), installed.applied()), (0, LogIndex(0)));
}

#[test]
fn a_state_that_was_replaced_goes_in_small_pieces() {
    let mut state = install(&some_parts()).expect("our own");
    let count = state.len();
    assert!(count > 20, "{count}");
    let mut calls = 0;
    while state.shed(3) {
        calls += 1;
        assert_eq!(state.len(), count.saturating_sub(3 * calls));
        assert!(calls <= count, "it does not end");
    }
    assert_eq!((state.len(), state.page(None, 10).entries.len()), (0, 0));
    assert!(!state.shed(3));
}

#[test]
fn m7_parts_that_miss_repeat_or_change_places_are_refused() {
    let whole = some_parts();
    assert!(install(&whole).is_ok());
    for at in 0..whole.len() {
        let mut without = whole.clone();
        without.remove(at);
        assert!(install(&without).is_err(), "without part {at}");
        let mut twice = whole.clone();
        twice.insert(at, whole[at].clone());
        assert!(install(&twice).is_err(), "part {at} twice");
        let mut swapped = whole.clone();
        swapped.swap(at, (at + 1) % whole.len());
        assert!(install(&swapped).is_err(), "part {at} swapped");
    }
    assert_eq!(install(&[]).err(), Some(SnapshotError::Incomplete { parts: 0 }));
}

#[test]
fn m7_any_flipped_bit_is_refused() {
    let whole = some_parts();
    let mut chance = Chance(5);
    for _ in 0..3000 {
        let mut bad = whole.clone();
        let part = chance.below(bad.len() as u64) as usize;
        let at = chance.below(bad[part].len() as u64 * 8) as usize;
        bad[part][at / 8] ^= 1 << (at % 8);
        assert!(install(&bad).is_err(), "part {part} bit {at}");
    }
}

#[test]
fn m7_parts_of_two_snapshots_do_not_mix() {
    let (mut chance, mut state) = (Chance(11), State::new());
    for round in 1..300 {
        state.apply(LogIndex(round), &some_command(&mut chance, round).encode());
    }
    let first = parts(&mut state, 500);
    state.pass(LogIndex(300));
    let mut mixed = parts(&mut state, 500);
    let last = mixed.len() - 1;
    mixed[last] = first[last].clone();
    let due = u32::try_from(last).expect("few");
    assert_eq!(install(&mixed).err(), Some(SnapshotError::Sequence { expected: due, found: due }));
}

#[test]
fn m7_a_writer_whose_state_was_replaced_says_so() {
    let mut state = State::new();
    let mut writer = state.freeze();
    assert!(writer.next_part(&state).is_ok());
    let other = State::new();
    assert!(writer.next_part(&other).is_err());
}

#[test]
fn parts_install_from_any_alignment() {
    let whole = some_parts();
    let installer = whole.iter().fold(Installer::new(), |installer, part| {
        let mut moved = AlignedVec::<16>::new();
        moved.extend_from_slice(&[0; 3]);
        moved.extend_from_slice(part);
        installer.push(&moved[3..]).expect("the same bytes")
    });
    assert!(installer.finish().is_ok());
}

fn seal(part: &Part, ordinal: u32, last: bool) -> Bytes {
    let mut bytes =
        rkyv::api::high::to_bytes_in::<_, rancor::Error>(part, archive_buffer(0)).expect("memory");
    let (kind, version) = (ArchiveKind::Manifest, SNAPSHOT_VERSION);
    seal_archive(&mut bytes, &ArchiveHeader { kind, version, ordinal, index: 100, last });
    bytes.to_vec()
}

fn record(path: &str, index: u64) -> EntryRecord {
    EntryRecord {
        id: SegmentId { index: LogIndex(index), ordinal: 0 },
        path: path.to_owned(),
        bytes: 10,
        root: Digest([1; 32]),
        flat: None,
        tier: 0,
        version: 1,
        origin: NodeId(1),
        sealed_at: UnixNanos(1),
        proposed_at: UnixNanos(1),
        labels: vec![],
    }
}

/// A snapshot with these entries, its checksums and totals right.
fn forged(labels: &[(&str, &str)], entries: Vec<EntryRecord>) -> Vec<Bytes> {
    let bytes_total = entries.iter().map(|entry| entry.bytes).fold(0, u64::wrapping_add);
    let head = Head { entries: entries.len() as u64, bytes_total, sessions: 0, retired: vec![] };
    let labels = labels.iter().map(|(name, value)| LabelRecord::new(name, value)).collect();
    vec![seal(&Part::Head(head), 0, false), seal(&Part::Entries { labels, entries }, 1, true)]
}

fn rule(parts: &[Bytes]) -> String {
    let error = install(parts).expect_err("it breaks a rule");
    if let SnapshotError::Entry { rule, .. } = error { rule.to_owned() } else { format!("{error:?}") }
}

#[test]
fn m3_paths_are_checked_again_at_snapshot_install() {
    let error = install(&forged(&[], vec![record("a", 1), record("b/../../etc", 2)])).expect_err("unsafe");
    assert_eq!(error, SnapshotError::Path { entry: 1, error: PathError::Parent { at: 2 } });
}

#[test]
fn m7_a_forged_snapshot_with_right_checksums_breaks_no_rule_of_the_manifest() {
    assert!(install(&forged(&[("n", "v")], vec![EntryRecord { labels: vec![0], ..record("a", 1) }])).is_ok());
    let with = |change: fn(&mut EntryRecord)| {
        let mut entry = record("b", 2);
        change(&mut entry);
        rule(&forged(
            &[("n", "v"), ("m", "v")],
            vec![EntryRecord { labels: vec![1, 0], ..record("a", 1) }, entry],
        ))
    };
    let carry = |labels: Vec<u32>| {
        rule(&forged(&[("n", "v"), ("n", "w")], vec![EntryRecord { labels, ..record("a", 1) }]))
    };
    assert!(with(|entry| entry.path = "a".to_owned()).contains("paths ascend"));
    assert!(with(|entry| entry.path = "A".to_owned()).contains("paths ascend"));
    assert!(with(|entry| entry.path = "a/b".to_owned()).contains("directory"));
    assert!(with(|entry| entry.id.index = LogIndex(101)).contains("ids are"));
    assert!(with(|entry| entry.id.index = LogIndex(0)).contains("ids are"));
    assert!(with(|entry| entry.id.index = LogIndex(1)).contains("distinct"));
    assert!(with(|entry| entry.bytes = u64::MAX).contains("SEGMENT_BYTES_MAX"));
    assert!(with(|entry| entry.sealed_at = UnixNanos(0)).contains("sealed"));
    assert!(with(|entry| entry.version = 0).contains("versions"));
    assert!(carry(vec![0]).contains("carried"));
    assert!(carry(vec![1, 0]).contains("ascend"));
    assert!(carry(vec![0, 0]).contains("ascend"));
    assert!(carry(vec![0, 2]).contains("table"));
    assert!(carry(vec![0; 33]).contains("LABELS_MAX"));
    assert!(rule(&forged(&[("n", "v"); 33], vec![record("a", 1)])).contains("no more labels than"));
    let control = forged(&[("n\n", "v")], vec![EntryRecord { labels: vec![0], ..record("a", 1) }]);
    assert!(rule(&control).contains("control"));
}

#[test]
fn m7_a_head_that_lies_is_refused() {
    let entries = || vec![record("a", 1)];
    let head = |entries, bytes_total, sessions| Head { entries, bytes_total, sessions, retired: vec![] };
    let body = seal(&Part::Entries { labels: vec![], entries: entries() }, 1, true);
    for (head, of) in [
        (head(2, 10, 0), "entries"),
        (head(1, 11, 0), "bytes"),
        (head(1, 10, 1), "sessions"),
        (head(u64::MAX, 10, 0), "entries"),
        (head(1, 10, u32::MAX), "sessions"),
    ] {
        let parts = [seal(&Part::Head(head), 0, false), body.clone()];
        assert!(
            matches!(install(&parts), Err(SnapshotError::Totals { of: found, .. }) if found == of),
            "{of}"
        );
    }
}

/// A session that breaks no rule.
fn good() -> SessionRecord {
    SessionRecord {
        session: session(1),
        opened: LogIndex(1),
        used: LogIndex(2),
        low_water: 5,
        outcomes: vec![(5, Outcome::SessionOpened)],
    }
}

/// A snapshot with these sessions, and no entry.
fn of_sessions(
    retired: Vec<(SessionId, LogIndex)>,
    records: Vec<SessionRecord>,
) -> Result<State, SnapshotError> {
    let sessions = u32::try_from(records.len()).expect("few");
    install(&[
        seal(&Part::Head(Head { entries: 0, bytes_total: 0, sessions, retired }), 0, false),
        seal(&Part::Sessions(records), 1, false),
        seal(&Part::Entries { labels: vec![], entries: vec![] }, 2, true),
    ])
}

/// It was taken in, and the next proposal of the session would have been performed.
#[test]
fn m4_a_session_of_a_snapshot_is_open_or_retired_and_not_both() {
    let at = LogIndex(7);
    assert!(of_sessions(vec![(session(2), at)], vec![good()]).is_ok());
    let refused = Some(SnapshotError::Session { session: 0 });
    assert_eq!(of_sessions(vec![(session(1), at)], vec![good()]).err(), refused);
    assert_eq!(of_sessions(vec![(session(2), LogIndex(101))], vec![]).err(), refused, "after the snapshot");
    let refused = Some(SnapshotError::Session { session: 1 });
    for second in [1, 2] {
        let retired = vec![(session(2), at), (session(second), at)];
        assert_eq!(of_sessions(retired, vec![]).err(), refused, "ids ascend");
    }
}

/// Each says what it is, and all else of it is right: only its place is not.
#[test]
fn m7_parts_of_a_kind_that_is_not_due_are_refused() {
    let head = || Part::Head(Head { entries: 1, bytes_total: 10, sessions: 1, retired: vec![] });
    let sessions = || Part::Sessions(vec![good()]);
    let entries = |count: usize| {
        let entries = std::iter::repeat_with(|| record("a", 1)).take(count).collect();
        Part::Entries { labels: vec![], entries }
    };
    let whole = [(head(), 0), (sessions(), 1), (entries(1), 2)];
    let refused = |parts: Vec<(Part, u32)>, at: u32, found: u32| {
        let last = parts.len() - 1;
        let sealed =
            parts.iter().enumerate().map(|(place, (part, ordinal))| seal(part, *ordinal, place == last));
        let installed = install(&sealed.collect::<Vec<_>>());
        let expected = at;
        assert_eq!(installed.err(), Some(SnapshotError::Sequence { expected, found }), "{parts:?}");
    };
    let sealed = whole.iter().map(|(part, ordinal)| seal(part, *ordinal, *ordinal == 2));
    assert!(install(&sealed.collect::<Vec<_>>()).is_ok());
    refused(vec![(sessions(), 0), (head(), 1), (entries(1), 2)], 0, 0);
    refused(vec![(head(), 0), (head(), 1), (sessions(), 2), (entries(1), 3)], 1, 1);
    refused(vec![(head(), 0), (entries(1), 1), (sessions(), 2), (entries(0), 3)], 2, 2);
    refused(vec![(head(), 0), (entries(1), 1), (sessions(), 2)], 2, 2);
    refused(vec![(head(), 0), (sessions(), 2), (entries(1), 3)], 1, 2);
    refused(vec![(head(), 0), (sessions(), 1), (entries(1), 1)], 2, 1);
}

#[test]
fn m4_sessions_of_a_snapshot_keep_their_rules() {
    let attempt = |records: Vec<SessionRecord>| of_sessions(vec![], records);
    assert!(attempt(vec![good()]).is_ok());
    let refused = Some(SnapshotError::Session { session: 0 });
    assert_eq!(attempt(vec![SessionRecord { used: LogIndex(101), ..good() }]).err(), refused);
    assert_eq!(attempt(vec![SessionRecord { opened: LogIndex(3), ..good() }]).err(), refused);
    assert_eq!(attempt(vec![SessionRecord { low_water: 6, ..good() }]).err(), refused);
    for numbers in [&[2000][..], &[7, 6], &[6, 6]] {
        let outcomes = numbers.iter().map(|number| (*number, Outcome::SessionOpened)).collect();
        assert_eq!(attempt(vec![SessionRecord { outcomes, ..good() }]).err(), refused, "{numbers:?}");
    }
    let twice = attempt(vec![good(), good()]).err();
    assert_eq!(twice, Some(SnapshotError::Session { session: 1 }));
}
