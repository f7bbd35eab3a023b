//! What is known to be held on this disk, in memory: a record of each segment, its pin, what landings have announced.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::ids::{Digest, SegmentId};

use super::names::Stem;
use super::path::RelativePath;
use super::record::{Change, InventoryCut, Record, decode_all};

/// Whether a record is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The file was seen to be what the record says.
    Held,
    /// The file is gone or has changed; it does not count before it was hashed.
    Suspect,
}

/// What is held, by id, by path and by root.
#[derive(Default, PartialEq, Debug)]
pub(super) struct Table {
    by_id: BTreeMap<SegmentId, Box<Row>>,
    by_path: BTreeMap<RelativePath, SegmentId>,
    by_root: BTreeSet<(Beginning, SegmentId)>,
    /// Landings that have announced their file and not recorded it, in their order.
    intents: Intents,
    /// What stands in `pins/` under a segment's name, and no record is of that segment.
    loose_pins: BTreeSet<Stem>,
}

/// In a box: a tree that grows at its end is half empty.
#[derive(PartialEq, Debug)]
struct Row {
    record: Record,
    standing: Standing,
    /// Whether its name stands in `pins/`.
    is_pinned: bool,
}

/// A record, and whether it is believed.
pub(super) type Known<'a> = (&'a Record, Standing);

type Intents = BTreeMap<RelativePath, Vec<Record>>;

/// The first bytes of a root: who looks for one compares the whole.
type Beginning = [u8; 8];

/// A file's changes in their order, of which the trees are made when all are read: each is sorted once, and no place
/// looked for in it a million times.
#[derive(Default)]
struct Replay {
    puts: Vec<Record>,
    /// With how many puts before each.
    drops: Vec<(SegmentId, usize)>,
    intents: Intents,
}

impl Table {
    /// What a file says, all of it suspect; how many changes it has, and where it stops making sense.
    pub(super) fn read(file: &[u8]) -> (Self, usize, Option<InventoryCut>) {
        let (mut replay, mut changes) = (Replay::default(), 0);
        let cut = decode_all(file, |change| {
            replay.apply(change);
            changes += 1;
        });
        (replay.into_table(), changes, cut)
    }

    pub(super) fn apply(&mut self, change: Change, standing: Standing) {
        match change {
            Change::Drop(id) => {
                self.remove(id);
                drop_intents(&mut self.intents, id);
            }
            Change::Intend(record) => intend(&mut self.intents, record),
            Change::Put(record) => {
                self.intents.remove(&record.path);
                self.remove(record.id);
                if let Some(older) = self.by_path.insert(record.path.clone(), record.id) {
                    self.remove(older);
                }
                self.by_root.insert((beginning(record.root), record.id));
                let is_pinned = self.loose_pins.remove(&record.stem());
                self.by_id.insert(record.id, Box::new(Row { record, standing, is_pinned }));
            }
        }
    }

    fn remove(&mut self, id: SegmentId) {
        let Some(row) = self.by_id.remove(&id) else { return };
        let record = row.record;
        self.by_root.remove(&(beginning(record.root), id));
        if self.by_path.get(&record.path) == Some(&id) {
            self.by_path.remove(&record.path);
        }
        if row.is_pinned {
            self.loose_pins.insert(record.stem());
        }
    }

    /// Changes what is believed of a record.
    pub(super) fn set_standing(&mut self, id: SegmentId, standing: Standing) {
        if let Some(row) = self.by_id.get_mut(&id) {
            row.standing = standing;
        }
    }

    /// All that stands in `pins/` under segments' names.
    pub(super) fn set_pins(&mut self, mut stems: Vec<Stem>) {
        stems.sort_unstable();
        let mut rows = self.by_id.iter_mut().peekable();
        for stem in stems {
            while rows.next_if(|(id, _)| **id < stem.id).is_some() {}
            match rows.peek_mut() {
                Some((_, row)) if row.record.stem() == stem => row.is_pinned = true,
                _ => drop(self.loose_pins.insert(stem)),
            }
        }
    }

    /// A pin has come, or it is gone.
    pub(super) fn set_pin(&mut self, stem: Stem, stands: bool) {
        match self.by_id.get_mut(&stem.id).filter(|row| row.record.root == stem.root) {
            Some(row) => row.is_pinned = stands,
            None if stands => drop(self.loose_pins.insert(stem)),
            None => drop(self.loose_pins.remove(&stem)),
        }
    }

    /// Whether a segment's pin stands.
    pub(super) fn is_pinned(&self, stem: &Stem) -> bool {
        let row = self.by_id.get(&stem.id).filter(|row| row.record.root == stem.root);
        row.map_or_else(|| self.loose_pins.contains(stem), |row| row.is_pinned)
    }

    /// All pins of a segment: of its record, and of other content.
    pub(super) fn pins_of(&self, id: SegmentId) -> impl Iterator<Item = Stem> {
        let of_record = self.by_id.get(&id).filter(|row| row.is_pinned).map(|row| row.record.stem());
        of_record.into_iter().chain(self.loose_pins.range(Stem::all_of(id)).copied())
    }

    /// The pins of which there is no record.
    pub(super) fn loose_pins(&self) -> impl Iterator<Item = &Stem> {
        self.loose_pins.iter()
    }

    /// Lets go of all that landings have announced.
    pub(super) fn take_intents(&mut self) -> Intents {
        std::mem::take(&mut self.intents)
    }

    /// Takes it back.
    pub(super) fn set_intents(&mut self, intents: Intents) {
        self.intents = intents;
    }

    /// All records, in the order of their ids.
    pub(super) fn into_records(self) -> impl Iterator<Item = Record> {
        self.by_id.into_values().map(|row| row.record)
    }

    /// The record of a segment that is held.
    pub(super) fn held(&self, id: SegmentId) -> Option<&Record> {
        self.known(id).filter(|(_, standing)| *standing == Standing::Held).map(|(record, _)| record)
    }

    /// What is known of a segment.
    pub(super) fn known(&self, id: SegmentId) -> Option<Known<'_>> {
        self.by_id.get(&id).map(|row| row.known())
    }

    /// What is known of a path.
    pub(super) fn at_path(&self, path: &RelativePath) -> Option<Known<'_>> {
        self.by_path.get(path).and_then(|id| self.known(*id))
    }

    /// The held segments with this root.
    pub(super) fn with_root(&self, root: Digest) -> impl Iterator<Item = &Record> {
        let wanted = beginning(root);
        let alike = self.by_root.range((wanted, SegmentId::default())..);
        let alike = alike.take_while(move |(other, _)| *other == wanted).filter_map(|(_, id)| self.held(*id));
        alike.filter(move |record| record.root == root)
    }

    /// All records in the order of their ids, from behind `after`.
    pub(super) fn after(&self, after: Option<SegmentId>) -> impl Iterator<Item = Known<'_>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range((start, Bound::Unbounded)).map(|(_, row)| row.known())
    }

    /// What landings have announced and not recorded.
    pub(super) fn intents(&self) -> impl Iterator<Item = &Record> {
        self.intents.values().flatten()
    }

    /// The same under one name.
    pub(super) fn intents_at(&self, path: &RelativePath) -> &[Record] {
        self.intents.get(path).map_or(&[], Vec::as_slice)
    }

    /// Entries that a new file has to hold.
    pub(super) fn live(&self) -> usize {
        self.by_id.len() + self.intents().count()
    }

    /// Records, believed or not.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

impl Row {
    fn known(&self) -> Known<'_> {
        (&self.record, self.standing)
    }
}

impl Replay {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Drop(id) => {
                self.drops.push((id, self.puts.len()));
                drop_intents(&mut self.intents, id);
            }
            Change::Intend(record) => intend(&mut self.intents, record),
            Change::Put(record) => {
                self.intents.remove(&record.path);
                self.puts.push(record);
            }
        }
    }

    /// Of the puts those count behind which no change speaks of their id, and no put of their path.
    fn into_table(self) -> Table {
        let Self { puts, drops, intents } = self;
        let mut by_path: Vec<(RelativePath, usize)> =
            puts.iter().enumerate().map(|(at, record)| (record.path.clone(), at)).collect();
        // Both sorts keep the order of the file among what is alike.
        by_path.sort_by(|(one, _), (other, _)| one.cmp(other));
        by_path.dedup_by(|later, kept| {
            let is_alike = later.0 == kept.0;
            kept.1 = if is_alike { later.1 } else { kept.1 };
            is_alike
        });
        let mut counts = vec![false; puts.len()];
        by_path.iter().for_each(|(_, at)| counts[*at] = true);
        let mut by_id: Vec<(SegmentId, usize, bool)> =
            puts.iter().enumerate().map(|(at, record)| (record.id, at, true)).collect();
        // A drop stands behind the puts before it.
        by_id.extend(drops.into_iter().filter(|(_, before)| *before > 0).map(|(id, at)| (id, at - 1, false)));
        by_id.sort_by_key(|(id, at, is_put)| (*id, *at, !*is_put));
        for of_id in by_id.chunk_by(|(one, ..), (other, ..)| one == other) {
            let is_last = |at: usize| of_id.last() == Some(&(puts[at].id, at, true));
            of_id.iter().filter(|(_, _, is_put)| *is_put).for_each(|(_, at, _)| counts[*at] &= is_last(*at));
        }
        by_id.retain(|(_, at, is_put)| *is_put && counts[*at]);
        by_path.retain(|(_, at)| counts[*at]);
        let by_path = by_path.into_iter().map(|(path, at)| (path, puts[at].id)).collect();
        let by_root = by_id.iter().map(|(id, at, _)| (beginning(puts[*at].root), *id)).collect();
        let mut puts: Vec<Option<Record>> = puts.into_iter().map(Some).collect();
        let record_of = |(id, at, _): (SegmentId, usize, bool)| {
            let record = puts[at].take().expect("a put stands once among the ids");
            (id, Box::new(Row { record, standing: Standing::Suspect, is_pinned: false }))
        };
        let by_id = by_id.into_iter().map(record_of).collect();
        Table { by_id, by_path, by_root, intents, loose_pins: BTreeSet::new() }
    }
}

fn drop_intents(intents: &mut Intents, id: SegmentId) {
    intents.retain(|_, of_path| {
        of_path.retain(|intent| intent.id != id);
        !of_path.is_empty()
    });
}

fn intend(intents: &mut Intents, record: Record) {
    let of_path = intents.entry(record.path.clone()).or_default();
    // The same file once more: an attempt that failed before its rename.
    of_path.retain(|of| (of.id, of.identity.inode) != (record.id, record.identity.inode));
    of_path.push(record);
}

fn beginning(root: Digest) -> Beginning {
    *root.0.first_chunk().expect("a digest is longer")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{LogIndex, UnixNanos};
    use crate::segment::identity::Identity;
    use crate::segment::record::{Ownership, header};

    fn at(path: &str) -> RelativePath {
        RelativePath::parse(path).expect("a path")
    }

    fn record(index: u64, path: &str, root: u8) -> Record {
        Record {
            id: SegmentId { index: LogIndex(index), ordinal: 0 },
            root: Digest([root; 32]),
            len: 1,
            path: at(path),
            identity: Identity { device: 1, inode: index, bytes: 1, modified: UnixNanos(1) },
            owner: Ownership::Ours,
        }
    }

    fn ids(table: &Table) -> Vec<u64> {
        table.after(None).map(|(record, _)| record.id.index.0).collect()
    }

    #[test]
    fn a_new_version_of_a_path_takes_the_place_of_the_old() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Held);
        table.apply(Change::Put(record(2, "b", 7)), Standing::Held);
        table.apply(Change::Put(record(3, "a", 8)), Standing::Held);
        assert_eq!(ids(&table), [2, 3]);
        assert_eq!(table.at_path(&at("a")).map(|(record, _)| record.id.index.0), Some(3));
        assert_eq!(table.with_root(Digest([7; 32])).count(), 1);
    }

    #[test]
    fn a_segment_that_moves_to_another_path_leaves_the_old_one() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Held);
        table.apply(Change::Put(record(1, "b", 7)), Standing::Held);
        assert!(table.at_path(&at("a")).is_none());
        table.apply(Change::Drop(record(1, "b", 7).id), Standing::Held);
        assert_eq!((table.len(), table.by_path.len(), table.by_root.len()), (0, 0, 0));
    }

    #[test]
    fn an_intent_is_no_record_and_ends_with_the_record_of_its_path_or_the_drop_of_its_id() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Held);
        table.apply(Change::Intend(record(2, "a", 8)), Standing::Held);
        table.apply(Change::Intend(record(2, "a", 8)), Standing::Held);
        table.apply(Change::Intend(record(3, "b", 8)), Standing::Held);
        assert_eq!((ids(&table), table.intents().count(), table.live()), (vec![1], 2, 3));
        assert!(table.held(record(2, "a", 8).id).is_none());
        table.apply(Change::Put(record(4, "a", 9)), Standing::Held);
        assert!(table.intents_at(&at("a")).is_empty());
        table.apply(Change::Drop(record(3, "b", 8).id), Standing::Held);
        assert_eq!((ids(&table), table.live(), table.intents.len()), (vec![4], 1, 0));
    }

    #[test]
    fn a_suspect_is_known_and_not_held() {
        let mut table = Table::default();
        table.apply(Change::Put(record(1, "a", 7)), Standing::Suspect);
        let id = record(1, "a", 7).id;
        assert!(table.held(id).is_none() && table.known(id).is_some());
        assert_eq!(table.with_root(Digest([7; 32])).count(), 0);
    }

    #[test]
    fn what_is_read_is_what_applying_one_after_another_gives() {
        let puts = [(1, "a", 7), (1, "b", 7), (2, "a", 8), (2, "b", 7)];
        let puts = puts.map(|(index, path, root)| record(index, path, root));
        let drops = puts.iter().step_by(2).map(|record| Change::Drop(record.id));
        let all: Vec<Change> = (puts.iter().cloned().map(Change::Put))
            .chain(puts.iter().cloned().map(Change::Intend))
            .chain(drops)
            .collect();
        let (length, mut seen) = (5, BTreeSet::new());
        for case in 0..all.len().pow(length) {
            let one = |place| &all[case / all.len().pow(place) % all.len()];
            let (mut file, mut table) = (header().to_vec(), Table::default());
            for change in (0..length).map(one) {
                change.encode(&mut file);
                table.apply(change.clone(), Standing::Suspect);
            }
            seen.insert((ids(&table), table.intents().count()));
            assert_eq!(Table::read(&file), (table, length as usize, None), "case {case}");
        }
        assert!(seen.len() > 10, "{seen:?}");
    }

    #[test]
    fn a_pin_stands_until_it_is_gone_whatever_records_come_and_go() {
        let puts = [(1, "a", 7), (1, "b", 7), (1, "a", 8), (2, "a", 8), (3, "b", 7)];
        let puts = puts.map(|(index, path, root)| record(index, path, root));
        let stems = [puts[0].stem(), puts[2].stem(), puts[3].stem()];
        let changes = puts.len() + 2;
        let all = changes + 2 * stems.len();
        let length = 5;
        for case in 0..all.pow(length) {
            let (mut table, mut pins) = (Table::default(), BTreeSet::new());
            for place in 0..length {
                match case / all.pow(place) % all {
                    put if put < puts.len() => table.apply(Change::Put(puts[put].clone()), Standing::Held),
                    drop if drop < changes => {
                        table.apply(Change::Drop(puts[2 * (drop - puts.len())].id), Standing::Held);
                    }
                    pin => {
                        let (stem, stands) = (stems[(pin - changes) / 2], (pin - changes) % 2 == 0);
                        table.set_pin(stem, stands);
                        let _was = if stands { pins.insert(stem) } else { pins.remove(&stem) };
                    }
                }
            }
            let is_recorded =
                |stem: &Stem| table.known(stem.id).is_some_and(|(record, _)| record.stem() == *stem);
            let loose: Vec<Stem> = pins.iter().copied().filter(|stem| !is_recorded(stem)).collect();
            assert_eq!(table.loose_pins().copied().collect::<Vec<_>>(), loose, "case {case}");
            assert_eq!(
                stems.map(|stem| table.is_pinned(&stem)),
                stems.map(|stem| pins.contains(&stem)),
                "{case}"
            );
            let of_first: BTreeSet<Stem> = table.pins_of(stems[0].id).collect();
            assert_eq!(of_first, pins.range(Stem::all_of(stems[0].id)).copied().collect(), "case {case}");
            // Told all at once it knows the same.
            let rows = table.by_id.iter();
            let rows = rows.map(|(id, row)| {
                (*id, Box::new(Row { is_pinned: false, record: row.record.clone(), ..**row }))
            });
            let mut told = Table { by_id: rows.collect(), ..Table::default() };
            told.set_pins(pins.into_iter().collect());
            assert_eq!((&told.by_id, &told.loose_pins), (&table.by_id, &table.loose_pins), "case {case}");
        }
    }

    #[test]
    fn roots_that_begin_alike_are_two() {
        let mut table = Table::default();
        let (first, mut second) = (record(1, "a", 7), record(2, "b", 7));
        second.root.0[31] = 8;
        table.apply(Change::Put(first.clone()), Standing::Held);
        table.apply(Change::Put(second.clone()), Standing::Held);
        for of in [first, second] {
            assert_eq!(table.with_root(of.root).collect::<Vec<_>>(), [&of]);
        }
    }
}
