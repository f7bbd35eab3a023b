//! What a node counts as its own when it is started again: the page cache may have it and the disk not yet.

use ringway::ids::{Nanos, NodeId, Term};
use ringway::raft::Point;
use ringway::uring::Errno;

use crate::sim::{Crash, Fault, How, Loss, OpKind, Rule, SimOptions};

use super::cluster::Cluster;
use super::secs;

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);

/// The last entry and the term that a node has when it is started again, as it tells them to a leader or a candidate.
fn counted(cluster: &mut Cluster) -> (Point, Term) {
    cluster.restart(TWO);
    // Less than its log rests before it writes something of its own accord.
    cluster.sim.run_for(Nanos::from_millis(100));
    let figures = cluster.group(TWO).figures();
    assert_eq!(figures.log.batches, 0, "nothing of what it counts is written by chance");
    (figures.last, figures.watermarks.term)
}

/// Node 2 ends by this fault, is started again where nobody reaches it, and then loses its power: it still has what it
/// counted. Returns what that was.
fn what_it_counted(seed: u64, options: SimOptions, rule: Rule) -> (Point, Term) {
    let mut cluster = Cluster::new(seed, options, 3);
    [ONE, TWO, THREE].into_iter().for_each(|node| cluster.start(node));
    let fault = cluster.sim.fault(TWO, rule);
    let members = [ONE, TWO, THREE].into_iter().map(|node| (node, cluster.member(node))).collect();
    let (group, core) = (cluster.group(ONE), cluster.running[&ONE].core.clone());
    cluster.sim.block_on(&core, async move { group.bootstrap(members).await }).expect("the first time");
    cluster.sim.run_for(secs(1));
    [ONE, THREE].into_iter().for_each(|node| cluster.client(node, Nanos::from_millis(5), 9000));
    cluster.sim.run_for(Nanos::from_millis(300));
    assert_eq!(cluster.sim.hits(TWO, fault), 1, "seed {seed}");
    cluster.sim.clear_faults(TWO);
    cluster.sim.partition(&[TWO], &[ONE, THREE]);
    if cluster.sim.is_up(TWO) {
        cluster.sim.kill(TWO);
    }
    cluster.running.remove(&TWO);
    let before = counted(&mut cluster);
    cluster.sim.power_cut_with(TWO, Loss::All);
    cluster.running.remove(&TWO);
    assert_eq!(counted(&mut cluster), before, "seed {seed}: after the power has gone");
    cluster.sim.heal();
    cluster.converge(secs(20));
    before
}

/// An entry or a vote that was written and not yet flushed when the process died is there for whoever reads: the next
/// process must not count it before it is durable.
#[test]
fn what_a_killed_process_had_written_and_not_flushed_is_durable_before_it_counts() {
    let written = Fault::Crash(Crash { how: How::Kill, after: true });
    // The first write is the head of the file.
    let counted: Vec<_> = (1..7)
        .map(|skip| {
            let rule = Rule::new(written).on(OpKind::Write).path("log").skip(skip);
            what_it_counted(skip, SimOptions::default(), rule)
        })
        .collect();
    assert!(counted.windows(2).any(|pair| pair[0].0 < pair[1].0), "entries among it: {counted:?}");
    assert!(counted[0].1 > Term(0) && counted[0].0 == Point::START, "a vote alone among it: {counted:?}");
}

/// After a flush that failed the page cache has what the disk lacks, and holds it for clean: where a file system has no
/// direct reads, the next flush brings nothing of it to the disk.
#[test]
fn what_a_failed_flush_has_left_in_the_cache_is_written_again_before_it_counts() {
    for skip in 1..7 {
        let mut options = SimOptions::default();
        options.disk.direct = false;
        let rule = Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("log").skip(skip);
        what_it_counted(skip, options, rule);
    }
}

/// What is flushed into a file is lost all the same with the file's name.
#[test]
fn the_name_of_a_log_file_is_durable_before_anything_is_written_into_it_by_the_next_process() {
    let named = Fault::Crash(Crash { how: How::Kill, after: true });
    for seed in 1..=4 {
        let mut cluster = Cluster::bootstrapped(seed, SimOptions::default(), 1);
        let rule = Rule::new(named).on(OpKind::Rename).path("log.new");
        let fault = cluster.sim.fault(ONE, rule);
        cluster.client(ONE, Nanos::from_millis(1), 1 << 20);
        cluster.sim.run_for(Nanos::from_millis(500));
        assert_eq!(cluster.sim.hits(ONE, fault), 1);
        cluster.running.remove(&ONE);
        cluster.restart(ONE);
        cluster.propose(b"into the new file");
        cluster.sim.power_cut_with(ONE, Loss::All);
        cluster.running.remove(&ONE);
        cluster.restart(ONE);
        cluster.converge(secs(20));
    }
}
