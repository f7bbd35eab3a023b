//! Bugs that simulated clusters have found, each told in a sentence and played again.

use ringway::config::Rates;
use ringway::engine::{Ask, Durability, Seat};
use ringway::ids::{NodeId, ShardId};
use ringway::uring::Errno;

use crate::sim::{Fault, OpKind, Rule, SimOptions};

use super::campaign::{run, shape, three};
use super::cluster::Cluster;
use super::host::Shape;
use super::ledger::{Task, Wish, file};
use super::workload::content;
use super::{millis, secs};

const SHARD: ShardId = ShardId(0);

fn quiet(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    assert!(cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds"));
    cluster
}

fn settles(seed: u64, cluster: &mut Cluster) {
    let done = cluster.settle();
    done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
}

/// Seed 23 of the campaign: an origin whose disk refused the record of its pin went to fetch the segment from the
/// others, who wait for it; a committed segment was unavailable for ever, its file in place.
#[test]
fn an_origin_whose_disk_refuses_the_pin_pins_again() {
    for seed in 1..=6 {
        let mut cluster = quiet(seed);
        let origin = NodeId(1 + seed % 3);
        let place = if seed % 2 == 0 { "pins" } else { "inventory" };
        for kind in [OpKind::Sync, OpKind::Write, OpKind::Rename] {
            cluster.sim.fault(origin, Rule::new(Fault::Fail(Errno::IO)).on(kind).path(place).times(2));
        }
        let ask = Ask { durability: Durability::Committed, timeout: secs(5) };
        cluster.ask(origin, SHARD, vec![("a".to_owned(), content(seed, 9000).to_vec())], ask);
        settles(seed, &mut cluster);
    }
}

/// Seeds 35 and 36: a node that starts before its log has come back took what stands beyond it for surplus and removed
/// it; when all started at once, every replica was gone.
#[test]
fn what_the_log_has_not_come_back_to_yet_is_not_removed() {
    for seed in 1..=6 {
        let mut cluster = quiet(seed);
        for number in 0..5_u64 {
            let ask = Ask { durability: Durability::Landed(3), timeout: secs(20) };
            let bytes = content(seed * 10 + number, 5000).to_vec();
            cluster.ask(NodeId(1 + number % 3), SHARD, vec![(format!("s-{number}"), bytes)], ask);
            assert!(
                cluster.until(secs(20), |cluster| cluster.ledger.tasks.is_empty()).expect("no checker minds")
            );
        }
        let done = cluster.all_over_again();
        done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
}

/// A start whose snapshot knew the entry let go of a pin that its disk had not let record: the only copy, since an
/// engine may delete what it was told is committed.
#[test]
fn a_pin_that_is_not_recorded_is_kept_over_a_snapshot_and_a_start() {
    for seed in 1..=3 {
        let mut cluster =
            Cluster::new(seed, SimOptions::default(), Shape { snapshot_entries: 16, ..three() });
        cluster.working = false;
        assert!(cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds"));
        let origin = NodeId(2);
        let full =
            Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory").times(u64::MAX);
        cluster.sim.fault(origin, full);
        let register = |cluster: &mut Cluster, node, path: &str, number| {
            let ask = Ask { durability: Durability::Committed, timeout: secs(5) };
            cluster.ask(node, SHARD, vec![(path.to_owned(), content(number, 5000).to_vec())], ask);
            let done = cluster.until(secs(20), |cluster| cluster.ledger.tasks.is_empty());
            assert!(done.expect("no checker minds"), "seed {seed}: {path}");
        };
        register(&mut cluster, origin, "a", seed);
        cluster.sim.host(origin).disk.remove(&file(SHARD, "a"));
        for number in 0..40 {
            register(&mut cluster, NodeId(1), &format!("s-{number}"), 100 * seed + number);
        }
        let shard = cluster.shard(origin, SHARD).expect("it runs");
        let has_snapshot = |_: &mut Cluster| shard.group().figures().snapshot.is_some();
        let is_written = cluster.until(secs(2), has_snapshot).expect("no checker minds");
        assert!(is_written, "40 entries, and one for each 16");
        let (snapshot, _) = shard.group().figures().snapshot.expect("it is written");
        let entry = shard.group().machine().borrow().by_path("a").cloned().expect("it is committed");
        assert!(snapshot.index >= entry.id.index && !shard.store().is_held(entry.id, entry.root));
        drop(shard);
        cluster.kill(origin, millis(300));
        cluster.sim.clear_faults(origin);
        let everywhere = |cluster: &mut Cluster| {
            cluster.nodes().into_iter().all(|node| {
                let shard = cluster.shard(node, SHARD);
                shard.is_some_and(|shard| shard.store().is_held(entry.id, entry.root))
            })
        };
        assert!(cluster.until(secs(90), everywhere).expect("no checker minds"), "seed {seed}: it is lost");
    }
}

/// Seeds 1 and 20: after a start from a snapshot, and behind one that a leader sent, the watermark rose over segments
/// that nobody had looked for yet.
#[test]
fn installed_does_not_pass_what_a_snapshot_brought_and_nobody_has_looked_for() {
    for seed in 1..=4 {
        let shape = Shape { snapshot_entries: 16, ..three() };
        let mut cluster = Cluster::new(seed, SimOptions::default(), shape);
        let mut go_on = |length| {
            let done = cluster.go_on(length);
            done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
        };
        go_on(millis(2500));
        let away = NodeId(1 + seed % 3);
        cluster.kill(away, millis(1200));
        let done = cluster.go_on(secs(2));
        done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
        settles(seed, &mut cluster);
    }
}

/// Seeds 528, 624, 1208, 1368, 1600 and 2208: the founder was killed when the group had its members and nothing else;
/// another node led it from then on, and nobody ever committed what the cluster is.
#[test]
fn a_founding_goes_on_when_its_founder_was_killed_in_the_middle() {
    for seed in 1..=6 {
        let mut cluster = Cluster::new(seed, SimOptions::default(), three());
        cluster.working = false;
        let has_members = |cluster: &mut Cluster| {
            let seats = cluster.host(NodeId(2)).seats.borrow();
            seats.iter().filter_map(Seat::cluster).any(|group| !group.members().is_empty())
        };
        assert!(cluster.until(secs(20), has_members).expect("no checker minds"), "seed {seed}");
        assert!(!cluster.is_founded(), "seed {seed}");
        cluster.kill(NodeId(1), secs(4));
        settles(seed, &mut cluster);
        assert!(cluster.is_founded(), "seed {seed}");
    }
}

/// Seeds that have found a bug once, as they were: no engine touched what another node had sealed.
#[test]
fn seeds_that_found_a_bug_stay_quiet() {
    for seed in [144, 237, 254, 528, 624, 625, 1208, 1368, 1600, 2208, 2440, 2853] {
        let as_it_was = Shape { anyone_updates: false, rates: Rates::default(), ..shape(seed) };
        let mut cluster = Cluster::new(seed, SimOptions::default(), as_it_was);
        let done = run(seed, &mut cluster);
        done.unwrap_or_else(|found| panic!("seed {seed}: {}: {}", found.checker, found.what));
    }
}

/// Seed 7238: a removal that the disk refused once was never tried again.
#[test]
fn a_removal_that_a_disk_has_refused_is_tried_until_the_segment_is_gone() {
    for seed in 1..=3 {
        let mut cluster = quiet(seed);
        let ask = Ask { durability: Durability::Landed(3), timeout: secs(20) };
        cluster.ask(NodeId(1), SHARD, vec![("gone".to_owned(), content(seed, 9000).to_vec())], ask);
        let told = cluster.until(secs(30), |cluster| cluster.ledger.tasks.is_empty());
        assert!(told.expect("no checker minds"), "seed {seed}");
        let refuses = Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Rename).path("gone").times(2);
        let refuses = cluster.sim.fault(NodeId(3), refuses);
        let wishes = vec![Wish::Delete { path: "gone".to_owned() }];
        let task = Task { node: NodeId(2), shard: SHARD, wishes, ask, reply: None, attempts: 0 };
        cluster.ledger.tasks.push(task);
        let told = cluster.until(secs(30), |cluster| cluster.ledger.tasks.is_empty());
        assert!(told.expect("no checker minds"), "seed {seed}");
        settles(seed, &mut cluster);
        assert_eq!(cluster.sim.hits(NodeId(3), refuses), 2, "seed {seed}");
    }
}
