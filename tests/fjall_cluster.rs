//! A real storage engine in a cluster: cuts of a fjall database under load are whole on every replica, one of which is
//! killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::Ask;

#[path = "../examples/fjall_cluster/cluster.rs"]
mod cluster;
#[path = "../examples/fjall_replica/cut.rs"]
mod cut;
#[path = "../examples/fjall_replica/load.rs"]
mod load;
#[path = "../examples/fjall_cluster/source.rs"]
mod source;

use cluster::{CLUSTER, Place, SHARD, SLAB_BUFFERS, builder, places, secret};
use load::Load;
use source::{Source, compare, landed};

/// Far above what anything here takes.
const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets the writer write so many batches more.
fn wait_for_batches(load: &Load, more: u64) {
    let goal = load.batches() + more;
    wait_until("the writer writes", || load.batches() >= goal);
}

/// A node as a process of its own.
struct Process(Child);

impl Process {
    fn start(places: &[Place], place: &Place, secret: &Path) -> Self {
        let home = secret.parent().expect("a directory");
        let config = home.join(format!("node-{}.toml", place.node));
        fs::write(&config, toml(places, place, secret)).expect("written");
        let log = fs::File::options().create(true).append(true).open(config.with_extension("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.args(["node", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("a log"));
        Self(command.spawn().expect("it starts"))
    }

    /// SIGKILL: nothing is told, nothing is written any more.
    fn kill(mut self) {
        assert_eq!(self.0.try_wait().expect("a child"), None, "it ran until now");
        self.0.kill().expect("killed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already; nothing is left to do about it.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The configuration of `cluster::builder` as a file.
fn toml(places: &[Place], place: &Place, secret: &Path) -> String {
    let members: BTreeMap<_, _> = places.iter().map(|other| (other.node, other.address)).collect();
    let members: String =
        members.iter().map(|(node, address)| format!("\"{node}\" = \"{address}\"\n")).collect();
    format!(
        "cluster = \"{CLUSTER}\"\nnode = {}\nroot = {:?}\nlisten = \"{}\"\nsecret_file = {secret:?}\nshards = 1\n\
         [members]\n{members}[segments]\n\"{SHARD}\" = {:?}\n[cores]\nslab_buffers = {SLAB_BUFFERS}\n",
        place.node, place.root, place.address, place.segments
    )
}

fn secret_file(base: &Path, secret: &str) -> PathBuf {
    let path = base.join("secret");
    let file = fs::File::options().create_new(true).write(true).mode(0o600).open(&path);
    std::io::Write::write_all(&mut file.expect("made"), secret.as_bytes()).expect("written");
    path
}

#[test]
fn a_replica_killed_under_load_comes_back_and_every_copy_opens_and_equals_the_source() {
    let base = tempfile::tempdir().expect("a directory");
    let places = places(base.path()).expect("ports");
    let secret = secret().expect("random bytes");
    let secret_at = secret_file(base.path(), &secret);
    let start = |place: usize| Process::start(&places, &places[place], &secret_at);
    let _second = start(1);
    let third = start(2);
    let first = builder(&places, &places[0], &secret).open().expect("node 1 opens");
    first.bootstrap().wait().expect("all three are there");

    let live = base.path().join("live");
    let load = Load::new(&live).expect("a database");
    let mut source = Source::new(&live, first.shard(SHARD).expect("the shard")).expect("it runs");
    let mut next = |ask: Ask| {
        wait_for_batches(&load, 60);
        source.cut(&load, ask).expect("a committed cut")
    };
    let same = |places: &[Place], cut: &source::Named| {
        for place in places {
            let keys = compare(&place.segments, cut, &base.path().join("scratch"));
            assert!(keys.expect("the source's keys and values") > 500, "node {}: {}", place.node, cut.name);
        }
    };
    let (last, _third) = load
        .while_writing(|| {
            let whole = next(landed(3, 30));
            assert!(whole.committed.reached, "{:?}", whole.committed);
            same(&places[1..], &whole);
            // Committed by two; node 3 is killed wherever it is with fetching that.
            next(Ask::default());
            third.kill();
            for _ in 0..4 {
                let without = next(landed(2, 30));
                assert!(without.committed.reached, "{:?}", without.committed);
                same(&places[1..2], &without);
            }
            let third = start(2);
            for _ in 0..3 {
                next(Ask::default());
            }
            (next(landed(3, 30)), third)
        })
        .expect("it wrote");
    assert!(last.committed.reached, "node 3 has caught up: {:?}", last.committed);
    same(&places[1..], &last);
    for place in &places[1..] {
        wait_until("old cuts go", || !place.segments.join("cut-0000/version").exists());
    }

    let model = load.close();
    let closed = source.closed(model, landed(3, 30)).expect("committed");
    assert!(closed.committed.reached, "{:?}", closed.committed);
    same(&places[1..], &closed);
    first.shut_down();
}
