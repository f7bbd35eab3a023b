//! What the library refuses of work beside a running node: serving, pulling, verifying, rejoining.

use std::fs::{self, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use ringway::engine::{
    Damage, Damaged, PullError, PullOptions, RejoinError, RootError, ServeError, ServeOptions, Verified,
    pull, rejoin, serve, verify_segments,
};
use ringway::ids::{NodeId, ShardId};

use crate::nodes::{Nodes, PATIENCE, SECRET, register, until};

const OTHER_SECRET: &str = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn local() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("loopback")
}

fn served(dir: &Path, listen: SocketAddr, secret: &str) -> ServeError {
    let options = ServeOptions { dir: dir.to_owned(), listen, cache: Some(dir.with_extension("cache")) };
    serve(&options, secret, &AtomicBool::new(false), &|_| (), |_| ()).expect_err("it is refused")
}

fn pulled(address: SocketAddr, dest: &Path, secret: &str, is_stopped: bool) -> PullError {
    let options =
        PullOptions { address, dest: dest.to_owned(), delete: false, wait_for_space: false, cores: None };
    pull(options, secret, &AtomicBool::new(is_stopped), |_| ()).expect_err("it does not go well")
}

#[test]
fn what_cannot_be_served_is_told_by_its_kind() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = local();
    let address = taken.local_addr().expect("bound");
    let error = served(dir.path(), address, "short");
    assert!(matches!(error, ServeError::Secret { .. }) && !error.to_string().contains("short"), "{error:?}");
    let error = served(&dir.path().join("none"), address, SECRET);
    assert!(matches!(&error, ServeError::Directory { why } if why.contains("none")), "{error:?}");
    let error = served(dir.path(), address, SECRET);
    assert!(matches!(&error, ServeError::Listen { address: told, .. } if *told == address), "{error:?}");
}

#[test]
fn a_pull_that_does_not_go_well_tells_why_by_its_kind() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    fs::create_dir(&source).expect("made");
    fs::write(source.join("file"), b"content").expect("written");
    let (stop, (tell, told)) = (AtomicBool::new(false), mpsc::channel());
    let (cache, listen) = (dir.path().join("cache"), SocketAddr::from(([127, 0, 0, 1], 0)));
    let options = ServeOptions { dir: source.clone(), listen, cache: Some(cache) };
    thread::scope(|scope| {
        let server =
            scope.spawn(|| serve(&options, SECRET, &stop, &|_| (), move |at| tell.send(at).expect("heard")));
        let address = told.recv_timeout(PATIENCE).expect("it listens");
        let error = pulled(address, &dest, "short", false);
        assert!(
            matches!(error, PullError::Secret { .. }) && !error.to_string().contains("short"),
            "{error:?}"
        );
        let error = pulled(address, &dest, OTHER_SECRET, false);
        assert!(matches!(error, PullError::Refused { .. }), "{error:?}");
        let error = pulled(address, &source.join("file"), SECRET, false);
        assert!(matches!(&error, PullError::Dest { why } if why.contains("file")), "{error:?}");
        assert_eq!(pulled(address, &dest, SECRET, true), PullError::Interrupted);
        fs::write(source.join("file"), b"changed").expect("written");
        let error = pulled(address, &dest, SECRET, false);
        assert!(
            matches!(&error, PullError::Incomplete { count: 1, path, .. } if path == "file"),
            "{error:?}"
        );
        stop.store(true, Ordering::Relaxed);
        server.join().expect("it ends").expect("it was served");
        let error = pulled(address, &dest, SECRET, false);
        assert!(matches!(error, PullError::Unreachable { .. }), "{error:?}");
    });
}

#[test]
fn what_is_wrong_with_a_landed_file_is_told_by_its_kind() {
    let nodes = Nodes::new(3);
    let names = ["changed", "gone", "longer", "sound"];
    let last =
        names.map(|name| register(&nodes.shard(1), name, format!("{name:7}, as it was").as_bytes()).index);
    let replica = nodes.shard(2);
    replica.wait_installed(last[3], PATIENCE).wait().expect("they land");
    let at = |name: &str| replica.directory().join(name);
    fs::write(at("changed"), b"changed, as it is ").expect("written");
    fs::remove_file(at("gone")).expect("removed");
    let longer = OpenOptions::new().write(true).open(at("longer")).expect("there");
    longer.set_len(19).expect("room");
    let mut found = verify_segments(replica.directory(), |_| ()).expect("an inventory");
    found.damaged.sort_by(|one, other| one.path.cmp(&other.path));
    let kinds: Vec<_> = found.damaged.iter().map(|damaged| (damaged.path.as_str(), &damaged.why)).collect();
    let [("changed", Damage::Content { .. }), ("gone", missing), ("longer", size)] = &kinds[..] else {
        panic!("{kinds:?}");
    };
    assert_eq!((*missing, *size), (&Damage::Missing, &Damage::Size { expected: 18, found: 19 }));
    assert_eq!((found.segments, found.inventory_cut), (4, None));
}

/// It was taken for one of a node that has nothing.
#[test]
fn an_inventory_that_is_gone_or_cut_is_damage_with_the_files_that_it_does_not_name() {
    let mut nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let segments = shard.directory().to_owned();
    let last = ["a", "b"].map(|name| register(&shard, name, b"content").index);
    // Committed it is before it is pinned.
    shard.wait_installed(last[1], PATIENCE).wait().expect("they are pinned");
    drop(shard);
    nodes.stop(1);
    let inventory = segments.parent().expect("a shard's").join(".ringway/inventory");
    let whole = fs::read(&inventory).expect("it is there");
    let look = || verify_segments(&segments, |_| ()).expect("a directory");
    let others = |found: &Verified| match &found.damaged[..] {
        [] => None,
        [Damaged { path, why: Damage::Inventory { others, .. } }] if path == ".ringway/inventory" => {
            Some(*others)
        }
        more => panic!("{more:?}"),
    };
    assert_eq!((look().segments, others(&look())), (2, None));
    let mut rotten = whole.clone();
    rotten[40] ^= 1;
    fs::write(&inventory, &rotten).expect("written");
    assert_eq!((look().segments, others(&look())), (0, Some(2)));
    fs::write(&inventory, [&whole[..], b"torn"].concat()).expect("written");
    let torn = look();
    assert_eq!((torn.segments, others(&torn), torn.inventory_cut.is_some()), (2, None, true));
    fs::remove_file(&inventory).expect("removed");
    assert_eq!((look().segments, others(&look())), (0, Some(2)));
}

#[test]
fn a_root_that_cannot_rejoin_is_told_why_and_nothing_is_set_aside() {
    let mut nodes = Nodes::new(1);
    let config = nodes.engine(1).config().clone();
    let refused = |config: &ringway::config::NodeConfig, groups: &[u32]| {
        let groups = groups.iter().map(|shard| ShardId(*shard).group()).collect();
        rejoin(config.clone(), groups).expect_err("it is refused")
    };
    let error = refused(&config, &[0]);
    assert!(matches!(error, RejoinError::Root(RootError::InUse { .. })), "{error:?}");
    nodes.stop(1);
    assert_eq!(refused(&config, &[]), RejoinError::NothingDamaged);
    assert_eq!(refused(&config, &[0, 9]), RejoinError::NoShard { shard: ShardId(9) });
    let mut other = config.clone();
    other.node = NodeId(9);
    assert_eq!(refused(&other, &[0]), RejoinError::Other { root: config.root.clone() });
    other.root = config.root.join("none");
    let error = refused(&other, &[0]);
    assert!(matches!(error, RejoinError::Root(RootError::Disk { doing: "open", .. })), "{error:?}");
    fs::create_dir(&other.root).expect("made");
    assert_eq!(refused(&other, &[0]), RejoinError::Root(RootError::NoNode { root: other.root.clone() }));
    fs::write(other.root.join("identity"), b"rubbish").expect("written");
    assert!(matches!(refused(&other, &[0]), RejoinError::Root(RootError::Identity(_))));
    nodes.open(1);
    let is_ready = || nodes.engine(1).status().wait().expect("it runs").ready;
    until("all of it did no harm", is_ready);
}
