//! What can happen to a fetch: nothing, corruption, cuts, kills, power cuts, a full disk.

use ringway::ids::Nanos;
use ringway::limits::{
    BACKOFF_MAX, CHUNK_BYTES, CONNECTION_LOADS_MAX, CORE_LOADS_MAX, PEER_LOADS_MAX, PEER_SERVES_MAX,
    PROGRESS_TIMEOUT,
};
use ringway::transfer::Failure;
use ringway::uring::Errno;
use ringway::wire::Refusal;

use super::{Rig, SIZES};
use crate::sim::{Chance, Fault, OpKind, Rule, each_seed, twice};

#[test]
fn p5_segments_of_every_awkward_size_arrive_once() {
    each_seed(20, |seed| {
        let mut rig = Rig::new(seed, &SIZES);
        let target = rig.start_target();
        rig.finish(&target);
        assert_eq!(target.stats.bytes_fetched.get(), rig.total(), "nothing is fetched twice");
        assert_eq!(target.stats.chunks_refetched.get(), 0);
    });
}

/// Once a segment that waited for its next chunk left its writes alone, places at the gate and all.
#[test]
fn many_large_segments_at_once_do_not_wait_for_each_other_for_ever() {
    each_seed(4, |seed| {
        let mut rig = Rig::new(seed, &[3 << 20; 24]);
        let target = rig.start_target();
        rig.finish(&target);
        assert_eq!(target.stats.failed.get(), 0, "no fetch had to begin again");
        assert_eq!(target.stats.bytes_fetched.get(), rig.total());
    });
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_out_of_the_page_cache_costs_its_connection_and_lands_nothing() {
    let mut rig = Rig::new(1, &[40_000, 3 << 20]);
    let (source, path) = (rig.source, format!("/data/source/{}", rig.samples[1].path));
    let sends = Rule::new(Fault::Slow(Nanos::from_millis(50))).on(OpKind::SendFile).times(1);
    let sends = rig.sim.fault(source, sends);
    let target = rig.start_target();
    while rig.sim.hits(source, sends) == 0 {
        rig.sim.run_for(Nanos::MILLISECOND);
    }
    rig.sim.host(source).disk.overwrite(&path, &[]);
    rig.sim.run_for(Nanos::from_secs(5));
    assert!(target.stats.failed.get() > 0, "the connection ended in the middle of a chunk");
    assert_eq!(target.store.held().count(), 1, "the other one is here");
    let shrunk = rig.samples.remove(1);
    assert_eq!(rig.sim.host(rig.target).disk.file(&format!("/data/dest/{}", shrunk.path)), None);
    rig.nothing_wrong_stands();
}

/// The source of a simulated node has eight buffers.
#[test]
fn peers_that_stop_reading_leave_buffers_for_the_others() {
    each_seed(4, |seed| {
        let mut rig = Rig::new(seed, &[6 << 20, 6 << 20]);
        let asking = [rig.sim.node(3), rig.sim.node(4)];
        let _asked = asking.map(|node| rig.greedy(node, 1, 12));
        rig.sim.run_for(Nanos::from_millis(20));
        asking.into_iter().for_each(|node| rig.sim.pause(node, Nanos::from_secs(60)));
        let (target, begun) = (rig.start_target(), rig.sim.now());
        rig.finish(&target);
        let took = rig.sim.now().since(begun);
        assert!(took < Nanos::from_secs(5), "{took:?}: it waited until the silent ones were cut");
        assert_eq!(target.stats.failed.get(), 0);
    });
}

/// Once each of its connections held as many payloads as one may. Nothing is in the page cache.
#[test]
fn a_peer_with_many_connections_and_many_such_peers_hold_bounded_payloads_of_the_source() {
    let cases = [(1, 1, 12, CONNECTION_LOADS_MAX), (1, 8, 3, PEER_LOADS_MAX), (6, 8, 3, CORE_LOADS_MAX)];
    for (peers, connections, streams, most) in cases {
        let mut rig = Rig::new(1, &[6 << 20]);
        let source = rig.source;
        let reads = Rule::new(Fault::Slow(Nanos::MILLISECOND)).on(OpKind::Read).times(u64::MAX);
        let reads = rig.sim.fault(source, reads);
        for peer in 3..3 + peers {
            let node = rig.sim.node(peer);
            let _asked = rig.greedy(node, connections, streams);
            rig.sim.block(source, node);
        }
        rig.sim.run_for(Nanos::from_secs(1));
        let held = rig.sim.hits(source, reads);
        println!("{peers} peers of {connections} connections: {held} chunks read");
        let most = most as u64;
        assert!(held <= most, "{held} chunks were read for {peers} peers that take none");
        assert!(held > most * 3 / 4, "{held}: the bound was never come near");
        let (target, begun) = (rig.start_target(), rig.sim.now());
        rig.finish(&target);
        let took = rig.sim.now().since(begun);
        assert!(took < Nanos::from_secs(5), "{took:?}: it waited until the silent ones were cut");
        assert_eq!(target.stats.failed.get(), 0);
    }
}

/// Once nothing counted what a source serves at a time.
#[test]
fn weak_27_a_source_refuses_what_is_too_much_at_a_time_as_busy_but_no_peers_first() {
    let mut rig = Rig::new(1, &[6 << 20]);
    let streams = PEER_SERVES_MAX as u32;
    let [first, second, third] = [3, 4, 5].map(|node| rig.sim.node(node));
    let stop = rig.greedy(first, 1, streams);
    rig.sim.run_for(Nanos::from_secs(1));
    assert_eq!(rig.refusal(first), Some(Refusal::Busy), "one peer's bound");
    let _asked = rig.greedy(second, 1, streams - 1);
    rig.sim.run_for(Nanos::from_secs(1));
    assert_eq!(rig.refusal(second), None, "it has one left");
    let _asked = [rig.greedy(second, 1, 1), rig.greedy(third, 1, 1)];
    rig.sim.run_for(Nanos::from_secs(1));
    assert_eq!(rig.refusal(third), Some(Refusal::Busy), "it has its first, on top of all");
    let target = rig.start_target();
    rig.finish(&target);
    assert_eq!(target.stats.failed.get(), 0, "another peer's first is served");
    stop.notify();
    rig.sim.run_for(Nanos::from_secs(1));
    assert_eq!(rig.refusal(third), None, "places are free again");
}

/// Once a source that was busy three times had given up by that, as if it did not have the segment.
#[test]
fn a_source_that_is_busy_is_asked_until_it_has_room_and_no_attempt_is_counted() {
    let mut rig = Rig::new(1, &[6 << 20, 70_000]);
    let stop = rig.greedy(rig.target, 1, PEER_SERVES_MAX as u32);
    rig.sim.run_for(Nanos::from_millis(200));
    let target = rig.start_target();
    rig.sim.run_for(Nanos::from_secs(25));
    assert!(target.stats.failed.get() > 6, "it has asked again and again");
    let unavailable: Vec<_> = target.driver.with_plan(|plan| plan.unavailable().collect());
    assert_eq!(unavailable.len(), 2, "status says so");
    assert!(unavailable.iter().all(|lost| lost.failure == Failure::Busy && lost.attempts == 0));
    stop.notify();
    let begun = rig.sim.now();
    rig.finish(&target);
    assert!(rig.sim.now().since(begun) <= BACKOFF_MAX.plus(Nanos::SECOND));
}

/// Once every later attempt was made on the stream on which the source hung.
#[test]
fn a_source_that_hangs_in_the_middle_is_asked_again_on_another_stream() {
    let mut rig = Rig::new(1, &[3 << 20]);
    let source = rig.source;
    rig.sim.fault(source, Rule::new(Fault::Hang).on(OpKind::Read).skip(1));
    let (target, begun) = (rig.start_target(), rig.sim.now());
    rig.finish(&target);
    let took = rig.sim.now().since(begun);
    assert!(took >= PROGRESS_TIMEOUT && took < PROGRESS_TIMEOUT.plus(Nanos::from_secs(5)), "{took:?}");
    assert_eq!((target.stats.failed.get(), target.stats.chunks_reused.get()), (1, 1));
}

#[test]
fn p3_a_chunk_that_arrives_damaged_is_fetched_again_alone() {
    let mut refetched = 0;
    each_seed(20, |seed| {
        let mut rig = Rig::new(seed, &SIZES);
        let (source, target) = (rig.source, rig.target);
        rig.sim.link(source, target).corruption = Chance::percent(1);
        let target = rig.start_target();
        rig.finish(&target);
        refetched += target.stats.chunks_refetched.get();
    });
    assert!(refetched > 0, "the network did damage chunks");
}

#[test]
fn p4_a_killed_process_goes_on_from_what_it_has_and_fetches_only_the_rest() {
    let mut resumed = 0;
    each_seed(30, |seed| {
        let mut rig = Rig::new(seed, &[6 << 20, 3 << 20]);
        let first = rig.start_target();
        let pause = Nanos::MILLISECOND.0 * (1 + rig.sim.draw(40));
        rig.sim.run_for(Nanos(pause));
        drop(first);
        let target = rig.target;
        rig.sim.kill(target);
        rig.nothing_wrong_stands();
        rig.sim.restart(target);
        let second = rig.start_target();
        let held: u64 = second.store.held().map(|held| held.len).sum();
        rig.finish(&second);
        let kept = held + second.stats.chunks_reused.get() * CHUNK_BYTES as u64;
        assert_eq!(
            second.stats.bytes_fetched.get() + kept,
            rig.total(),
            "what is there is not fetched again"
        );
        resumed += u64::from(kept > held);
    });
    assert!(resumed > 0, "some were killed in the middle of a segment");
}

#[test]
fn p4_a_fetch_goes_on_when_its_connection_is_cut() {
    each_seed(20, |seed| {
        let mut rig = Rig::new(seed, &[6 << 20, 3 << 20, 70_000]);
        let (source, target) = (rig.source, rig.target);
        let after = 1 + rig.sim.draw(8 << 20);
        rig.sim.link(source, target).cut_after = Some(after);
        let target = rig.start_target();
        let begun = rig.sim.now();
        rig.finish(&target);
        assert!(target.stats.failed.get() > 0, "cut after {after} bytes");
        let took = rig.sim.now().since(begun);
        assert!(took < PROGRESS_TIMEOUT, "{took:?}: a cut is seen at once");
    });
}

#[test]
fn a_power_cut_at_the_target_leaves_nothing_unverified_under_a_final_name() {
    each_seed(30, |seed| {
        let mut rig = Rig::new(seed, &SIZES);
        let first = rig.start_target();
        let pause = Nanos::MILLISECOND.0 * (1 + rig.sim.draw(60));
        rig.sim.run_for(Nanos(pause));
        drop(first);
        let target = rig.target;
        rig.sim.power_cut(target);
        rig.sim.restart(target);
        let second = rig.start_target();
        rig.finish(&second);
    });
}

#[test]
fn a_full_disk_pauses_the_fetches_and_room_resumes_them() {
    each_seed(10, |seed| {
        let mut rig = Rig::new(seed, &[4 << 20, 4 << 20, 100]);
        let target_node = rig.target;
        rig.sim.host(target_node).disk.set_capacity("/data", 5 << 20);
        let target = rig.start_target();
        rig.sim.run_for(Nanos::from_secs(20));
        assert!(!target.driver.with_plan(|plan| plan.is_empty()), "it cannot have all");
        rig.nothing_wrong_stands();
        rig.sim.host(target_node).disk.set_capacity("/data", 1 << 30);
        rig.finish(&target);
    });
}

/// Once it took what room there was, and waited with it for the rest: ext4 keeps what a failed allocation got.
#[test]
fn weak_26_a_segment_for_which_there_is_no_room_takes_none_from_those_that_fit() {
    let mut rig = Rig::new(1, &[8 << 20, 2 << 20, 100_000]);
    let target_node = rig.target;
    rig.sim.host(target_node).disk.set_capacity("/data", 5 << 20);
    let target = rig.start_target();
    rig.sim.run_for(Nanos::from_secs(20));
    assert_eq!(target.store.held().count(), 2, "the large one alone waits");
    rig.nothing_wrong_stands();
    rig.sim.host(target_node).disk.set_capacity("/data", 1 << 30);
    rig.finish(&target);
}

#[test]
fn the_same_seed_moves_the_same_bytes_in_the_same_order() {
    twice(11, |seed| {
        let mut rig = Rig::new(seed, &SIZES);
        let (source, target) = (rig.source, rig.target);
        rig.sim.link(source, target).corruption = Chance::percent(1);
        let target = rig.start_target();
        rig.finish(&target);
        rig.sim.digest()
    });
}

/// Once a segment whose record a full disk refused was fetched again, all of it.
#[test]
fn p3_a_segment_that_has_landed_and_has_no_room_for_its_record_is_not_fetched_again() {
    each_seed(4, |seed| {
        let mut rig = Rig::new(seed, &[3_500_000]);
        let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory").skip(1);
        let full = rig.sim.fault(rig.target, full.times(4));
        let target = rig.start_target();
        while rig.sim.hits(rig.target, full) < 2 {
            rig.sim.run_for(Nanos::MILLISECOND);
        }
        // Nor is anybody asked for it.
        let (source, target_node) = (rig.source, rig.target);
        rig.sim.partition(&[source], &[target_node]);
        rig.finish(&target);
        assert_eq!(rig.sim.hits(target_node, full), 4, "the record was refused twice");
        assert_eq!(target.stats.bytes_fetched.get(), rig.total(), "nothing is fetched twice");
    });
}
