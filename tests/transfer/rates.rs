//! P7: limits of bytes per second, at the end that receives and at the one that serves: never exceeded, divided by
//! shares, and lent where a share is not used.

use std::cell::RefCell;
use std::rc::Rc;

use ringway::config::{Rates, Work, WorkShares};
use ringway::ids::Nanos;
use ringway::limits::{CHUNK_BYTES, PROGRESS_TIMEOUT};
use ringway::transfer::{Failure, Limits, Passed};

use super::{Rig, Target, lend};
use crate::sim::{each_seed, twice};

const MIB: u64 = 1 << 20;
/// Bytes a second.
const RATE: u64 = 20 * MIB;
/// What passes at once after a rest.
const BURST: u64 = 2 * MIB;
/// Between two looks.
const LOOK: Nanos = Nanos::from_millis(5);
const WHO: [&str; 2] = ["source", "target"];

/// The limit that holds at one of the ends.
fn rates(end: usize) -> Rates {
    let mut rates = Rates::default();
    match end {
        0 => rates.serve = Some(RATE),
        _ => rates.receive = Some(RATE),
    }
    rates
}

/// What has passed the limit of a node.
fn passed(limits: &Limits, end: usize) -> [Passed; 3] {
    // What it receives comes before what it serves.
    limits.figures()[1 - end].passed
}

fn bytes(limits: &Limits, end: usize, work: Work) -> u64 {
    passed(limits, end)[work.place()].bytes
}

/// Small ones among large ones, and some of several chunks.
fn sizes(seed: u64) -> Vec<usize> {
    let size = |index: u64| match (seed + index) % 5 {
        0 => 6 * CHUNK_BYTES + 1000,
        1 | 2 => 40_000 + 1000 * index as usize,
        3 => CHUNK_BYTES / 2 + 1,
        _ => 3 * CHUNK_BYTES,
    };
    (0..24).map(size).collect()
}

fn odd_is_behind(index: usize) -> Work {
    if index % 2 == 1 { Work::CatchUp } else { Work::Live }
}

/// What had passed a limit at each look, and how many bytes the target had taken, until all has come.
fn looks(rig: &mut Rig, target: &Target, end: usize) -> Vec<[u64; 2]> {
    let mut looks = vec![[0; 2]];
    while !target.driver.with_plan(|plan| plan.is_empty()) {
        rig.sim.run_for(LOOK);
        let through = passed(&rig.limits[end], end).iter().map(|work| work.bytes).sum();
        looks.push([through, target.stats.bytes_fetched.get()]);
        assert!(looks.len() < 10_000, "it does not come to its end: {:?}", target.stats);
    }
    looks
}

#[test]
fn p7_in_no_time_does_more_pass_than_the_limit_and_a_burst_and_nothing_is_left_over() {
    // What has passed is on its way for a while: of each of the two streams a chunk that is sent, and the next.
    let on_the_way = [0, 4 * MIB];
    for end in [0, 1] {
        each_seed(6, |seed| {
            let mut rig = Rig::lossless(seed, &sizes(seed));
            rig.work = odd_is_behind;
            rig.limits[end].set(&rates(end));
            let target = rig.start_target();
            let looks = looks(&mut rig, &target, end);
            for (from, begun) in looks.iter().enumerate() {
                for (to, ended) in looks.iter().enumerate().skip(from + 1) {
                    let length = LOOK.0 * (to - from) as u64;
                    let most = RATE * length / Nanos::SECOND.0 + BURST;
                    for (place, late) in on_the_way.iter().enumerate() {
                        let came = ended[place] - begun[place];
                        assert!(came <= most + late, "{}: {came} bytes in {length} ns, {most} may", WHO[end]);
                    }
                }
            }
            let (total, took) = (rig.total(), LOOK.0 * looks.len() as u64);
            let least = (total - BURST) * 1000 / RATE * Nanos::MILLISECOND.0;
            println!("{} seed {seed}: {total} bytes in {} ms", WHO[end], took / Nanos::MILLISECOND.0);
            assert!(took >= least && took < least * 11 / 10 + 200_000_000, "{took} ns of {least}");
            rig.finish(&target);
            let stats = &target.stats;
            assert_eq!((stats.failed.get(), stats.bytes_fetched.get()), (0, total));
            let counted = looks.last().expect("many")[0];
            // A source counts the blocks that it reads.
            assert!((total..total + 24 * 4096).contains(&counted), "{counted} of {total}");
            assert!(passed(&rig.limits[end], end)[0].waits > 0);
        });
    }
}

#[test]
fn p7_live_has_its_share_beside_what_is_behind_which_has_all_of_it_alone() {
    for end in [0, 1] {
        each_seed(6, |seed| {
            let mut rig = Rig::lossless(seed, &[4 * CHUNK_BYTES; 24]);
            rig.work = odd_is_behind;
            rig.limits[end].set(&rates(end));
            let target = rig.start_target();
            let limits = rig.limits[end].clone();
            let of_both = |work| bytes(&limits, end, work);
            rig.sim.run_for(Nanos::SECOND);
            let before = [Work::Live, Work::CatchUp].map(of_both);
            rig.sim.run_for(Nanos::SECOND);
            let [live, behind] = [Work::Live, Work::CatchUp].map(of_both);
            let (live, behind) = (live - before[0], behind - before[1]);
            println!("{} seed {seed}: {live} bytes live, {behind} behind in a second", WHO[end]);
            assert!(live + 2 * MIB >= RATE * 70 / 100, "{live} of {RATE}");
            assert!(behind + 2 * MIB >= RATE * 25 / 100, "{behind} of {RATE}");
            // Half of all is live: 48 MiB, of which a second brings 15.
            let all_live = limits.clone();
            rig.sim.run_until(move || bytes(&all_live, end, Work::Live) >= 48 * MIB, Nanos::from_secs(5));
            let before = of_both(Work::CatchUp);
            rig.sim.run_for(Nanos::SECOND);
            let alone = of_both(Work::CatchUp) - before;
            assert!(alone + 2 * MIB >= RATE, "{alone} of {RATE} in a second alone");
            rig.finish(&target);
            assert_eq!(target.stats.failed.get(), 0);
        });
    }
}

/// Very many are behind, more than are fetched at a time: what is registered meanwhile does not wait for them.
#[test]
fn p7_live_is_not_starved_by_what_is_behind() {
    for end in [0, 1] {
        each_seed(4, |seed| {
            let mut sizes = vec![CHUNK_BYTES / 2 + 1; 300];
            sizes.extend([CHUNK_BYTES / 2 + 1, 3 * CHUNK_BYTES, 1000]);
            let mut rig = Rig::lossless(seed, &sizes);
            rig.work = |index| if index < 300 { Work::CatchUp } else { Work::Live };
            rig.limits[end].set(&rates(end));
            let late: Vec<_> = (300..303).map(|index| rig.want(index)).collect();
            let samples = rig.samples.split_off(300);
            let target = rig.start_target();
            rig.samples.extend(samples);
            rig.sim.run_for(Nanos::from_secs(2));
            let (core, driver) = (rig.sim.core(rig.target, 0), Rc::clone(&target.driver));
            let (begun, ids) = (rig.sim.now(), late.iter().map(|want| want.id).collect::<Vec<_>>());
            rig.sim
                .block_on(&core, async move { late.into_iter().for_each(|want| assert!(driver.want(want))) });
            let (store, wants) = (Rc::clone(&target.store), ids);
            let stand = move || wants.iter().all(|id| store.record(*id).is_some());
            rig.sim.run_until(stand, Nanos::from_secs(5));
            let took = rig.sim.now().since(begun);
            println!("{} seed {seed}: live came in {took} beside 300 that are behind", WHO[end]);
            // 3.5 MiB at 70 per cent are a quarter of a second; behind all the others it would be six.
            assert!(took < Nanos::from_millis(500), "{took}");
            let behind = target.driver.with_plan(|plan| plan.len());
            assert!(behind > 150, "{behind} are left");
        });
    }
}

#[test]
fn p7_what_another_core_brings_passes_the_same_limit() {
    for end in [0, 1] {
        each_seed(2, |seed| {
            let mut rig = Rig::lossless(seed, &[80 * CHUNK_BYTES]);
            rig.limits[end].set(&rates(end));
            let (team, begun) = (lend::start(&mut rig), rig.sim.now());
            rig.finish(&team.target);
            let (took, least) = (rig.sim.now().since(begun), Nanos::from_millis(3900));
            let stats = &team.target.stats;
            assert!(stats.chunks_lent.get() > 0 && took >= least, "{took}: {stats:?}");
            assert!(took < Nanos::from_secs(5), "{took}");
            assert_eq!((stats.failed.get(), stats.bytes_fetched.get()), (0, rig.total()));
        });
    }
}

/// A chunk a second, and all of it for what is live first: what is behind waits longer than a source may be silent.
#[test]
fn p7_what_this_node_holds_back_itself_is_no_silence_of_its_source() {
    let mut rig = Rig::new(1, &[5 * CHUNK_BYTES; 8]);
    rig.work = odd_is_behind;
    let shares = WorkShares { live: 100, catch_up: 0, scrub: 0 };
    rig.limits[1].set(&Rates { receive: Some(MIB), shares, ..Rates::default() });
    let (target, begun) = (rig.start_target(), rig.sim.now());
    rig.finish(&target);
    assert!(rig.sim.now().since(begun) > Nanos(2 * PROGRESS_TIMEOUT.0));
    assert_eq!((target.stats.failed.get(), target.stats.bytes_fetched.get()), (0, rig.total()));
}

/// Once each of the streams that shared a chunk a second waited longer for its next one than a source may be silent,
/// was given up for that, and asked anew at the end of the queue.
#[test]
fn p7_streams_that_share_a_low_limit_are_told_so_and_do_not_take_the_source_for_silent() {
    let mut rig = Rig::new(1, &[3 * CHUNK_BYTES]);
    rig.limits[0].set(&Rates { serve: Some(MIB), ..Rates::default() });
    let others = rig.sim.node(3);
    let _stop = rig.greedy(others, 1, 24);
    rig.sim.run_for(Nanos::SECOND);
    let (target, begun) = (rig.start_target(), rig.sim.now());
    rig.finish(&target);
    let failures = |failure: Failure| target.stats.failures[failure.place()].get();
    println!("{} behind 24 streams, busy {} times", rig.sim.now().since(begun), failures(Failure::Busy));
    assert_eq!((failures(Failure::NoProgress), failures(Failure::Unreachable)), (0, 0));
    assert!(failures(Failure::Busy) > 0, "it had to wait longer than that");
    assert_eq!(target.stats.bytes_fetched.get(), rig.total());
}

#[test]
fn p7_a_shards_limit_and_its_nodes_both_hold_and_a_limit_is_changed_on_the_way() {
    let mut rig = Rig::lossless(1, &[40 * CHUNK_BYTES]);
    let both = |node, shard| Rates { receive: node, shard_receive: shard, ..Rates::default() };
    rig.limits[1].set(&both(Some(RATE), Some(RATE / 4)));
    let target = rig.start_target();
    let seen = RefCell::new(0);
    let second = |rig: &mut Rig| {
        rig.sim.run_for(Nanos::SECOND);
        let now = target.stats.bytes_fetched.get();
        now - seen.replace(now)
    };
    let _burst = second(&mut rig);
    let of_shard = second(&mut rig);
    assert!((4 * MIB..=6 * MIB).contains(&of_shard), "{of_shard}");
    rig.limits[1].set(&both(Some(RATE / 2), Some(RATE)));
    let of_node = second(&mut rig);
    assert!((8 * MIB..=12 * MIB).contains(&of_node), "{of_node}");
    rig.limits[1].set(&Rates::default());
    let free = second(&mut rig);
    assert!(free >= 15 * MIB, "all the rest: {free}");
    rig.finish(&target);
    assert_eq!(target.stats.failed.get(), 0);
}

#[test]
fn the_same_seed_paces_the_same_chunks() {
    twice(5, |seed| {
        let mut rig = Rig::new(seed, &sizes(seed));
        rig.work = odd_is_behind;
        (0..2).for_each(|end| rig.limits[end].set(&rates(end)));
        let target = rig.start_target();
        rig.finish(&target);
        rig.sim.digest()
    });
}
