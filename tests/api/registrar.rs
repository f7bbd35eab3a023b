//! The registrar: what is queued while nobody leads is registered when somebody does, through restarts; what can never
//! be registered holds nothing up; a full queue refuses or is waited for.

use std::fs;
use std::time::Duration;

use ringway::engine::{
    Ask, Change, EnqueueError, RefusedChange, RegistrarStatus, Sealed, SegmentStatus, Shard, Ticket,
    flat_digest,
};
use ringway::ids::Digest;

use crate::nodes::{Nodes, PATIENCE, register, seal, until};

fn enqueue(shard: &Shard, change: Change) -> Ticket {
    shard.enqueue(change).wait().expect("it is queued")
}

fn sealed(shard: &Shard, path: &str, content: &[u8]) -> Change {
    seal(shard, path, content);
    let flat = flat_digest(&shard.directory().join(path)).expect("readable").0;
    Change::Register(Sealed { flat: Some(flat), ..Sealed::at(path) })
}

fn status(shard: &Shard) -> RegistrarStatus {
    shard.registrar().wait().expect("it runs")
}

fn drained(shard: &Shard) {
    assert_eq!(shard.drain(PATIENCE).wait().expect("it runs"), 0, "{:?}", status(shard));
}

fn segments(shard: &Shard) -> Vec<SegmentStatus> {
    shard.segments(None, 1000).wait().expect("a page").segments
}

fn paths(shard: &Shard) -> Vec<String> {
    segments(shard).into_iter().map(|segment| segment.path).collect()
}

fn refused(shard: &Shard) -> Vec<RefusedChange> {
    shard.refused(Ticket(0)).wait().expect("it runs")
}

#[test]
fn m5_what_is_queued_is_in_the_manifest_with_all_that_was_said_of_it() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    register(&shard, "old", b"old");
    seal(&shard, "a", b"one");
    let flat = flat_digest(&shard.directory().join("a")).expect("readable").0;
    let labels = vec![("database".to_owned(), "metrics".to_owned())];
    let first = Sealed { flat: Some(flat), tier: 2, labels: labels.clone(), ..Sealed::at("a") };
    let tickets = [
        enqueue(&shard, Change::Register(first)),
        enqueue(&shard, Change::delete("old", "compaction")),
        enqueue(&shard, Change::register("a")),
    ];
    assert_eq!(tickets, [Ticket(1), Ticket(2), Ticket(3)]);
    drained(&shard);
    let found = segments(&shard);
    let [segment] = &found[..] else { panic!("{found:?}") };
    assert_eq!((segment.path.as_str(), segment.version, &segment.labels), ("a", 1, &labels));
    assert_eq!(segment.sha256, Some(flat.to_string()));
    let RegistrarStatus { enqueued, applied, refused, depth, bytes, oldest_millis, .. } = status(&shard);
    assert_eq!((enqueued, applied, refused, depth, bytes, oldest_millis), (3, 3, 0, 0, 0, None));
    let whole = nodes.engine(1).status().wait().expect("it runs");
    assert_eq!(whole.shards[0].registrar.applied, 3, "it is in the node's status");
}

/// Arc's registrar loses what is applied while nobody leads, and all that is queued when its process ends.
#[test]
fn weak_06_what_is_queued_without_a_quorum_is_registered_when_there_is_one_again() {
    let mut nodes = Nodes::new(3);
    register(&nodes.shard(1), "before", b"x");
    nodes.stop(2);
    nodes.stop(3);
    let shard = nodes.shard(1);
    for number in 0..50 {
        let path = format!("queued/{number:03}");
        let change = sealed(&shard, &path, path.as_bytes());
        assert_eq!(enqueue(&shard, change), Ticket(number + 1));
    }
    let before = status(&shard);
    assert_eq!((before.enqueued, before.applied, before.depth), (50, 0, 50));
    assert!(before.oldest_millis.is_some());
    for _ in 0..2 {
        nodes.stop(1);
        nodes.open(1);
        assert_eq!(status(&nodes.shard(1)).depth, 50, "it is all there after a start");
    }
    nodes.open(2);
    nodes.open(3);
    let shard = nodes.shard(1);
    drained(&shard);
    assert_eq!(paths(&shard).len(), 51);
    assert!(segments(&shard).iter().all(|segment| segment.version == 1));
    let after = status(&shard);
    assert_eq!((after.applied, after.refused, refused(&shard)), (50, 0, Vec::new()));
    let next = sealed(&shard, "next", b"next");
    assert_eq!(enqueue(&shard, next), Ticket(51), "tickets go on over starts");
}

/// Arc counts what could not be applied and forgets it. Here each has its reason, and those behind it go on.
#[test]
fn weak_06_what_can_never_be_registered_is_told_and_blocks_nothing_behind_it() {
    let mut nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    register(&shard, "there", b"one");
    seal(&shard, "there", b"another");
    seal(&shard, "other", b"other");
    let other = Sealed { flat: Some(Digest([1; 32])), ..Sealed::at("other") };
    let wrong = [
        (Change::register("gone"), "No such file"),
        (Change::Register(other), "SHA-256"),
        (Change::register("there"), "other content"),
        (Change::update("gone/too"), "No such file"),
    ];
    let mut expected = Vec::new();
    for (number, (change, why)) in wrong.into_iter().enumerate() {
        let path = change.path().to_owned();
        expected.push((enqueue(&shard, change), path, why));
        let good = format!("good-{number}");
        enqueue(&shard, sealed(&shard, &good, good.as_bytes()));
    }
    enqueue(&shard, Change::update("there"));
    drained(&shard);
    assert_eq!(paths(&shard), ["good-0", "good-1", "good-2", "good-3", "there"]);
    assert_eq!(segments(&shard)[4].version, 2);
    let stand = status(&shard);
    assert_eq!((stand.applied, stand.refused), (5, 4));
    for round in 0..2 {
        let found = refused(&shard_of(&mut nodes, round));
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, (ticket, path, why)) in found.iter().zip(&expected) {
            assert_eq!((found.ticket, &found.path), (*ticket, path));
            assert!(found.why.contains(why), "{found:?}");
        }
    }
    let last = expected[3].0;
    assert_eq!(nodes.shard(1).refused(last).wait().expect("it runs"), []);
    let half = nodes.shard(1).refused(expected[1].0).wait().expect("it runs");
    assert_eq!(half.len(), 2, "those behind a ticket");
}

/// The shard as it is, and after a start.
fn shard_of(nodes: &mut Nodes, round: usize) -> Shard {
    if round > 0 {
        nodes.stop(1);
        nodes.open(1);
    }
    nodes.shard(1)
}

#[test]
fn m5_what_no_manifest_takes_is_refused_at_the_door() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let label = |name: &str| {
        Change::Register(Sealed { labels: vec![(name.to_owned(), String::new())], ..Sealed::at("a") })
    };
    let wrong = [
        Change::register("../a"),
        Change::register(""),
        Change::register("x".repeat(5000)),
        Change::delete("a", "x".repeat(1000)),
        label(""),
        label("a\nb"),
        label(&"x".repeat(300)),
    ];
    for change in wrong {
        let error = shard.enqueue(change.clone()).wait().expect_err("it is none");
        assert!(matches!(&error, EnqueueError::Invalid { why } if !why.is_empty()), "{change:?}: {error:?}");
        assert!(!error.is_retryable());
    }
    assert_eq!(status(&shard).enqueued, 0);
}

/// Arc drops what a full queue does not take.
#[test]
fn weak_06_a_full_queue_refuses_or_makes_wait_and_drops_nothing() {
    let mut nodes = Nodes::unfounded(1, 1);
    nodes.open(1); // nobody leads before the cluster is founded
    let shard = nodes.shard(1);
    let long = |number: u32| {
        let path = format!("f/{number}");
        seal(&shard, &path, path.as_bytes());
        let labels = (0..32).map(|label| (format!("{label}-{}", "n".repeat(200)), "v".repeat(250)));
        shard.enqueue(Change::Register(Sealed { labels: labels.collect(), ..Sealed::at(path) }))
    };
    let (mut queued, mut error) = (Vec::new(), None);
    for wave in 0.. {
        let replies: Vec<_> = (wave * 50..(wave + 1) * 50).map(long).collect();
        for reply in replies {
            match reply.wait() {
                Ok(ticket) => queued.push(ticket),
                Err(refused) => error = Some(refused),
            }
        }
        if error.is_some() {
            break;
        }
    }
    assert_eq!(error, Some(EnqueueError::Full));
    assert!(EnqueueError::Full.is_retryable());
    assert!(queued.len() > 400, "{}", queued.len());
    let soon = shard.enqueue_waiting(Change::delete("x", ""), Duration::from_millis(50)).wait();
    assert_eq!(soon, Err(EnqueueError::Full), "it waited in vain");
    let waiting: Vec<_> =
        (0..5).map(|n| shard.enqueue_waiting(Change::delete(format!("w/{n}"), ""), PATIENCE)).collect();
    let stand = status(&shard);
    assert_eq!(stand.depth, queued.len() as u64);
    assert!(stand.full >= 2, "{stand:?}");
    nodes.engine(1).bootstrap().wait().expect("founded");
    let tickets: Vec<Ticket> = waiting.into_iter().map(|reply| reply.wait().expect("room came")).collect();
    let count = queued.len() as u64;
    assert_eq!(tickets, (count + 1..=count + 5).map(Ticket).collect::<Vec<_>>(), "in the order they came");
    drained(&shard);
    assert_eq!(paths(&shard).len(), queued.len());
}

#[test]
fn m5_a_drain_ends_in_time_and_keeps_the_rest_and_so_does_a_stop() {
    let mut nodes = Nodes::new(3);
    register(&nodes.shard(1), "before", b"x");
    nodes.stop(2);
    nodes.stop(3);
    let shard = nodes.shard(1);
    for number in 0..10 {
        let path = format!("{number}");
        enqueue(&shard, sealed(&shard, &path, path.as_bytes()));
    }
    let begun = std::time::Instant::now();
    assert_eq!(shard.drain(Duration::from_millis(300)).wait(), Ok(10), "nothing can be committed");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    nodes.stop(1);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    for node in 1..=3 {
        nodes.open(node);
    }
    let shard = nodes.shard(1);
    drained(&shard);
    assert_eq!(paths(&shard).len(), 11);
}

/// A node that is stopped in an orderly way registers first what it can.
#[test]
fn m5_a_stop_registers_what_is_queued_while_somebody_leads() {
    let mut nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    nodes.leader();
    let changes: Vec<_> = (0..200).map(|n| sealed(&shard, &format!("{n}"), b"x")).collect();
    let replies: Vec<_> = changes.into_iter().map(|change| shard.enqueue(change)).collect();
    for reply in replies {
        reply.wait().expect("queued");
    }
    nodes.stop(1);
    nodes.open(1);
    assert_eq!(status(&nodes.shard(1)).depth, 0);
    until("it is applied again", || paths(&nodes.shard(1)).len() == 200);
}

/// Arc makes a commit of each file, one behind the other.
#[test]
fn weak_20_what_is_queued_goes_as_batches() {
    let nodes = Nodes::new(3);
    let shard = nodes.shard(2);
    register(&shard, "first", b"x");
    let before = nodes.engine(2).status().wait().expect("it runs").shards[0].applied;
    let changes: Vec<_> = (0..600).map(|n| sealed(&shard, &format!("b/{n:04}"), b"content")).collect();
    let replies: Vec<_> = changes.into_iter().map(|change| shard.enqueue(change)).collect();
    for reply in replies {
        reply.wait().expect("queued");
    }
    drained(&shard);
    until("it is applied here", || paths(&shard).len() == 601);
    let entries = nodes.engine(2).status().wait().expect("it runs").shards[0].applied - before;
    assert!(entries < 200, "{entries} log entries for 600 registrations");
}

/// Registered, deleted by somebody else, the process gone before it has noted that the registration had happened: it is
/// not registered again.
#[test]
fn m5_what_was_deleted_meanwhile_does_not_come_back_with_a_start() {
    let mut nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    enqueue(&shard, sealed(&shard, "a", b"content"));
    drained(&shard);
    let file = nodes.root(1).join("shard-0000/queue");
    let unsettled = fs::read(&file).expect("there");
    shard.delete("a", "compaction", Ask::default()).wait().expect("committed");
    nodes.stop(1);
    // As a power cut leaves it, of which the note that all is done was not durable yet.
    fs::write(&file, unsettled).expect("written");
    nodes.open(1);
    let shard = nodes.shard(1);
    drained(&shard);
    assert!(shard.directory().join("a").exists(), "the engine has not removed its file");
    register(&shard, "b", b"the session goes on");
    assert_eq!((paths(&shard), refused(&shard)), (vec!["b".to_owned()], Vec::new()));
}

#[test]
fn m5_a_damaged_queue_is_told_and_touched_by_nobody() {
    let mut nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    enqueue(&shard, sealed(&shard, "a", b"content"));
    drained(&shard);
    nodes.stop(1);
    let file = nodes.root(1).join("shard-0000/queue");
    let sound = fs::read(&file).expect("there");
    let mut bad = sound.clone();
    bad[4096 + 30] ^= 1;
    fs::write(&file, &bad).expect("written");
    let error = nodes.builder(1).open().expect_err("it cannot be read");
    assert!(error.to_string().contains("queue is damaged at 4096"), "{error}");
    assert_eq!(fs::read(&file).expect("there"), bad);
    fs::rename(&file, file.with_extension("aside")).expect("moved away, as it says");
    nodes.open(1);
    let shard = nodes.shard(1);
    enqueue(&shard, sealed(&shard, "b", b"content"));
    drained(&shard);
    until("both are there", || paths(&shard) == ["a", "b"]);
}
