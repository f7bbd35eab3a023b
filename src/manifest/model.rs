//! For tests: the manifest as a person would write it down, and commands drawn from a seed.

use std::collections::{BTreeMap, BTreeSet};

use super::command::{Batch, Command, Label, Operation, Registration, Tier};
use super::outcome::{Outcome, Reason, Refusal};
use super::state::State;
use crate::ids::{Digest, LogIndex, NodeId, SegmentId, SessionId, UnixNanos};

/// A generator of numbers: splitmix64.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

pub(super) fn session(number: u64) -> SessionId {
    SessionId(u128::from(number).to_be_bytes())
}

pub(super) fn registration(path: &str, content: u8) -> Registration {
    Registration {
        path: path.to_owned(),
        bytes: u64::from(content) * 100,
        root: Digest([content; 32]),
        flat: None,
        origin: NodeId(1),
        sealed_at: UnixNanos(1),
        tier: Tier(0),
        labels: vec![],
    }
}

pub(super) fn label(name: &str, value: &str) -> Label {
    Label { name: name.to_owned(), value: value.to_owned() }
}

fn some_registration(chance: &mut Chance) -> Registration {
    // Few names, some of which sort around '/', so that files and directories of one name meet.
    let names = ["a", "a.x", "a-", "a0", "b", "b ", ".."];
    let count = if chance.below(200) == 0 { 7 } else { 6 };
    let depth = 1 + chance.below(3);
    let mut path: Vec<_> = (0..depth).map(|_| names[chance.below(count) as usize].to_owned()).collect();
    if chance.below(8) > 0 {
        path.push(format!("f{}", chance.below(4)));
    }
    let content = chance.below(4) as u8;
    Registration {
        flat: (chance.below(2) == 0).then_some(Digest([content | 0x80; 32])),
        sealed_at: UnixNanos(1 + chance.below(2)),
        labels: (0..chance.below(4))
            .map(|at| label(&format!("n{}", 3 - at), &chance.below(3).to_string()))
            .collect(),
        ..registration(&path.join("/"), content)
    }
}

fn some_operation(chance: &mut Chance) -> Operation {
    match chance.below(10) {
        0..7 => Operation::Register(some_registration(chance)),
        7 => Operation::Update(some_registration(chance)),
        _ => Operation::Delete { path: some_registration(chance).path, reason: "test".to_owned() },
    }
}

/// A command of a small world, so that all that can meet does meet.
pub(super) fn some_command(chance: &mut Chance, round: u64) -> Command {
    match chance.below(40) {
        0..3 => Command::OpenSession { session: session(chance.below(6)) },
        3 if chance.below(20) == 0 => Command::RetireSession { session: session(chance.below(6)) },
        _ => Command::Batch(Batch {
            session: session(chance.below(6)),
            number: (round + chance.below(20)).saturating_sub(10),
            low_water: round.saturating_sub(8 + chance.below(30)),
            proposed_at: UnixNanos(round),
            operations: (0..chance.below(12) / 2).map(|_| some_operation(chance)).collect(),
        }),
    }
}

/// What a person would note of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Note {
    pub(super) id: SegmentId,
    pub(super) version: u32,
    pub(super) proposed_at: UnixNanos,
    pub(super) said: Registration,
}

/// The manifest, naively.
#[derive(Clone, Default)]
pub(super) struct Model {
    pub(super) notes: BTreeMap<String, Note>,
    open: BTreeMap<SessionId, (u64, BTreeMap<u64, Outcome>)>,
    retired: BTreeSet<SessionId>,
}

impl Model {
    /// The outcome, and whether it is a kept one.
    pub(super) fn apply(&mut self, index: LogIndex, command: &Command) -> (Outcome, bool) {
        let batch = match command {
            Command::OpenSession { session } if self.retired.contains(session) => {
                return (Outcome::Refused(Refusal::SessionRetired), false);
            }
            Command::OpenSession { session } => {
                self.open.entry(*session).or_default();
                return (Outcome::SessionOpened, false);
            }
            Command::RetireSession { session } => {
                self.open.remove(session);
                self.retired.insert(*session);
                return (Outcome::SessionRetired, false);
            }
            Command::Batch(batch) => batch,
        };
        let Some((mark, outcomes)) = self.open.get_mut(&batch.session) else {
            let retired = self.retired.contains(&batch.session);
            let refusal = if retired { Refusal::SessionRetired } else { Refusal::SessionUnknown };
            return (Outcome::Refused(refusal), false);
        };
        if batch.low_water > batch.number {
            return (Outcome::Refused(Refusal::LowWaterAboveNumber), false);
        }
        *mark = batch.low_water.max(*mark);
        outcomes.retain(|number, _| *number >= *mark);
        if batch.number < *mark {
            return (Outcome::Refused(Refusal::Expired { low_water: *mark }), false);
        }
        if let Some(outcome) = outcomes.get(&batch.number) {
            return (*outcome, true);
        }
        if batch.number - *mark >= 1024 {
            return (Outcome::Refused(Refusal::TooFarAhead { low_water: *mark }), false);
        }
        let before = self.notes.clone();
        let outcome = self.perform(index, batch).unwrap_or_else(|refusal| {
            self.notes = before;
            Outcome::Refused(refusal)
        });
        let session = self.open.get_mut(&batch.session).expect("seen above");
        session.1.insert(batch.number, outcome);
        (outcome, false)
    }

    fn perform(&mut self, index: LogIndex, batch: &Batch) -> Result<Outcome, Refusal> {
        if batch.operations.is_empty() {
            return Err(Refusal::BatchEmpty);
        }
        for (ordinal, operation) in (0..).zip(&batch.operations) {
            let (Operation::Register(Registration { path, .. })
            | Operation::Update(Registration { path, .. })
            | Operation::Delete { path, .. }) = operation;
            let at =
                path.split('/').scan(0, |at, name| Some((std::mem::replace(at, *at + name.len() + 1), name)));
            if let Some((at, _)) = at.into_iter().find(|(_, name)| *name == "..") {
                let reason = Reason::Path(super::path::PathError::Parent { at: at as u32 });
                return Err(Refusal::Operation { ordinal, reason });
            }
        }
        let mut changed = 0;
        for (ordinal, operation) in (0..).zip(&batch.operations) {
            let id = SegmentId { index, ordinal };
            let did = self.operate(id, batch.proposed_at, operation);
            changed += u32::from(did.map_err(|reason| Refusal::Operation { ordinal, reason })?);
        }
        Ok(Outcome::Applied { index, changed, unchanged: batch.operations.len() as u32 - changed })
    }

    fn operate(
        &mut self,
        id: SegmentId,
        proposed_at: UnixNanos,
        operation: &Operation,
    ) -> Result<bool, Reason> {
        let (said, update) = match operation {
            Operation::Delete { path, .. } => return Ok(self.notes.remove(path).is_some()),
            Operation::Register(said) => (said, false),
            Operation::Update(said) => (said, true),
        };
        let mut said = said.clone();
        said.labels.sort();
        let there = self.notes.get(&said.path);
        let version = match there {
            None if update => return Err(Reason::NotFound),
            None => {
                let inside = |a: &str, b: &str| a.starts_with(&format!("{b}/"));
                let meets = |path: &&String| inside(path, &said.path) || inside(&said.path, path);
                if let Some(path) = self.notes.keys().find(meets) {
                    return Err(Reason::Obstructed { by: self.notes[path].id });
                }
                1
            }
            Some(there) if update && says_nothing_new(&there.said, &said) => return Ok(false),
            Some(there) if update => there.version + 1,
            Some(there) => {
                let flats = [there.said.flat, said.flat];
                let flats_agree = flats.contains(&None) || flats[0] == flats[1];
                let same = there.said.bytes == said.bytes && there.said.root == said.root && flats_agree;
                return if same { Ok(false) } else { Err(Reason::AlreadyExists { id: there.id }) };
            }
        };
        self.notes.insert(said.path.clone(), Note { id, version, proposed_at, said });
        Ok(true)
    }

    /// Panics unless the state tells the same story by every index.
    pub(super) fn check(&self, state: &State) {
        assert_eq!(state.len(), self.notes.len());
        assert_eq!(state.bytes_total(), self.notes.values().map(|note| note.said.bytes).sum::<u64>());
        let mut after = None;
        let mut notes = self.notes.values();
        loop {
            let page = state.page(after, 7);
            page.entries.iter().for_each(|entry| assert_eq!(Some(&note(entry)), notes.next()));
            page.entries.iter().for_each(|entry| assert_eq!(state.entry(&entry.id), Some(*entry)));
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert_eq!(notes.next(), None);
        for pair in (1..=3).flat_map(|n| (0..3).map(move |v| label(&format!("n{n}"), &v.to_string()))) {
            let carriers =
                self.notes.values().filter(|note| note.said.labels.contains(&pair)).map(|note| note.id);
            let carriers: BTreeSet<_> = carriers.collect();
            let page = state.by_label(&pair.name, &pair.value, None, 1000);
            assert!(page.entries.iter().map(|entry| entry.id).eq(carriers), "{pair:?}");
        }
    }
}

fn says_nothing_new(there: &Registration, said: &Registration) -> bool {
    (there.bytes, there.root, there.tier, &there.labels) == (said.bytes, said.root, said.tier, &said.labels)
        && (said.flat.is_none() || there.flat == said.flat)
}

fn note(entry: &super::entry::Entry) -> Note {
    let said = Registration {
        path: entry.path().to_string(),
        bytes: entry.bytes,
        root: entry.root,
        flat: entry.flat,
        origin: entry.origin,
        sealed_at: entry.sealed_at,
        tier: entry.tier,
        labels: entry.labels().map(|(name, value)| label(name, value)).collect(),
    };
    Note { id: entry.id, version: entry.version, proposed_at: entry.proposed_at, said }
}
