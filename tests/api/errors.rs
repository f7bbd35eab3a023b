//! Errors of opening a node, and of setting its groups aside, by their types: damage, disks without room, identities.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ringway::config::NodeConfig;
use ringway::engine::{Engine, IdentityError, OpenError, RejoinError, RootError, rejoin};
use ringway::ids::{ClusterId, GroupId, NodeId, ShardId};

use crate::disk::Disk;
use crate::nodes::{Nodes, PATIENCE, register, until};

/// A node that has stopped, with a few entries in the log of its shard.
fn stopped() -> (Nodes, NodeConfig) {
    let mut nodes = Nodes::new(1);
    let config = with_entries(nodes.engine(1));
    nodes.stop(1);
    until_free(&config);
    (nodes, config)
}

fn with_entries(engine: &Engine) -> NodeConfig {
    let shard = engine.shards().next().expect("one");
    for number in 0..5 {
        let done = register(&shard, &number.to_string(), b"content");
        shard.wait_installed(done.index, PATIENCE).wait().expect("here");
    }
    engine.config().clone()
}

/// Waits until nobody holds the files of a node that has stopped.
fn until_free(config: &NodeConfig) {
    until("its files are free", || rejoin(config.clone(), vec![]) == Err(RejoinError::NothingDamaged));
}

/// The folders of the shard's group and the cluster's.
fn groups(root: &Path) -> [PathBuf; 2] {
    [root.join("shard-0000/raft"), root.join("cluster")]
}

fn log_of(group: &Path) -> PathBuf {
    group.join("log-0000000000000001.ring")
}

/// Puts another content into a file in place: the identity knows its inode.
fn rewrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("ours");
}

#[test]
fn a_damaged_log_is_an_error_of_its_own_that_names_the_place_and_changes_nothing() {
    let (nodes, _) = stopped();
    for (group, named) in groups(&nodes.root(1)).iter().zip(["shard-0000", "cluster"]) {
        let good = fs::read(log_of(group)).expect("there");
        let mut bad = good.clone();
        // In the first record of the first batch; others follow.
        bad[4096 + 34] ^= 1;
        rewrite(&log_of(group), &bad);
        match nodes.builder(1).open() {
            Err(OpenError::Damaged { path, why }) => {
                assert!(
                    path == nodes.root(1).join(named) && why.contains("log-"),
                    "{}: {why}",
                    path.display()
                );
            }
            other => panic!("{named}: {other:?}"),
        }
        assert!(fs::read(log_of(group)).expect("there") == bad, "nothing was changed");
        rewrite(&log_of(group), &good);
    }
    nodes.builder(1).open().expect("as it was");
}

/// A root that could not be made, or not be given its identity, was taken for a bad configuration.
#[test]
fn a_disk_without_room_is_an_error_of_its_own_wherever_an_opening_meets_it() {
    let mut met = 0;
    for names in 2.. {
        let nodes = Nodes::unfounded(1, 1);
        let Some(_disk) = Disk::in_memory(&nodes.root(1), 64 << 10, names) else { return };
        match nodes.builder(1).open() {
            Ok(_) => break,
            Err(OpenError::DiskFull { path, .. }) => assert!(path.starts_with(nodes.root(1))),
            Err(other) => panic!("{names} names: {other:?}"),
        }
        met += 1;
    }
    println!("{met} places without a name");
    assert!(met >= 8, "{met}");
    let nodes = Nodes::unfounded(1, 1);
    let Some(disk) = Disk::in_memory(&nodes.root(1), 1 << 10, 1000) else { return };
    disk.fill_to_the_last_block();
    let full = nodes.builder(1).open();
    assert!(matches!(&full, Err(OpenError::DiskFull { path, .. }) if *path == nodes.root(1)), "{full:?}");
    disk.make_room();
    nodes.builder(1).open().expect("there is room");
}

#[test]
fn a_log_that_cannot_have_its_room_again_is_told_as_a_full_disk_and_opens_when_there_is_room() {
    let mut nodes = Nodes::unfounded(1, 1);
    let Some(disk) = Disk::in_memory(&nodes.root(1), 64 << 10, 1000) else { return };
    nodes.open(1).bootstrap().wait().expect("founded");
    with_entries(nodes.engine(1));
    nodes.stop(1);
    for (group, named) in groups(&nodes.root(1)).iter().zip(["shard-0000", "cluster"]) {
        // As a process leaves it that was killed between the cut and the allocation.
        let bytes = fs::read(log_of(group)).expect("there");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("it was used") + 1;
        let log = File::options().write(true).open(log_of(group)).expect("ours");
        log.set_len(used.next_multiple_of(4096) as u64).expect("cut");
        disk.fill_to_the_last_block();
        let full = nodes.builder(1).open();
        let named = nodes.root(1).join(named);
        assert!(matches!(&full, Err(OpenError::DiskFull { path, .. }) if *path == named), "{full:?}");
        disk.make_room();
        nodes.open(1);
        nodes.stop(1);
    }
}

#[test]
fn an_identity_that_cannot_be_used_is_told_by_what_is_wrong_with_it() {
    let (nodes, config) = stopped();
    let identity = nodes.root(1).join("identity");
    let good = fs::read(&identity).expect("there");
    let wrong = || match rejoin(config.clone(), vec![GroupId::CLUSTER]) {
        Err(RejoinError::Root(RootError::Identity(error))) => error,
        other => panic!("{other:?}"),
    };
    for (length, why) in
        [(0, "it has the wrong size"), (67, "it has the wrong size"), (8, "it has the wrong size")]
    {
        rewrite(&identity, &good[..length]);
        assert_eq!(wrong(), IdentityError::Damaged { why });
    }
    for (at, why) in
        [(0, "it does not begin as an identity"), (20, "its checksum differs"), (66, "its checksum differs")]
    {
        let mut bad = good.clone();
        bad[at] ^= 1;
        rewrite(&identity, &bad);
        assert_eq!(wrong(), IdentityError::Damaged { why });
    }
    let mut newer = good.clone();
    newer[8] = 2;
    rewrite(&identity, &newer);
    assert_eq!(wrong(), IdentityError::UnknownVersion { found: 2 });
    rewrite(&identity, &good);
    let aside = identity.with_extension("aside");
    fs::rename(&identity, &aside).expect("ours");
    rewrite(&identity, &good);
    assert_eq!(wrong(), IdentityError::Copied { node: NodeId(1) }, "another inode");
    fs::remove_file(&identity).expect("ours");
    fs::create_dir(&identity).expect("made");
    assert!(matches!(wrong(), IdentityError::Disk { .. }));
    fs::remove_dir(&identity).expect("ours");
    fs::rename(&aside, &identity).expect("ours");
    nodes.builder(1).open().expect("as it was");
}

#[test]
fn s8_what_is_not_set_aside_is_told_by_what_keeps_it_and_nothing_is_moved() {
    let (mut nodes, config) = stopped();
    let (root, shard) = (nodes.root(1), ShardId(0).group());
    let refused = |config: &NodeConfig, groups: &[GroupId]| {
        rejoin(config.clone(), groups.to_vec()).expect_err("nothing is set aside")
    };
    assert_eq!(refused(&config, &[]), RejoinError::NothingDamaged);
    assert_eq!(refused(&config, &[ShardId(7).group()]), RejoinError::NoShard { shard: ShardId(7) });
    let other = NodeConfig { cluster: ClusterId([9; 16]), ..config.clone() };
    assert_eq!(refused(&other, &[shard]), RejoinError::Other { root: root.clone() });
    let other = NodeConfig { node: NodeId(2), ..config.clone() };
    assert_eq!(refused(&other, &[shard]), RejoinError::Other { root: root.clone() });
    let empty = tempfile::tempdir().expect("a directory");
    let nobody = NodeConfig { root: empty.path().to_owned(), ..config.clone() };
    assert_eq!(refused(&nobody, &[]), RejoinError::Root(RootError::NoNode { root: empty.path().to_owned() }));
    let nowhere = NodeConfig { root: empty.path().join("none"), ..config.clone() };
    let error = refused(&nowhere, &[]);
    assert!(
        matches!(&error, RejoinError::Root(RootError::Disk { doing: "open", path, .. }) if *path == nowhere.root),
        "{error:?}"
    );
    nodes.open(1);
    let held = root.join("shard-0000/.ringway");
    assert_eq!(refused(&config, &[shard]), RejoinError::Root(RootError::InUse { path: held }));
    nodes.stop(1);
    until_free(&config);

    // A next file that is none: neither whole nor damaged.
    let [raft, _] = groups(&root);
    let next = raft.join("log-0000000000000002.ring");
    fs::create_dir(&next).expect("made");
    let error = refused(&config, &[]);
    let RejoinError::Root(RootError::Group { path, why }) = &error else { panic!("{error:?}") };
    assert!(*path == raft && why.contains("log-"), "{error:?}");
    fs::remove_dir(&next).expect("ours");

    // The new life cannot be written down: an empty log under the old one would vote against what it had promised.
    fs::create_dir(root.join("identity.new")).expect("made");
    let error = refused(&config, &[shard]);
    assert!(matches!(error, RejoinError::Root(RootError::Identity(IdentityError::Disk { .. }))), "{error:?}");
    assert!(log_of(&raft).is_file(), "nothing was moved before");
    fs::remove_dir(root.join("identity.new")).expect("ours");
    let done = rejoin(config, vec![shard]).expect("now it is");
    assert_ne!(done.before, done.now, "another life");
    assert_eq!(done.aside, [(shard, raft.with_file_name("raft.aside-1"))]);
    assert!(!raft.exists() && log_of(&done.aside[0].1).is_file(), "kept as it was");
}
