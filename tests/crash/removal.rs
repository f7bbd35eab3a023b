//! What is removed: it is gone for good, wherever the removal was cut off, and what is somebody else's is not.

use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Gone, Ownership, Store};
use ringway::uring::Errno;

use crate::crash::held::bytes;
use crate::crash::rig::{PRIVATE, fill, id, land, options, reopened, replica, segment};
use crate::sim::{Crash, Fault, How, Loss, OpKind, Rule};

#[test]
fn what_is_removed_is_gone_after_a_restart_and_may_be_removed_again() {
    let (mut sim, node, core, store) = replica(8);
    let (keeps, goes) = (segment(1, "a.seg", 10), segment(2, "x/b.seg", 2 * CHUNK_BYTES));
    let store = sim.block_on(&core, async move {
        land(&store, &keeps).await;
        land(&store, &goes).await;
        let reader = store.open_segment(id(2)).await.expect("held");
        assert_eq!(store.remove(id(2)).await, Ok(Gone::File));
        assert_eq!(store.remove(id(2)).await, Ok(Gone::Unknown));
        assert_eq!(bytes(&reader).await, *goes.bytes, "an open reader goes on");
        store
    });
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/digests")).is_empty());
    let (_, store, recovery) = reopened(&mut sim, node, store);
    assert_eq!((recovery.held, recovery.suspects.len()), (1, 0));
    assert_eq!(store.held().map(|held| held.id).collect::<Vec<_>>(), [id(1)]);
}

/// A removal that is killed behind its nth step, of a segment with a record or, its landing having failed, an intent
/// only. Whether the kill came: says whether the store knows what stands when the power has gone, too.
fn cut_off_removal(nth: u64, is_recorded: bool) -> Option<bool> {
    let (mut sim, node, core, store) = replica(21);
    let goes = segment(1, "x/a.seg", 100);
    if !is_recorded {
        let full = Rule::new(Fault::Fail(Errno::NO_SPACE)).on(OpKind::Write).path("inventory").skip(1);
        sim.fault(node, full.times(2));
    }
    let (ours, wanted) = (store.clone(), goes.clone());
    sim.block_on(&core, async move {
        let landing = ours.begin(wanted.want.clone(), wanted.chunks.clone()).await.expect("new");
        fill(&landing, &wanted).await;
        assert_eq!(landing.land().await.is_ok(), is_recorded);
    });
    assert_eq!((store.held().count(), store.unfinished().len()), if is_recorded { (1, 0) } else { (0, 1) });
    let kill = Fault::Crash(Crash { how: How::Kill, after: true });
    sim.fault(node, Rule::new(kill).on_durable_steps().skip(nth));
    let removed = sim.try_block_on(&core, async move { store.remove(id(1)).await });
    drop(core);
    sim.clear_faults(node);
    if removed.is_some() {
        return None;
    }
    let mut held = Vec::new();
    for _ in 0..2 {
        sim.restart(node);
        let core = sim.core(node, 0);
        held = sim.block_on(&core, async move {
            let (store, _) = Store::open(options(Ownership::Ours, 1)).await.expect("the disk is sound");
            store.reconcile([]).await.expect("the disk is sound");
            store.held().map(|held| held.id).collect()
        });
        drop(core);
        sim.power_cut_with(node, Loss::All);
    }
    let stands = sim.host(node).disk.file(&goes.file()).is_some();
    Some(stands == (held == [id(1)]))
}

/// Seeds 5 and 27 of the campaign: a file that a kill had removed before its folder was synced stood again after a
/// power cut, and nobody knew it.
#[test]
fn a_removal_that_was_cut_off_anywhere_is_durable_before_its_record_goes() {
    for is_recorded in [true, false] {
        let cuts: Vec<bool> = (0..).map_while(|nth| cut_off_removal(nth, is_recorded)).collect();
        assert!(cuts.len() >= 4 && cuts.iter().all(|is_known| *is_known), "{is_recorded}: {cuts:?}");
    }
}

#[test]
fn a_file_that_was_changed_is_not_removed_but_set_aside() {
    let (mut sim, node, core, store) = replica(9);
    let segment = segment(1, "a.seg", 100);
    let (ours, file) = (store.clone(), segment.file());
    sim.block_on(&core, async move { land(&ours, &segment).await });
    sim.host(node).disk.overwrite(&file, b"somebody's work");
    let gone = sim.block_on(&core, async move { store.remove(id(1)).await });
    assert_eq!(gone, Ok(Gone::File));
    assert_eq!(sim.host(node).disk.file(&file), None);
    let aside = sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine"));
    let kept = aside.iter().any(|path| sim.host(node).disk.file(path).as_deref() == Some(b"somebody's work"));
    assert!(kept, "{aside:?}");
}
