//! P6: a core that is free brings a part of another one's segment; whatever becomes of it, the owner lands the right
//! bytes, once, and not before nobody writes any more.

use std::cell::Cell;
use std::rc::Rc;

use ringway::ids::{Nanos, NodeId};
use ringway::limits::{CHUNK_BYTES, LEND_CHUNKS_MIN, LEND_OUT_CHUNKS_MAX, PEER_SERVES_MAX};
use ringway::segment::Sabotage;
use ringway::stats::TransferStats;
use ringway::transfer::{Helper, Helpers, Loan};
use ringway::transport::Transport;
use ringway::uring::{Core, Errno, MailReceiver, Priority, mailbox};

use super::{Rig, Target, transport};
use crate::sim::{Fault, Loss, OpKind, Rule, each_seed, twice};

const CHUNKS: u64 = 81;
const BYTES: usize = 80 * CHUNK_BYTES + 1000;
/// Far more than the helper of a moment has brought.
const SOON: u64 = 6;

/// A target whose first core owns its segments, and one more core.
pub(super) struct Team {
    pub(super) target: Target,
    helper: Rc<Helper>,
    core: Core,
    transport: Transport,
}

/// A core that helps whenever it is asked to and free.
async fn help(helper: Rc<Helper>, transport: Transport, mut mail: MailReceiver<Box<Loan>>) {
    while let Some(loan) = mail.receive().await {
        let help = Rc::clone(&helper).help(*loan, transport.clone());
        drop(Core::current().spawn(Priority::Bulk, help));
    }
}

pub(super) fn start(rig: &mut Rig) -> Team {
    start_with(rig, Helper::default())
}

fn start_with(rig: &mut Rig, helper: Helper) -> Team {
    let core = rig.sim.core(rig.target, 1);
    let (helper, transport) = (Rc::new(helper), transport(&core, NodeId(2)));
    let (sender, mail) = mailbox(4);
    drop(core.spawn(Priority::Urgent, help(Rc::clone(&helper), transport.clone(), mail)));
    let helpers = Rc::new(Helpers::new(1, move |_, loan| {
        let _nobody_helps = sender.try_send(loan);
    }));
    let peer = rig.source_address();
    let target = rig.start_helped_target_from(peer, Some(helpers));
    Team { target, helper, core, transport }
}

/// Until the other core has brought so many chunks.
fn brought(rig: &mut Rig, team: &Team, chunks: u64) {
    let stats = Rc::clone(&team.target.stats);
    rig.sim.run_until(move || stats.chunks_lent.get() >= chunks, Nanos::from_secs(60));
    assert_eq!(team.target.store.held().count(), 0, "it is in the middle");
}

fn stands(rig: &Rig) -> bool {
    rig.sim.host(rig.target).disk.file(&format!("/data/dest/{}", rig.samples[0].path)).is_some()
}

#[test]
fn p6_a_free_core_brings_a_part_of_a_large_segment_and_every_chunk_comes_once() {
    let (mut lent, mut runs) = (0, 0);
    each_seed(16, |seed| {
        let mut rig = Rig::new(seed, &[BYTES]);
        let team = start(&mut rig);
        rig.finish(&team.target);
        let stats = &team.target.stats;
        let came = stats.chunks_lent.get();
        println!("seed {seed}: {came} of {CHUNKS} chunks came through the other core");
        // A helper that is slow to reach the source brings one piece; one that is not, as much as the owner.
        assert!((CHUNKS / 8..CHUNKS * 3 / 4).contains(&came), "{came} of {CHUNKS} chunks");
        (lent, runs) = (lent + came, runs + 1);
        assert!(stats.bytes_lent.get() > (came - 1) * CHUNK_BYTES as u64);
        assert_eq!(stats.bytes_fetched.get(), rig.total(), "nothing is fetched twice");
        assert_eq!((stats.failed.get(), stats.landed.get(), stats.chunks_refetched.get()), (0, 1, 0));
        assert!(team.helper.is_free(), "it has given back what it had");
    });
    assert!(runs == 1 || lent * 3 > runs * CHUNKS, "{lent} of {} chunks", runs * CHUNKS);
}

#[test]
fn a_small_segment_is_lent_to_nobody_and_a_core_that_is_busy_is_asked_again() {
    let mut rig = Rig::new(1, &[(LEND_CHUNKS_MIN as usize - 1) * CHUNK_BYTES; 4]);
    let team = start(&mut rig);
    rig.finish(&team.target);
    assert_eq!(team.target.stats.chunks_lent.get(), 0);

    let mut rig = Rig::new(2, &[3 * BYTES, BYTES]);
    let team = start(&mut rig);
    rig.finish(&team.target);
    let stats = &team.target.stats;
    assert!(stats.chunks_lent.get() > 0 && stats.failed.get() == 0, "{stats:?}");
    assert_eq!(stats.bytes_fetched.get(), rig.total(), "nothing is fetched twice");
}

#[test]
fn p6_of_a_segment_that_is_just_large_enough_another_core_brings_a_part() {
    each_seed(6, |seed| {
        let mut rig = Rig::new(seed, &[LEND_CHUNKS_MIN as usize * CHUNK_BYTES]);
        let team = start(&mut rig);
        rig.finish(&team.target);
        let stats = &team.target.stats;
        assert!((1..=LEND_CHUNKS_MIN / 2).contains(&(stats.chunks_lent.get() as u32)), "{stats:?}");
        assert_eq!(stats.bytes_fetched.get(), rig.total(), "nothing is fetched twice");
    });
}

/// One after the other, so that the first land soon and the other core has a part in most.
#[test]
fn p6_of_many_large_segments_another_core_brings_a_large_part() {
    each_seed(4, |seed| {
        let chunks = |index: u64| LEND_CHUNKS_MIN as usize + (seed * 7 + index * 5) as usize % 13;
        let sizes: Vec<usize> =
            (0..9).map(|index| chunks(index) * CHUNK_BYTES - (index as usize * 911)).collect();
        let mut rig = Rig::new(seed, &sizes);
        let team = start(&mut rig);
        let store = Rc::clone(&team.target.store);
        rig.sim.run_until(move || store.held().next().is_some(), Nanos::from_secs(60));
        let stats = &team.target.stats;
        let before = stats.bytes_fetched.get();
        assert!(before < rig.total() / 2, "{before} of {} bytes before the first stood", rig.total());
        rig.finish(&team.target);
        let share = stats.bytes_lent.get() * 100 / rig.total();
        println!("seed {seed}: {share} % of the bytes came through the other core");
        // Of the first one alone it would be 4.
        assert!(share >= 10, "{share} %: {stats:?}");
        assert_eq!(stats.bytes_fetched.get(), rig.total(), "nothing is fetched twice");
        assert_eq!((stats.failed.get(), stats.landed.get()), (0, 9), "{stats:?}");
        assert!(team.helper.is_free(), "it has given back what it had");
    });
}

#[test]
fn p6_a_helpers_connection_that_breaks_costs_the_owner_nothing_but_its_part() {
    each_seed(3, |seed| {
        let mut rig = Rig::new(seed, &[BYTES]);
        let team = start(&mut rig);
        brought(&mut rig, &team, SOON);
        let transport = team.transport.clone();
        rig.sim.block_on(&team.core, async move { transport.cut_unless(|_| false) });
        rig.finish(&team.target);
        let stats = &team.target.stats;
        assert_eq!((stats.failed.get(), stats.landed.get()), (0, 1), "the fetch went on");
        assert!(stats.chunks_lent.get() < CHUNKS / 2, "{stats:?}: it brought no more");
        assert!(team.helper.is_free());
    });
}

#[test]
fn p6_a_core_that_is_stopped_in_the_middle_writes_no_more_and_the_owner_brings_the_rest() {
    each_seed(3, |seed| {
        let mut rig = Rig::new(seed, &[BYTES]);
        let team = start(&mut rig);
        brought(&mut rig, &team, SOON);
        let helper = Rc::clone(&team.helper);
        rig.sim.block_on(&team.core, async move { helper.stop().await });
        let lent = team.target.stats.chunks_lent.get();
        assert!(lent < CHUNKS / 4, "{lent} chunks: it went on");
        rig.finish(&team.target);
        let stats = &team.target.stats;
        assert!(stats.chunks_lent.get() <= lent + 4, "{lent} before, {stats:?}: it has stopped");
        assert_eq!((stats.failed.get(), stats.landed.get()), (0, 1), "the fetch went on");
    });
}

#[test]
fn a_core_that_gets_work_of_its_own_brings_what_it_has_been_given_and_no_more() {
    each_seed(2, |seed| {
        let mut rig = Rig::new(seed, &[3 * BYTES]);
        let busy = Rc::new(Cell::new(false));
        let is_busy = Rc::clone(&busy);
        let team = start_with(&mut rig, Helper::unless(move || is_busy.get()));
        brought(&mut rig, &team, SOON);
        busy.set(true);
        rig.finish(&team.target);
        let stats = &team.target.stats;
        assert!(stats.chunks_lent.get() <= LEND_OUT_CHUNKS_MAX.into(), "{stats:?}");
        assert_eq!((stats.failed.get(), stats.landed.get()), (0, 1));
        assert_eq!(stats.bytes_fetched.get(), rig.total(), "nothing that was on its way was given up");
    });
}

/// What other streams of the node hold at the source leaves it one place.
#[test]
fn d10_a_source_counts_a_helper_to_its_node_and_refuses_it_as_one_too_many() {
    let mut rig = Rig::new(1, &[BYTES]);
    let _asked = rig.greedy(rig.target, 1, PEER_SERVES_MAX as u32 - 1);
    rig.sim.run_for(Nanos::from_millis(200));
    let team = start(&mut rig);
    rig.finish(&team.target);
    let stats = &team.target.stats;
    assert_eq!((stats.chunks_lent.get(), stats.failed.get(), stats.landed.get()), (0, 0, 1), "{stats:?}");
}

/// All of a segment, one chunk of which is damaged until it was noticed. The source reads its file from the disk with
/// these seeds.
fn with_a_damaged_chunk(seed: u64, chunk: u64) -> Rc<TransferStats> {
    let mut rig = Rig::new(seed, &[BYTES]);
    let path = format!("/data/source/{}", rig.samples[0].path);
    let flip = |rig: &Rig| rig.sim.host(rig.source).disk.rot(&path, chunk * CHUNK_BYTES as u64 + 5, 1);
    assert!(flip(&rig));
    let team = start(&mut rig);
    let stats = Rc::clone(&team.target.stats);
    rig.sim.run_until(move || stats.chunks_refetched.get() > 0, Nanos::from_secs(60));
    assert!(flip(&rig), "sound again");
    rig.finish(&team.target);
    let stats = Rc::clone(&team.target.stats);
    assert_eq!(stats.bytes_fetched.get(), rig.total() + CHUNK_BYTES as u64, "that chunk alone came twice");
    stats
}

/// The first piece of a helper is the far end.
#[test]
fn p6_a_chunk_that_arrives_damaged_at_a_helper_is_fetched_by_the_owner_alone() {
    for seed in [1, 3] {
        let stats = with_a_damaged_chunk(seed, 75);
        assert_eq!((stats.chunks_refetched.get(), stats.failed.get(), stats.landed.get()), (1, 0, 1));
    }
}

/// As above, but on the owner's way: all the rest comes before that attempt ends.
#[test]
fn p3_a_chunk_that_arrives_damaged_at_the_owner_costs_no_other_chunk() {
    let stats = with_a_damaged_chunk(1, 2);
    assert_eq!((stats.chunks_refetched.get(), stats.failed.get(), stats.landed.get()), (1, 1, 1));
}

#[test]
fn p6_a_write_that_fails_at_a_helper_is_done_again_by_the_owner() {
    let mut through_helper = 0;
    each_seed(4, |seed| {
        let mut rig = Rig::new(seed, &[BYTES]);
        let failing = Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Write).path("staging").skip(10 + seed * 3);
        let (node, failing) = (rig.target, rig.sim.fault(rig.target, failing));
        let team = start(&mut rig);
        rig.finish(&team.target);
        let stats = &team.target.stats;
        assert_eq!((rig.sim.hits(node, failing), stats.landed.get()), (1, 1));
        through_helper += u64::from(stats.failed.get() == 0);
    });
    assert!(through_helper > 0, "no write of a helper failed");
}

/// A write of ten seconds: it is the helper's or the owner's, nothing lands before it has ended.
#[test]
fn p6_nothing_lands_while_a_helper_may_still_write() {
    let mut waited = 0;
    for skip in [10, 12, 16] {
        let mut rig = Rig::new(skip, &[BYTES]);
        let slow = Rule::new(Fault::Slow(Nanos::from_secs(10))).on(OpKind::Write).path("staging").skip(skip);
        let (node, slow) = (rig.target, rig.sim.fault(rig.target, slow));
        let team = start(&mut rig);
        while rig.sim.hits(node, slow) == 0 {
            rig.sim.run_for(Nanos::MILLISECOND);
        }
        rig.sim.run_for(Nanos::from_secs(9));
        let fetched = team.target.stats.bytes_fetched.get();
        assert!(!stands(&rig), "skip {skip}: it has landed, and a write goes on");
        rig.finish(&team.target);
        assert_eq!(team.target.stats.landed.get(), 1);
        waited += u64::from(fetched > rig.total() * 9 / 10);
    }
    assert!(waited > 0, "no owner had all but what a helper was writing");
}

/// The connections are cut in the middle of it, so that there is a checkpoint, then the power. Says how many chunks the
/// other core had brought by then, and how many the next process did not fetch again.
fn cut_in_the_middle(seed: u64, sabotage: Sabotage) -> (u64, u64) {
    let mut rig = Rig::new(seed, &[BYTES]);
    let (source, node) = (rig.source, rig.target);
    let first = start(&mut rig);
    first.target.store.sabotage(sabotage);
    brought(&mut rig, &first, 1 + seed);
    rig.sim.cut(source, node);
    let stats = Rc::clone(&first.target.stats);
    rig.sim.run_until(move || stats.failed.get() > 0, Nanos::from_secs(10));
    let lent = first.target.stats.chunks_lent.get();
    drop(first);
    rig.sim.power_cut_with(node, Loss::All);
    rig.nothing_wrong_stands();
    rig.sim.restart(node);
    let second = start(&mut rig);
    rig.finish(&second.target);
    assert_eq!(second.target.stats.landed.get(), 1);
    (lent, second.target.stats.chunks_reused.get())
}

#[test]
fn p6_what_a_checkpoint_counts_survives_the_power_whoever_has_written_it() {
    for seed in 1..=4 {
        let (lent, kept) = cut_in_the_middle(seed, Sabotage::None);
        assert!(
            kept >= lent && lent > seed,
            "seed {seed}: {lent} chunks of the other core, {kept} kept in all"
        );
    }
}

#[test]
fn a_checkpoint_that_counts_what_no_disk_has_is_found_out() {
    let (lent, kept) = cut_in_the_middle(1, Sabotage::BitBeforeData);
    assert!(kept < lent, "{lent} chunks of the other core, {kept} kept in all");
}

#[test]
fn p6_what_has_landed_survives_the_power_whoever_has_written_it() {
    each_seed(2, |seed| {
        let mut rig = Rig::new(seed, &[BYTES]);
        let first = start(&mut rig);
        rig.finish(&first.target);
        assert!(first.target.stats.chunks_lent.get() > 0);
        drop(first);
        let node = rig.target;
        rig.sim.power_cut_with(node, Loss::All);
        rig.sim.restart(node);
        let second = start(&mut rig);
        assert_eq!(second.target.store.held().count(), 1, "it is believed");
        rig.finish(&second.target);
        assert_eq!(second.target.stats.bytes_fetched.get(), 0);
    });
}

#[test]
fn a_fetch_that_is_given_up_is_given_up_by_its_helper_too_and_may_begin_again() {
    each_seed(3, |seed| {
        let mut rig = Rig::new(seed, &[BYTES]);
        let team = start(&mut rig);
        brought(&mut rig, &team, SOON);
        let want = rig.want(0);
        let driver = Rc::clone(&team.target.driver);
        let core = rig.sim.core(rig.target, 0);
        rig.sim.block_on(&core, async move { driver.forget(want.id) });
        rig.sim.run_for(Nanos::from_millis(500));
        assert!(team.helper.is_free(), "it knows");
        let (store, want) = (Rc::clone(&team.target.store), rig.want(0));
        rig.sim.block_on(&core, async move { store.discard_staged(want.id).await.expect("a sound disk") });
        assert!(team.target.store.staged().is_empty(), "nobody has a claim to it");
        let (driver, want) = (Rc::clone(&team.target.driver), rig.want(0));
        assert!(rig.sim.block_on(&core, async move { driver.want(want) }));
        rig.finish(&team.target);
        assert_eq!((team.target.stats.failed.get(), team.target.stats.landed.get()), (0, 1));
    });
}

#[test]
fn the_same_seed_lends_the_same_chunks() {
    twice(5, |seed| {
        let mut rig = Rig::new(seed, &[BYTES]);
        let team = start(&mut rig);
        rig.finish(&team.target);
        rig.sim.digest()
    });
}
