//! Register, update, delete and batches, at every durability, from every node.

use std::fs;

use ringway::engine::{Ask, Change, Durability, Sealed};
use ringway::ids::{LogIndex, SegmentId, ShardId};

use crate::nodes::{Nodes, PATIENCE, patient, register, seal};

#[test]
fn a_registered_file_is_in_the_manifest_with_all_that_was_said_of_it() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    seal(&shard, "db/a.seg", b"abc");
    let flat = ringway::engine::flat_digest(&shard.directory().join("db/a.seg")).expect("readable").0;
    let labels = vec![("database".to_owned(), "metrics".to_owned())];
    let sealed = Sealed { flat: Some(flat), tier: 2, labels: labels.clone(), ..Sealed::at("db/a.seg") };
    let done = shard.register(sealed, patient(Durability::Committed)).wait().expect("committed");
    assert_eq!(done.segments, [SegmentId { index: done.index, ordinal: 0 }]);
    assert_eq!((done.replicas, done.reached), (1, true));
    assert!(shard.wait_installed(done.index, PATIENCE).wait().expect("it is here") >= done.index);
    let page = shard.segments(None, 10).wait().expect("a page");
    let [segment] = &page.segments[..] else { panic!("{page:?}") };
    assert_eq!((segment.path.as_str(), segment.bytes, segment.version), ("db/a.seg", 3, 1));
    assert_eq!(
        (segment.segment.clone(), segment.sha256.clone()),
        (done.segments[0].to_string(), Some(flat.to_string()))
    );
    assert_eq!((segment.origin, segment.here, &segment.labels), (1, true, &labels));
    assert_eq!(page.next, None);
}

#[test]
fn m2_updates_count_versions_and_deletes_may_be_repeated() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let first = register(&shard, "a", b"one");
    let again = shard.register(Sealed::at("a"), Ask::default()).wait().expect("the same once more");
    assert_eq!(again.segments, first.segments, "a repeated registration has the id that it had");
    seal(&shard, "a", b"two, longer");
    let second = shard.update(Sealed::at("a"), Ask::default()).wait().expect("committed");
    assert_eq!(second.segments, [SegmentId { index: second.index, ordinal: 0 }]);
    let page = shard.segments(None, 10).wait().expect("a page");
    assert_eq!((page.segments[0].version, page.segments[0].bytes), (2, 11));
    for _ in 0..2 {
        let gone = shard.delete("a", "compaction:17", Ask::default()).wait().expect("committed");
        assert_eq!(gone.segments, []);
    }
    assert!(shard.segments(None, 10).wait().expect("a page").segments.is_empty());
    assert!(shard.directory().join("a").exists(), "the origin's file is the engine's own to remove");
}

#[test]
fn m2_a_batch_is_one_entry_and_its_segments_are_told_in_its_order() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let kept = register(&shard, "kept", b"kept");
    register(&shard, "old", b"old");
    ["new-1", "new-2"].iter().for_each(|path| seal(&shard, path, path.as_bytes()));
    let changes = vec![
        Change::register("new-1"),
        Change::delete("old", "merged"),
        Change::register("kept"),
        Change::register("new-2"),
    ];
    let done = shard.batch(changes, Ask::default()).wait().expect("committed");
    let id = |ordinal| SegmentId { index: done.index, ordinal };
    assert_eq!(done.segments, [id(0), kept.segments[0], id(3)]);
    let page = shard.segments(None, 2).wait().expect("a page");
    let paths: Vec<_> = page.segments.iter().map(|segment| segment.path.as_str()).collect();
    assert_eq!((paths, page.next.as_deref()), (vec!["kept", "new-1"], Some("new-1")));
    let rest = shard.segments(page.next, 2).wait().expect("a page");
    assert_eq!((rest.segments[0].path.as_str(), rest.segments.len(), rest.next), ("new-2", 1, None));
}

#[test]
fn m4_every_node_may_propose_and_every_node_gets_every_file() {
    let nodes = Nodes::with_shards(3, 2);
    for node in 1..=3 {
        for shard in nodes.engine(node).shards() {
            let path = format!("from/{node}");
            seal(&shard, &path, format!("{node} {}", shard.id()).as_bytes());
            let done =
                shard.register(Sealed::at(&path), patient(Durability::Landed(3))).wait().expect("committed");
            assert_eq!((done.landed, done.replicas, done.reached), (3, 3, true));
        }
    }
    for engine in (1..=3).map(|node| nodes.engine(node)) {
        for shard in [0, 1].map(|id| engine.shard(ShardId(id)).expect("there")) {
            let index = shard.segments(None, 10).wait().expect("a page").segments.len();
            assert_eq!(index, 3);
            for node in 1..=3 {
                let content =
                    fs::read_to_string(shard.directory().join(format!("from/{node}"))).expect("there");
                assert_eq!(content, format!("{node} {}", shard.id()));
            }
        }
    }
}

#[test]
fn m4_many_proposals_at_once_from_every_node_happen_once_each() {
    let nodes = Nodes::new(3);
    let mut waiting = Vec::new();
    for node in 1..=3 {
        let shard = nodes.shard(node);
        for number in 0..40 {
            let path = format!("{node}/{number}");
            seal(&shard, &path, path.as_bytes());
            waiting.push(shard.register(Sealed::at(path), patient(Durability::Committed)));
        }
    }
    let mut indexes: Vec<LogIndex> =
        waiting.into_iter().map(|reply| reply.wait().expect("committed").index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 120, "one entry each");
    let last = *indexes.last().expect("some");
    for node in 1..=3 {
        nodes.shard(node).wait_installed(last, PATIENCE).wait().expect("everything lands");
        assert_eq!(nodes.shard(node).segments(None, 1000).wait().expect("a page").segments.len(), 120);
    }
}

#[test]
fn d12_durability_is_waited_for_and_an_unreached_one_is_no_error() {
    let mut nodes = Nodes::new(3);
    let shard = nodes.shard(1);
    let land = |path: &str, durability, millis| {
        seal(&shard, path, path.as_bytes());
        let ask = Ask::durable(durability).within(std::time::Duration::from_millis(millis));
        shard.register(Sealed::at(path), ask).wait().expect("committed")
    };
    let all = land("all", Durability::Landed(3), 30_000);
    assert_eq!((all.landed, all.reached), (3, true));
    let quorum = land("quorum", Durability::LandedQuorum, 30_000);
    assert!(quorum.landed >= 2 && quorum.reached, "{quorum:?}");
    nodes.stop(3);
    let shard = nodes.shard(1);
    nodes.leader();
    let land = |path: &str, durability, millis| {
        seal(&shard, path, path.as_bytes());
        let ask = Ask::durable(durability).within(std::time::Duration::from_millis(millis));
        shard.register(Sealed::at(path), ask).wait().expect("committed")
    };
    let two = land("two", Durability::Landed(2), 30_000);
    assert_eq!((two.landed, two.reached), (2, true));
    let three = land("three", Durability::Landed(u32::MAX), 2_000);
    assert_eq!((three.landed, three.replicas, three.reached), (2, 3, false), "committed all the same");
    assert!(shard.segments(None, 10).wait().expect("a page").segments.iter().any(|one| one.path == "three"));
}
