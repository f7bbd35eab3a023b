//! A freeze has an end, and one only: after the copying, with its lease, with whoever asked for it.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::{ActiveFile, ActiveFiles, Ask, CheckpointError, Frozen, How};

use super::engine::{Engine, LEASE, ask, endless, nothing_left, within};
use crate::disk::Disk;
use crate::nodes::{Nodes, PATIENCE, until};

/// Well above what a busy machine takes to wake a thread.
const SOON: Duration = Duration::from_secs(5);

#[test]
fn s6_a_lease_that_ends_while_files_are_copied_thaws_and_leaves_nothing() {
    let nodes = Nodes::new(1);
    let (_memory, active) = endless();
    let small = nodes.root(1).join("small");
    fs::write(&small, b"small").expect("written");
    let first = ActiveFile::new(&small, "small", How::Link);
    let engine = Engine::of(vec![first.clone(), active]);
    let lease = Duration::from_millis(150);
    let error = within(&nodes.shard(1), &engine, lease);
    assert_eq!(error, CheckpointError::LeaseExpired { after: lease });
    let calls = engine.calls();
    assert_eq!((calls.frozen, calls.thawed), (1, 1), "thawed when it is told");
    assert!(calls.took * 2 > lease && calls.took < lease + SOON, "{:?}", calls.took);
    nothing_left(&nodes, 1);
    let status = nodes.engine(1).status().wait().expect("it runs").shards[0].checkpoints;
    assert_eq!((status.made, status.failed, status.expired), (0, 1, 1));
    assert!(status.frozen_micros_max >= 150_000, "{status:?}");
    until("the next one may begin", || ask(&nodes.shard(1), &Engine::of(vec![first.clone()])).wait().is_ok());
}

/// The disk of the shard takes no write any more: not even a look at the lease is possible where the copying hangs.
#[test]
fn s6_a_disk_that_hangs_does_not_hold_the_engine() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let Some(_disk) = Disk::mount(dir.path(), 64) else { return };
    let mut nodes = Nodes::unfounded(1, 1);
    let segments = dir.path().join("segments");
    nodes.open_as(1, |builder| builder.segments(ringway::ids::ShardId(0), segments));
    assert_eq!(nodes.engine(1).bootstrap().wait(), Ok(()));
    nodes.leader();
    let source = nodes.root(1).join("active");
    fs::write(&source, b"active").expect("written");
    let at = dir.path().to_owned();
    let hang = |how: &str| {
        let done = Command::new("fsfreeze").arg(how).arg(&at).status();
        assert!(done.expect("fsfreeze").success());
    };
    let files = vec![ActiveFile::new(source, "active", How::Copy { bytes: 6 })];
    let engine = Engine::of(files.clone());
    // Whatever becomes of the test, nobody stays stuck in that disk.
    let unfreeze = format!("sleep 30; fsfreeze --unfreeze {}", at.display());
    let mut help = Command::new("sh").args(["-c", &unfreeze]).spawn().expect("it runs");
    hang("--freeze");
    let lease = Duration::from_millis(150);
    let error = catch_unwind(AssertUnwindSafe(|| within(&nodes.shard(1), &engine, lease)));
    let (calls, while_hung) = (engine.calls(), Engine::of(files.clone()));
    let busy = catch_unwind(AssertUnwindSafe(|| within(&nodes.shard(1), &while_hung, lease)));
    hang("--unfreeze");
    help.kill().and_then(|()| help.wait()).expect("it waits");
    assert_eq!(error.expect("an error"), CheckpointError::LeaseExpired { after: lease });
    assert_eq!((calls.frozen, calls.thawed), (1, 1));
    assert_eq!(busy.expect("an error"), CheckpointError::Busy, "while the copy has not come back");
    nothing_left(&nodes, 1);
    until("the next one may begin", || ask(&nodes.shard(1), &Engine::of(files.clone())).wait().is_ok());
}

#[test]
fn s6_a_freeze_that_comes_back_behind_its_lease_is_thawed_then() {
    let nodes = Nodes::new(1);
    let engine = Engine::new(|| {
        thread::sleep(Duration::from_millis(600));
        Ok(Frozen::default())
    });
    let (asked, lease) = (Instant::now(), Duration::from_millis(100));
    assert_eq!(within(&nodes.shard(1), &engine, lease), CheckpointError::LeaseExpired { after: lease });
    assert!(asked.elapsed() < Duration::from_millis(500), "told before it came back: {:?}", asked.elapsed());
    assert_eq!(engine.calls().thawed, 0);
    engine.until("thawed", |calls| calls.thawed == 1);
    nothing_left(&nodes, 1);
}

#[test]
fn s6_whoever_drops_the_question_ends_the_freeze_at_once() {
    let nodes = Nodes::new(1);
    let (_memory, active) = endless();
    for panics in [false, true] {
        let engine = Engine::of(vec![active.clone()]);
        let began = Instant::now();
        thread::scope(|scope| {
            let (shard, engine) = (nodes.shard(1), &engine);
            let asker = scope.spawn(move || {
                let asked =
                    shard.checkpoint(Arc::clone(engine) as Arc<dyn ActiveFiles>, LEASE, Ask::default());
                engine.until("frozen", |calls| calls.frozen == 1);
                assert!(!panics, "on purpose");
                drop(asked);
            });
            assert_eq!(asker.join().is_err(), panics);
        });
        let calls = engine.until("thawed", |calls| calls.thawed == 1);
        assert!(began.elapsed() < SOON && calls.took < SOON, "{:?}", began.elapsed());
        nothing_left(&nodes, 1);
        assert_eq!(engine.calls().thawed, 1);
        let free =
            || !matches!(ask(&nodes.shard(1), &Engine::of(Vec::new())).wait(), Err(CheckpointError::Busy));
        until("the shard is free", free);
    }
}

#[test]
fn s6_a_question_that_is_dropped_behind_the_thaw_is_answered_to_nobody_and_happens() {
    let nodes = Nodes::new(1);
    let file = nodes.root(1).join("active");
    fs::write(&file, b"active").expect("written");
    let engine = Engine::of(vec![ActiveFile::new(file, "active", How::Copy { bytes: 6 })]);
    let asked = ask(&nodes.shard(1), &engine);
    engine.until("thawed", |calls| calls.thawed == 1);
    drop(asked);
    until("it is registered", || {
        nodes.shard(1).segments(None, 1).wait().expect("a page").segments.len() == 1
    });
    assert_eq!(engine.calls().thawed, 1);
}

#[test]
fn s6_a_freeze_that_errs_is_not_thawed_and_one_that_panics_is() {
    let nodes = Nodes::new(1);
    let freeze = |engine: &Arc<Engine>| {
        let error = within(&nodes.shard(1), engine, LEASE);
        let CheckpointError::Freeze { why } = error else { panic!("{error:?}") };
        (why, engine.calls().thawed)
    };
    let engine = Engine::new(|| Err("compacting".to_owned()));
    assert_eq!(freeze(&engine), ("compacting".to_owned(), 0));
    let engine = Engine::new(|| panic!("on purpose"));
    assert_eq!(freeze(&engine), ("its hook panicked".to_owned(), 1));
    nothing_left(&nodes, 1);
    assert_eq!(nodes.engine(1).status().wait().expect("it runs").shards[0].checkpoints.failed, 2);
}

#[test]
fn s6_a_node_that_stops_meanwhile_thaws_all_the_same() {
    let mut nodes = Nodes::new(1);
    let file = nodes.root(1).join("active");
    fs::write(&file, b"active").expect("written");
    let (goes_on, waits) = std::sync::mpsc::channel::<()>();
    let waits = std::sync::Mutex::new(waits);
    let engine = Engine::new(move || {
        waits.lock().expect("once").recv_timeout(PATIENCE).expect("told to");
        Ok(vec![ActiveFile::new(&file, "active", How::Copy { bytes: 6 })].into())
    });
    let asked = ask(&nodes.shard(1), &engine);
    engine.until("it is being frozen", |calls| calls.frozen == 1);
    nodes.stop(1);
    goes_on.send(()).expect("it waits");
    assert_eq!(asked.wait(), Err(CheckpointError::Stopped));
    assert_eq!(engine.calls().thawed, 1);
    nodes.open(1);
    nothing_left(&nodes, 1);
}
