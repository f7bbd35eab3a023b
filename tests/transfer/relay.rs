//! A node that serves what it is itself still fetching: who waits for that is in nobody's way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringway::digest::ChunkList;
use ringway::ids::{Nanos, NodeId};
use ringway::limits::{CHUNK_BYTES, PEER_SERVES_MAX};
use ringway::segment::{Landing, Store};
use ringway::transfer::{Desk, Holdings, serve};
use ringway::transport::{Peer, Stream};
use ringway::uring::{Buffer, Core, Priority};
use ringway::wire::{Body, Class, Fetch, Purpose};

use super::shares::want;
use super::{GROUP, Rig, dest_options, transport, tree, unlimited, whole};

const PORT: u16 = 7100;

/// A node that holds the second sample and is fetching the first, of which it has nothing yet.
fn relay(rig: &mut Rig) -> (Peer, Core, Landing) {
    let node = rig.sim.node(5);
    rig.sim.host(node).disk.plant_dir("/data/dest");
    let core = rig.sim.core(node, 0);
    let (transport, address) = (transport(&core, node), rig.sim.address(node, PORT));
    let samples: Vec<_> = (0..2).map(|at| (want(rig, at), rig.samples[at].bytes.clone())).collect();
    let server = core.clone();
    let landing = rig.sim.block_on(&core, async move {
        let (store, _) = Store::open(dest_options()).await.expect("it recovers");
        let store = Rc::new(store);
        let begin = async |(want, bytes): &(ringway::segment::Want, Vec<u8>)| {
            let chunks = ChunkList::from(tree(bytes)).verify(want.root).expect("its own");
            store.begin(want.clone(), chunks).await.expect("new")
        };
        let second = begin(&samples[1]).await;
        second.write_chunk(0, Buffer::from_bytes(&samples[1].1)).await.0.expect("room");
        second.land().await.expect("complete");
        let landing = begin(&samples[0]).await;
        let (mut incoming, desk) = (transport.incoming(), Rc::<Desk>::default());
        transport.listen(address).await.expect("free");
        let accept = async move {
            let _transport = transport;
            while let Some(next) = incoming.receive().await {
                let holdings = Holdings::Store(Rc::clone(&store));
                let serving =
                    serve(next.stream, holdings, None, Rc::clone(&desk), unlimited(), Rc::default());
                drop(Core::current().spawn(Priority::Bulk, serving));
            }
        };
        drop(server.spawn(Priority::Urgent, accept));
        landing
    });
    (Peer { node: Some(NodeId(5)), address }, core, landing)
}

/// Once each who waited had a place: those of one peer, two nodes that waited for each other, took all that it had.
#[test]
fn p6_whoever_waits_for_a_chunk_that_is_still_being_fetched_takes_no_place_among_what_is_served() {
    const WAITING: usize = PEER_SERVES_MAX + 4;
    let mut rig = Rig::new(1, &[2 * CHUNK_BYTES, 70_000]);
    let (peer, core, landing) = relay(&mut rig);
    let asking = rig.sim.node(3);
    let asker = rig.sim.core(asking, 0);
    let transport = transport(&asker, asking);
    let (first, second) = (whole(&rig.want(0)), whole(&rig.want(1)));
    let (came, other) = (Rc::<Cell<usize>>::default(), Rc::<RefCell<Vec<bool>>>::default());
    let (counts, gives) = (Rc::clone(&came), Rc::clone(&other));
    rig.sim.block_on(&asker, async move {
        let ask = async |fetch: Fetch| {
            let opened = transport.open_stream(peer, GROUP, Class::Bulk, Purpose::Transfer).await;
            let stream = opened.expect("it listens");
            stream.send(fetch).await.expect("it is open");
            stream
        };
        let is_chunk = async |mut stream: Stream| {
            matches!(stream.receive().await.expect("an answer").decode(), Ok(Body::Chunk(_)))
        };
        for _ in 0..WAITING {
            let (stream, counts) = (ask(Fetch { chunk_count: 1, ..first.clone() }).await, Rc::clone(&counts));
            let answered = async move {
                let is_chunk = is_chunk(stream).await;
                counts.set(counts.get() + usize::from(is_chunk));
            };
            drop(Core::current().spawn(Priority::Bulk, answered));
        }
        let is_served = is_chunk(ask(second).await).await;
        gives.borrow_mut().push(is_served);
        drop(Core::current().spawn(Priority::Bulk, async move {
            let _transport = transport;
            std::future::pending::<()>().await;
        }));
    });
    assert_eq!((came.get(), &other.borrow()[..]), (0, &[true][..]), "what is there is served meanwhile");
    let content = rig.samples[0].bytes[..CHUNK_BYTES].to_vec();
    let _landing = rig.sim.block_on(&core, async move {
        landing.write_chunk(0, Buffer::from_bytes(&content)).await.0.expect("room");
        landing
    });
    rig.sim.run_for(Nanos::SECOND);
    assert_eq!(came.get(), WAITING, "each gets it when it has come, in its turn");
}
