//! Segments to land, a host to land them on, and a ledger of what the store has promised.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringway::digest::{ChunkList, Kernel, TreeHasher, VerifiedChunks};
use ringway::ids::{LogIndex, NodeId, SegmentId};
use ringway::limits::CHUNK_BYTES;
use ringway::segment::{
    Landed, Landing, LinkError, Ownership, Recovery, RelativePath, Sabotage, Shared, Sharing, Stem, Store,
    StoreOptions, Want,
};
use ringway::uring::{Buffer, Core, Errno, Gate};

use crate::sim::{Fault, OpKind, Rule, Sim, SimOptions};

/// Everything that opens, changes or flushes a file fails, from the first that is not skipped on.
pub fn any_step_fails(errno: Errno) -> Rule {
    use OpKind::{Open, Rename, Sync, Unlink, Write};
    let kinds = [Open, Rename, Sync, Unlink, Write];
    kinds.iter().fold(Rule::new(Fault::Fail(errno)), |rule, kind| rule.on(*kind))
}

pub const ROOT: &str = "/data/segments";
pub const PRIVATE: &str = "/data/.ringway";

/// A segment and its bytes.
#[derive(Clone)]
pub struct Segment {
    pub want: Want,
    pub bytes: Rc<Vec<u8>>,
    pub chunks: VerifiedChunks,
}

pub fn id(index: u64) -> SegmentId {
    SegmentId { index: LogIndex(index), ordinal: 0 }
}

pub fn path(text: &str) -> RelativePath {
    RelativePath::parse(text).expect("a test's path is safe")
}

/// A segment of `len` bytes that no other index has.
pub fn segment(index: u64, name: &str, len: usize) -> Segment {
    let mut state = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(len.div_ceil(8))
    .flatten()
    .take(len)
    .collect();
    of_bytes(index, name, bytes)
}

pub fn of_bytes(index: u64, name: &str, bytes: Vec<u8>) -> Segment {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    hasher.update(&bytes);
    let tree = hasher.finish();
    let want = Want { id: id(index), path: path(name), len: tree.len, root: tree.root };
    let chunks = ChunkList::from(tree).verify(want.root).expect("a tree's own list");
    Segment { want, bytes: Rc::new(bytes), chunks }
}

impl Segment {
    pub fn chunk(&self, index: u32) -> Buffer {
        let start = index as usize * CHUNK_BYTES;
        let end = (start + CHUNK_BYTES).min(self.bytes.len());
        Buffer::from_bytes(&self.bytes[start..end])
    }

    pub fn file(&self) -> String {
        format!("{ROOT}/{}", self.want.path)
    }

    pub fn stem(&self) -> Stem {
        Stem { id: self.want.id, root: self.want.root }
    }
}

/// What the store has promised to the test.
#[derive(Default)]
pub struct Ledger {
    /// What the manifest has, by path.
    pub wanted: BTreeMap<RelativePath, Segment>,
    /// Every version that may stand under a path.
    pub versions: BTreeMap<RelativePath, Vec<Segment>>,
    /// Landed, and not given back.
    pub acknowledged: BTreeMap<SegmentId, Segment>,
    /// Checkpointed chunks.
    pub kept: BTreeMap<Stem, BTreeSet<u32>>,
}

pub type SharedLedger = Rc<RefCell<Ledger>>;

impl Ledger {
    pub fn want(&mut self, segment: &Segment) {
        let path = segment.want.path.clone();
        self.versions.entry(path.clone()).or_default().push(segment.clone());
        self.wanted.insert(path, segment.clone());
    }
}

/// A host whose disk has an empty segments' root.
pub fn host(seed: u64, options: SimOptions) -> (Sim, NodeId) {
    let mut sim = Sim::new(seed, options);
    let node = sim.node(1);
    sim.host(node).disk.plant_dir(ROOT);
    (sim, node)
}

pub fn options(ownership: Ownership, boot: u8) -> StoreOptions {
    StoreOptions {
        segments_root: ROOT.to_owned(),
        private: "/data".to_owned(),
        ownership,
        direct: true,
        kernel: Kernel::Ring,
        gate: Gate::new(),
        boot: [boot; 16],
    }
}

/// Opens the store on a core that runs.
pub fn open(sim: &mut Sim, core: &Core, boot: u8) -> (Store, Recovery) {
    open_as(sim, core, options(Ownership::Ours, boot))
}

pub fn open_as(sim: &mut Sim, core: &Core, options: StoreOptions) -> (Store, Recovery) {
    sim.block_on(core, async move { Store::open(options).await.expect("the disk is sound") })
}

/// A host with an open store.
pub fn replica(seed: u64) -> (Sim, NodeId, Core, Store) {
    store_on(seed, SimOptions::default(), Ownership::Ours)
}

pub fn store_on(seed: u64, world: SimOptions, ownership: Ownership) -> (Sim, NodeId, Core, Store) {
    let (mut sim, node) = host(seed, world);
    let core = sim.core(node, 0);
    let (store, _) = open_as(&mut sim, &core, options(ownership, 1));
    (sim, node, core, store)
}

/// Kills the process and opens the store again in the same boot.
pub fn reopened(sim: &mut Sim, node: NodeId, store: Store) -> (Core, Store, Recovery) {
    let ownership = store.ownership();
    drop(store);
    sim.kill(node);
    sim.restart(node);
    let core = sim.core(node, 0);
    let (store, recovery) = open_as(sim, &core, options(ownership, 1));
    (core, store, recovery)
}

/// Writes the chunks that are missing.
pub async fn fill(landing: &Landing, segment: &Segment) {
    for index in landing.missing().flatten() {
        let (written, _) = landing.write_chunk(index, segment.chunk(index)).await;
        written.expect("the disk is sound");
    }
}

/// The chunks that a landing misses.
pub fn missing(landing: &Landing) -> Vec<u32> {
    landing.missing().flatten().collect()
}

/// Stages and lands a segment.
pub async fn land(store: &Store, segment: &Segment) {
    let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("it is not there");
    fill(&landing, segment).await;
    landing.land().await.expect("the disk is sound");
}

/// What a life of the store does: everything that lands, in several ways, noted in the ledger as it is promised.
pub async fn work(store: Store, ledger: SharedLedger) {
    let small = [segment(1, "b.seg", 10), segment(2, "x/y/c.seg", 70_000), segment(3, "x/zero.seg", 0)];
    small.iter().for_each(|segment| ledger.borrow_mut().want(segment));
    let mut landings = Vec::new();
    for segment in &small {
        let Ok(landing) = store.begin(segment.want.clone(), segment.chunks.clone()).await else { return };
        for index in landing.missing().flatten() {
            if landing.write_chunk(index, segment.chunk(index)).await.0.is_err() {
                return;
            }
        }
        landings.push(landing);
    }
    for (segment, landed) in small.iter().zip(store.land_all(landings).await) {
        acknowledge(segment, landed.is_ok(), &ledger);
    }
    let first = segment(4, "2026/11/a.seg", 2 * CHUNK_BYTES + 777);
    long(&store, &first, [2, 0], &ledger).await;
    let second = segment(5, "2026/11/a.seg", CHUNK_BYTES + 5);
    long(&store, &second, [0, 1], &ledger).await;
    linked(&store, of_bytes(6, "x/again.seg", small[1].bytes.to_vec()), &ledger).await;
    linked(&store, of_bytes(7, "2026/11/a.seg", small[1].bytes.to_vec()), &ledger).await;
    let gone = &small[0];
    ledger.borrow_mut().wanted.remove(&gone.want.path);
    ledger.borrow_mut().acknowledged.remove(&gone.want.id);
    // A disk that refuses the removal leaves it to the next time.
    drop(store.remove(gone.want.id).await);
}

/// A segment whose content is held already.
async fn linked(store: &Store, segment: Segment, ledger: &SharedLedger) {
    wanted(&segment, ledger);
    if let Ok(Some((landed, _))) = link(store, &segment.want).await {
        assert_eq!(landed.id, segment.want.id);
        acknowledge(&segment, true, ledger);
    }
}

/// Shares content that is held, and lands it.
pub async fn link(store: &Store, want: &Want) -> Result<Option<(Landed, Option<Shared>)>, LinkError> {
    match store.link_existing(want).await? {
        None => Ok(None),
        Some(Sharing::Renamed(landed)) => Ok(Some((landed, None))),
        Some(Sharing::Staged(landing, shared)) => {
            Ok(landing.land().await.ok().map(|landed| (landed, Some(shared))))
        }
    }
}

/// From now on this version is wanted, and none before it.
fn wanted(segment: &Segment, ledger: &SharedLedger) {
    let mut ledger = ledger.borrow_mut();
    let older = ledger.wanted.get(&segment.want.path).map(|older| older.want.id);
    older.and_then(|older| ledger.acknowledged.remove(&older));
    ledger.want(segment);
}

/// A segment that is checkpointed after two of its chunks.
async fn long(store: &Store, segment: &Segment, first: [u32; 2], ledger: &SharedLedger) {
    wanted(segment, ledger);
    let Ok(landing) = store.begin(segment.want.clone(), segment.chunks.clone()).await else { return };
    let mut written = BTreeSet::new();
    for index in first {
        if landing.write_chunk(index, segment.chunk(index)).await.0.is_ok() {
            written.insert(index);
        }
    }
    if landing.checkpoint().await.is_ok() {
        ledger.borrow_mut().kept.insert(segment.stem(), written);
    }
    for index in landing.missing().flatten() {
        drop(landing.write_chunk(index, segment.chunk(index)).await);
    }
    acknowledge(segment, landing.land().await.is_ok(), ledger);
}

fn acknowledge(segment: &Segment, landed: bool, ledger: &SharedLedger) {
    if landed {
        ledger.borrow_mut().acknowledged.insert(segment.want.id, segment.clone());
    }
}

/// Recovers, finishes what is missing, and returns what the store knew right after it was reconciled.
pub async fn recover(options: StoreOptions, ledger: SharedLedger, sabotage: Sabotage) -> Recovered {
    let (store, _) = Store::open_sabotaged(options, sabotage).await.expect("the disk is sound");
    let wanted: Vec<Segment> = ledger.borrow().wanted.values().cloned().collect();
    let wants: Vec<Want> = wanted.iter().map(|segment| segment.want.clone()).collect();
    store.reconcile(wants).await.expect("the disk is sound");
    let mut recovered = Recovered::default();
    for segment in &wanted {
        if store.is_held(segment.want.id, segment.want.root) {
            recovered.held.insert(segment.want.id);
            continue;
        }
        let landing =
            store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("it is not held");
        recovered.missing.insert(segment.stem(), landing.missing().flatten().collect());
        fill(&landing, segment).await;
        landing.land().await.expect("the disk is sound");
    }
    recovered
}

/// What a restart knew.
#[derive(Default)]
pub struct Recovered {
    /// Held without being fetched.
    pub held: BTreeSet<SegmentId>,
    /// What had to be fetched of the others.
    pub missing: BTreeMap<Stem, BTreeSet<u32>>,
}
