//! Nodes that stop, die, freeze and come back, while every other one is written to.

use std::thread;
use std::time::{Duration, Instant};

use crate::asked::says_what_to_do;
use crate::bench::{Place, alone, segments_of};
use crate::binary::{content, errors, write};
use crate::fleet::{Fleet, loopback};
use crate::writers::{Writers, verified};

fn founded(place: &Place, nodes: u8) -> Fleet {
    let mut fleet = Fleet::new(&place.root, &loopback(nodes));
    fleet.found();
    fleet
}

/// Each node in turn: SIGTERM, a clean end, while it is away the others take registrations, started again, ready.
fn restart_one_by_one(nodes: u8) {
    let place = alone();
    let mut fleet = founded(&place, nodes);
    let writers = Writers::start(&fleet.asked());
    for number in fleet.numbers() {
        writers.wait_for(3, fleet.numbers());
        fleet.stop(number);
        writers.wait_for(3, fleet.others(number));
        fleet.start(number);
        fleet.wait("it is ready again", |fleet| fleet.is_ready(number));
    }
    writers.wait_for(3, fleet.numbers());
    writers.end();
}

#[test]
fn r5_three_nodes_restarted_one_by_one_under_load_lose_no_registration() {
    restart_one_by_one(3);
}

#[test]
fn r5_five_nodes_restarted_one_by_one_under_load_lose_no_registration() {
    restart_one_by_one(5);
}

#[test]
fn r5_a_leader_killed_under_load_is_followed_by_another_and_nothing_acknowledged_is_lost() {
    let place = alone();
    let mut fleet = founded(&place, 3);
    for _ in 0..3 {
        let leader = fleet.wait_leader();
        let writers = Writers::at(fleet.others(leader), &fleet.asked());
        writers.wait_for(3, fleet.others(leader));
        fleet.kill(leader);
        writers.wait_for_soon(3, fleet.others(leader));
        fleet.wait_other_leader(leader);
        fleet.start(leader);
        fleet.wait("it is ready again", |fleet| fleet.is_ready(leader));
        writers.end();
    }
}

/// A frozen leader still believes that it leads when it goes on, and what was asked of it waits in its sockets.
#[test]
fn r5_a_leader_frozen_for_three_seconds_is_followed_by_another_and_steps_down() {
    let place = alone();
    let mut fleet = founded(&place, 3);
    let writers = Writers::start(&fleet.asked());
    writers.wait_for(3, fleet.numbers());
    let leader = fleet.wait_leader();
    let since = Instant::now();
    fleet.signal(leader, 19);
    writers.wait_for_soon(3, fleet.others(leader));
    thread::sleep(Duration::from_secs(3).saturating_sub(since.elapsed()));
    fleet.signal(leader, 18);
    fleet.wait("it follows", |fleet| fleet.group(leader).is_some_and(|group| group["role"] == "follower"));
    writers.wait_for(3, fleet.numbers());
    writers.end();
}

/// How long the test's registrations are let wait for a leader.
const PATIENCE: Duration = Duration::from_secs(1);

#[test]
fn r5_without_a_quorum_a_registration_is_refused_in_time_and_writes_resume_when_one_returns() {
    let place = alone();
    let mut fleet = founded(&place, 3);
    let leader = fleet.wait_leader();
    let (second, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    for (round, (one, gone)) in [(leader, [second, third]), (second, [leader, third])].into_iter().enumerate()
    {
        fleet.at_rest();
        let segments = fleet.segments(one);
        gone.iter().for_each(|number| fleet.kill(*number));
        for name in ["by-http", "by-command", "in-between"] {
            write(&segments, &format!("{name}-{round}"), &content(round as u64 + 1, 5000));
        }
        let since = Instant::now();
        let refused =
            fleet.register(one, &format!("by-http-{round}"), PATIENCE).expect_err("nobody can commit it");
        assert!(since.elapsed() < PATIENCE * 10, "{:?}", since.elapsed());
        assert_eq!(refused.status, 503);
        assert!(refused.says_what_to_do(), "{}", refused.why);
        let output = fleet.register_by_command(one, &format!("by-command-{round}"), 1);
        assert_eq!(output.status.code(), Some(6), "{}", errors(&output));
        assert!(says_what_to_do(&errors(&output)), "{}", errors(&output));
        fleet.wait("it says what is missing", |fleet| {
            let status = fleet.status(one).expect("reading goes on");
            status["ready"] == false && status["not_ready"][0] == "shard 0 has no leader"
        });
        // This one waits until there is a quorum, and nobody asks again.
        let asked = fleet.asked();
        let waiting = thread::spawn(move || {
            asked.register(one, &format!("in-between-{round}"), Duration::from_secs(60))
        });
        fleet.start(gone[0]);
        waiting.join().expect("it ends well").expect("two are a quorum");
        fleet.start(gone[1]);
        for name in ["by-http", "by-command"] {
            fleet.register(one, &format!("{name}-{round}"), PATIENCE * 30).expect("asking again is safe");
        }
    }
    fleet.at_rest();
    for number in fleet.numbers() {
        assert_eq!(segments_of(&fleet.root, number, 1).len(), 6);
    }
    verified(&fleet.root);
}
