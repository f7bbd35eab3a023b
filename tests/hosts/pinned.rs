//! The host that needs no feature, so that the three stand beside each other.

use ringway::engine::Engine;

use crate::rig::{Places, alone, found, register, until, verify};

#[test]
fn three_nodes_replicate_one_is_stopped_and_comes_back_and_all_is_verified() {
    let _alone = alone();
    let places = Places::new(3);
    let open = |node| places.builder(node).open().expect("it opens");
    let mut engines: Vec<Engine> = (1..=3).map(open).collect();
    found(&engines[0]);
    let status = engines[2].status().wait().expect("it runs");
    assert_eq!(status.cores.iter().map(|core| core.host.as_str()).collect::<Vec<_>>(), ["pinned"; 2]);
    let shard = |engine: &Engine| engine.shards().next().expect("two");
    let first = register(&shard(&engines[0]), 0..4, 1 << 20);
    verify(&shard(&engines[2]), first, 0..4, 1 << 20);
    engines.pop().expect("three").shut_down();
    let second = register(&shard(&engines[0]), 4..8, 1 << 20);
    engines.push(open(3));
    engines.iter().for_each(|engine| verify(&shard(engine), second, 0..8, 1 << 20));
    until("it is ready", || engines[2].status().wait().expect("it runs").ready);
}
