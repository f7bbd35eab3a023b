//! The names in one simulated directory: those seen, those durable, and the changes between the two in order.
//!
//! A change becomes durable with all changes of its directory before it: by a sync of the directory, by the file
//! system's own accord, or by luck at a power cut. A sync of a file makes none of its names durable.

use std::collections::{BTreeMap, VecDeque};

/// Number of an inode.
pub type Inode = u64;
/// Number of a change, in the order of the whole disk.
pub type ChangeId = u64;

/// One change of a directory, atomic.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its number.
    pub id: ChangeId,
    /// Names that now stand for a file, or for none.
    pub edits: Vec<(Vec<u8>, Option<Inode>)>,
    /// A change of another directory that is durable no later than this: a file moved away is never lost.
    pub after: Option<(Inode, ChangeId)>,
}

/// The names in a directory.
#[derive(Clone, Default, Debug)]
pub struct Names {
    seen: BTreeMap<Vec<u8>, Inode>,
    durable: BTreeMap<Vec<u8>, Inode>,
    log: VecDeque<Change>,
}

/// What a step of the log did to an inode's durable names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// One more.
    Gained(Inode),
    /// One fewer.
    Lost(Inode),
}

impl Names {
    /// What a name stands for.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<Inode> {
        self.seen.get(name).copied()
    }

    /// All names and what they stand for, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, Inode)> {
        self.seen.iter().map(|(name, inode)| (name, *inode))
    }

    /// No names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Makes a change that is not durable yet.
    pub fn change(&mut self, change: Change) {
        for (name, inode) in &change.edits {
            match inode {
                Some(inode) => self.seen.insert(name.clone(), *inode),
                None => self.seen.remove(name),
            };
        }
        self.log.push_back(change);
    }

    /// The number of the last change, if one is not durable.
    #[must_use]
    pub fn last(&self) -> Option<ChangeId> {
        self.log.back().map(|change| change.id)
    }

    /// The number of the change `count` places into the log; `None` for 0.
    #[must_use]
    pub fn nth(&self, count: usize) -> Option<ChangeId> {
        Some(self.log.get(count.checked_sub(1)?)?.id)
    }

    /// How many changes are not durable.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.log.len()
    }

    /// Takes the first change that is not durable out of the log, if it is not above `id`.
    pub fn next_to(&mut self, id: ChangeId) -> Option<Change> {
        if self.log.front()?.id > id {
            return None;
        }
        self.log.pop_front()
    }

    /// Makes a change of the log durable; tells what it did to inodes.
    pub fn persist(&mut self, change: &Change) -> Vec<Effect> {
        let mut effects = Vec::new();
        for (name, inode) in &change.edits {
            let before = match inode {
                Some(inode) => {
                    effects.push(Effect::Gained(*inode));
                    self.durable.insert(name.clone(), *inode)
                }
                None => self.durable.remove(name),
            };
            effects.extend(before.map(Effect::Lost));
        }
        effects
    }

    /// The power goes: the changes still in the log have not happened.
    pub fn power_cut(&mut self) {
        self.log.clear();
        self.seen.clone_from(&self.durable);
    }

    /// The last change of the log that is the other half of one that is durable elsewhere.
    #[must_use]
    pub fn last_half(&self, is_durable: impl Fn(Inode, ChangeId) -> bool) -> Option<ChangeId> {
        let half = |change: &&Change| change.after.is_some_and(|(dir, id)| is_durable(dir, id));
        self.log.iter().rev().find(half).map(|change| change.id)
    }

    /// The number of the first change that is not durable.
    #[must_use]
    pub fn first(&self) -> Option<ChangeId> {
        self.log.front().map(|change| change.id)
    }
}
