//! P9: what becomes of each segment is counted where it happens, once, and by whom it came.

use ringway::ids::{LogIndex, Nanos, SegmentId};
use ringway::limits::CHUNK_BYTES;
use ringway::stats::{Counter, PeerStats, TransferStats};
use ringway::transfer::{Failure, Want};
use ringway::wire::Refusal;

use super::{LONG, Rig, SIZES, SOURCE, Target};

fn of_source<T>(stats: &TransferStats, look: impl Fn(&PeerStats) -> T) -> T {
    let mut all = stats.peers.map(|node, peer| (node, look(peer)));
    assert_eq!(all.len(), 1, "there is one source");
    let (node, found) = all.remove(0);
    assert_eq!(node, SOURCE);
    found
}

fn failures(stats: &TransferStats, failure: Failure) -> u64 {
    let sum: u64 = stats.failures.iter().map(Counter::get).sum();
    assert_eq!(sum, stats.failed.get(), "each has its place");
    stats.failures[failure.place()].get()
}

/// Asks for a segment on the target's core.
fn want(rig: &mut Rig, target: &Target, want: Want) {
    let (core, driver) = (rig.sim.core(rig.target, 0), target.driver.clone());
    assert!(rig.sim.block_on(&core, async move { driver.want(want) }));
}

#[test]
fn p9_a_segment_that_lands_is_counted_once_with_its_source_and_its_time_and_one_that_stands_as_skipped() {
    let mut rig = Rig::new(1, &SIZES);
    let target = rig.start_target();
    rig.finish(&target);
    let (stats, count) = (&target.stats, SIZES.len() as u64);
    assert_eq!((stats.planned.get(), stats.landed.get(), stats.held_already.get()), (count, count, 0));
    assert_eq!(stats.landing.counts().iter().sum::<u64>(), count);
    assert!(stats.landing.sum() > Nanos(0));
    let source = |peer: &PeerStats| (peer.landed.get(), peer.bytes_fetched.get(), peer.failed.get());
    assert_eq!(of_source(stats, source), (count, rig.total(), 0));
    for index in [4, 1] {
        let again = rig.want(index);
        want(&mut rig, &target, again);
    }
    rig.finish(&target);
    assert_eq!((stats.planned.get(), stats.landed.get(), stats.held_already.get()), (count + 2, count, 2));
    assert_eq!((stats.failed.get(), stats.no_source.get()), (0, 0));
}

#[test]
fn p9_a_fetch_that_fails_is_counted_by_what_ended_it_and_against_its_source() {
    let mut rig = Rig::new(1, &[3 << 20]);
    let path = format!("/data/source/{}", rig.samples[0].path);
    let flip = |rig: &Rig| rig.sim.host(rig.source).disk.rot(&path, CHUNK_BYTES as u64 + 5, 1);
    assert!(flip(&rig));
    let target = rig.start_target();
    let stats = target.stats.clone();
    rig.sim.run_until(move || stats.failed.get() > 1, Nanos::from_secs(60));
    let stats = &target.stats;
    assert_eq!(failures(stats, Failure::Corrupt), stats.failed.get());
    assert_eq!(of_source(stats, |peer| peer.failed.get()), stats.failed.get());
    assert!(stats.chunks_refetched.get() > 1);
    assert_eq!(of_source(stats, |peer| peer.chunks_refetched.get()), stats.chunks_refetched.get());
    assert!(flip(&rig), "sound again");
    rig.finish(&target);
    assert_eq!((stats.landed.get(), of_source(stats, |peer| peer.landed.get())), (1, 1));
}

#[test]
fn p9_a_refusal_is_counted_by_its_code_and_a_segment_that_nobody_can_be_asked_for_once() {
    let mut rig = Rig::new(1, &[3 << 20]);
    let target = rig.start_target();
    rig.finish(&target);
    let nowhere = |rig: &Rig, index| {
        let id = SegmentId { index: LogIndex(index), ordinal: 0 };
        Want { id, path: "nowhere".into(), root: ringway::ids::Digest([index as u8; 32]), ..rig.want(0) }
    };
    let first = nowhere(&rig, 90);
    want(&mut rig, &target, first);
    rig.sim.run_for(Nanos::from_secs(5));
    let stats = &target.stats;
    let refused = |refusal: Refusal| stats.refusals[usize::from(refusal.code())].get();
    assert!(refused(Refusal::NotHere) > 0 && refused(Refusal::Busy) == 0);
    assert_eq!(failures(stats, Failure::NotHere), refused(Refusal::NotHere));
    assert_eq!(of_source(stats, |peer| peer.failed.get()), 0, "it may well lack something");
    let before = stats.no_source.get();

    target.driver.set_sources([]);
    let second = nowhere(&rig, 91);
    want(&mut rig, &target, second.clone());
    want(&mut rig, &target, second);
    // They are looked at when something changes: nobody comes by waiting.
    for _ in 0..3 {
        rig.sim.run_for(LONG);
        target.driver.set_sources([]);
    }
    rig.sim.run_for(Nanos::MILLISECOND);
    assert_eq!((stats.planned.get(), stats.planned_already.get()), (3, 1));
    assert_eq!(stats.no_source.get() - before, 2, "each of them once, however often they are due");
}
