//! What is held: reading it, replacing it, sharing it, serving it while it is still being staged.

use ringway::digest::chunk_digest;
use ringway::ids::{Digest, Nanos};
use ringway::limits::{CHUNK_BYTES, LANDINGS_MAX};
use ringway::segment::{
    BeginError, Gone, Health, LandError, NotReady, Ownership, ReadError, Reader, Store, WriteError,
};
use ringway::uring::{Buffer, Core, Priority, yield_now};

use crate::crash::rig::{
    PRIVATE, ROOT, Segment, fill, id, land, missing, open_as, options, replica, segment, store_on,
};
use crate::sim::{DiskOptions, Fault, Loss, OpKind, Rule, SimOptions};

/// The bytes of a held segment, read chunk by chunk.
pub async fn bytes(reader: &Reader) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = Buffer::heap(CHUNK_BYTES);
    for index in 0..reader.chunk_count() {
        let (count, back) = reader.read_chunk(index, buffer).await;
        buffer = back;
        assert_eq!(count, Ok(buffer.filled().len()));
        all.extend_from_slice(buffer.filled());
    }
    all
}

pub async fn reads_as(store: &Store, segment: &Segment) -> bool {
    bytes(&store.open_segment(segment.want.id).await.expect("it is held")).await == *segment.bytes
}

#[test]
fn p5_segments_of_every_size_land_and_read_back() {
    let (mut sim, node, core, store) = replica(1);
    let sizes =
        [0, 1, 511, 4096, 65_535, 65_536, 65_537, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 4095];
    sim.block_on(&core, async move {
        for (index, len) in sizes.into_iter().enumerate() {
            let segment = segment(index as u64 + 1, &format!("a/b{index}/c/d/{len}.seg"), len);
            land(&store, &segment).await;
            assert!(reads_as(&store, &segment).await, "{len} bytes");
            assert_eq!(store.chunk_list(segment.want.id).await.as_ref(), Ok(&segment.chunks));
            assert_eq!(store.verify(segment.want.id).await, Ok(Health::Sound));
        }
        assert_eq!(store.held().count(), 10);
    });
    assert!(sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty(), "nothing is left behind");
}

#[test]
fn many_small_segments_land_together_with_one_fsync_for_each_folder() {
    let (mut sim, node, core, store) = replica(2);
    let before = sim.host(node).asked.1;
    let syncs = sim.fault(node, Rule::new(Fault::Slow(Nanos(1))).on(OpKind::Sync).times(10_000));
    let ours = store.clone();
    let segments = sim.block_on(&core, async move {
        let mut landings = Vec::new();
        let mut segments = Vec::new();
        for index in 1..=300 {
            let segment = segment(index, &format!("{}/{index}.seg", index % 3), 100);
            let landing = ours.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
            fill(&landing, &segment).await;
            landings.push(landing);
            segments.push(segment);
        }
        let landed = ours.land_all(landings).await;
        assert!(landed.iter().all(Result::is_ok), "{landed:?}");
        segments
    });
    // For each: create, write, fdatasync, rename. Beside: three folders made and synced, intents and records.
    let steps = sim.host(node).asked.1 - before;
    let syncs = sim.hits(node, syncs);
    assert!(steps < 300 * 4 + 40, "{steps} steps for 300 segments");
    assert!(syncs < 300 + 10, "{syncs} syncs for 300 segments");
    sim.block_on(&core, async move {
        for segment in &segments {
            assert!(reads_as(&store, segment).await);
        }
    });
}

#[test]
fn a_wrong_chunk_is_refused_and_the_right_one_taken_afterwards() {
    let (mut sim, _, core, store) = replica(3);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", CHUNK_BYTES + 10);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        let mut wrong = segment.chunk(0);
        wrong.memory_mut()[77] ^= 1;
        let (refused, _) = landing.write_chunk(0, wrong).await;
        assert!(matches!(refused, Err(WriteError::Content(_))), "{refused:?}");
        let (refused, _) = landing.write_chunk(0, segment.chunk(1)).await;
        assert!(matches!(refused, Err(WriteError::Content(_))), "a short chunk: {refused:?}");
        let (refused, _) = landing.write_chunk(2, segment.chunk(1)).await;
        assert!(matches!(refused, Err(WriteError::Content(_))), "no such chunk: {refused:?}");
        let digest = chunk_digest(store.kernel(), segment.chunk(1).filled());
        let proof = landing.prove(1, digest, segment.chunk(1)).expect("hashed on the way in");
        assert_eq!(landing.write(proof).await.0, Ok(()));
        assert!(landing.prove(0, digest, segment.chunk(0)).is_err(), "the digest of another chunk");
        assert_eq!(missing(&landing), [0]);
        fill(&landing, &segment).await;
        landing.land().await.expect("complete");
        assert!(reads_as(&store, &segment).await);
    });
}

#[test]
fn what_a_buffer_held_before_does_not_reach_the_disk_behind_a_short_chunk() {
    let (mut sim, node, core, store) = replica(20);
    let segment = segment(1, "a.seg", 100_001);
    let staged = format!("{PRIVATE}/staging/{}", segment.stem());
    sim.block_on(&core, async move {
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        let mut used = Buffer::heap(CHUNK_BYTES);
        used.memory_mut().fill(0xee);
        used.memory_mut()[..segment.bytes.len()].copy_from_slice(&segment.bytes);
        used.set_filled(segment.bytes.len());
        landing.write_chunk(0, used).await.0.expect("sound");
    });
    let bytes = sim.host(node).disk.file(&staged).expect("it is staged");
    assert!(bytes.len() > 100_001, "padded to the alignment of direct I/O");
    assert!(bytes[100_001..].iter().all(|byte| *byte == 0), "nothing of what the buffer held before");
}

#[test]
fn an_incomplete_segment_does_not_land_and_goes_on_from_what_is_staged() {
    let (mut sim, _, core, store) = replica(4);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", 3 * CHUNK_BYTES);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        landing.write_chunk(1, segment.chunk(1)).await.0.expect("sound");
        assert_eq!(landing.land().await, Err(LandError::Incomplete { expected: 3, found: 1 }));
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("staged");
        assert_eq!(missing(&landing), [0, 2], "chunk 1 was found where it lies");
    });
}

#[test]
fn one_landing_for_each_segment_and_none_for_what_is_held_or_superseded() {
    let (mut sim, _, core, store) = replica(5);
    sim.block_on(&core, async move {
        let (old, new) = (segment(1, "a.seg", 100), segment(2, "a.seg", 200));
        let first = store.begin(old.want.clone(), old.chunks.clone()).await.expect("new");
        assert_eq!(store.begin(old.want.clone(), old.chunks.clone()).await.err(), Some(BeginError::Busy));
        let wrong = store.begin(new.want.clone(), old.chunks.clone()).await.err();
        assert!(matches!(wrong, Some(BeginError::OtherSegment { .. })), "{wrong:?}");
        fill(&first, &old).await;
        land(&store, &new).await;
        let late = first.land().await;
        assert_eq!(late, Err(LandError::Superseded { by: id(2) }), "an older version never covers a newer");
        assert!(reads_as(&store, &new).await);
        assert_eq!(store.begin(new.want.clone(), new.chunks.clone()).await.err(), Some(BeginError::Held));
        let again = store.begin(old.want.clone(), old.chunks.clone()).await.err();
        assert_eq!(again, Some(BeginError::Superseded { by: id(2) }));
    });
}

#[test]
fn no_more_segments_are_staged_at_a_time_than_the_limit() {
    let (mut sim, _, core, store) = replica(19);
    sim.block_on(&core, async move {
        let mut landings = Vec::new();
        for index in 1..=LANDINGS_MAX as u64 {
            let segment = segment(index, &format!("{index}.seg"), 1);
            landings.push(store.begin(segment.want.clone(), segment.chunks).await.expect("below the limit"));
        }
        let one_more = segment(5000, "one more", 1);
        let refused = store.begin(one_more.want.clone(), one_more.chunks.clone()).await.err();
        assert_eq!(refused, Some(BeginError::TooMany { limit: LANDINGS_MAX }));
        landings.pop();
        store.begin(one_more.want, one_more.chunks).await.expect("there is a place now");
    });
}

#[test]
fn weak_04_an_update_of_the_same_size_replaces_the_file_and_open_readers_go_on() {
    let (mut sim, node, core, store) = replica(6);
    let (old, new) = (segment(1, "a.seg", 2 * CHUNK_BYTES), segment(2, "a.seg", 2 * CHUNK_BYTES));
    let file = new.clone();
    sim.block_on(&core, async move {
        land(&store, &old).await;
        let reader = store.open_segment(id(1)).await.expect("held");
        let landing = store.begin(new.want.clone(), new.chunks.clone()).await.expect("another root");
        fill(&landing, &new).await;
        assert_eq!(landing.land().await.map(|landed| landed.replaced), Ok(Some(id(1))));
        assert!(reads_as(&store, &new).await);
        assert_eq!(bytes(&reader).await, *old.bytes, "the old version is read to its end");
        assert_eq!(store.open_segment(id(1)).await.err(), Some(ReadError::NotHeld));
    });
    assert_eq!(sim.host(node).disk.file(&file.file()).as_ref(), Some(&*file.bytes));
    assert_eq!(sim.host(node).disk.paths(&format!("{PRIVATE}/digests")).len(), 1, "the old list went");
}

#[test]
fn p6_a_chunk_is_served_on_while_its_segment_is_being_staged() {
    let (mut sim, _, core, store) = replica(7);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", 2 * CHUNK_BYTES + 100);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        landing.write_chunk(2, segment.chunk(2)).await.0.expect("sound");
        let (id, root) = (segment.want.id, segment.want.root);
        assert!(store.partial(id, Digest([9; 32])).is_none(), "another version");
        let partial = store.partial(id, root).expect("it is being staged");
        assert_eq!(partial.chunks().map(|chunks| chunks.root()), Some(root));
        assert_eq!((partial.ready(2).await, partial.ready(0).await), (Ok(()), Err(NotReady::Stalled)));
        let (read, buffer) = partial.read_chunk(2, Buffer::heap(CHUNK_BYTES)).await;
        assert_eq!((read, buffer.filled()), (Ok(100), segment.chunk(2).filled()));
        let (read, buffer) = partial.read_chunk(0, buffer).await;
        assert_eq!(read, Err(WriteError::Missing { index: 0 }));
        assert_eq!(partial.ready(0).await, Err(NotReady::Stalled), "nothing has come since");
        landing.write_chunk(1, segment.chunk(1)).await.0.expect("sound");
        let waits = partial.clone();
        let waiting = Core::current().spawn(Priority::Bulk, async move { waits.ready(0).await });
        yield_now().await;
        fill(&landing, &segment).await;
        assert_eq!(waiting.await, Some(Ok(())), "it was waited for");
        landing.land().await.expect("complete");
        let (read, _) = partial.read_chunk(1, buffer).await;
        assert_eq!(read, Err(WriteError::Missing { index: 1 }), "it keeps nothing open");
        assert_eq!((partial.ready(0).await, store.partial(id, root).is_none()), (Err(NotReady::Ended), true));
    });
}

#[test]
fn weak_03_rot_is_found_by_reading_again_and_named_by_its_chunk() {
    let (mut sim, node, core, store) = replica(10);
    let segment = segment(1, "a.seg", 3 * CHUNK_BYTES);
    let (ours, file) = (store.clone(), segment.file());
    let landed = segment.clone();
    sim.block_on(&core, async move { land(&ours, &landed).await });
    assert!(sim.host(node).disk.rot(&file, CHUNK_BYTES as u64 + 5, 0x10), "on the medium");
    sim.host(node).disk.evict();
    let health = sim.block_on(&core, async move {
        let health = store.verify(id(1)).await.expect("it can be read");
        let why = ringway::segment::Why::Content { expected: segment.want.root, found: segment.want.root };
        assert_eq!(store.quarantine(id(1), why).await, Ok(Gone::File));
        assert!(!store.is_held(id(1), segment.want.root));
        land(&store, &segment).await;
        assert_eq!(store.verify(id(1)).await, Ok(Health::Sound));
        health
    });
    assert!(matches!(&health, Health::Damaged { chunks, .. } if chunks == &[1]), "{health:?}");
}

#[test]
fn a_lost_or_bad_chunk_list_is_computed_again_and_condemns_nothing() {
    let (mut sim, node, core, store) = replica(11);
    let segment = segment(1, "a.seg", 2 * CHUNK_BYTES + 3);
    let sidecar = format!("{PRIVATE}/digests/{}", segment.stem());
    let (ours, landed) = (store.clone(), segment.clone());
    sim.block_on(&core, async move { land(&ours, &landed).await });
    for damage in ["lost", "rotten"] {
        match damage {
            "lost" => sim.host(node).disk.remove(&sidecar),
            _ => sim.host(node).disk.overwrite(&sidecar, b"not a list"),
        }
        let (ours, segment) = (store.clone(), segment.clone());
        let list = sim.block_on(&core, async move { ours.chunk_list(id(1)).await });
        assert_eq!(list, Ok(segment.chunks), "{damage}");
        assert!(
            sim.host(node).disk.file(&sidecar).is_some_and(|bytes| bytes.len() > 64),
            "{damage}: written again"
        );
    }
}

/// Where no chunk is padded nothing is cut off, and so nothing that somebody else has put behind it.
#[test]
fn a_staged_file_that_is_longer_than_its_segment_does_not_land() {
    for len in [CHUNK_BYTES, CHUNK_BYTES + 4096] {
        let (mut sim, node, core, store) = replica(13);
        let segment = segment(1, "a.seg", len);
        let staged = format!("{PRIVATE}/staging/{}", segment.stem());
        let (ours, theirs) = (store.clone(), segment.clone());
        let landing = sim.block_on(&core, async move {
            let landing = ours.begin(theirs.want.clone(), theirs.chunks.clone()).await.expect("not there");
            fill(&landing, &theirs).await;
            landing
        });
        sim.host(node).disk.overwrite(&staged, &[&segment.bytes[..], b"more"].concat());
        let refused = sim.block_on(&core, async move { landing.land().await });
        let (expected, found) = (len as u64, len as u64 + 4);
        assert_eq!(refused, Err(LandError::Length { expected, found }));
        assert_eq!(sim.host(node).disk.file(&segment.file()), None);
    }
}

/// A source that has lost it hashes all of the segment before it answers anybody.
#[test]
fn the_chunk_list_of_a_segment_that_has_landed_outlasts_the_power() {
    // Now and then a file system makes a name durable of its own accord.
    for seed in 1..=4 {
        let (mut sim, node, core, store) = replica(seed);
        let segment = segment(1, "a.seg", 2 * CHUNK_BYTES + 3);
        let sidecar = format!("{PRIVATE}/digests/{}", segment.stem());
        sim.block_on(&core, async move { land(&store, &segment).await });
        let written = sim.host(node).disk.file(&sidecar).expect("it is there");
        sim.power_cut_with(node, Loss::All);
        assert_eq!(sim.host(node).disk.file(&sidecar), Some(written), "seed {seed}");
    }
}

#[test]
fn a_second_process_is_refused_and_a_killed_ones_lock_is_waited_for() {
    let (mut sim, node, core, store) = replica(14);
    let other = sim.core(node, 1);
    let refused = sim.block_on(&other, async { Store::open(options(Ownership::Ours, 1)).await.map(drop) });
    assert!(refused.is_err_and(|error| error.to_string().contains("another process")));
    drop((store, core));
    sim.kill(node);
    sim.restart(node);
    let core = sim.core(node, 0);
    open_as(&mut sim, &core, options(Ownership::Ours, 1));
}

#[test]
fn our_folders_on_another_file_system_are_refused_at_start() {
    let (mut sim, node) = crate::crash::rig::host(15, SimOptions::default());
    sim.host(node).disk.remove(ROOT);
    sim.host(node).disk.plant_mount(ROOT, 1 << 30);
    let core = sim.core(node, 0);
    let refused = sim.block_on(&core, async { Store::open(options(Ownership::Ours, 1)).await.map(drop) });
    assert!(matches!(refused, Err(ringway::segment::OpenError::TwoFileSystems { .. })), "{refused:?}");
}

#[test]
fn direct_io_that_the_file_system_refuses_is_left_and_said() {
    let disk = DiskOptions { direct: false, ..DiskOptions::default() };
    let (mut sim, _, core, store) =
        store_on(16, SimOptions { disk, ..SimOptions::default() }, Ownership::Ours);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", CHUNK_BYTES + 1);
        land(&store, &segment).await;
        assert!(reads_as(&store, &segment).await);
        assert!(store.paths().direct_asked && !store.paths().direct, "the fallback is not silent");
    });
}

#[test]
fn a_planted_link_leads_no_segment_out_of_its_folder() {
    let (mut sim, node, core, store) = replica(17);
    sim.host(node).disk.plant_dir("/data/elsewhere");
    sim.host(node).disk.plant_symlink(&format!("{ROOT}/out"), "/data/elsewhere");
    sim.host(node).disk.plant_fifo(&format!("{ROOT}/fifo.seg"));
    sim.block_on(&core, async move {
        let out = segment(1, "out/a.seg", 10);
        let landing = store.begin(out.want.clone(), out.chunks.clone()).await.expect("staging is elsewhere");
        fill(&landing, &out).await;
        let refused = landing.land().await;
        assert!(matches!(refused, Err(LandError::Disk(_))), "{refused:?}");
        let fifo = segment(2, "fifo.seg", 10);
        let found = store.reconcile([fifo.want.clone()]).await.expect("sound");
        assert_eq!(found.refetched, [id(2)], "a FIFO is no segment");
    });
    assert!(sim.host(node).disk.paths("/data/elsewhere").is_empty());
}

#[test]
fn a_landing_that_its_caller_gives_up_lands_or_is_gone_on_with() {
    let (mut sim, _, core, store) = replica(18);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", 2 * CHUNK_BYTES + 10);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        for index in 0..3 {
            // Dropped after its first poll: the write is under way.
            let write = landing.write_chunk(index, segment.chunk(index));
            let limit = ringway::uring::timeout(Nanos(0), write).await;
            assert!(limit.is_err() || limit.is_ok_and(|(written, _)| written.is_ok()));
        }
        let landed = landing.land().await.expect("the writes went on to their end");
        assert_eq!(landed.len, segment.want.len);
        assert!(reads_as(&store, &segment).await);
    });
}

/// The file was made, with room for all of it, after whoever began had gone, and stayed, known to nobody.
#[test]
fn a_segment_whose_file_is_being_made_when_it_is_given_up_leaves_nothing() {
    for len in [65_536, 3 * CHUNK_BYTES] {
        let (mut sim, node, core, store) = replica(19);
        let slow = Rule::new(Fault::Slow(Nanos::from_millis(20))).on(OpKind::Open).path("staging");
        let slow = sim.fault(node, slow);
        sim.block_on(&core, async move {
            let segment = segment(1, "a.seg", len);
            let begin = store.begin(segment.want.clone(), segment.chunks.clone());
            assert!(ringway::uring::timeout(Nanos::MILLISECOND, begin).await.is_err(), "it is being made");
            store.remove(segment.want.id).await.expect("it waits for the file");
            assert!(!store.is_staged(segment.want.id, segment.want.root));
            land(&store, &segment).await;
            assert!(reads_as(&store, &segment).await, "and it can begin again");
        });
        sim.run_for(Nanos::from_millis(100)); // also what was given up has come to its end
        assert_eq!(sim.hits(node, slow), 1);
        assert!(
            sim.host(node).disk.paths(&format!("{PRIVATE}/staging")).is_empty(),
            "{:?} is left behind of {len}",
            sim.host(node).disk.paths(&format!("{PRIVATE}/staging"))
        );
    }
}
