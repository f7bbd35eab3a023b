//! Sources that hold the secret, answer every ping, and do not do what a source does. None of them keeps a target from
//! what an honest one has.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use ringway::ids::{Digest, LogIndex, Nanos, NodeId};
use ringway::segment::Store;
use ringway::transfer::{Announced, Driver, Failure, Fetcher};
use ringway::transport::{Peer, Stream, StreamError};
use ringway::uring::{Buffer, Core, Priority, sleep};
use ringway::wire::{Body, Chunk, ChunkList, Fetch};

use super::{GROUP, LONG, PORT, Rig, SOURCE, dest_options, start_source, transport, tree};

/// What it does instead.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Lie {
    /// It sends pages of a chunk list without a digest, and never ends.
    EmptyPages,
    /// It says again and again what nobody has asked for.
    Chatter,
    /// It reads nothing, and so gives no credit.
    Deaf,
    /// It sends the first chunk in the place of all.
    FirstChunkOnly,
}

const LIAR: NodeId = NodeId(3);

async fn lie(mut stream: Stream, lie: Lie, samples: Rc<Vec<Vec<u8>>>) -> Result<(), StreamError> {
    let message = match lie {
        Lie::Deaf => std::future::pending().await,
        Lie::EmptyPages | Lie::Chatter | Lie::FirstChunkOnly => stream.receive().await?,
    };
    let Ok(Body::Fetch(Fetch { request, root, .. })) = message.decode() else { panic!("{message:?}") };
    let bytes = samples.iter().find(|bytes| tree(bytes).root == root).expect("one of the samples");
    let list = |digests: &[Digest]| {
        let digests = Cow::Owned(digests.to_vec());
        ChunkList { request, len: bytes.len() as u64, first: 0, digests }
    };
    loop {
        match lie {
            Lie::EmptyPages => stream.send(list(&[])).await?,
            Lie::Chatter | Lie::Deaf => stream.send(Chunk { request: !request, chunk: 0 }).await?,
            Lie::FirstChunkOnly => {
                let chunks = ringway::digest::ChunkList::from(tree(bytes)).chunks;
                stream.send(list(&chunks)).await?;
                for _ in &chunks {
                    let first = &bytes[..bytes.len().min(1 << 20)];
                    let chunk = Chunk { request, chunk: 0 };
                    stream.send_payload(chunk, Buffer::from_bytes(first), 0..first.len()).await.0?;
                }
                return std::future::pending().await;
            }
        }
        sleep(Nanos::from_secs(2)).await;
    }
}

/// Begins its process; it serves every stream by lying.
fn start_liar(rig: &mut Rig, is: Lie) {
    let samples: Rc<Vec<_>> = Rc::new(rig.samples.iter().map(|sample| sample.bytes.clone()).collect());
    start_source(rig, LIAR, move |stream| {
        let lying = lie(stream, is, Rc::clone(&samples));
        async move { drop(lying.await) }
    });
}

/// Begins a target that asks the liar first, which says that it holds everything.
fn start_target(rig: &mut Rig, failures: &Rc<RefCell<Vec<Failure>>>) -> Rc<Driver> {
    let core = rig.sim.core(rig.target, 0);
    let transport = transport(&core, NodeId(2));
    let addresses = [(SOURCE, rig.sim.address(rig.source, PORT)), (LIAR, rig.sim.address(LIAR, PORT))];
    let wants: Vec<_> = (0..rig.samples.len()).map(|index| rig.want(index)).collect();
    let failures = Rc::clone(failures);
    rig.sim.block_on(&core, async move {
        let (store, _) = Store::open(dest_options()).await.expect("it recovers");
        let fetcher = Fetcher::new(transport, Rc::new(store), GROUP, Rc::default());
        let peers = move |node| {
            let (node, address) = *addresses.iter().find(|(known, _)| *known == node)?;
            Some(Peer { node: Some(node), address })
        };
        let hook = move |_, done: Result<(), Failure>| failures.borrow_mut().extend(done.err());
        let driver = Driver::new(fetcher, Box::new(peers), Box::new(hook), Rc::default());
        driver.set_sources([LIAR]);
        driver.announce(LIAR, Announced { held_to: LogIndex(u64::MAX), ..Announced::default() });
        drop(Core::current().spawn(Priority::Bulk, Rc::clone(&driver).run()));
        for want in wants {
            assert!(driver.want(want), "there is room");
        }
        driver
    })
}

/// Once each of these held a target's fetches for ever, but for the last, which was taken for a fault of its disk.
#[test]
fn weak_10_a_source_that_lies_costs_a_while_and_is_blamed() {
    for is in [Lie::EmptyPages, Lie::Chatter, Lie::Deaf, Lie::FirstChunkOnly] {
        let sizes = if is == Lie::FirstChunkOnly { vec![(2 << 20) + 5; 4] } else { vec![3000; 200] };
        let mut rig = Rig::new(1, &sizes);
        start_liar(&mut rig, is);
        let failures = Rc::default();
        let driver = start_target(&mut rig, &failures);
        // Long enough for it to be asked many times.
        rig.sim.run_for(Nanos::from_secs(90));
        driver.set_sources([LIAR, SOURCE]);
        let begun = rig.sim.now();
        let done = Rc::clone(&driver);
        rig.sim.run_until(move || done.with_plan(|plan| plan.is_empty()), LONG);
        println!("{is:?}: {} failures, then {}", failures.borrow().len(), rig.sim.now().since(begun));
        rig.nothing_wrong_stands();
        let blamed = match is {
            Lie::EmptyPages | Lie::FirstChunkOnly => Failure::Corrupt,
            Lie::Chatter | Lie::Deaf => Failure::NoProgress,
        };
        let failures = failures.borrow();
        assert!(failures.iter().all(|failure| failure.blames_source()), "{is:?}: {failures:?}");
        assert!(
            failures.contains(&blamed) && failures.len() >= rig.samples.len(),
            "{is:?}: it was asked first"
        );
    }
}
