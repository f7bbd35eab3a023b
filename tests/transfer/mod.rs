//! Segments on their way from a source to a target, in simulation: what lands is right, what breaks resumes.

mod counted;
mod endless;
mod faults;
mod lend;
mod liar;
mod link;
mod outcomes;
mod rates;
mod relay;
mod resolver;
mod sessions;
mod shares;
mod teller;
mod together;

use std::net::SocketAddr;
use std::rc::Rc;

use ringway::auth::{Secret, SecretSet};
use ringway::config::{Direction, Rates, Work};
use ringway::digest::{ChunkList, Kernel, TreeHasher};
use ringway::ids::{ClusterId, GroupId, Incarnation, LogIndex, Nanos, NodeId, SegmentId, ShardId};
use ringway::segment::{Ownership, Store, StoreOptions};
use ringway::stats::TransferStats;
use ringway::transfer::{
    Desk, Directory, Driver, Fetcher, Helpers, Holdings, Limits, Neighbours, Pace, Pacer, Served, Want, serve,
};
use ringway::transport::{Peer, Stream, Transport, TransportOptions};
use ringway::uring::{Core, Dir, Gate, Notify, OpenOptions, Priority};
use ringway::wire::{Body, Class, Fetch, Purpose, Refusal};

use crate::sim::{Chance, NetOptions, Sim, SimOptions};

const CLUSTER: ClusterId = ClusterId([3; 16]);
const GROUP: GroupId = GroupId(1);
const PORT: u16 = 7000;
const SOURCE: NodeId = NodeId(1);
/// Longer than every back-off and timeout of a fetch together.
const LONG: Nanos = Nanos::from_secs(600);

/// A file at the source.
pub struct Sample {
    pub path: String,
    pub bytes: Vec<u8>,
}

/// A source with files, and a target that wants them.
pub struct Rig {
    pub sim: Sim,
    pub source: NodeId,
    pub target: NodeId,
    pub samples: Vec<Sample>,
    /// The source's limits of bytes per second, and the target's: none at first.
    pub limits: [Limits; 2],
    /// What a sample is fetched for.
    pub work: fn(usize) -> Work,
    /// The target shares content that it holds.
    pub links: bool,
}

/// No limit.
fn unlimited() -> Pace {
    Pacer::default().of(Work::Live)
}

/// The target's part, for one life of its process.
pub struct Target {
    pub store: Rc<Store>,
    pub driver: Rc<Driver>,
    pub stats: Rc<TransferStats>,
}

fn secrets() -> SecretSet {
    let mut random = std::array::from_fn(|place| place as u8);
    SecretSet::new(Secret::generate(&mut random).expect("not weak"), None)
}

/// The target's store.
fn dest_options() -> StoreOptions {
    StoreOptions {
        segments_root: "/data/dest".to_owned(),
        private: "/data/dest".to_owned(),
        ownership: Ownership::Ours,
        direct: true,
        kernel: Kernel::Ring,
        gate: Gate::new(),
        boot: [1; 16],
    }
}

fn transport(core: &Core, node: NodeId) -> Transport {
    let incarnation = Incarnation([node.0 as u8; 16]);
    let options = TransportOptions::new(Some(CLUSTER), Some(node), incarnation, secrets());
    core.enter(|| Transport::new(options))
}

/// Sizes that go wrong first.
pub const SIZES: [usize; 8] = [0, 1, 4095, 65_537, 1 << 20, (1 << 20) + 1, 3_500_000, 5 << 20];

/// Begins the process of a source that is none of ours: `serve` answers each stream that is opened to it.
fn start_source<F>(rig: &mut Rig, node: NodeId, serve: impl Fn(Stream) -> F + 'static) -> SocketAddr
where
    F: Future<Output = ()> + 'static,
{
    let node = rig.sim.node(node.0);
    let core = rig.sim.core(node, 0);
    let (transport, address) = (transport(&core, node), rig.sim.address(node, PORT));
    let server = core.clone();
    rig.sim.block_on(&core, async move {
        let mut incoming = transport.incoming();
        transport.listen(address).await.expect("free");
        let accept = async move {
            let _transport = transport;
            while let Some(next) = incoming.receive().await {
                drop(Core::current().spawn(Priority::Bulk, serve(next.stream)));
            }
        };
        drop(server.spawn(Priority::Urgent, accept));
    });
    address
}

fn samples(sizes: &[usize]) -> Vec<Sample> {
    let sample = |(index, size): (usize, &usize)| {
        let byte = |at: usize| (at.wrapping_mul(31) + at / 251 + index * 7) as u8;
        Sample { path: format!("dir-{}/file-{index}", index % 3), bytes: (0..*size).map(byte).collect() }
    };
    sizes.iter().enumerate().map(sample).collect()
}

impl Rig {
    /// A source of files of these sizes, listening and serving.
    pub fn new(seed: u64, sizes: &[usize]) -> Self {
        Self::of(seed, samples(sizes))
    }

    /// The same, over a network that loses nothing: a segment that is sent again costs up to half of a second.
    pub fn lossless(seed: u64, sizes: &[usize]) -> Self {
        Self::over(seed, samples(sizes), NetOptions { loss: Chance::NEVER, ..NetOptions::default() })
    }

    /// The same as `new`, of these files.
    pub fn of(seed: u64, samples: Vec<Sample>) -> Self {
        Self::over(seed, samples, NetOptions::default())
    }

    fn over(seed: u64, samples: Vec<Sample>, net: NetOptions) -> Self {
        let mut sim = Sim::new(seed, SimOptions { net, ..SimOptions::default() });
        let (source, target) = (sim.node(1), sim.node(2));
        for dir in ["/data/source", "/data/source/dir-0", "/data/source/dir-1", "/data/source/dir-2"] {
            sim.host(source).disk.plant_dir(dir);
        }
        for (sample, index) in samples.iter().zip(0..) {
            let (disk, path) = (&mut sim.host(source).disk, format!("/data/source/{}", sample.path));
            disk.plant_file(&path, &sample.bytes);
            // Half of them are served out of the page cache.
            if (seed + index).is_multiple_of(2) {
                disk.warm(&path);
            }
        }
        sim.host(target).disk.plant_dir("/data/dest");
        let limits = [Limits::new(&Rates::default(), 1), Limits::new(&Rates::default(), 1)];
        let work = |_| Work::Live;
        let mut rig = Self { sim, source, target, samples, limits, work, links: false };
        rig.start_source();
        rig
    }

    /// Begins a life of the source's process.
    pub fn start_source(&mut self) {
        let core = self.sim.core(self.source, 0);
        let transport = transport(&core, SOURCE);
        let (listening, address) = (transport.clone(), self.sim.address(self.source, PORT));
        let samples: Vec<_> = self.samples.iter().map(|s| (s.path.clone(), s.bytes.clone())).collect();
        let server = core.clone();
        let pacer = self.limits[0].pacer(ShardId(0), Direction::Serve);
        self.sim.block_on(&core, async move {
            let root = Dir::open_root("/data/source").await.expect("planted");
            let mut files = Vec::new();
            for (path, bytes) in samples {
                let stat = root.open(&path, OpenOptions::default()).await.expect("planted").stat().await;
                let stat = stat.expect("planted");
                let chunks = ChunkList::from(tree(&bytes)).verify(tree(&bytes).root).expect("its own");
                files.push(Served { path, chunks, inode: stat.inode, modified: stat.modified });
            }
            let holdings = Holdings::Directory(Rc::new(Directory::new(root, true, files)));
            let (mut incoming, desk) = (transport.incoming(), Rc::<Desk>::default());
            listening.listen(address).await.expect("free");
            let accept = async move {
                // Connections last as long as somebody holds their transport.
                let _transport = transport;
                while let Some(next) = incoming.receive().await {
                    let is_live = next.purpose == Purpose::Transfer;
                    let pace = pacer.of(if is_live { Work::Live } else { Work::CatchUp });
                    let (holdings, desk) = (holdings.clone(), Rc::clone(&desk));
                    let serving = serve(next.stream, holdings, None, desk, pace, Rc::default());
                    drop(Core::current().spawn(Priority::Bulk, serving));
                }
            };
            drop(server.spawn(Priority::Urgent, accept));
        });
    }

    /// A node asks for everything on so many streams of so many connections, as soon as the simulation goes on, and
    /// takes no notice of what comes, until it is told to stop.
    pub fn greedy(&mut self, node: NodeId, connections: u32, streams: u32) -> Rc<Notify> {
        let core = self.sim.core(node, 0);
        let transports: Vec<_> = (0..connections).map(|_| transport(&core, node)).collect();
        let peer = self.source_address();
        let opening = async move {
            let mut held = Vec::new();
            for (transport, _) in transports.iter().flat_map(|one| (0..streams).map(move |at| (one, at))) {
                let opened = transport.open_stream(peer, GROUP, Class::Bulk, Purpose::Transfer).await;
                held.push(opened.expect("the source listens"));
            }
            (transports, held)
        };
        let (transports, held) = self.sim.block_on(&core, opening);
        let wants: Vec<Want> = (0..self.samples.len()).map(|index| self.want(index)).collect();
        let stop = Rc::new(Notify::default());
        let told = Rc::clone(&stop);
        let ask = async move {
            for stream in &held {
                for want in &wants {
                    stream.send(whole(want)).await.expect("it is open");
                }
            }
            told.notified().await;
            transports.iter().for_each(Transport::shut_down);
        };
        drop(core.enter(|| core.spawn(Priority::Bulk, ask)));
        stop
    }

    /// Asks for the first sample on a stream of its own: how that is refused, if it is.
    pub fn refusal(&mut self, node: NodeId) -> Option<Refusal> {
        let fetch = whole(&self.want(0));
        self.answer(node, fetch)
    }

    /// Asks on a stream of its own: how that is refused, if it is.
    pub fn answer(&mut self, node: NodeId, fetch: Fetch) -> Option<Refusal> {
        let core = self.sim.core(node, 0);
        let (transport, peer) = (transport(&core, node), self.source_address());
        self.sim.block_on(&core, async move {
            let opened = transport.open_stream(peer, GROUP, Class::Bulk, Purpose::Transfer).await;
            let mut stream = opened.expect("the source listens");
            stream.send(fetch).await.expect("it is open");
            let answer = stream.receive().await.expect("an answer");
            match answer.decode() {
                Ok(Body::FetchRefused(refused)) => Some(refused.code),
                _ => None,
            }
        })
    }

    fn source_address(&self) -> Peer {
        Peer { node: Some(SOURCE), address: self.sim.address(self.source, PORT) }
    }

    /// Begins a life of the target's process: recovers its store, and fetches what is missing.
    pub fn start_target(&mut self) -> Target {
        let peer = self.source_address();
        self.start_target_from(peer)
    }

    /// The same, from another source.
    pub fn start_target_from(&mut self, peer: Peer) -> Target {
        self.start_helped_target_from(peer, None)
    }

    /// The same, from several sources, each with its number.
    pub fn start_target_of(&mut self, peers: Vec<Peer>) -> Target {
        let nodes: Vec<NodeId> = peers.iter().filter_map(|peer| peer.node).collect();
        let of = move |node| peers.iter().find(|peer| peer.node == Some(node)).copied();
        self.start_target_with(Box::new(of), nodes, None)
    }

    /// The same, with other cores that help.
    pub fn start_helped_target_from(&mut self, peer: Peer, helpers: Option<Rc<Helpers>>) -> Target {
        self.start_target_with(Box::new(move |_| Some(peer)), vec![SOURCE], helpers)
    }

    fn start_target_with(
        &mut self,
        peers: Box<dyn Fn(NodeId) -> Option<Peer>>,
        nodes: Vec<NodeId>,
        helpers: Option<Rc<Helpers>>,
    ) -> Target {
        let core = self.sim.core(self.target, 0);
        let transport = transport(&core, NodeId(2));
        let wants: Vec<Want> = (0..self.samples.len()).map(|index| self.want(index)).collect();
        let pacer = self.limits[1].pacer(ShardId(0), Direction::Receive);
        let links = self.links;
        self.sim.block_on(&core, async move {
            let (store, _) = Store::open(dest_options()).await.expect("it recovers");
            let (store, stats) = (Rc::new(store), Rc::new(TransferStats::default()));
            let fetcher = Fetcher::new(transport, Rc::clone(&store), GROUP, Rc::clone(&stats));
            let fetcher = fetcher.with_helpers(helpers).with_pacer(pacer);
            let fetcher = if links { fetcher.that_links(Neighbours::default()) } else { fetcher };
            let driver = Driver::new(fetcher, peers, Box::new(|_, _| {}), Rc::clone(&stats));
            driver.set_sources(nodes);
            let core = Core::current();
            drop(core.spawn(Priority::Bulk, Rc::clone(&driver).run()));
            for want in wants {
                if !store.is_held(want.id, want.root) {
                    assert!(driver.want(want), "there is room for a few");
                }
            }
            Target { store, driver, stats }
        })
    }

    pub fn want(&self, index: usize) -> Want {
        let sample = &self.samples[index];
        let tree = tree(&sample.bytes);
        let id = SegmentId { index: LogIndex(index as u64 + 1), ordinal: 0 };
        let (path, work) = (sample.path.as_str().into(), (self.work)(index));
        Want { id, path, bytes: tree.len, root: tree.root, origin: SOURCE, work }
    }

    /// Runs until the target has everything, and checks it byte for byte.
    pub fn finish(&mut self, target: &Target) {
        let driver = Rc::clone(&target.driver);
        self.sim.run_until(move || driver.with_plan(|plan| plan.is_empty()), LONG);
        for sample in &self.samples {
            let found = self.sim.host(self.target).disk.file(&format!("/data/dest/{}", sample.path));
            assert!(found.as_ref() == Some(&sample.bytes), "{} differs or is absent", sample.path);
        }
    }

    /// No file stands under a final name with other bytes than the source's.
    pub fn nothing_wrong_stands(&mut self) {
        for sample in &self.samples {
            let found = self.sim.host(self.target).disk.file(&format!("/data/dest/{}", sample.path));
            assert!(found.is_none_or(|bytes| bytes == sample.bytes), "{} is wrong", sample.path);
        }
    }

    pub fn total(&self) -> u64 {
        self.samples.iter().map(|sample| sample.bytes.len() as u64).sum()
    }
}

fn whole(want: &Want) -> Fetch {
    let (request, segment, root, first_chunk) = (1, want.id, want.root, 0);
    Fetch { request, segment, root, first_chunk, chunk_count: u32::MAX, want_list: false }
}

fn tree(bytes: &[u8]) -> ringway::digest::Tree {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    hasher.update(bytes);
    hasher.finish()
}
