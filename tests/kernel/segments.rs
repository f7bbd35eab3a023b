//! Segments on a real file system: landed, shared, replaced, opened again, pinned and removed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ringway::digest::{ChunkList, Kernel, TreeHasher, VerifiedChunks};
use ringway::ids::{LogIndex, SegmentId};
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{Gone, Health, Ownership, RelativePath, Shared, Sharing, Store, StoreOptions, Want};
use ringway::uring::{Buffer, Gate};

use super::{on_core, scratch, skip};

fn segment(index: u64, name: &str, bytes: &[u8]) -> (Want, VerifiedChunks) {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    hasher.update(bytes);
    let tree = hasher.finish();
    let id = SegmentId { index: LogIndex(index), ordinal: 0 };
    let path = RelativePath::parse(name).expect("a safe path");
    let want = Want { id, path, len: tree.len, root: tree.root };
    let chunks = ChunkList::from(tree).verify(want.root).expect("a tree's own list");
    (want, chunks)
}

fn content(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at / 251) as u8 ^ (at % 251) as u8 ^ salt).collect()
}

async fn open(root: &Path, ownership: Ownership) -> Store {
    let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let options = StoreOptions {
        segments_root: path(&root.join("segments")),
        private: path(root),
        ownership,
        direct: true,
        kernel: Kernel::Ring,
        gate: Gate::new(),
        boot: [1; 16],
    };
    Store::open(options).await.expect("a sound disk").0
}

async fn land(store: &Store, want: &Want, chunks: &VerifiedChunks, bytes: &[u8]) {
    let landing = store.begin(want.clone(), chunks.clone()).await.expect("it is missing");
    for index in landing.missing().flatten() {
        let piece = bytes.chunks(CHUNK_BYTES).nth(index as usize).expect("a chunk of it");
        landing.write_chunk(index, Buffer::from_bytes(piece)).await.0.expect("a sound disk");
    }
    landing.checkpoint().await.expect("a sound disk");
    landing.land().await.expect("a sound disk");
}

async fn read(store: &Store, id: SegmentId) -> Vec<u8> {
    let reader = store.open_segment(id).await.expect("it is held");
    let mut all = Vec::new();
    for index in 0..reader.chunk_count() {
        let (count, buffer) = reader.read_chunk(index, Buffer::heap(CHUNK_BYTES)).await;
        assert_eq!(count, Ok(buffer.filled().len()));
        all.extend_from_slice(buffer.filled());
    }
    all
}

#[test]
fn segments_land_on_a_real_disk_and_are_held_when_the_store_is_opened_again() {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("segments")).expect("an empty folder");
    let sizes = [0, 1, 4095, 65_536, 65_537, CHUNK_BYTES, 2 * CHUNK_BYTES + 4097];
    let root = folder.path().to_owned();
    on_core(|_| async move {
        let store = open(&root, Ownership::Ours).await;
        for (index, len) in sizes.into_iter().enumerate() {
            let bytes = content(len, index as u8);
            let name = format!("a/{index}/{len}.seg");
            let (want, chunks) = segment(index as u64 + 1, &name, &bytes);
            land(&store, &want, &chunks, &bytes).await;
            assert_eq!(std::fs::read(root.join("segments").join(&name)).expect("it landed"), bytes, "{len}");
            assert_eq!(read(&store, want.id).await, bytes);
            assert_eq!(store.verify(want.id).await, Ok(Health::Sound));
        }
        if !store.paths().direct {
            skip("O_DIRECT on the build's file system");
        }
        assert_eq!(std::fs::read_dir(root.join(".ringway/staging")).expect("it is there").count(), 0);
    });
    let root = folder.path().to_owned();
    on_core(|_| async move {
        let store = open(&root, Ownership::Ours).await;
        assert_eq!(store.held().count(), sizes.len(), "records and statx agree");
        let bytes = content(2 * CHUNK_BYTES + 4097, 6);
        let (again, _) = segment(100, "b/again.seg", &bytes);
        let sharing = store.link_existing(&again).await.expect("a sound disk").expect("it is held");
        let Sharing::Staged(landing, shared) = sharing else { panic!("another name: {sharing:?}") };
        assert!(matches!(shared, Shared::Linked | Shared::Reflinked), "{shared:?}");
        landing.land().await.expect("a sound disk");
        let bytes = content(10, 9);
        let (newer, chunks) = segment(101, "b/again.seg", &bytes);
        land(&store, &newer, &chunks, &bytes).await;
        assert_eq!(read(&store, newer.id).await, bytes);
        assert_eq!(store.remove(newer.id).await, Ok(Gone::File));
        assert!(!root.join("segments/b/again.seg").exists());
    });
}

#[test]
fn an_engine_s_file_is_pinned_by_a_link_and_outlives_its_name() {
    let folder = scratch();
    let file = folder.path().join("segments/x.sst");
    std::fs::create_dir(folder.path().join("segments")).expect("an empty folder");
    let bytes = content(CHUNK_BYTES + 77, 3);
    std::fs::write(&file, &bytes).expect("room for it");
    let root = folder.path().to_owned();
    on_core(|_| async move {
        let store = open(&root, Ownership::Engine).await;
        let (want, chunks) = segment(1, "x.sst", &bytes);
        let digested = store.digest_file(&want.path).await.expect("it is sealed");
        assert_eq!((digested.root, digested.chunks), (want.root, chunks));
        store.pin(&want).await.expect("it has not changed");
        assert_eq!(std::fs::metadata(&file).expect("it is there").nlink(), 2);
        std::fs::remove_file(&file).expect("the engine may");
        assert_eq!(read(&store, want.id).await, bytes);
        assert_eq!(store.remove(want.id).await, Ok(Gone::Record));
        assert_eq!(std::fs::read_dir(root.join(".ringway/pins")).expect("it is there").count(), 0);
    });
}

/// A path of 4096 bytes has no room for the byte that ends it in a system call. Once such a segment landed and could
/// not be read, and a store did not open any more when its file had changed.
#[test]
fn a_segment_of_the_longest_path_is_read_and_found_again() {
    let folder = scratch();
    std::fs::create_dir(folder.path().join("segments")).expect("an empty folder");
    let mut components = vec!["a".repeat(255); 15];
    components.extend(["b".repeat(200), "c".repeat(55)]);
    let name = components.join("/");
    assert_eq!(name.len(), 4096);
    for life in 0..2 {
        let (root, name) = (folder.path().to_owned(), name.clone());
        on_core(move |_| async move {
            if life == 1 {
                // What nobody believes any more is hashed.
                std::fs::remove_file(root.join(".ringway/inventory")).expect("there");
            }
            let store = open(&root, Ownership::Ours).await;
            let bytes = content(CHUNK_BYTES + 5, 1);
            let (want, chunks) = segment(1, &name, &bytes);
            match life {
                0 => land(&store, &want, &chunks, &bytes).await,
                _ => drop(store.reconcile([want.clone()]).await.expect("a sound disk")),
            }
            assert!(store.is_held(want.id, want.root));
            assert_eq!(read(&store, want.id).await, bytes);
        });
    }
}
