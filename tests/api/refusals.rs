//! Every error of a change that a caller can meet.

use std::fs;
use std::time::Duration;

use ringway::engine::{Ask, Change, ChangeError, Durability, Sealed, Shard};
use ringway::ids::Digest;

use crate::nodes::{Nodes, PATIENCE, patient, register, seal, until};

fn refused(shard: &Shard, changes: Vec<Change>) -> ChangeError {
    let before = shard.segments(None, 1000).wait().expect("a page");
    let error = shard.batch(changes, Ask::default()).wait().expect_err("it is refused");
    assert_eq!(shard.segments(None, 1000).wait().expect("a page"), before, "nothing has happened");
    error
}

#[test]
fn m2_one_bad_change_refuses_its_whole_batch_and_is_named() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    register(&shard, "taken", b"content");
    let last = register(&shard, "folder/inside", b"content");
    shard.wait_installed(last.index, PATIENCE).wait().expect("here");
    seal(&shard, "good", b"good");
    let with = |bad: Change| refused(&shard, vec![Change::register("good"), bad]);
    let ordinal = |error: &ChangeError| {
        let ChangeError::Refused { ordinal, .. } = error else { panic!("{error:?}") };
        *ordinal
    };
    let missing = with(Change::register("missing"));
    assert!(matches!(&missing, ChangeError::File { path, .. } if path == "missing"), "{missing:?}");
    let folder = with(Change::register("folder"));
    assert!(matches!(&folder, ChangeError::File { path, .. } if path == "folder"), "{folder:?}");
    seal(&shard, "taken", b"other content");
    assert_eq!(ordinal(&with(Change::register("taken"))), Some(1), "update it, or choose another path");
    seal(&shard, "unknown", b"x");
    assert_eq!(ordinal(&with(Change::update("unknown"))), Some(1), "register it");
    let labels = (0..33).map(|number| (number.to_string(), String::new())).collect();
    let labelled = Change::Register(Sealed { labels, ..Sealed::at("unknown") });
    assert_eq!(ordinal(&with(labelled)), Some(1));
    let flat = Some(Digest([9; 32]));
    let differs = with(Change::Register(Sealed { flat, ..Sealed::at("unknown") }));
    assert!(matches!(&differs, ChangeError::FlatDiffers { path, .. } if path == "unknown"), "{differs:?}");
    assert_eq!(ordinal(&refused(&shard, Vec::new())), None, "a batch of nothing");
    let many = (0..10_001).map(|number| Change::delete(number.to_string(), "")).collect();
    assert_eq!(ordinal(&refused(&shard, many)), None, "a batch of too many");
    let long = "r".repeat(255);
    let heavy = (0..9_999).map(|number| Change::delete(format!("{long}/{number}"), &long)).collect();
    assert!(
        matches!(refused(&shard, heavy), ChangeError::Refused { ordinal: None, .. }),
        "a batch of too many bytes"
    );
}

#[test]
fn m3_paths_that_no_manifest_takes_are_refused_with_the_path_made_printable() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    for path in
        ["", "/etc/passwd", "../up", "a/../b", "a//b", "./a", "c:\\x", "s3://bucket/x", ".ringway/x", "a\nb"]
    {
        for change in [Change::register(path), Change::update(path), Change::delete(path, "")] {
            let error = refused(&shard, vec![change]);
            let ChangeError::Path { path: told, why } = &error else { panic!("{path:?}: {error:?}") };
            assert!(!told.contains('\n') && !why.is_empty() && !error.is_retryable(), "{error}");
        }
    }
}

#[test]
fn without_a_leader_nothing_is_sent_and_the_error_says_so() {
    let mut nodes = Nodes::unfounded(1, 1);
    nodes.open(1);
    let shard = nodes.shard(1);
    seal(&shard, "a", b"x");
    let ask = Ask::default().within(Duration::from_millis(100));
    let error = shard.register(Sealed::at("a"), ask).wait().expect_err("nobody leads");
    assert_eq!(error, ChangeError::NoLeader { last: None });
    assert!(error.is_retryable());
    nodes.engine(1).bootstrap().wait().expect("founded");
    shard.register(Sealed::at("a"), patient(Durability::Committed)).wait().expect("the same again");
}

#[test]
fn m4_an_unknown_outcome_may_be_asked_for_again_and_costs_nothing_later() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let first = register(&shard, "a", b"x");
    seal(&shard, "b", b"y");
    let now = Ask::default().within(Duration::ZERO);
    let error = shard.register(Sealed::at("b"), now).wait().expect_err("a commit takes some time");
    assert_eq!(error, ChangeError::OutcomeUnknown);
    assert!(error.is_retryable());
    let again = shard.register(Sealed::at("b"), patient(Durability::Committed)).wait().expect("safe");
    assert_eq!(shard.segments(None, 10).wait().expect("a page").segments.len(), 2);
    assert!(again.segments[0] > first.segments[0]);
    // More proposals than the manifest keeps outcomes for: the unknown one does not hold them up.
    for _ in 0..6 {
        let waiting: Vec<_> =
            (0..200).map(|_| shard.delete("none", "", patient(Durability::Committed))).collect();
        waiting.into_iter().for_each(|reply| drop(reply.wait().expect("committed")));
    }
}

#[test]
fn r5_without_a_quorum_changes_end_in_typed_errors_the_queue_is_bounded_and_all_heals_by_itself() {
    let mut nodes = Nodes::new(3);
    let shard = nodes.shard(1);
    register(&shard, "before", b"x");
    nodes.stop(2);
    nodes.stop(3);
    let ask = Ask::default().within(Duration::from_millis(1_500));
    let waiting: Vec<_> = (0..3_000).map(|_| shard.delete("none", "", ask)).collect();
    let errors: Vec<_> = waiting.into_iter().map(|reply| reply.wait().expect_err("no quorum")).collect();
    assert!(
        errors.iter().all(ChangeError::is_retryable),
        "{:?}",
        errors.iter().find(|one| !one.is_retryable())
    );
    assert!(errors.contains(&ChangeError::TooMany), "3000 are more than may wait");
    let others = errors.iter().filter(|error| **error != ChangeError::TooMany);
    for error in others {
        assert!(matches!(error, ChangeError::NoLeader { .. } | ChangeError::OutcomeUnknown), "{error:?}");
    }
    nodes.open(2);
    nodes.open(3);
    let done = register(&nodes.shard(1), "after", b"y");
    nodes.shard(3).wait_installed(done.index, PATIENCE).wait().expect("it lands");
}

#[test]
fn d16_the_origin_keeps_one_pin_a_segment_whatever_is_said_again_or_superseded() {
    let nodes = Nodes::new(1);
    let shard = nodes.shard(1);
    let pins = || fs::read_dir(nodes.root(1).join("shard-0000/.ringway/pins")).expect("a folder").count();
    let done = register(&shard, "a", b"x");
    shard.wait_installed(done.index, PATIENCE).wait().expect("here");
    for _ in 0..20 {
        shard.register(Sealed::at("a"), Ask::default()).wait().expect("the same");
        shard.update(Sealed::at("a"), Ask::default()).wait().expect("the same");
    }
    until("what was said again is let go", || pins() == 1);
    for version in 0..20 {
        seal(&shard, "a", format!("version {version}").as_bytes());
        shard.update(Sealed::at("a"), Ask::default()).wait().expect("committed");
    }
    until("what is superseded is let go", || pins() == 1);
    shard.delete("a", "done", Ask::default()).wait().expect("committed");
    until("what is deleted is let go", || pins() == 0);
}
