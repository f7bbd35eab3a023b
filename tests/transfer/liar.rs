//! A source that knows the secret and answers as no source does: nothing of it lands, and each lie is told as one.

use std::rc::Rc;

use ringway::ids::{Digest, Nanos, NodeId};
use ringway::limits::CHUNK_BYTES;
use ringway::transfer::{Failure, Told};
use ringway::transport::{Peer, Stream};
use ringway::uring::{Buffer, Core, Priority};
use ringway::wire::{Body, Chunk, ChunkList, Fetch, Refusal};

use super::shares::{fetch, share};
use super::{PORT, Rig, transport, tree, whole};

/// One answer.
#[derive(Clone)]
enum Said {
    /// A page of the chunk list: the length, the first chunk, digests.
    List(u64, u32, Vec<Digest>),
    Chunk(u32, Vec<u8>),
    /// A chunk without its bytes.
    Bare(u32),
}

/// Starts a source that answers every request with this.
fn lie(rig: &mut Rig, said: Vec<Said>) -> Peer {
    let node = rig.sim.node(9);
    let core = rig.sim.core(node, 0);
    let (transport, address) = (transport(&core, node), rig.sim.address(node, PORT));
    let server = core.clone();
    rig.sim.block_on(&core, async move {
        let mut incoming = transport.incoming();
        transport.listen(address).await.expect("free");
        let accept = async move {
            let (_transport, said) = (transport, Rc::new(said));
            while let Some(next) = incoming.receive().await {
                drop(Core::current().spawn(Priority::Bulk, answer(next.stream, Rc::clone(&said))));
            }
        };
        drop(server.spawn(Priority::Urgent, accept));
    });
    Peer { node: Some(NodeId(9)), address }
}

async fn answer(mut stream: Stream, said: Rc<Vec<Said>>) {
    while let Ok(message) = stream.receive().await {
        let Ok(Body::Fetch(fetch)) = message.decode() else { return };
        let request = fetch.request;
        for one in said.iter() {
            let sent = match one.clone() {
                Said::List(len, first, digests) => {
                    stream.send(ChunkList { request, len, first, digests: digests.into() }).await
                }
                Said::Chunk(chunk, bytes) => {
                    let (span, buffer) = (0..bytes.len(), Buffer::from_bytes(&bytes));
                    stream.send_payload(Chunk { request, chunk }, buffer, span).await.0
                }
                Said::Bare(chunk) => stream.send(Chunk { request, chunk }).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

#[test]
fn whatever_a_source_makes_up_is_told_as_corrupt_at_once_and_lands_nothing() {
    let bytes = Rig::new(1, &[3 << 20]).samples.remove(0).bytes;
    let (len, digests) = (bytes.len() as u64, ringway::digest::ChunkList::from(tree(&bytes)).chunks);
    let list = |digests: &[Digest]| Said::List(len, 0, digests.to_vec());
    let good = list(&digests);
    let chunk = |index: u32| Said::Chunk(index, bytes[..CHUNK_BYTES].to_vec());
    let lies: [(&str, Vec<Said>); 11] = [
        ("another length", vec![Said::List(len + 1, 0, digests.clone())]),
        ("a list that begins in its middle", vec![Said::List(len, 1, digests[1..].to_vec())]),
        ("more digests than chunks", vec![list(&digests[..2]), Said::List(len, 2, digests.clone())]),
        ("the same page again", vec![list(&digests[..2]), list(&digests[..2])]),
        ("digests of something else", vec![list(&[Digest([7; 32]); 3])]),
        ("a chunk before its list", vec![chunk(0)]),
        ("a second list", vec![good.clone(), good.clone()]),
        ("a chunk without bytes", vec![good.clone(), Said::Bare(0)]),
        ("one chunk for all", vec![good.clone(), chunk(1), chunk(1), chunk(1)]),
        ("chunks that there are none of", vec![good.clone(), chunk(3), chunk(4), chunk(u32::MAX)]),
        ("short ones", vec![good.clone(), Said::Chunk(0, vec![1; 10]), Said::Chunk(1, vec![2; 9]), chunk(2)]),
    ];
    for (what, said) in lies {
        let mut rig = Rig::new(1, &[3 << 20]);
        let peer = lie(&mut rig, said);
        let target = rig.start_target_from(peer);
        rig.sim.run_for(Nanos::from_secs(5));
        let lost = target.driver.with_plan(|plan| plan.unavailable().next());
        assert_eq!(lost.map(|lost| lost.failure), Some(Failure::Corrupt), "{what}");
        assert_eq!(target.store.held().count(), 0, "{what}");
        rig.nothing_wrong_stands();
    }
}

/// Once the source was blamed for what the other had sent in its place.
#[test]
fn p6_a_node_that_sends_something_else_than_its_share_is_told_corrupt_and_the_rest_comes_from_the_source() {
    let bytes = Rig::new(1, &[4 << 20]).samples.remove(0).bytes;
    let digests = ringway::digest::ChunkList::from(tree(&bytes)).chunks;
    let chunk =
        |index: u32| Said::Chunk(index, bytes[index as usize * CHUNK_BYTES..][..CHUNK_BYTES].to_vec());
    let lies: [(&str, Vec<Said>); 6] = [
        ("the source's chunks", vec![chunk(0), chunk(1)]),
        ("one of its own, and one of the source's", vec![chunk(2), chunk(1)]),
        ("one of its own twice", vec![chunk(3), chunk(3)]),
        ("other bytes", vec![Said::Chunk(2, vec![7; CHUNK_BYTES]), chunk(3)]),
        ("a chunk without bytes", vec![Said::Bare(2)]),
        ("a list", vec![Said::List(4 << 20, 0, digests)]),
    ];
    for (what, said) in lies {
        let mut rig = Rig::new(1, &[4 << 20]);
        // What the other sends is there before what the source does.
        let (source, target) = (rig.source, rig.target);
        rig.sim.link(source, target).rate = 1;
        let liar = lie(&mut rig, said);
        let shares = vec![share(rig.source_address(), 0..2), share(liar, 2..4)];
        let fetched = fetch(&mut rig, shares);
        assert_eq!(*fetched.done.borrow(), Some(Ok(())), "{what}");
        let told = [(NodeId(9), Told::Asked), (NodeId(9), Told::Failed(Failure::Corrupt))];
        assert_eq!(*fetched.told.borrow(), told, "{what}");
        assert_eq!(fetched.store.held().count(), 1, "{what}");
        rig.nothing_wrong_stands();
    }
}

#[test]
fn what_a_source_cannot_give_it_refuses_by_name() {
    let mut rig = Rig::new(1, &[3 << 20]);
    let (node, fetch) = (rig.target, whole(&rig.want(0)));
    assert_eq!(rig.answer(node, fetch.clone()), None, "all of it");
    let last = Fetch { first_chunk: 2, chunk_count: 1, ..fetch };
    assert_eq!(rig.answer(node, last), None);
    let behind = Fetch { first_chunk: 4, ..fetch };
    assert_eq!(rig.answer(node, behind), Some(Refusal::BadRange));
    let unknown = Fetch { root: Digest([7; 32]), ..fetch };
    assert_eq!(rig.answer(node, unknown), Some(Refusal::NotHere));
    let (source, path) = (rig.source, format!("/data/source/{}", rig.samples[0].path));
    rig.sim.host(source).disk.overwrite(&path, &[1; 100]);
    assert_eq!(rig.answer(node, fetch), Some(Refusal::Superseded), "it has changed since it was digested");
}
