//! Small segments that are fetched together: what befalls one of them is not the others' fault.

use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::transfer::Failure;
use ringway::uring::Errno;

use super::{Rig, Sample, Target};
use crate::sim::{Chance, Fault, OpKind, Rule, each_seed};

const LEAF: usize = 65_536;

#[test]
fn small_segments_are_digested_together_and_a_damaged_one_among_them_is_fetched_again_alone() {
    let (mut refetched, mut together) = (0, 0);
    each_seed(20, |seed| {
        let sizes: Vec<usize> = (0..60).map(|index| LEAF - index % 5 * 13_001).collect();
        let mut rig = Rig::new(seed, &sizes);
        let (source, target) = (rig.source, rig.target);
        rig.sim.link(source, target).corruption = Chance::percent(1);
        let target = rig.start_target();
        rig.finish(&target);
        refetched += target.stats.chunks_refetched.get();
        together += target.stats.chunks_together.get();
        let again = target.stats.bytes_fetched.get() - target.stats.bytes_refetched.get();
        assert_eq!(again, rig.total(), "what came right is not fetched again");
    });
    assert!(refetched > 0, "the network did damage chunks");
    assert!(together > 20 * 60 / 2, "{together} of {} together", 20 * 60);
}

#[test]
fn a_small_segment_waits_for_no_large_one() {
    let mut rig = Rig::new(1, &[LEAF]);
    let (target, begun) = (rig.start_target(), rig.sim.now());
    rig.finish(&target);
    let alone = rig.sim.now().since(begun);
    assert_eq!(target.stats.chunks_together.get(), 0);
    // The large one, which is the first of the manifest, is sent out of the page cache.
    let mut rig = Rig::new(2, &[600_000, LEAF]);
    let slow = Rule::new(Fault::Slow(Nanos::from_millis(500))).on(OpKind::SendFile);
    let source = rig.source;
    let slow = rig.sim.fault(source, slow);
    let (target, begun) = (rig.start_target(), rig.sim.now());
    let store = Rc::clone(&target.store);
    rig.sim.run_until(move || store.held().next().is_some(), Nanos::SECOND);
    let beside = rig.sim.now().since(begun);
    assert!(beside.0 <= 2 * alone.0, "{alone} alone, {beside} beside one that does not come");
    rig.finish(&target);
    assert_eq!(rig.sim.hits(source, slow), 1);
}

#[test]
fn what_the_source_does_not_have_fails_alone() {
    each_seed(8, |seed| {
        let mut rig = Rig::new(seed, &[LEAF; 6]);
        let absent = Sample { path: "dir-0/absent".to_owned(), bytes: vec![7; 5_000] };
        rig.samples.insert(3, absent);
        let (target, begun) = (rig.start_target(), rig.sim.now());
        let store = Rc::clone(&target.store);
        rig.sim.run_until(move || store.held().count() == 6, Nanos::SECOND);
        assert!(rig.sim.now().since(begun) < Nanos::SECOND);
        assert_eq!(target.stats.bytes_fetched.get(), 6 * LEAF as u64, "each once");
        let absent = rig.want(3).id;
        rig.sim.run_for(Nanos::from_secs(10));
        let failed: Vec<_> =
            target.driver.with_plan(|plan| plan.unavailable().map(|one| (one.id, one.failure)).collect());
        assert_eq!(failed, [(absent, Failure::NotHere)]);
    });
}

/// A batch of sixteen, half of which has come.
fn half_a_batch(seed: u64) -> (Rig, Target) {
    let mut rig = Rig::new(seed, &[LEAF; 16]);
    let (source, node) = (rig.source, rig.target);
    rig.sim.link(source, node).rate = 1_000;
    let target = rig.start_target();
    let stats = Rc::clone(&target.stats);
    rig.sim.run_until(move || stats.bytes_fetched.get() >= 8 * LEAF as u64, Nanos::from_secs(60));
    assert_eq!(target.store.held().count(), 0, "the batch has not come to its end");
    (rig, target)
}

#[test]
fn what_is_forgotten_on_its_way_is_left_and_the_others_land() {
    each_seed(8, |seed| {
        let (mut rig, target) = half_a_batch(seed);
        let (core, forgotten) = (rig.sim.core(rig.target, 0), rig.want(2));
        core.enter(|| target.driver.forget(forgotten.id));
        let driver = Rc::clone(&target.driver);
        rig.sim.run_until(move || driver.with_plan(|plan| plan.is_empty()), Nanos::from_secs(60));
        assert_eq!(target.store.held().count(), 15);
        assert!(!target.store.is_staged(forgotten.id, forgotten.root));
        let path = format!("/data/dest/{}", rig.samples[2].path);
        assert_eq!(rig.sim.host(rig.target).disk.file(&path), None);
    });
}

/// It is asked for again while the batch that it was in goes on: it lands once, by the second.
#[test]
fn what_is_forgotten_and_wanted_again_lands() {
    each_seed(8, |seed| {
        let (mut rig, target) = half_a_batch(seed);
        let (core, again) = (rig.sim.core(rig.target, 0), rig.want(2));
        core.enter(|| {
            target.driver.forget(again.id);
            assert!(target.driver.want(again));
        });
        rig.finish(&target);
        assert_eq!((target.stats.landed.get(), target.stats.failed.get()), (16, 0));
        assert_eq!(target.stats.bytes_fetched.get(), 17 * LEAF as u64, "by both");
    });
}

#[test]
fn what_has_come_before_the_connection_broke_is_not_fetched_again() {
    let mut failed = 0;
    each_seed(20, |seed| {
        let mut rig = Rig::new(seed, &[LEAF; 48]);
        let (source, node) = (rig.source, rig.target);
        rig.sim.link(source, node).cut_after = Some(5 * LEAF as u64 + seed * 30_011);
        let target = rig.start_target();
        rig.finish(&target);
        assert_eq!(target.stats.bytes_fetched.get(), rig.total(), "each payload came once");
        failed += target.stats.failed.get();
    });
    assert!(failed > 0, "connections did break");
}

#[test]
fn one_for_which_there_is_no_room_is_fetched_again_when_there_is() {
    for kind in [OpKind::Open, OpKind::Write] {
        each_seed(4, |seed| {
            let mut rig = Rig::new(seed, &[LEAF; 16]);
            let node = rig.target;
            let rule = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(kind).path("staging").skip(7);
            let full = rig.sim.fault(node, rule);
            let target = rig.start_target();
            rig.finish(&target);
            assert_eq!(rig.sim.hits(node, full), 1, "{kind:?}");
            assert_eq!((target.stats.failed.get(), target.stats.landed.get()), (1, 16), "{kind:?}");
        });
    }
}
