//! The difference between manifest and inventory.

use std::collections::BTreeMap;

use super::super::difference::{Difference, difference};
use super::super::model::{Chance, some_command};
use super::super::state::State;
use crate::ids::{Digest, LogIndex, SegmentId};

fn some_state(seed: u64) -> (Chance, State) {
    let (mut chance, mut state) = (Chance(seed), State::new());
    for round in 1..300 {
        state.apply(LogIndex(round), &some_command(&mut chance, round).encode());
    }
    (chance, state)
}

#[test]
fn the_difference_is_what_two_naive_loops_find_from_any_start() {
    for seed in 0..30 {
        let (mut chance, state) = some_state(seed);
        let mut held = BTreeMap::new();
        for entry in state.entries(None) {
            match chance.below(3) {
                0 => held.insert(entry.id, entry.root),
                1 => held.insert(entry.id, Digest([0xee; 32])),
                _ => held.insert(SegmentId { ordinal: 99, ..entry.id }, entry.root),
            };
        }
        let middle = held.keys().nth(held.len() / 2).copied();
        for after in [None, middle] {
            let behind = |id: &SegmentId| after.is_none_or(|after| *id > after);
            let wanted = state.entries(None).filter(|entry| behind(&entry.id));
            let missing: Vec<_> = wanted.filter(|entry| held.get(&entry.id) != Some(&entry.root)).collect();
            let in_state = |id, root| state.entry(id).is_some_and(|entry| entry.root == root);
            let mine = held.iter().filter(|(id, _)| behind(id));
            let surplus: Vec<_> =
                mine.filter(|(id, root)| !in_state(id, **root)).map(|(id, _)| *id).collect();
            let inventory: Vec<_> =
                held.iter().filter(|(id, _)| behind(id)).map(|(id, root)| (*id, *root)).collect();
            let (mut found_missing, mut found_surplus) = (vec![], vec![]);
            for found in difference(&state, after, inventory) {
                match found {
                    Difference::Missing(entry) => found_missing.push(entry),
                    Difference::Surplus { id, .. } => found_surplus.push(id),
                }
            }
            assert_eq!((found_missing, found_surplus), (missing, surplus), "seed {seed}");
        }
    }
}

#[test]
fn the_same_on_both_sides_is_no_difference_and_an_empty_node_misses_everything() {
    let (_, state) = some_state(1);
    let inventory: Vec<_> = state.entries(None).map(|entry| (entry.id, entry.root)).collect();
    assert!(inventory.len() > 5);
    assert_eq!(difference(&state, None, inventory).count(), 0);
    assert_eq!(difference(&state, None, []).count(), state.len());
}

#[test]
#[should_panic(expected = "comes after")]
fn an_inventory_out_of_order_is_a_bug_and_not_a_difference() {
    let id = |index| SegmentId { index: LogIndex(index), ordinal: 0 };
    let inventory = [(id(2), Digest::default()), (id(1), Digest::default())];
    difference(&State::new(), None, inventory).count();
}
