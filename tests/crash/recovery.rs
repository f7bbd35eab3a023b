//! Restarts that find things as they should not be: every row of the table of recovery, on files.

use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Ownership, Reconciled, RelativePath};
use ringway::uring::{Dir, OpenOptions};

use crate::crash::rig::{
    PRIVATE, ROOT, Segment, fill, host, id, land, of_bytes, open, open_as, options, path, reopened, replica,
    segment,
};
use crate::sim::disk::Disk;
use crate::sim::{Crash, Fault, How, Loss, OpKind, Rule, SimOptions};

/// What is under the final name when the store is opened.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Name {
    Absent,
    Lost,
    UnknownSound,
    UnknownBad,
    This,
    Other,
    ChangedSound,
    ChangedBad,
    ChangedOther,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Part {
    None,
    This,
    Other,
}

const NAMES: [Name; 9] = [
    Name::Absent,
    Name::Lost,
    Name::UnknownSound,
    Name::UnknownBad,
    Name::This,
    Name::Other,
    Name::ChangedSound,
    Name::ChangedBad,
    Name::ChangedOther,
];

/// The only list that a wanted segment has to be in, and whether its file was set aside.
fn expected(name: Name, part: Part) -> (&'static str, bool) {
    let missing = match part {
        Part::None => "refetched",
        Part::This => "resumed",
        Part::Other => "discarded and refetched",
    };
    match name {
        Name::Absent | Name::Lost | Name::Other => (missing, false),
        Name::UnknownSound | Name::This | Name::ChangedSound => ("adopted", false),
        Name::ChangedOther => (missing, false),
        Name::UnknownBad | Name::ChangedBad => (missing, true),
    }
}

fn list(done: &Reconciled) -> (String, bool) {
    let lists = [
        ("adopted", &done.adopted),
        ("resumed", &done.resumed),
        ("discarded", &done.discarded),
        ("refetched", &done.refetched),
    ];
    let named: Vec<&str> =
        lists.iter().filter(|(_, list)| list.contains(&id(5))).map(|(name, _)| *name).collect();
    (named.join(" and "), done.quarantined.contains(&id(5)))
}

#[test]
fn every_combination_of_name_staged_and_record_is_settled_as_the_table_says() {
    let parts = [Part::None, Part::This, Part::Other];
    for (seed, (name, part)) in NAMES.into_iter().flat_map(|name| parts.map(|part| (name, part))).enumerate()
    {
        let (mut sim, node, core, store) = replica(seed as u64 + 1);
        let this = segment(5, "x/a.seg", CHUNK_BYTES + 9);
        let (same_id, older) = (segment_of(5, CHUNK_BYTES + 7), segment(4, "x/a.seg", 777));
        let (ours, landed) = (store.clone(), this.clone());
        let staged = if part == Part::Other { same_id } else { this.clone() };
        let held = if matches!(name, Name::Other | Name::ChangedOther) { older } else { landed };
        let is_recorded = !matches!(name, Name::Absent | Name::UnknownSound | Name::UnknownBad);
        sim.block_on(&core, async move {
            if is_recorded {
                land(&ours, &held).await;
            }
        });
        drop((store, core));
        sim.power_cut(node);
        let file = this.file();
        plant(&mut sim.host(node).disk, name, &file, &this.bytes);
        // A rename may be half durable: the staged name is then there still.
        let staging = format!("{PRIVATE}/staging");
        let halves = sim.host(node).disk.paths(&staging);
        halves.iter().for_each(|half| sim.host(node).disk.remove(half));
        if part != Part::None {
            let data = format!("{PRIVATE}/staging/{}", staged.stem());
            sim.host(node).disk.plant_file(&data, &staged.bytes[..CHUNK_BYTES]);
        }
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, _) = open(&mut sim, &core, 2);
        let want = this.want.clone();
        let ours = store.clone();
        let done = sim.block_on(&core, async move { ours.reconcile([want]).await.expect("sound") });
        let (found, set_aside) = list(&done);
        assert_eq!((found.as_str(), set_aside), expected(name, part), "{name:?} {part:?}: {done:?}");
        let aside = sim.host(node).disk.paths(&format!("{PRIVATE}/quarantine"));
        assert_eq!(!aside.is_empty(), set_aside, "{name:?} {part:?}: {aside:?}");
        sim.block_on(&core, async move {
            let is_held = store.is_held(id(5), this.want.root);
            assert_eq!(is_held, found == "adopted");
            if !is_held {
                let landing = store.begin(this.want.clone(), this.chunks.clone()).await.expect("missing");
                assert_eq!(landing.written_count(), u32::from(part == Part::This), "{name:?} {part:?}");
                fill(&landing, &this).await;
                landing.land().await.expect("sound");
            }
            assert!(store.staged().is_empty(), "{name:?} {part:?}");
        });
    }
}

fn plant(disk: &mut Disk, name: Name, file: &str, sound: &[u8]) {
    match name {
        Name::Absent | Name::This | Name::Other => {}
        Name::Lost => disk.remove(file),
        Name::UnknownSound | Name::UnknownBad => {
            disk.plant_dir(&format!("{ROOT}/x"));
            disk.plant_file(file, if name == Name::UnknownSound { sound } else { b"bad" });
        }
        Name::ChangedSound => disk.overwrite(file, sound),
        Name::ChangedBad => disk.overwrite(file, b"also bad"),
        Name::ChangedOther => {
            let bytes = disk.file(file).expect("it landed");
            disk.overwrite(file, &bytes);
        }
    }
}

fn segment_of(index: u64, len: usize) -> Segment {
    let other = segment(99, "x/a.seg", len);
    of_bytes(index, "x/a.seg", other.bytes.to_vec())
}

#[test]
fn what_the_manifest_does_not_have_is_left_or_cleared_but_never_removed_from_its_name() {
    let (mut sim, node, core, store) = replica(100);
    let (held, lost, staged) =
        (segment(1, "held.seg", 10), segment(2, "lost.seg", 10), segment(3, "staged.seg", 2 * CHUNK_BYTES));
    sim.host(node).disk.plant_file(&format!("{ROOT}/stranger"), b"an engine's own");
    let ours = store.clone();
    sim.block_on(&core, async move {
        land(&ours, &held).await;
        land(&ours, &lost).await;
        drop(ours.begin(staged.want.clone(), staged.chunks.clone()).await.expect("new"));
    });
    sim.host(node).disk.remove(&format!("{ROOT}/lost.seg"));
    let (core, store, recovery) = reopened(&mut sim, node, store);
    assert_eq!((recovery.held, recovery.suspects.as_slice(), recovery.staged.len()), (1, &[id(2)][..], 1));
    let ours = store.clone();
    let done = sim.block_on(&core, async move { ours.reconcile([]).await.expect("sound") });
    assert_eq!(done.discarded, [id(2), id(3)]);
    assert_eq!(
        store.held().map(|held| held.id).collect::<Vec<_>>(),
        [id(1)],
        "removed by the difference, later"
    );
    assert!(sim.host(node).disk.file(&format!("{ROOT}/stranger")).is_some());
    let (_, _, recovery) = reopened(&mut sim, node, store);
    assert_eq!((recovery.held, recovery.suspects.len(), recovery.staged.len()), (1, 0, 0));
}

#[test]
fn a_torn_or_lost_inventory_costs_hashing_and_no_fetch() {
    for damage in ["torn", "rotten", "lost"] {
        let (mut sim, node, core, store) = replica(101);
        let segments: Vec<Segment> =
            (1..=20).map(|index| segment(index, &format!("d/{index}.seg"), 1000)).collect();
        let (ours, all) = (store.clone(), segments.clone());
        sim.block_on(&core, async move {
            for segment in &all {
                land(&ours, segment).await;
            }
        });
        let inventory = format!("{PRIVATE}/inventory");
        let bytes = sim.host(node).disk.file(&inventory).expect("there is one");
        match damage {
            "torn" => sim.host(node).disk.overwrite(&inventory, &bytes[..bytes.len() - 3]),
            "rotten" => {
                let mut bytes = bytes.clone();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
                sim.host(node).disk.overwrite(&inventory, &bytes);
            }
            _ => sim.host(node).disk.remove(&inventory),
        }
        let (core, store, recovery) = reopened(&mut sim, node, store);
        assert_eq!(recovery.inventory_cut.is_some(), damage != "lost", "{damage}");
        // The intent of a record that was torn away ends its landing once more.
        assert_eq!(recovery.held == 20, damage == "torn", "{damage}: {}", recovery.held);
        let wants: Vec<_> = segments.iter().map(|segment| segment.want.clone()).collect();
        let ours = store.clone();
        let done = sim.block_on(&core, async move { ours.reconcile(wants).await.expect("sound") });
        assert_eq!((done.adopted.len(), done.refetched.len()), (20, 0), "{damage}");
        assert_eq!(store.held().count(), 20);
        let (_, _, recovery) = reopened(&mut sim, node, store);
        assert_eq!((recovery.held, recovery.inventory_cut), (20, None), "{damage}: written anew");
    }
}

#[test]
fn a_replica_that_lost_its_private_folder_hashes_and_adopts_its_files() {
    let (mut sim, node, core, store) = replica(102);
    let segment = segment(1, "a/b.seg", 2 * CHUNK_BYTES);
    let (ours, landed) = (store.clone(), segment.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    drop(store);
    sim.kill(node);
    sim.host(node).disk.remove(PRIVATE);
    sim.restart(node);
    let core = sim.core(node, 0);
    let (store, recovery) = open_as(&mut sim, &core, options(Ownership::Ours, 1));
    assert_eq!(recovery.held, 0);
    sim.block_on(&core, async move {
        let done = store.reconcile([segment.want.clone()]).await.expect("sound");
        assert_eq!(done.adopted, [id(1)]);
        assert_eq!(store.chunk_list(id(1)).await, Ok(segment.chunks));
    });
}

#[test]
fn an_unreadable_file_is_set_aside_and_fetched_and_stops_nothing() {
    let (mut sim, node, core, store) = replica(103);
    let (bad, good) = (segment(1, "bad.seg", 100_000), segment(2, "good.seg", 100_000));
    let (ours, both) = (store.clone(), [bad.clone(), good.clone()]);
    sim.block_on(&core, async move {
        for segment in &both {
            land(&ours, segment).await;
        }
    });
    sim.host(node).disk.remove(&format!("{PRIVATE}/inventory"));
    sim.host(node).disk.make_unreadable(&bad.file(), 50_000);
    sim.host(node).disk.evict();
    let (core, store, _) = reopened(&mut sim, node, store);
    let wants = [bad.want.clone(), good.want.clone()];
    let done = sim.block_on(&core, async move { store.reconcile(wants).await.expect("it goes on") });
    assert_eq!((done.adopted, done.quarantined, done.refetched), (vec![id(2)], vec![id(1)], vec![id(1)]));
}

#[test]
fn strangers_in_our_folders_are_named_and_left() {
    let (mut sim, node) = host(104, SimOptions::default());
    sim.host(node).disk.plant_dir(&format!("{PRIVATE}/staging"));
    sim.host(node).disk.plant_file(&format!("{PRIVATE}/staging/notes.txt"), b"mine");
    let core = sim.core(node, 0);
    let (_, recovery) = open(&mut sim, &core, 1);
    assert_eq!(recovery.strangers, ["staging/notes.txt"]);
    assert!(sim.host(node).disk.file(&format!("{PRIVATE}/staging/notes.txt")).is_some());
    let refused = RelativePath::parse("../up").is_err();
    assert!(refused && path("a/b").as_str() == "a/b");
}

/// Versions that were replaced leave dead records behind.
#[test]
fn the_inventory_is_written_anew_before_it_has_grown_without_bound() {
    let (mut sim, node, core, store) = replica(14);
    let mut sizes = Vec::new();
    for round in 0..10_u64 {
        let of_round = |place: u64| segment(1 + round * 1000 + place, &format!("{place}.seg"), 8);
        let segments: Vec<Segment> = (0..256).map(of_round).collect();
        let store = store.clone();
        sim.block_on(&core, async move {
            let mut landings = Vec::new();
            for segment in &segments {
                let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("newer");
                fill(&landing, segment).await;
                landings.push(landing);
            }
            store
                .land_all(landings)
                .await
                .into_iter()
                .for_each(|landed| assert!(landed.is_ok(), "{landed:?}"));
        });
        let file = sim.host(node).disk.file(&format!("{PRIVATE}/inventory"));
        sizes.push(file.expect("it is there").len());
    }
    assert!(sizes.windows(2).any(|pair| pair[1] < pair[0]), "{sizes:?}");
    let (_, _, recovery) = reopened(&mut sim, node, store);
    assert_eq!(recovery.held, 256);
}

/// Somebody who put it there need not have flushed it, nor its name.
#[test]
fn what_is_taken_over_under_its_name_is_durable_before_it_counts() {
    for seed in 1..=4 {
        let (mut sim, node, core, store) = replica(seed);
        let made = segment(1, "a.seg", 5000);
        let theirs = made.clone();
        sim.block_on(&core, async move {
            let root = Dir::open_root(ROOT).await.expect("it is there");
            let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
            let file = root.open("a.seg", options).await.expect("a name is free");
            file.write_at(theirs.chunk(0), 0..5000, 0).await.0.expect("room");
            store.reconcile([theirs.want.clone()]).await.expect("sound");
            assert!(store.is_held(id(1), theirs.want.root));
        });
        sim.power_cut_with(node, Loss::All);
        assert_eq!(sim.host(node).disk.file(&made.file()).as_ref(), Some(&*made.bytes), "seed {seed}");
    }
}

#[test]
fn what_is_removed_does_not_come_back_with_the_power() {
    for seed in 1..=4 {
        let (mut sim, node, core, store) = replica(seed);
        let made = segment(1, "a.seg", 5000);
        let theirs = made.clone();
        sim.block_on(&core, async move {
            land(&store, &theirs).await;
            store.remove(id(1)).await.expect("sound");
        });
        sim.power_cut_with(node, Loss::All);
        assert_eq!(sim.host(node).disk.file(&made.file()), None, "seed {seed}");
    }
}

/// Its name was in memory alone when the process died.
#[test]
fn a_landing_that_was_cut_off_behind_its_rename_is_durable_before_it_counts() {
    for seed in 1..=4 {
        let (mut sim, node, core, store) = replica(seed);
        let made = segment(1, "a.seg", 5000);
        let theirs = made.clone();
        let killed = Fault::Crash(Crash { how: How::Kill, after: true });
        sim.fault(node, Rule::new(killed).on(OpKind::Rename).path("segments/a.seg"));
        let ended = sim.try_block_on(&core, async move { land(&store, &theirs).await });
        assert_eq!(ended, None, "it dies");
        sim.clear_faults(node);
        sim.restart(node);
        let core = sim.core(node, 0);
        let (store, _) = open(&mut sim, &core, 1);
        assert!(store.is_held(id(1), made.want.root), "its intent tells");
        drop(store);
        sim.power_cut_with(node, Loss::All);
        assert_eq!(sim.host(node).disk.file(&made.file()).as_ref(), Some(&*made.bytes), "seed {seed}");
    }
}
