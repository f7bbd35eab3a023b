//! A copied root is refused until it is adopted, and what comes of it then.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::Command;

use ringway::config::NodeConfig;
use ringway::engine::{
    AdoptError, Change, GroupStatus, IdentityError, MemberRole, RootError, SyncError, adopt,
};
use ringway::ids::{ClusterId, LogIndex, NodeId, ShardId};

use super::members::{add, holds, votes_everywhere};
use super::nodes::{Nodes, PATIENCE, register, until};

const BYTES: usize = 100_000;

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status().expect("cp runs");
    assert!(done.success());
}

/// Changes one byte of a file and nothing that a look at it tells.
fn rot(path: &Path) {
    let before = fs::metadata(path).expect("it is there");
    let mut bytes = fs::read(path).expect("read");
    bytes[BYTES / 2] ^= 1;
    fs::write(path, bytes).expect("written");
    let times = FileTimes::new().set_modified(before.modified().expect("it has one"));
    File::options().write(true).open(path).expect("opened").set_times(times).expect("set");
}

/// Three nodes and the place of a fourth; twenty segments of the first, and one that its engine has deleted again.
fn written() -> Nodes {
    let nodes = Nodes::with_more(3, 4, 2);
    (0..20).for_each(|index| drop(register(&nodes.shard(1), &format!("before/{index}"), &[index; BYTES])));
    register(&nodes.shard(1), "deep/er/pinned", &[99; BYTES]);
    fs::remove_file(nodes.shard(1).directory().join("deep/er/pinned")).expect("it was there");
    fs::remove_dir_all(nodes.shard(1).directory().join("deep")).expect("it was there");
    until("all have all", || (2..=3).all(|node| holds(&nodes.shard(node), 21)));
    nodes
}

fn fetched(nodes: &Nodes, node: usize) -> u64 {
    nodes.engine(node).status().wait().expect("it runs").shards[0].bytes_fetched
}

#[test]
fn s7_a_copied_root_is_refused_until_it_is_adopted_and_fetches_only_what_came_later_or_is_damaged() {
    let mut nodes = written();
    nodes.stop(1);
    copy(&nodes.root(1), &nodes.root(4));
    nodes.open(1);
    let refused = nodes.builder(4).open().expect_err("it is another's").to_string();
    assert!(refused.contains("node 1") && refused.contains("ringway adopt"), "{refused}");
    rot(&nodes.root(4).join("shard-0000/segments/before/3"));
    let later = register(&nodes.shard(2), "later", &[50; BYTES]);
    let config = nodes.config(4);
    let done = adopt(config.clone()).expect("it is a copy");
    assert_eq!(done.from, NodeId(1));
    let [(ShardId(0), Some(applied)), (ShardId(1), _)] = done.shards[..] else { panic!("{done:?}") };
    assert!(applied < later.index && applied > LogIndex(20), "{applied}");
    assert_eq!(adopt(config), Err(AdoptError::Own { node: NodeId(4) }));

    nodes.open(4);
    let status = nodes.engine(4).status().wait().expect("it runs");
    assert!(status.shards[0].applied >= applied.0 && !status.ready, "{status:?}");
    let has_voted = |group: &GroupStatus| group.term > 0 || !group.voters.is_empty();
    assert!(!status.groups.iter().any(has_voted), "no vote of the original's: {:?}", status.groups);
    let alone = nodes.shard(4).sync(std::time::Duration::from_millis(300)).wait();
    assert!(matches!(alone, Err(SyncError::NoLeader { .. })), "it is no member: {alone:?}");
    assert_eq!(add(&nodes, 2, 4, MemberRole::Voter), Ok(()));
    until("node 4 votes", || votes_everywhere(nodes.engine(2), 4, 3));
    let synced = nodes.shard(4).sync(PATIENCE).wait().expect("it is a member");
    assert_eq!(synced.snapshot, None, "the entries before are its own");
    assert!(holds(&nodes.shard(4), 22));
    assert_eq!(fetched(&nodes, 4), 2 * BYTES as u64, "what came later, and what was damaged");
    let content = |path| fs::read(nodes.shard(4).directory().join(path)).expect("it landed");
    assert!(content("before/3") == [3; BYTES] && content("deep/er/pinned") == [99; BYTES]);
    // It proposes under numbers of its own.
    register(&nodes.shard(4), "own", &[4; BYTES]);
    register(&nodes.shard(1), "the original's", &[1; BYTES]);
    until("all have all", || (1..=4).all(|node| holds(&nodes.shard(node), 24)));
    nodes.stop(4);
    nodes.open(4);
    until("it starts as any", || nodes.engine(4).status().wait().expect("it runs").ready);
}

#[test]
fn s7_a_root_that_was_moved_as_a_whole_is_read_anew_though_every_inode_is_as_it_was() {
    let mut nodes = written();
    let queued = nodes.shard(1).enqueue(Change::delete("before/0", "compacted")).wait();
    assert!(queued.is_ok(), "{queued:?}");
    until("it is deleted", || holds(&nodes.shard(2), 20));
    nodes.stop(1);
    fs::rename(nodes.root(1), nodes.root(4)).expect("moved");
    rot(&nodes.root(4).join("shard-0000/segments/before/7"));
    let refused = nodes.builder(4).open().expect_err("it is another's").to_string();
    assert!(refused.contains("ringway adopt"), "{refused}");

    let config = nodes.config(4);
    let with = |change: &dyn Fn(&mut NodeConfig)| {
        let mut config = config.clone();
        change(&mut config);
        adopt(config)
    };
    let other = with(&|config| config.cluster = ClusterId([8; 16]));
    assert!(
        matches!(other, Err(AdoptError::Root(RootError::Identity(IdentityError::OtherCluster { .. })))),
        "{other:?}"
    );
    let other = with(&|config| config.shards = 3);
    assert!(
        matches!(other, Err(AdoptError::Root(RootError::Identity(IdentityError::OtherShards { .. })))),
        "{other:?}"
    );
    let nobody = with(&|config| config.root = nodes.root(1));
    assert!(
        matches!(nobody, Err(AdoptError::Root(RootError::Disk { .. } | RootError::NoNode { .. }))),
        "{nobody:?}"
    );
    let own = with(&|config| config.node = NodeId(1));
    assert_eq!(own, Err(AdoptError::Own { node: NodeId(1) }));

    let done = adopt(config.clone()).expect("it is a copy");
    let aside: Vec<_> = done.aside.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    assert_eq!(aside, ["queue.aside-1", "cluster.aside-1"]);
    let gone = nodes.engine(2).remove_member(NodeId(1), PATIENCE).wait();
    assert_eq!(gone, Ok(()));
    nodes.open(4);
    assert_eq!(add(&nodes, 3, 4, MemberRole::Voter), Ok(()));
    until("node 4 votes", || votes_everywhere(nodes.engine(2), 4, 3));
    until("it has everything", || holds(&nodes.shard(4), 20));
    assert_eq!(fetched(&nodes, 4), BYTES as u64, "what had rotted");
}
