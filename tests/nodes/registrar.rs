//! The registrar in a cluster whose nodes are killed, lose their power and are cut off: each change that was queued
//! happens, once, and in the order in which its engine has queued it.

use ringway::broken::Broken;
use ringway::engine::{Ask, Change, EnqueueError, Reply, Ticket};
use ringway::ids::{NodeId, ShardId, UnixNanos};

use crate::sim::SimOptions;

use super::broken::{first_found, is_quiet};
use super::campaign::three;
use super::checks::Found;
use super::cluster::Cluster;
use super::host::poll;
use super::ledger::file;
use super::workload::content;
use super::{millis, secs};

const SHARD: ShardId = ShardId(0);

/// What an engine has asked its registrar for.
enum Asked {
    Waiting(Reply<Ticket, EnqueueError>),
    Acknowledged,
    /// The process went before it could say, or the queue was refused its disk.
    Unknown,
}

/// One path: registered by its engine, and later perhaps deleted.
struct Queued {
    node: NodeId,
    path: String,
    registered: Asked,
    deleted: Option<Asked>,
}

impl Asked {
    fn hear(&mut self) {
        let Self::Waiting(reply) = self else { return };
        match poll(reply) {
            None => {}
            Some(Ok(_)) => *self = Self::Acknowledged,
            Some(Err(_)) => *self = Self::Unknown,
        }
    }

    fn is_acknowledged(&self) -> bool {
        matches!(self, Self::Acknowledged)
    }
}

fn enqueue(cluster: &Cluster, node: NodeId, change: Change) -> Asked {
    let engine = cluster.host(node).engine().expect("it is up");
    Asked::Waiting(engine.shard(SHARD).expect("there is one").enqueue(change))
}

/// Each engine that runs queues something now and then.
fn work(cluster: &mut Cluster, queued: &mut Vec<Queued>) {
    for node in cluster.nodes() {
        if cluster.host(node).engine().is_none() {
            continue;
        }
        if cluster.sim.draw(3) > 0 {
            let number = queued.len() as u64;
            let path = format!("n{node}/s-{number}");
            let len = cluster.sim.draw(9000) as usize + 8;
            cluster.seal_bytes(node, SHARD, path.clone(), &content(number + 1, len), false);
            let registered = enqueue(cluster, node, Change::register(path.as_str()));
            queued.push(Queued { node, path, registered, deleted: None });
        }
        let of_node =
            |one: &&mut Queued| one.node == node && one.deleted.is_none() && one.registered.is_acknowledged();
        if cluster.sim.draw(3) == 0
            && let Some(one) = queued.iter_mut().find(of_node)
        {
            one.deleted = Some(enqueue(cluster, node, Change::delete(one.path.as_str(), "compacted")));
        }
    }
}

fn strike(cluster: &mut Cluster) {
    let node = NodeId(1 + cluster.sim.draw(3));
    let rest = millis(10 + cluster.sim.draw(400));
    match cluster.sim.draw(4) {
        0 => cluster.kill(node, rest),
        1 => cluster.power_cut(node, rest),
        2 => {
            let others: Vec<NodeId> = cluster.nodes().into_iter().filter(|other| *other != node).collect();
            cluster.sim.partition(&[node], &others);
        }
        _ => cluster.sim.heal(),
    }
}

fn depth(cluster: &Cluster) -> Option<u64> {
    cluster
        .nodes()
        .into_iter()
        .map(|node| Some(cluster.shard(node, SHARD)?.registrar(UnixNanos(0)).depth))
        .sum()
}

fn found(what: String) -> Found {
    Found { checker: "queued_once", what }
}

fn scene(seed: u64) -> Result<(), Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    let mut queued = Vec::new();
    for _ in 0..120 {
        work(&mut cluster, &mut queued);
        if cluster.sim.draw(12) == 0 {
            strike(&mut cluster);
        }
        let pause = millis(4 + cluster.sim.draw(30));
        cluster.go_on(pause)?;
        hear(&mut queued);
    }
    cluster.sim.heal();
    if !cluster.until(secs(90), |cluster| depth(cluster) == Some(0))? {
        return Err(found(format!("{:?} changes are queued still", depth(&cluster))));
    }
    hear(&mut queued);
    cluster.go_on(secs(2))?;
    let refused: Vec<_> = cluster
        .nodes()
        .into_iter()
        .flat_map(|node| cluster.shard(node, SHARD).map_or(Vec::new(), |shard| shard.refused_after(0)))
        .collect();
    if !refused.is_empty() {
        return Err(found(format!("nothing was to be refused: {refused:?}")));
    }
    for one in &queued {
        judge(&mut cluster, one)?;
    }
    let acknowledged = queued.iter().filter(|one| one.registered.is_acknowledged()).count();
    let deleted = queued.iter().filter(|one| one.deleted.as_ref().is_some_and(Asked::is_acknowledged));
    assert!(acknowledged > 50 && deleted.count() > 15, "seed {seed}: {acknowledged} acknowledged");
    cluster.settle()
}

fn hear(queued: &mut [Queued]) {
    for one in queued {
        one.registered.hear();
        one.deleted.iter_mut().for_each(Asked::hear);
    }
}

/// What the log has made of a path, against what its engine was told; an engine takes away what is not listed.
fn judge(cluster: &mut Cluster, one: &Queued) -> Result<(), Found> {
    let (mut came, mut went) = (0, 0);
    for fact in cluster.checks.borrow().log.values().flatten().filter(|fact| fact.path == one.path) {
        if fact.content.is_some() { came += 1 } else { went += 1 }
    }
    let is_deleted = one.deleted.as_ref().is_some_and(Asked::is_acknowledged);
    let is_due = one.registered.is_acknowledged();
    if came > 1 || went > 1 || (is_due && came == 0) || (is_deleted && went == 0) {
        let what = format!("{} of {}: registered {came} times, deleted {went} times", one.path, one.node);
        return Err(found(format!("{what}; acknowledged: {is_due}, {is_deleted}")));
    }
    if came == went {
        cluster.sim.host(one.node).disk.remove(&file(SHARD, &one.path));
    }
    Ok(())
}

/// Arc's registrar loses what is queued when its process ends, and what is applied while nobody leads.
#[test]
fn weak_06_each_queued_change_happens_once_whatever_befalls_the_nodes() {
    is_quiet(1..=12, scene);
}

/// What is queued is registered; its node goes before it has noted so, and somebody else deletes it meanwhile. The file
/// still stands there.
fn deleted_meanwhile(seed: u64) -> Result<(), Found> {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.until(secs(20), |cluster| cluster.is_founded())?;
    cluster.go_on(millis(500))?;
    let (node, other) = (NodeId(1 + seed % 3), NodeId(1 + (seed + 1) % 3));
    cluster.seal_bytes(node, SHARD, "a".to_owned(), &content(seed, 3000), false);
    let registered = enqueue(&cluster, node, Change::register("a"));
    let one = Queued { node, path: "a".to_owned(), registered, deleted: None };
    let came = |cluster: &mut Cluster| cluster.checks.borrow().log.values().flatten().any(|f| f.path == "a");
    assert!(cluster.until(secs(20), came)?, "seed {seed}");
    match seed % 2 {
        0 => cluster.kill(node, secs(4)),
        _ => cluster.power_cut(node, secs(4)),
    }
    let is_gone = |cluster: &Cluster| {
        cluster.shard(other, SHARD).is_some_and(|shard| shard.group().machine().borrow().is_empty())
    };
    for _ in 0..10 {
        let engine = cluster.host(other).engine().expect("it is up");
        let mut reply = engine.shard(SHARD).expect("one").delete("a", "compacted", Ask::default());
        cluster.until(secs(10), |_| poll(&mut reply).is_some())?;
        if is_gone(&cluster) {
            break;
        }
    }
    cluster.until(secs(60), |cluster| depth(cluster) == Some(0))?;
    cluster.go_on(secs(2))?;
    judge(&mut cluster, &one)?;
    cluster.settle()
}

#[test]
fn m5_what_was_registered_and_deleted_while_its_node_was_down_does_not_come_back() {
    is_quiet(1..=6, deleted_meanwhile);
}

#[test]
fn applied_once_finds_a_registrar_that_asks_again_for_what_may_have_happened() {
    first_found(Broken::AskedAgain, deleted_meanwhile, "applied_once");
}
