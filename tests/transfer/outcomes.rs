//! P3: what becomes of a fetch whose source cannot give it all, with another source beside: only what is missing comes
//! from that, and who damages chunks again and again is set aside.

use std::rc::Rc;

use ringway::ids::{Incarnation, LogIndex, Nanos, NodeId};
use ringway::limits::{BACKOFF_MAX, CHUNK_BYTES, SOURCE_ASIDE};
use ringway::stats::PeerStats;
use ringway::transfer::{Announced, Failure, Plan};
use ringway::wire::Refusal;

use super::teller::{Says, TELLER, Teller};
use super::{LONG, Rig, SOURCE, Target};

const SMALL: usize = 40_000;

fn told(load: u32, life: u8) -> Announced {
    Announced { held_to: LogIndex(99), load, incarnation: Incarnation([life; 16]), ..Announced::default() }
}

/// A target that wants nothing yet, and would rather ask the second source.
fn start(rig: &mut Rig, teller: &Teller) -> Target {
    let samples = std::mem::take(&mut rig.samples);
    let peers = vec![rig.source_address(), teller.peer];
    let target = rig.start_target_of(peers);
    rig.samples = samples;
    announce(rig, &target, SOURCE, told(50, 1));
    announce(rig, &target, TELLER, told(0, 2));
    target
}

fn announce(rig: &mut Rig, target: &Target, node: NodeId, announced: Announced) {
    let (core, driver) = (rig.sim.core(rig.target, 0), Rc::clone(&target.driver));
    rig.sim.block_on(&core, async move { driver.announce(node, announced) });
}

fn want(rig: &mut Rig, target: &Target, index: usize) {
    let (core, driver, want) = (rig.sim.core(rig.target, 0), Rc::clone(&target.driver), rig.want(index));
    rig.sim.block_on(&core, async move { assert!(driver.want(want)) });
}

/// Fetches one sample to its end; sources that rested do no more.
fn fetch(rig: &mut Rig, target: &Target, index: usize) {
    rig.sim.run_for(BACKOFF_MAX);
    want(rig, target, index);
    rig.sim.run_until(|| target.driver.with_plan(Plan::is_empty), LONG);
}

/// For how long the second source is still set aside, by the target's clock.
fn aside(rig: &mut Rig, target: &Target) -> Nanos {
    let now = rig.sim.core(rig.target, 0).now();
    target.driver.with_sources(|sources| sources.aside(TELLER, now))
}

fn of(target: &Target, node: NodeId, look: impl Fn(&PeerStats) -> u64) -> u64 {
    let all = target.stats.peers.map(|peer, stats| (peer, look(stats)));
    all.into_iter().find(|(peer, _)| *peer == node).expect("it is a source").1
}

#[test]
fn p3_of_a_segment_with_one_damaged_chunk_that_chunk_alone_comes_from_another_source() {
    let mut rig = Rig::new(1, &[6 * CHUNK_BYTES]);
    let teller = Teller::start(&mut rig, Says::Wrong(3));
    let target = start(&mut rig, &teller);
    fetch(&mut rig, &target, 0);
    rig.finish(&target);
    let bytes = |node| of(&target, node, |peer| peer.bytes_fetched.get());
    assert_eq!((bytes(TELLER), bytes(SOURCE)), (6 * CHUNK_BYTES as u64, CHUNK_BYTES as u64));
    assert_eq!(of(&target, TELLER, |peer| peer.chunks_refetched.get()), 1);
    assert_eq!(of(&target, SOURCE, |peer| peer.landed.get()), 1);
}

#[test]
fn p3_what_came_before_a_source_refused_the_rest_stays_and_the_rest_comes_from_another() {
    let cases = [
        (Refusal::BadRange, Failure::Corrupt),
        (Refusal::Damaged, Failure::Corrupt),
        (Refusal::NotHere, Failure::NotHere),
        (Refusal::Busy, Failure::Busy),
        (Refusal::NotAllowed, Failure::NotAllowed),
    ];
    for (refusal, failure) in cases {
        let mut rig = Rig::new(1, &[6 * CHUNK_BYTES]);
        let teller = Teller::start(&mut rig, Says::Refuses(4, refusal));
        let target = start(&mut rig, &teller);
        fetch(&mut rig, &target, 0);
        rig.finish(&target);
        let bytes = |node| of(&target, node, |peer| peer.bytes_fetched.get()) / CHUNK_BYTES as u64;
        assert_eq!((bytes(TELLER), bytes(SOURCE)), (4, 2), "{refusal:?}");
        assert_eq!(target.stats.failures[failure.place()].get(), 1, "{refusal:?}");
        assert_eq!((target.stats.failed.get(), teller.asked.borrow().len()), (1, 1), "{refusal:?}");
        assert_eq!(of(&target, TELLER, |peer| peer.set_aside.get()), 0);
    }
}

#[test]
fn p3_a_source_that_refuses_us_is_not_asked_again_before_it_has_rested() {
    let mut rig = Rig::new(1, &[SMALL; 2]);
    let teller = Teller::start(&mut rig, Says::Refuses(0, Refusal::NotAllowed));
    let target = start(&mut rig, &teller);
    for index in 0..2 {
        want(&mut rig, &target, index);
        rig.sim.run_for(Nanos::from_millis(200));
    }
    rig.finish(&target);
    assert_eq!(*teller.asked.borrow(), [0]);
    assert_eq!(target.stats.failures[Failure::NotAllowed.place()].get(), 1);
}

#[test]
fn p3_a_source_that_damages_chunks_again_and_again_is_set_aside_for_its_time_or_until_another_life() {
    let mut rig = Rig::new(1, &[SMALL; 12]);
    let teller = Teller::start(&mut rig, Says::Wrong(0));
    let target = start(&mut rig, &teller);
    let aside = |rig: &mut Rig| aside(rig, &target);
    for index in 0..5 {
        fetch(&mut rig, &target, index);
    }
    assert_eq!(*teller.asked.borrow(), [0, 1, 2], "three occasions");
    assert_eq!(of(&target, TELLER, |peer| peer.set_aside.get()), 1);
    let rest = aside(&mut rig);
    assert!(rest > Nanos(0) && rest < SOURCE_ASIDE, "{rest}");
    rig.sim.run_for(rest);
    fetch(&mut rig, &target, 5);
    assert_eq!(*teller.asked.borrow(), [0, 1, 2, 5], "its time is over");
    for index in 6..9 {
        fetch(&mut rig, &target, index);
    }
    assert_eq!(*teller.asked.borrow(), [0, 1, 2, 5, 6, 7]);
    teller.says.set(Says::Right);
    announce(&mut rig, &target, TELLER, told(0, 2));
    assert!(aside(&mut rig) > Nanos(0), "it is the same as before");
    announce(&mut rig, &target, TELLER, told(0, 3));
    assert_eq!(aside(&mut rig), Nanos(0));
    fetch(&mut rig, &target, 9);
    assert_eq!(teller.asked.borrow().last(), Some(&9));
    assert_eq!(of(&target, TELLER, |peer| peer.landed.get()), 1);
}

#[test]
fn p3_what_only_a_source_has_that_is_set_aside_is_asked_of_it_all_the_same() {
    let mut rig = Rig::new(1, &[SMALL; 4]);
    let teller = Teller::start(&mut rig, Says::Wrong(0));
    let target = start(&mut rig, &teller);
    for index in 0..3 {
        fetch(&mut rig, &target, index);
    }
    teller.says.set(Says::Right);
    let (source, node) = (rig.source, rig.target);
    rig.sim.partition(&[source], &[node]);
    fetch(&mut rig, &target, 3);
    assert_eq!(*teller.asked.borrow(), [0, 1, 2, 3]);
    assert!(aside(&mut rig, &target) > Nanos(0));
    rig.sim.heal();
    rig.finish(&target);
}
