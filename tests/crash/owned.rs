//! Whose a file under a final name is, where two segments meet there: what the engine has registered, and what has
//! landed without its record, is neither removed nor set aside for another segment's sake.

use ringway::ids::Nanos;
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Edge, Gone, LandError, Ownership, Step, Want};
use ringway::uring::Errno;

use super::held::bytes;
use super::stray::land_to;
use crate::crash::rig::{PRIVATE, ROOT, fill, id, land, open, open_as, options, replica, segment};
use crate::sim::{Fault, Loss, OpKind, Rule};

/// A node went down between the commit of its engine's update and the pin's record: the file was taken for ours,
/// without a pin, and went with the engine's name.
#[test]
fn what_the_engine_has_registered_over_ours_stays_the_engine_s_after_a_start() {
    for len in [4000, CHUNK_BYTES + 1] {
        let (mut sim, node, core, store) = replica(1);
        let (ours, new) = (segment(1, "a.seg", 5000), segment(2, "a.seg", len));
        let landing = store.clone();
        sim.block_on(&core, async move { land(&landing, &ours).await });
        sim.host(node).disk.plant_file(&new.file(), &new.bytes);
        let name = new.want.path.clone();
        sim.block_on(&core, async move { drop(store.digest_file(&name).await.expect("it is sealed")) });
        drop(core);
        sim.kill(node);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, _) = open(&mut sim, &core, 1);
        let (again, want) = (store.clone(), new.want.clone());
        sim.block_on(&core, async move {
            again.reconcile([want.clone()]).await.expect("sound");
            assert!(again.is_held(want.id, want.root));
            again.sweep_drafts().await;
        });
        sim.host(node).disk.remove(&new.file());
        sim.block_on(&core, async move {
            let reader = store.open_segment(id(2)).await.expect("its pin is there");
            assert_eq!(bytes(&reader).await, *new.bytes);
        });
    }
}

/// Its name was given to a version of ours that came late; what had that name then went with it.
#[test]
fn what_took_its_name_back_from_a_late_version_outlasts_the_engine_s_delete() {
    let (mut sim, node, core, store) = replica(2);
    let (late, new) = (segment(1, "a.seg", 5000), segment(2, "a.seg", 6000));
    sim.host(node).disk.plant_file(&new.file(), &new.bytes);
    let (ours, next) = (store.clone(), new.clone());
    sim.block_on(&core, async move {
        ours.digest_file(&next.want.path).await.expect("it is sealed");
        land(&ours, &late).await;
        ours.pin(&next.want).await.expect("the draft is there");
    });
    assert_eq!(sim.host(node).disk.file(&new.file()).as_ref(), Some(&*new.bytes));
    sim.host(node).disk.remove(&new.file());
    drop((core, store));
    sim.kill(node);
    sim.restart(node);
    let core = sim.core(node, 0);
    let (store, _) = open(&mut sim, &core, 1);
    sim.block_on(&core, async move {
        store.reconcile([new.want.clone()]).await.expect("sound");
        assert_eq!(store.pin(&new.want).await, Ok(()), "there is no other copy");
        let reader = store.open_segment(id(2)).await.expect("held");
        assert_eq!(bytes(&reader).await, *new.bytes);
        drop(reader);
        store.remove(id(2)).await.expect("sound");
    });
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/pins")).is_empty(), "nothing is left of it");
}

/// A full disk has refused the record, and the version before is removed as too much.
#[test]
fn a_removal_leaves_what_has_landed_over_it_and_has_no_record() {
    for is_restarted in [false, true] {
        let (mut sim, node, core, store) = replica(3);
        let (old, new) = (segment(1, "x/a.seg", 900), segment(2, "x/a.seg", 800));
        let (ours, before) = (store.clone(), old.clone());
        sim.block_on(&core, async move { land(&ours, &before).await });
        let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory");
        sim.fault(node, full.skip(1).times(if is_restarted { u64::MAX } else { 2 }));
        let (ours, wanted) = (store.clone(), new.clone());
        sim.block_on(&core, async move {
            let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
            fill(&landing, &wanted).await;
            landing.land().await.expect_err("there is no room for its record");
            if !is_restarted {
                assert_eq!(ours.remove(id(1)).await, Ok(Gone::Record));
                assert_eq!(ours.end_landing(&wanted.want).await, Ok(true));
            }
        });
        if is_restarted {
            // The log has not come back to the new version yet.
            drop((core, store));
            sim.kill(node);
            sim.restart(node);
            let core = sim.core(node, 0);
            let (store, _) = open(&mut sim, &core, 1);
            sim.block_on(
                &core,
                async move { drop(store.reconcile([old.want.clone()]).await.expect("sound")) },
            );
        }
        assert_eq!(sim.host(node).disk.file(&new.file()).as_ref(), Some(&*new.bytes), "{is_restarted}");
        assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine")).is_empty(), "{is_restarted}");
    }
}

/// Once it was set aside, and nothing stood under the name of a segment that is held.
#[test]
fn a_removal_leaves_what_the_engine_is_registering_under_its_name() {
    // Before the removal looks, and between its look and its rename.
    for delay in [None, Some(500)] {
        let (mut sim, node, core, store) = replica(4);
        let (old, new) = (segment(1, "a.seg", 900), segment(2, "a.seg", 800));
        let (ours, before) = (store.clone(), old.clone());
        sim.block_on(&core, async move { land(&ours, &before).await });
        let (ours, next) = (store.clone(), new.clone());
        match delay {
            None => drop(sim.host(node).disk.plant_file(&new.file(), &new.bytes)),
            Some(delay) => {
                let staged = format!("{ROOT}/b.seg");
                sim.host(node).disk.plant_file(&staged, &new.bytes);
                sim.fault(node, Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Rename).path("gone-"));
                sim.later(Nanos::from_millis(delay), move |sim| {
                    let mut host = sim.host(node);
                    let root = host.disk.absolute(ROOT.as_bytes()).expect("there");
                    let mut rng = crate::sim::Rng::new(1);
                    host.disk.rename((root, b"b.seg"), (root, b"a.seg"), &mut rng).expect("there");
                });
            }
        }
        let gone = sim.block_on(&core, async move {
            let mut name = next.want.path.clone();
            if delay.is_some() {
                name = crate::crash::rig::path("b.seg");
            }
            ours.digest_file(&name).await.expect("it is sealed");
            ours.remove(id(1)).await
        });
        assert!(gone.is_ok(), "{delay:?}: {gone:?}");
        assert_eq!(sim.host(node).disk.file(&new.file()).as_ref(), Some(&*new.bytes), "{delay:?}");
        assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine")).is_empty(), "{delay:?}");
        sim.block_on(&core, async move {
            store.pin(&new.want).await.expect("it is there");
            assert!(store.is_held(id(2), new.want.root));
        });
    }
}

/// It was gone when its origin asked others for it, and came back before their answer.
#[test]
fn a_fetch_does_not_replace_what_was_pinned_meanwhile() {
    let (mut sim, node, core, store) = replica(5);
    let made = segment(1, "a.seg", CHUNK_BYTES + 100);
    let (ours, wanted) = (store.clone(), made.clone());
    let landing = sim.block_on(&core, async move {
        let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
        fill(&landing, &wanted).await;
        landing.checkpoint().await.expect("sound");
        landing
    });
    let theirs = sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    let (ours, want) = (store.clone(), made.want.clone());
    let landed = sim.block_on(&core, async move {
        ours.pin(&want).await.expect("it is back");
        landing.land().await
    });
    assert_eq!(landed, Err(LandError::Held));
    assert_eq!(sim.host(node).disk.absolute(made.file().as_bytes()), Ok(theirs), "it is the engine's");
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty());
    let gone = sim.block_on(&core, async move { store.remove(id(1)).await });
    assert_eq!(gone, Ok(Gone::Record));
}

/// Its emptied folder was removed; the new one of that name was taken for the old one, which was durable.
#[test]
fn a_folder_that_was_removed_and_is_made_again_is_made_durable_again() {
    let (mut sim, node, core, store) = replica(6);
    let (first, second) = (segment(1, "x/y/a.seg", 900), segment(2, "x/y/b.seg", 800));
    let (ours, landed) = (store.clone(), first.clone());
    sim.block_on(&core, async move {
        land(&ours, &landed).await;
        ours.remove(id(1)).await.expect("sound");
    });
    sim.host(node).disk.remove(&format!("{ROOT}/x/y"));
    let landed = second.clone();
    sim.block_on(&core, async move { land(&store, &landed).await });
    drop(core);
    sim.power_cut_with(node, Loss::All);
    sim.restart(node);
    let core = sim.core(node, 0);
    let (store, recovery) = open(&mut sim, &core, 2);
    assert_eq!((recovery.held, sim.host(node).disk.file(&second.file())), (1, Some(second.bytes.to_vec())));
    drop(store);
}

/// Its folder made way for a file, which did not land.
#[test]
fn a_removal_whose_folder_has_gone_is_durable_before_its_record_goes() {
    let (mut sim, node, core, store) = replica(7);
    let (first, over) = (segment(1, "x/a.seg", 900), segment(2, "x", 800));
    let (ours, landed) = (store.clone(), first.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("segments/x"));
    let ours = store.clone();
    let refused = sim.block_on(&core, async move { ours.remove(id(1)).await });
    assert!(refused.is_err(), "{refused:?}");
    land_to(&mut sim, &core, &store, &over, (Step::DirSynced, Edge::Before));
    let gone = sim.block_on(&core, async move { store.remove(id(1)).await });
    assert_eq!(gone, Ok(Gone::Record));
    drop(core);
    sim.power_cut_with(node, Loss::All);
    assert_eq!(sim.host(node).disk.file(&first.file()), None);
}

/// Somebody has put a copy in its place: it counts when it is as durable as one that landed.
#[test]
fn a_copy_that_was_put_in_a_file_s_place_is_made_durable_before_it_counts() {
    let (mut sim, node, core, store) = replica(8);
    let made = segment(1, "x/a.seg", 900);
    let (ours, landed) = (store.clone(), made.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    drop((core, store));
    sim.kill(node);
    sim.host(node).disk.plant_file(&made.file(), &made.bytes);
    sim.restart(node);
    let synced = Rule::new(Fault::Slow(Nanos(1))).on(OpKind::Sync).path("segments/x").times(u64::MAX);
    let synced = sim.fault(node, synced);
    let core = sim.core(node, 0);
    let (store, recovery) = open(&mut sim, &core, 1);
    assert_eq!(recovery.suspects, [id(1)]);
    sim.block_on(&core, async move {
        // The log has not come back to its entry.
        store.reconcile([]).await.expect("sound");
        assert!(store.is_held(id(1), made.want.root));
    });
    assert_eq!(sim.hits(node, synced), 2, "its data and its folder");
}

/// Nobody wants it: that its folder cannot be synced ends no start.
#[test]
fn a_lost_record_that_cannot_be_dropped_yet_stays() {
    let (mut sim, node, core, store) = replica(9);
    let made = segment(1, "x/a.seg", 900);
    let (ours, landed) = (store.clone(), made.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    sim.host(node).disk.remove(&made.file());
    drop((core, store));
    sim.kill(node);
    for refusals in [1, 0] {
        sim.restart(node);
        let refused = Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("segments/x");
        sim.fault(node, refused.times(refusals));
        let core = sim.core(node, 0);
        let (store, recovery) = open(&mut sim, &core, 1);
        assert_eq!(recovery.suspects, [id(1)]);
        let done = sim.block_on(&core, async move { store.reconcile([]).await.expect("sound") });
        assert_eq!(done.discarded.len() as u64, 1 - refusals);
        drop(core);
        sim.kill(node);
    }
}

#[test]
fn a_draft_that_cannot_be_read_ever_is_passed_by() {
    for errno in [libc::EIO, libc::EUCLEAN, libc::EBADMSG, libc::EACCES].map(Errno) {
        let (mut sim, node, core, store) = replica(10);
        let made = segment(1, "a.seg", 900);
        sim.host(node).disk.plant_file(&made.file(), &made.bytes);
        let name = made.want.path.clone();
        sim.block_on(&core, async move { drop(store.digest_file(&name).await.expect("it is sealed")) });
        drop(core);
        sim.kill(node);
        sim.host(node).disk.remove(&made.file());
        sim.restart(node);
        sim.fault(node, Rule::new(Fault::Fail(errno)).on(OpKind::Open).path("draft-").times(u64::MAX));
        let core = sim.core(node, 0);
        let (store, _) = open_as(&mut sim, &core, options(Ownership::Ours, 1));
        let want = Want { ..made.want.clone() };
        let refused = sim.block_on(&core, async move { store.pin(&want).await });
        assert!(refused.as_ref().is_err_and(ringway::segment::PinError::is_gone), "{errno:?}: {refused:?}");
    }
}
