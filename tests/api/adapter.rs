//! The adapter for engines that say nothing: one batch a cut, and nothing that is still being written.

use std::fs::{self, File};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringway::engine::{
    ChangeError, CommitError, CutError, DirectoryAdapter, Durability, SealRule, SkipReason, block_on,
};

use crate::nodes::{Nodes, PATIENCE, patient, seal, until};

fn paths(shard: &ringway::engine::Shard) -> Vec<(String, u32)> {
    let page = shard.segments(None, 1000).wait().expect("a page");
    page.segments.into_iter().map(|segment| (segment.path, segment.version)).collect()
}

fn listed(expected: &[(&str, u32)]) -> Vec<(String, u32)> {
    expected.iter().map(|(path, version)| ((*path).to_owned(), *version)).collect()
}

#[test]
fn each_cut_is_one_batch_of_what_was_added_updated_and_deleted_on_every_node() {
    let nodes = Nodes::new(3);
    let shard = nodes.shard(2);
    let mut adapter = block_on(DirectoryAdapter::of(&shard, SealRule::All)).expect("it runs");
    let ask = patient(Durability::Landed(3));
    ["a", "b", "deep/c"].iter().for_each(|path| seal(&shard, path, b"first"));
    let first = block_on(adapter.commit(&shard, ask)).expect("committed").expect("there is news");
    assert!(first.segments.iter().all(|id| id.index == first.index), "one entry: {first:?}");
    assert_eq!((first.segments.len(), first.reached), (3, true));
    assert!(block_on(adapter.commit(&shard, ask)).expect("still").is_none(), "nothing has changed");
    seal(&shard, "a", b"second, longer");
    fs::remove_file(shard.directory().join("b")).expect("removed");
    seal(&shard, "d", b"new");
    let second = block_on(adapter.commit(&shard, ask)).expect("committed").expect("there is news");
    assert!(second.segments.iter().all(|id| id.index == second.index), "one entry: {second:?}");
    for node in 1..=3 {
        let replica = nodes.shard(node);
        replica.wait_installed(second.index, PATIENCE).wait().expect("it lands");
        assert_eq!(paths(&replica), listed(&[("a", 2), ("d", 1), ("deep/c", 1)]));
        assert_eq!(fs::read(replica.directory().join("a")).expect("there"), b"second, longer");
        until("what was deleted goes", || !replica.directory().join("b").exists());
    }
}

#[test]
fn a_file_that_is_still_written_to_is_left_out_until_it_is_sealed() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let sealed = |path: &str| !path.ends_with(".open");
    let mut adapter = DirectoryAdapter::new(shard.directory(), SealRule::Named(Box::new(sealed)), []);
    let mut growing = File::create(shard.directory().join("log.open")).expect("made");
    growing.write_all(b"half of").expect("written");
    seal(&shard, "a", b"whole");
    let cut = adapter.cut().expect("still");
    assert_eq!((cut.unsealed.as_slice(), cut.changes.len()), (&["log.open".to_owned()][..], 1));
    block_on(adapter.commit(&shard, patient(Durability::Committed))).expect("committed").expect("news");
    assert_eq!(paths(&shard), listed(&[("a", 1)]));
    growing.write_all(b" a log").expect("written");
    fs::rename(shard.directory().join("log.open"), shard.directory().join("log")).expect("sealed");
    block_on(adapter.commit(&shard, patient(Durability::Committed))).expect("committed").expect("news");
    assert_eq!(paths(&shard), listed(&[("a", 1), ("log", 1)]));
}

#[test]
fn a_file_counts_as_sealed_by_quiet_only_when_it_was_quiet_so_long() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let quiet = Duration::from_millis(300);
    let mut adapter = DirectoryAdapter::new(shard.directory(), SealRule::Quiet(quiet), []);
    let ask = patient(Durability::Committed);
    seal(&shard, "a", b"x");
    let early = adapter.cut().expect("still");
    assert_eq!(early.changes.is_empty(), early.unsealed == ["a"], "{early:?}");
    until("it is quiet", || block_on(adapter.commit(&shard, ask)).expect("no error").is_some());
    assert_eq!(paths(&shard), listed(&[("a", 1)]));
}

#[test]
fn a_new_adapter_begins_with_what_the_manifest_has_and_registers_nothing_twice() {
    let mut nodes = Nodes::new(1);
    let ask = patient(Durability::Committed);
    let shard = nodes.shard(1);
    let mut adapter = block_on(DirectoryAdapter::of(&shard, SealRule::All)).expect("it runs");
    ["a", "b"].iter().for_each(|path| seal(&shard, path, b"same"));
    block_on(adapter.commit(&shard, ask)).expect("committed").expect("news");
    nodes.stop(1);
    fs::remove_file(nodes.root(1).join("shard-0000/segments/b")).expect("removed while it was down");
    nodes.open(1);
    let shard = nodes.shard(1);
    until("the manifest is applied again", || paths(&shard).len() == 2);
    let mut adapter = block_on(DirectoryAdapter::of(&shard, SealRule::All)).expect("it runs");
    block_on(adapter.commit(&shard, ask)).expect("committed").expect("news");
    assert_eq!(paths(&shard), listed(&[("a", 1)]), "the same content is the same version");
}

#[test]
fn what_a_cut_refuses_it_names() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let nowhere = DirectoryAdapter::new("/nonexistent/directory", SealRule::All, []);
    let error = nowhere.cut().expect_err("nothing is there");
    assert!(matches!(&error, CutError::Read(_)) && error.to_string().contains("/nonexistent"), "{error}");
    let many: Vec<String> = (0..10_001).map(|number| number.to_string()).collect();
    let adapter = DirectoryAdapter::new(shard.directory(), SealRule::All, many);
    assert!(matches!(adapter.cut().expect_err("too much"), CutError::TooLarge { changes: 10_001 }));
    std::os::unix::fs::symlink("/etc/passwd", shard.directory().join("link")).expect("made");
    let cut = DirectoryAdapter::new(shard.directory(), SealRule::All, []).cut().expect("still");
    assert_eq!((cut.skipped[0].path.as_str(), cut.skipped[0].why), ("link", SkipReason::Symlink));
    assert!(cut.changes.is_empty());
}

#[test]
fn a_directory_that_never_holds_still_gives_no_cut() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    seal(&shard, "a", b"x");
    // The rule is asked once a file and scan: it is never twice of the same mind.
    let minds = AtomicU64::new(0);
    let restless = move |_: &str| minds.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
    let mut adapter = DirectoryAdapter::new(shard.directory(), SealRule::Named(Box::new(restless)), []);
    let error = block_on(adapter.commit(&shard, patient(Durability::Committed)));
    assert!(matches!(error, Err(CommitError::Cut(CutError::Restless))), "{error:?}");
}

#[test]
fn a_cut_whose_batch_does_not_happen_says_why_and_comes_again_with_the_next() {
    let mut nodes = Nodes::unfounded(1, 1);
    nodes.open(1);
    let shard = nodes.shard(1);
    let mut adapter = DirectoryAdapter::new(shard.directory(), SealRule::All, []);
    seal(&shard, "a", b"x");
    let mut refused = |ask| match block_on(adapter.commit(&shard, ask)) {
        Err(CommitError::Change(error)) => error,
        other => panic!("{other:?}"),
    };
    let short = patient(Durability::Committed).within(Duration::from_millis(50));
    assert_eq!(refused(short), ChangeError::NoLeader { last: None });
    nodes.engine(1).bootstrap().wait().expect("founded");
    let ask = patient(Durability::Committed);
    block_on(adapter.commit(&shard, ask)).expect("committed").expect("the same once more");
    assert_eq!(paths(&shard), listed(&[("a", 1)]));
    seal(&shard, "b", b"x");
    nodes.stop(1);
    let stopped = block_on(adapter.commit(&shard, ask));
    assert!(matches!(stopped, Err(CommitError::Change(ChangeError::Stopped))), "{stopped:?}");
}

#[test]
fn a_file_that_changed_after_the_cut_is_refused_and_the_next_cut_has_it() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let mut adapter = DirectoryAdapter::new(shard.directory(), SealRule::All, []);
    seal(&shard, "a", b"as it was");
    let mut cut = adapter.cut().expect("still");
    seal(&shard, "a", b"as it became");
    let ask = patient(Durability::Committed);
    let refused = shard.batch(std::mem::take(&mut cut.changes), ask).wait();
    assert_eq!(refused, Err(ChangeError::Changed { path: "a".to_owned() }));
    assert!(paths(&shard).is_empty());
    block_on(adapter.commit(&shard, ask)).expect("committed").expect("news");
    assert_eq!(paths(&shard), listed(&[("a", 1)]));
}
