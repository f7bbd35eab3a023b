//! A segment from several nodes at once: what each was asked for, and what is thought of those that do not give it.

use std::cell::RefCell;
use std::rc::Rc;

use ringway::config::{Spread, Work};
use ringway::ids::{LogIndex, Nanos, NodeId, SegmentId};
use ringway::limits::{CHUNK_BYTES, SPREAD_PATIENCE};
use ringway::segment::{self, RelativePath, Store};
use ringway::stats::TransferStats;
use ringway::transfer::{Announced, Driver, Failure, Fetcher, Part, Share, Told};
use ringway::transport::Peer;
use ringway::uring::{Core, Priority};

use super::{GROUP, LONG, Rig, SOURCE, Target, dest_options, start_source, transport};

/// A fetch of the first sample, from several nodes, and all that is told of it.
pub struct Fetched {
    pub store: Rc<Store>,
    pub stats: Rc<TransferStats>,
    pub told: Rc<RefCell<Vec<(NodeId, Told)>>>,
    pub done: Rc<RefCell<Option<Result<(), Failure>>>>,
}

/// What the rig's target wants.
pub fn want(rig: &Rig, index: usize) -> segment::Want {
    let want = rig.want(index);
    let path = RelativePath::parse(&want.path).expect("a path");
    segment::Want { id: want.id, path, len: want.bytes, root: want.root }
}

pub fn share(peer: Peer, chunks: std::ops::Range<u32>) -> Share {
    Share { part: Part { node: peer.node.expect("a node"), chunks }, peer }
}

/// Fetches the first sample from the nodes of these shares, the first being the source, until it has ended.
pub fn fetch(rig: &mut Rig, shares: Vec<Share>) -> Fetched {
    let core = rig.sim.core(rig.target, 0);
    let (transport, want) = (transport(&core, rig.target), want(rig, 0));
    let (told, done) = (Rc::<RefCell<Vec<_>>>::default(), Rc::<RefCell<Option<_>>>::default());
    let (tells, ends) = (Rc::clone(&told), Rc::clone(&done));
    let (store, stats) = rig.sim.block_on(&core, async move {
        let (store, _) = Store::open(dest_options()).await.expect("it recovers");
        let (store, stats) = (Rc::new(store), Rc::new(TransferStats::default()));
        let fetcher = Fetcher::new(transport, Rc::clone(&store), GROUP, Rc::clone(&stats));
        let fetching = async move {
            let tell = |node, how| tells.borrow_mut().push((node, how));
            let source = (shares[0].part.node, shares[0].peer, Work::Live);
            let ended = fetcher.fetch(want, source, &shares, &tell).await;
            *ends.borrow_mut() = Some(ended.map(drop));
        };
        drop(Core::current().spawn(Priority::Bulk, fetching));
        (store, stats)
    });
    let ended = Rc::clone(&done);
    rig.sim.run_until(move || ended.borrow().is_some(), LONG);
    Fetched { store, stats, told, done }
}

/// A target that spreads, and knows where these nodes are of those that it was told of.
fn spreading(rig: &mut Rig, known: Vec<Peer>, told: &[NodeId]) -> Target {
    let core = rig.sim.core(rig.target, 0);
    let (transport, me, want) = (transport(&core, rig.target), rig.target, rig.want(0));
    let told = told.to_vec();
    let peers = move |node| known.iter().find(|peer| peer.node == Some(node)).copied();
    rig.sim.block_on(&core, async move {
        let (store, _) = Store::open(dest_options()).await.expect("it recovers");
        let (store, stats) = (Rc::new(store), Rc::new(TransferStats::default()));
        let fetcher = Fetcher::new(transport, Rc::clone(&store), GROUP, Rc::clone(&stats));
        let driver = Driver::new(fetcher, Box::new(peers), Box::new(|_, _| {}), Rc::clone(&stats));
        driver.spread(me, Spread::Always);
        driver.set_sources(told.iter().copied());
        for node in told {
            driver.announce(node, Announced { held_to: LogIndex(9), ..Announced::default() });
        }
        drop(Core::current().spawn(Priority::Bulk, Rc::clone(&driver).run()));
        assert!(driver.want(want), "there is room");
        Target { store, driver, stats }
    })
}

/// Once it was fetched as if the others' parts had been asked for, and landed without them, again and again.
#[test]
fn p6_a_segment_whose_other_nodes_cannot_be_found_comes_from_its_source_alone() {
    let mut rig = Rig::new(1, &[6 * CHUNK_BYTES]);
    let source = rig.source_address();
    let target = spreading(&mut rig, vec![source], &[SOURCE, NodeId(3)]);
    rig.finish(&target);
    assert_eq!(target.stats.failed.get(), 0);
}

/// Once the node that had a share to give was the one with the least to do, and a share that failed was nobody's.
#[test]
fn p6_a_share_counts_as_load_while_it_is_asked_for_and_one_that_does_not_come_rests() {
    let mut rig = Rig::new(1, &[6 * CHUNK_BYTES]);
    let source = rig.source_address();
    // It takes what it is asked, and says nothing.
    let address = start_source(&mut rig, NodeId(3), |stream| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    });
    let silent = Peer { node: Some(NodeId(3)), address };
    let target = spreading(&mut rig, vec![source, silent], &[SOURCE, NodeId(3)]);
    rig.sim.run_for(Nanos::SECOND);
    let (now, other) = (rig.sim.now(), SegmentId { index: LogIndex(7), ordinal: 0 });
    let chosen = |tried: &[NodeId], now| {
        target.driver.with_sources(|sources| sources.choose(other, SOURCE, tried, now))
    };
    assert_eq!(target.store.held().count(), 0, "the share is waited for");
    assert_eq!(chosen(&[], now), Some(SOURCE), "each has one fetch");
    let begun = rig.sim.now();
    rig.finish(&target);
    assert!(rig.sim.now().since(begun) <= SPREAD_PATIENCE, "it was waited for no longer");
    let now = rig.sim.now();
    let holders = target.driver.with_sources(|sources| sources.holders(other, SOURCE, now));
    assert_eq!(holders, [], "it is asked for no share");
    assert_eq!(chosen(&[SOURCE], now), Some(NodeId(3)), "and stays a source");
    assert_eq!(target.stats.failed.get(), 0);
}
