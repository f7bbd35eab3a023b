//! The sessions in which nodes propose: one a node, however often it starts, and none for long that nobody uses.

use std::fs;

use ringway::engine::{ChangeError, Durability, Sealed};

use crate::nodes::{Nodes, PATIENCE, patient, register, seal, until};

fn sessions(nodes: &Nodes, node: usize) -> u64 {
    nodes.engine(node).status().wait().expect("it runs").shards[0].sessions
}

#[test]
fn m4_a_node_that_starts_again_goes_on_in_its_session() {
    let mut nodes = Nodes::new(1);
    for start in 0..5 {
        register(&nodes.shard(1), &format!("start-{start}"), b"x");
        assert_eq!(sessions(&nodes, 1), 1, "start {start}");
        nodes.stop(1);
        nodes.open(1);
    }
    register(&nodes.shard(1), "last", b"x");
    assert_eq!(nodes.shard(1).segments(None, 10).wait().expect("a page").segments.len(), 6);
    assert_eq!(sessions(&nodes, 1), 1);
}

#[test]
fn m4_a_session_whose_record_is_lost_or_damaged_is_replaced_and_retired() {
    let mut nodes = Nodes::new(1);
    let file = nodes.root(1).join("shard-0000/session");
    register(&nodes.shard(1), "first", b"x");
    for (round, damage) in [None, Some(&b"noise"[..]), None].into_iter().enumerate() {
        nodes.stop(1);
        match damage {
            Some(noise) => fs::write(&file, noise).expect("written"),
            None => fs::remove_file(&file).expect("it is there"),
        }
        nodes.open(1);
        register(&nodes.shard(1), &format!("after-{round}"), b"x");
        until("the old session is retired", || sessions(&nodes, 1) == 1);
    }
    assert!(nodes.root(1).join("shard-0000/session.damaged").exists(), "kept for a look");
}

#[test]
fn m4_a_record_of_a_newer_build_is_not_touched_and_the_node_does_not_start() {
    let mut nodes = Nodes::new(1);
    let file = nodes.root(1).join("shard-0000/session");
    register(&nodes.shard(1), "first", b"x");
    nodes.stop(1);
    let sound = fs::read(&file).expect("there");
    let mut newer = sound.clone();
    newer[8] = 2;
    let checksum = crc32(&newer[..40]);
    newer[40..].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&file, &newer).expect("written");
    let error = nodes.builder(1).open().expect_err("it cannot be read");
    assert!(error.to_string().contains("version 2"), "{error}");
    assert_eq!(fs::read(&file).expect("there"), newer);
    fs::write(&file, sound).expect("written");
    nodes.open(1);
    register(&nodes.shard(1), "second", b"x");
}

/// CRC-32 (IEEE), bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// What a restored backup does: the record says less than the manifest knows.
#[test]
fn m4_a_record_that_was_put_back_from_a_backup_repeats_no_number() {
    let mut nodes = Nodes::new(1);
    let file = nodes.root(1).join("shard-0000/session");
    register(&nodes.shard(1), "first", b"x");
    let backup = fs::read(&file).expect("there");
    for round in 0..3 {
        nodes.stop(1);
        nodes.open(1);
        register(&nodes.shard(1), &format!("round-{round}"), b"x");
    }
    nodes.stop(1);
    fs::write(&file, backup).expect("put back");
    nodes.open(1);
    until("the manifest is applied again", || {
        nodes.shard(1).segments(None, 10).wait().expect("a page").segments.len() == 4
    });
    let done = register(&nodes.shard(1), "after", b"y");
    let page = nodes.shard(1).segments(None, 10).wait().expect("a page");
    let after =
        page.segments.iter().find(|segment| segment.path == "after").expect("it was not taken for another");
    assert_eq!(after.segment, done.segments[0].to_string());
}

#[test]
fn m4_sessions_of_a_cluster_are_one_a_node_through_restarts_of_all() {
    let mut nodes = Nodes::new(3);
    for round in 0..3 {
        for node in 1..=3 {
            register(&nodes.shard(node), &format!("{round}/{node}"), b"x");
        }
        for node in 1..=3 {
            nodes.stop(node);
            nodes.open(node);
            nodes.leader();
        }
    }
    let done = register(&nodes.shard(2), "last", b"x");
    for node in 1..=3 {
        nodes.shard(node).wait_installed(done.index, PATIENCE).wait().expect("it lands");
        assert_eq!(sessions(&nodes, node), 3);
    }
}

#[test]
fn a_disk_that_refuses_the_record_refuses_the_change_before_it_is_sent() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    fs::create_dir_all(nodes.root(1).join("shard-0000/session.new/in the way")).expect("made");
    seal(&shard, "a", b"x");
    let error = shard.register(Sealed::at("a"), patient(Durability::Committed)).wait().expect_err("refused");
    assert!(matches!(&error, ChangeError::Disk { why } if why.contains("session")), "{error:?}");
    fs::remove_dir_all(nodes.root(1).join("shard-0000/session.new")).expect("ours");
    shard.register(Sealed::at("a"), patient(Durability::Committed)).wait().expect("it heals");
}
