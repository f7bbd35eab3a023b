//! What a checkpoint has captured: it gets its segment's name when that has an id, whatever happens in between.

use std::cell::Cell;
use std::rc::Rc;

use ringway::ids::{LogIndex, NodeId};
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{DigestError, Ownership, PinError, Store, captured_name};

use super::engine_files::{pins, planted};
use super::held::bytes;
use crate::crash::rig::{PRIVATE, Segment, id, land, open, replica, segment};
use crate::sim::{Crash, Fault, How, Rule, Sim};

/// Puts a segment's content where a checkpoint puts what it captures.
fn captured(sim: &mut Sim, node: NodeId, made: &Segment) -> String {
    let name = captured_name(7, made.want.id.index.0);
    sim.host(node).disk.plant_file(&format!("{PRIVATE}/checkpoints/{name}"), &made.bytes);
    name
}

fn left(sim: &mut Sim, node: NodeId, folder: &str) -> Vec<String> {
    sim.host(node).disk.paths(&format!("{PRIVATE}/{folder}"))
}

/// What a node does at its start, when its manifest has the segment or not.
async fn start(store: &Store, made: &Segment, is_listed: bool) {
    let want = &made.want;
    let is_wanted = is_listed && store.id_at(&want.path).is_some();
    let wanted = is_wanted.then(|| want.clone());
    let listed = |one| is_listed && one == want.id;
    store.settle_to(wanted, LogIndex(u64::MAX), listed).await.expect("sound");
    if is_listed {
        store.pin(want).await.expect("the draft is there");
    }
    store.sweep_drafts().await;
}

/// Cuts power or kills at every durable step from the digest to the name. `older` is what stood there before.
fn cut_at_every_step(older: Option<&Segment>, made: &Segment) {
    let (mut before, mut behind) = (0, 0);
    for nth in 0.. {
        let (mut sim, node, core, store) = replica(300 + nth);
        if let Some(older) = older.cloned() {
            let ours = store.clone();
            sim.block_on(&core, async move { land(&ours, &older).await });
        }
        let name = captured(&mut sim, node, made);
        let how = if nth % 3 == 0 { How::Kill } else { How::PowerCut };
        let crash = Crash { how, after: nth % 2 == 0 };
        sim.fault(node, Rule::new(Fault::Crash(crash)).on_durable_steps().skip(nth));
        let is_proposed = Rc::new(Cell::new(false));
        let (proposed, want) = (Rc::clone(&is_proposed), made.want.clone());
        let done = sim.try_block_on(&core, async move {
            store.digest_taken(&want.path, &name).await.expect("it does not change");
            proposed.set(true);
            store.pin(&want).await.expect("nobody else is there");
        });
        if done.is_some() {
            assert!(before > 1 && behind > 5, "{before} steps before the proposal, {behind} behind it");
            return;
        }
        let is_listed = is_proposed.get();
        (before, behind) = (before + u64::from(!is_listed), behind + u64::from(is_listed));
        drop(core);
        sim.clear_faults(node);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, _) = open(&mut sim, &core, 2);
        assert_eq!(left(&mut sim, node, "checkpoints"), [""; 0], "a start empties it, after a cut at {nth}");
        let (ours, wanted) = (store.clone(), made.clone());
        sim.block_on(&core, async move { start(&ours, &wanted, is_listed).await });
        let stands = sim.host(node).disk.file(&made.file());
        let expected = if is_listed { Some(made) } else { older };
        assert!(stands.as_deref() == expected.map(|of| &of.bytes[..]), "{is_listed} after a cut at {nth}");
        let owner = store.record(made.want.id).map(|record| record.owner);
        assert_eq!(owner, is_listed.then_some(Ownership::Ours), "after a cut at {nth}");
        assert!(pins(&sim, node) <= usize::from(is_listed), "no draft is left, after a cut at {nth}");
        for folder in ["staging", "quarantine"] {
            assert_eq!(left(&mut sim, node, folder), [""; 0], "{folder} after a cut at {nth}");
        }
    }
}

#[test]
fn s6_what_a_checkpoint_took_has_its_name_or_nothing_is_left_of_it_after_a_cut_at_any_step() {
    cut_at_every_step(None, &segment(2, "db/state", 2 * CHUNK_BYTES));
    cut_at_every_step(None, &segment(2, "state", 5000));
}

#[test]
fn s6_the_checkpoint_before_stands_until_the_one_behind_it_does_after_a_cut_at_any_step() {
    let older = segment(1, "db/state", 6000);
    cut_at_every_step(Some(&older), &segment(2, "db/state", 2 * CHUNK_BYTES));
}

/// It is the engine's then, and stays; the checkpoint is held by its pin.
#[test]
fn s6_what_the_engine_puts_under_the_name_meanwhile_stays() {
    let (mut sim, node, core, store) = replica(1);
    let made = segment(2, "a.seg", 7000);
    let name = captured(&mut sim, node, &made);
    let (ours, want) = (store.clone(), made.want.clone());
    sim.block_on(&core, async move { drop(ours.digest_taken(&want.path, &name).await.expect("sound")) });
    let theirs = planted(&mut sim, node, 1, "a.seg");
    let (ours, want) = (store.clone(), made.want.clone());
    sim.block_on(&core, async move { ours.pin(&want).await.expect("it is held all the same") });
    assert!(sim.host(node).disk.file(&made.file()).as_deref() == Some(&theirs.bytes[..]), "it is not theirs");
    assert_eq!(left(&mut sim, node, "quarantine"), [""; 0]);
    sim.block_on(&core, async move {
        let reader = store.open_segment(id(2)).await.expect("held");
        assert_eq!(bytes(&reader).await, *made.bytes);
    });
}

#[test]
fn s6_what_is_not_ours_is_refused_before_anything_is_taken() {
    let (mut sim, node, core, store) = replica(2);
    let made = segment(2, "a.seg", 7000);
    let name = captured(&mut sim, node, &made);
    planted(&mut sim, node, 1, "a.seg");
    let want = made.want.clone();
    sim.block_on(&core, async move {
        let refused = store.digest_taken(&want.path, &name).await.map(drop);
        assert_eq!(refused, Err(DigestError::Occupied));
        // The same for a file that the engine has registered: its name is the engine's.
        store.digest_file(&want.path).await.expect("sealed");
        assert_eq!(store.digest_taken(&want.path, &name).await.map(drop), Err(DigestError::Occupied));
    });
    assert_eq!(pins(&sim, node), 1, "the engine's own draft");
}

/// Two checkpoints are committed one after the other, and the second one's file lands first.
#[test]
fn s6_a_checkpoint_that_comes_late_does_not_take_the_newer_one_s_name() {
    let (mut sim, node, core, store) = replica(3);
    let (late, new) = (segment(2, "a.seg", 7000), segment(3, "a.seg", 8000));
    let names = [&late, &new].map(|of| captured(&mut sim, node, of));
    let (ours, wants) = (store.clone(), [late.want.clone(), new.want.clone()]);
    sim.block_on(&core, async move {
        for (want, name) in wants.iter().zip(&names) {
            ours.digest_taken(&want.path, name).await.expect("it does not change");
        }
        ours.pin(&wants[1]).await.expect("first");
        assert_eq!(ours.pin(&wants[0]).await, Err(PinError::Superseded { by: id(3) }));
        assert!(ours.is_held(id(3), wants[1].root));
    });
    assert!(
        sim.host(node).disk.file(&new.file()).as_deref() == Some(&new.bytes[..]),
        "it is the older one's"
    );
    assert_eq!(pins(&sim, node), 1, "the newer one's");
}
