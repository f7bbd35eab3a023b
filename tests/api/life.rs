//! Opening, founding, leading, stopping and opening again; and every error on that way.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ringway::config::{ConfigError, CoreConfig, NodeConfig, TransferConfig};
use ringway::engine::{
    Ask, BootstrapError, ChangeError, Durability, Engine, EventsError, LocateError, Locator, NoAnswer,
    OpenError, Sealed, TransferLeaderError, WaitError, block_on,
};
use ringway::ids::{ClusterId, GroupId, LogIndex, NodeId, ShardId};

use crate::nodes::{CLUSTER, Nodes, PATIENCE, SECRET, patient, register, until};

#[test]
fn a_node_that_is_opened_again_has_everything_and_fetches_nothing() {
    let mut nodes = Nodes::new(3);
    let done = register(&nodes.shard(1), "a", b"content");
    for node in 1..=3 {
        nodes.shard(node).wait_installed(done.index, PATIENCE).wait().expect("it lands");
    }
    (1..=3).for_each(|node| nodes.stop(node));
    for node in 1..=3 {
        nodes.open(node);
    }
    for node in 1..=3 {
        let shard = nodes.shard(node);
        shard.wait_installed(done.index, PATIENCE).wait().expect("it is still there");
        let segment = block_on(shard.open_segment(Locator::Id(done.segments[0]))).expect("here");
        assert_eq!(segment.bytes, 7);
        let status = nodes.engine(node).status().wait().expect("it runs");
        assert_eq!((status.node, status.shards[0].bytes_fetched), (node as u64, 0));
    }
    assert_eq!(nodes.engine(2).bootstrap().wait(), Err(BootstrapError::AlreadyFounded));
    register(&nodes.shard(3), "b", b"more");
}

#[test]
fn a_node_tells_where_it_listens_who_its_members_are_and_how_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let any = "127.0.0.1:0".parse().expect("an address");
    let engine =
        Engine::builder().cluster(CLUSTER).node(NodeId(5), any).root(dir.path()).shards(2).secret(SECRET);
    let engine = engine.open().expect("it opens");
    assert_ne!(engine.address().port(), 0, "the system has chosen one");
    engine.bootstrap().wait().expect("founded");
    let members = engine.members().wait().expect("it runs");
    assert_eq!((members.len(), members[0].node), (1, 5));
    assert_eq!(members[0].address, engine.address().to_string());
    until("it is ready", || engine.status().wait().expect("it runs").ready);
    let status = engine.status().wait().expect("it runs");
    assert_eq!((status.shards.len(), status.groups.len(), status.cores.len()), (2, 3, 1));
    assert_eq!(engine.config().shards, 2);
    assert_eq!(engine.shards().map(|shard| shard.id()).collect::<Vec<_>>(), [ShardId(0), ShardId(1)]);
    let error = engine.shard(ShardId(2)).expect_err("there are two");
    assert_eq!((error.shard, error.count), (ShardId(2), 2));
    assert!(engine.shard(ShardId(1)).expect("there").directory().starts_with(dir.path()));
}

#[test]
fn d10_a_shard_says_when_its_content_goes_through_the_page_cache() {
    let mut nodes = Nodes::unfounded(1, 1);
    let config = nodes.open(1).config().clone();
    nodes.stop(1);
    let transfer = TransferConfig { direct: false, ..config.transfer };
    let engine = Engine::builder().config(NodeConfig { transfer, ..config }).secret(SECRET).open();
    let status = engine.expect("it opens").status().wait().expect("it runs");
    assert_eq!((status.shards[0].direct, status.shards[0].links), (false, true));
}

#[test]
fn segments_may_stand_elsewhere_and_a_node_may_have_several_cores() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let nodes = Nodes::unfounded(1, 2);
    let cores = CoreConfig { count: 2, ..CoreConfig::default() };
    let directory = elsewhere.path().join("data");
    let engine = nodes.builder(1).cores(cores).segments(ShardId(1), &directory).open().expect("it opens");
    engine.bootstrap().wait().expect("founded");
    for shard in engine.shards() {
        let done = register(&shard, "a", b"x");
        shard.wait_installed(done.index, PATIENCE).wait().expect("here");
    }
    assert_eq!(engine.shard(ShardId(1)).expect("there").directory(), directory);
    assert!(directory.join("a").exists() && elsewhere.path().join(".ringway").exists());
    assert_eq!(engine.status().wait().expect("it runs").cores.len(), 2);
}

#[test]
fn after_the_end_every_call_says_that_the_node_has_stopped_and_no_reply_is_left_waiting() {
    let nodes = Nodes::new(1);
    let (engine, shard) = (nodes.engine(1).clone(), nodes.shard(1));
    let done = register(&shard, "a", b"x");
    shard.wait_installed(done.index, PATIENCE).wait().expect("here");
    let now = shard.events_now().wait().expect("it runs");
    let events = shard.events(now);
    let installed = shard.wait_installed(LogIndex(1_000_000), PATIENCE);
    let began = Instant::now();
    engine.clone().shut_down();
    assert_eq!(events.wait(), Err(EventsError::Stopped));
    assert_eq!(installed.wait(), Err(WaitError::Stopped));
    assert!(began.elapsed() < PATIENCE, "nothing waits for its time to run out");
    assert_eq!(engine.status().wait(), Err(NoAnswer::Stopped));
    assert_eq!(engine.members().wait(), Err(NoAnswer::Stopped));
    assert_eq!(engine.bootstrap().wait(), Err(BootstrapError::Stopped));
    let leader = engine.transfer_leader(GroupId(1), NodeId(1)).wait();
    assert_eq!(leader, Err(TransferLeaderError::Stopped));
    assert_eq!(shard.register(Sealed::at("a"), Ask::default()).wait(), Err(ChangeError::Stopped));
    assert_eq!(shard.delete("a", "", Ask::default()).wait(), Err(ChangeError::Stopped));
    assert_eq!(shard.wait_installed(LogIndex(1), PATIENCE).wait(), Err(WaitError::Stopped));
    assert_eq!(shard.segments(None, 1).wait(), Err(NoAnswer::Stopped));
    assert_eq!(shard.events_now().wait(), Err(NoAnswer::Stopped));
    assert_eq!(shard.events(now).wait(), Err(EventsError::Stopped));
    let opened = block_on(shard.open_segment(Locator::Path("a".to_owned())));
    assert_eq!(opened.expect_err("stopped"), LocateError::Stopped);
    engine.shut_down();
}

#[test]
fn the_last_engine_that_goes_stops_the_node_and_shards_alone_do_not_keep_it() {
    let nodes = Nodes::unfounded(1, 1);
    let engine = nodes.builder(1).open().expect("it opens");
    let (clone, shard) = (engine.clone(), engine.shards().next().expect("one"));
    drop(engine);
    assert!(clone.status().wait().is_ok(), "a clone keeps it");
    drop(clone);
    assert_eq!(shard.segments(None, 1).wait(), Err(NoAnswer::Stopped));
    nodes.builder(1).open().expect("the root is free again");
}

#[test]
fn a_change_that_is_under_way_when_the_node_stops_is_answered() {
    let mut nodes = Nodes::new(3);
    let shard = nodes.shard(1);
    register(&shard, "a", b"x");
    nodes.stop(2);
    nodes.stop(3);
    let waiting: Vec<_> = (0..50).map(|_| shard.delete("none", "", patient(Durability::Committed))).collect();
    std::thread::sleep(Duration::from_millis(50));
    nodes.stop(1);
    for reply in waiting {
        assert_eq!(reply.wait(), Err(ChangeError::Stopped));
    }
}

#[test]
fn leadership_goes_to_whom_it_is_handed_and_everything_else_is_refused() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    let (next, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let to = |node: usize| NodeId(node as u64);
    let hand = |nodes: &Nodes, from: usize, group, node| {
        nodes.engine(from).transfer_leader(GroupId(group), node).wait()
    };
    assert_eq!(hand(&nodes, leader, 99, to(next)), Err(TransferLeaderError::NoSuchGroup));
    assert_eq!(hand(&nodes, leader, 1, NodeId(9)), Err(TransferLeaderError::NotAVoter { node: NodeId(9) }));
    // Whoever is asked asks the leader, and tells what it says.
    let refused = Err(TransferLeaderError::NotAVoter { node: NodeId(9) });
    until("a follower has heard of the leader", || hand(&nodes, third, 1, NodeId(9)) == refused);
    until("the other leads", || hand(&nodes, third, 1, to(next)) == Ok(()) && nodes.leader() == next);
    until("the cluster's group is handed over too", || {
        (1..=3).all(|from| hand(&nodes, from, 0, to(third)).is_ok())
    });
    nodes.stop(third);
    // The two that are left may choose anew meanwhile.
    let gone = hand(&nodes, next, 1, to(third));
    let is_told = matches!(gone, Err(TransferLeaderError::TimedOut | TransferLeaderError::NotLeader { .. }));
    assert!(is_told, "{gone:?}");
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_before_anything_is_touched() {
    let nodes = Nodes::unfounded(1, 1);
    let good = || nodes.builder(1);
    let config = |builder: ringway::engine::Builder| match builder.open() {
        Err(OpenError::Config(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        config(good().node(NodeId(0), "127.0.0.1:9".parse().expect("an address"))),
        ConfigError::NodeZero
    );
    assert!(matches!(config(good().shards(0)), ConfigError::OutOfBounds { name: "shards", .. }));
    assert!(matches!(config(good().root("relative")), ConfigError::NotAbsolute { .. }));
    let many = CoreConfig { count: 0, ..CoreConfig::default() };
    assert!(matches!(config(good().cores(many)), ConfigError::OutOfBounds { name: "cores", .. }));
    let elsewhere = good().segments(ShardId(7), "/nowhere");
    assert_eq!(config(elsewhere), ConfigError::NoSuchShard { shard: ShardId(7) });
    assert_eq!(config(good().cluster(ClusterId::default())), ConfigError::ClusterZero);
    let unnamed = Engine::builder().cluster(CLUSTER).root("/nowhere").secret(SECRET);
    assert_eq!(config(unnamed), ConfigError::NotAMember { node: NodeId(1) });
    let short = good().secret("too short").open().expect_err("no secret");
    assert!(matches!(&short, OpenError::Secret { why } if !why.contains("too short")), "{short}");
    assert!(matches!(good().previous_secret("x").open(), Err(OpenError::Secret { .. })));
    let any = "127.0.0.1:0".parse().expect("an address");
    let without = Engine::builder().cluster(CLUSTER).node(NodeId(1), any).root(nodes.root(1)).open();
    assert!(matches!(without, Err(OpenError::Secret { .. })), "{without:?}");
    assert!(!nodes.root(1).exists());
}

#[test]
fn d15_a_root_is_opened_by_its_own_node_alone() {
    let mut nodes = Nodes::unfounded(1, 1);
    nodes.open(1);
    let twice = nodes.builder(1).open();
    assert!(matches!(twice, Err(OpenError::Files { .. } | OpenError::Root { .. })), "{twice:?}");
    nodes.stop(1);
    let root = |builder: ringway::engine::Builder| match builder.open() {
        Err(OpenError::Root { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let any = "127.0.0.1:0".parse().expect("an address");
    assert!(root(nodes.builder(1).cluster(ClusterId([8; 16]))).contains("cluster"));
    assert!(root(nodes.builder(1).node(NodeId(2), any)).contains("node"));
    assert!(root(nodes.builder(1).shards(2)).contains("shard"));
    let copy = nodes.root(2);
    fs::create_dir_all(&copy).expect("made");
    fs::copy(nodes.root(1).join("identity"), copy.join("identity")).expect("copied");
    assert!(root(nodes.builder(1).root(&copy)).contains("copy"));
    fs::write(copy.join("identity"), b"noise").expect("written");
    root(nodes.builder(1).root(&copy));
    root(nodes.builder(1).root(copy.join("identity")));
}

#[test]
fn a_node_that_cannot_have_its_port_its_threads_or_its_files_does_not_run() {
    let nodes = Nodes::unfounded(1, 1);
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound");
    let listen = nodes.builder(1).node(NodeId(1), address).open();
    assert!(
        matches!(&listen, Err(OpenError::Listen { address: told, .. }) if *told == address),
        "{listen:?}"
    );
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let count = u16::try_from(cpus + 1).unwrap_or(256).min(256);
    let cores = CoreConfig { count, pin: true, slab_buffers: 4 };
    let pinned = nodes.builder(1).cores(cores).open();
    assert!(matches!(&pinned, Err(OpenError::Core { .. })), "{pinned:?}");
    let root = nodes.root(1);
    fs::remove_dir_all(root.join("cluster")).expect("ours");
    fs::write(root.join("cluster"), b"in the way").expect("written");
    let files = nodes.builder(1).open();
    assert!(matches!(&files, Err(OpenError::Files { path, .. }) if path.ends_with("cluster")), "{files:?}");
    fs::remove_file(root.join("cluster")).expect("ours");
    nodes.builder(1).open().expect("nothing is left that would be in the way");
}
