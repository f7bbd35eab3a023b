//! Commands drawn from seeds: the state and the model agree, replicas agree to the byte.

use super::super::model::{Chance, Model, some_command};
use super::super::state::State;
use super::snapshots::parts;
use crate::ids::LogIndex;

#[test]
fn m2_any_sequence_of_commands_gives_what_the_naive_model_gives() {
    let (mut seen, mut repeats) = (std::collections::BTreeSet::new(), 0);
    for seed in 0..20 {
        let (mut chance, mut state, mut model) = (Chance(seed), State::new(), Model::default());
        for round in 1..400 {
            let command = some_command(&mut chance, round);
            let (outcome, repeated) = model.apply(LogIndex(round), &command);
            let effect = state.apply(LogIndex(round), &command.encode());
            // Which of several obstacles is named is the state's choice.
            let kind = |outcome: &dyn std::fmt::Debug| format!("{outcome:?}").replace(char::is_numeric, "");
            assert_eq!(kind(&effect.outcome), kind(&outcome), "seed {seed} round {round}: {command:?}");
            assert_eq!(effect.repeated, repeated, "seed {seed} round {round}: {command:?}");
            repeats += usize::from(repeated);
            seen.insert(kind(&outcome).split(" { id").next().map(str::to_owned));
            if round % 40 == 0 {
                model.check(&state);
            }
        }
        model.check(&state);
    }
    assert!(seen.len() >= 11, "the seeds reach the cases that matter: {seen:#?}");
    assert!(repeats > 100, "{repeats}");
}

#[test]
fn changes_carry_a_set_of_segments_from_one_state_to_the_next() {
    let (mut chance, mut state) = (Chance(7), State::new());
    let mut ids = std::collections::BTreeSet::new();
    for round in 1..2000 {
        let effect = state.apply(LogIndex(round), &some_command(&mut chance, round).encode());
        effect.changes.came().for_each(|entry| assert!(ids.insert(entry.id)));
        effect.changes.went().for_each(|entry| assert!(ids.remove(&entry.id)));
    }
    assert!(state.entries(None).map(|entry| entry.id).eq(ids));
}

#[test]
fn m7_a_snapshot_at_any_index_installs_as_the_same_state_and_both_go_on_alike() {
    for seed in 100..110 {
        let (mut chance, mut state) = (Chance(seed), State::new());
        let mut model = Model::default();
        for round in 1..300 {
            let command = some_command(&mut chance, round);
            model.apply(LogIndex(round), &command);
            state.apply(LogIndex(round), &command.encode());
            if round % 50 != 0 {
                continue;
            }
            let written = parts(&mut state, 700);
            let mut installed = State::install(written.iter().map(|part| part.as_slice())).expect("our own");
            model.check(&installed);
            assert_eq!(installed.applied(), state.applied());
            assert_eq!(parts(&mut installed, 700), written, "seed {seed} round {round}");
            state = installed; // the rest of the run is on the installed one
        }
    }
}

#[test]
fn replicas_that_apply_the_same_commands_write_the_same_bytes() {
    let run = |snapshots: bool| {
        let (mut chance, mut state) = (Chance(3), State::new());
        for round in 1..500 {
            state.apply(LogIndex(round), &some_command(&mut chance, round).encode());
            if snapshots && round % 7 == 0 {
                parts(&mut state, 300);
            }
        }
        parts(&mut state, 1000)
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn m7_a_frozen_view_stays_at_its_index_while_the_state_goes_on() {
    for seed in 200..220 {
        let (mut chance, mut state) = (Chance(seed), State::new());
        let mut round = 1;
        let mut go_on = |state: &mut State, rounds| {
            for _ in 0..rounds {
                state.apply(LogIndex(round), &some_command(&mut chance, round).encode());
                round += 1;
            }
        };
        go_on(&mut state, 150);
        let expected = parts(&mut state, 400);
        let mut early = state.freeze().with_slices(400);
        let mut written = vec![];
        go_on(&mut state, 30);
        let later = parts(&mut state, 400);
        let mut late = state.freeze().with_slices(400);
        while let Some(part) = early.next_part(&state).expect("the same state") {
            written.push(part.to_vec());
            go_on(&mut state, 5);
        }
        assert_eq!(written, expected, "seed {seed}");
        assert!(written.len() > 5, "few parts prove little: {}", written.len());
        drop(early);
        let mut written = vec![];
        while let Some(part) = late.next_part(&state).expect("the same state") {
            written.push(part.to_vec());
            go_on(&mut state, 5);
        }
        assert_eq!(written, later, "seed {seed}");
    }
}
