//! One stream for many segments: what is given up, and what is asked for beyond the credit, holds nobody up.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringway::config::Work;
use ringway::digest::{ChunkList, VerifiedChunks};
use ringway::ids::{Nanos, NodeId};
use ringway::limits::{CHUNK_BYTES, FRAME_CHARGE_BYTES, PROGRESS_TIMEOUT, STREAM_CREDIT_FIRST_BYTES};
use ringway::segment::{self, Store};
use ringway::transfer::{Fetcher, Told};
use ringway::transport::{Peer, Stream, StreamError};
use ringway::uring::{Buffer, Core, Notify, Priority};
use ringway::wire::{Body, Chunk, Class, Fetch, FetchRefused, Purpose, Refusal};

use super::shares::{fetch, share, want};
use super::{GROUP, LONG, Rig, dest_options, start_source, transport, tree};

/// Once what came for a segment that was given up counted for nobody: whoever waited behind it gave the source up in
/// the middle of its answers.
#[test]
fn what_still_comes_of_a_segment_that_was_given_up_is_progress_for_those_behind_it() {
    let mut rig = Rig::new(1, &[24 << 20, 700_000]);
    let (source, target) = (rig.source, rig.target);
    // A byte in a microsecond: the large one takes longer than a source may be silent.
    rig.sim.link(source, target).rate = 1;
    let target = rig.start_target();
    rig.sim.run_for(Nanos::from_secs(3));
    assert!(target.stats.bytes_fetched.get() > 0, "it is under way");
    target.driver.forget(rig.want(0).id);
    let (driver, begun) = (Rc::clone(&target.driver), rig.sim.now());
    rig.sim.run_until(move || driver.with_plan(|plan| plan.is_empty()), LONG);
    let took = rig.sim.now().since(begun);
    assert_eq!((target.stats.failed.get(), target.store.held().count()), (0, 1));
    assert!(took > PROGRESS_TIMEOUT, "{took:?}: the large one was never in its way");
}

/// A source that reads its first request when it is told to.
fn slow_reader(rig: &mut Rig) -> (Peer, Rc<Cell<bool>>, Rc<Notify>) {
    let samples: Rc<Vec<_>> = Rc::new(rig.samples.iter().map(|sample| sample.bytes.clone()).collect());
    let (reads, told) = (Rc::new(Cell::new(false)), Rc::new(Notify::default()));
    let (go, wait) = (Rc::clone(&reads), Rc::clone(&told));
    let address = start_source(rig, NodeId(9), move |stream| {
        let (go, wait, samples) = (Rc::clone(&go), Rc::clone(&wait), Rc::clone(&samples));
        async move {
            wait.until(|| go.get().then_some(())).await;
            answer(stream, &samples).await;
        }
    });
    (Peer { node: Some(NodeId(9)), address }, reads, told)
}

async fn answer(mut stream: Stream, samples: &[Vec<u8>]) {
    while let Ok(message) = stream.receive().await {
        let Ok(Body::Fetch(fetch)) = message.decode() else { return };
        let bytes = &samples[fetch.segment.index.0 as usize - 1];
        if give(&stream, &fetch, bytes).await.is_err() {
            return;
        }
    }
}

/// Sends what is asked for.
async fn give(stream: &Stream, fetch: &Fetch, bytes: &[u8]) -> Result<(), StreamError> {
    let request = fetch.request;
    if fetch.want_list {
        let digests = ChunkList::from(tree(bytes)).chunks.into();
        let list = ringway::wire::ChunkList { request, len: bytes.len() as u64, first: 0, digests };
        stream.send(list).await?;
    }
    let chunks = bytes.chunks(CHUNK_BYTES).zip(0..).skip(fetch.first_chunk as usize);
    for (content, chunk) in chunks.take(fetch.chunk_count as usize) {
        let body = Chunk { request, chunk };
        stream.send_payload(body, Buffer::from_bytes(content), 0..content.len()).await.0?;
    }
    Ok(())
}

/// A peer that holds so many streams at a source leaves each further one no more than its first credit.
fn hold_streams(rig: &mut Rig, peer: Peer, count: usize) {
    let core = rig.sim.core(rig.target, 0);
    let transport = transport(&core, rig.target);
    let opening = async move {
        let mut held = Vec::new();
        for _ in 0..count {
            let opened = transport.open_stream(peer, GROUP, Class::Bulk, Purpose::Transfer).await;
            held.push(opened.expect("the source listens"));
        }
        (transport, held)
    };
    let held = rig.sim.block_on(&core, opening);
    let for_ever = async move {
        let _held = held;
        std::future::pending::<()>().await;
    };
    drop(core.enter(|| core.spawn(Priority::Bulk, for_ever)));
}

fn list(bytes: &[u8]) -> VerifiedChunks {
    ChunkList::from(tree(bytes)).verify(tree(bytes).root).expect("its own")
}

/// Stages these chunks of a segment.
async fn stage(store: &Store, want: segment::Want, content: &[u8], present: &[usize]) {
    let landing = store.begin(want, list(content)).await.expect("room");
    for index in present {
        let chunk = Buffer::from_bytes(&content[index * CHUNK_BYTES..][..CHUNK_BYTES]);
        landing.write_chunk(*index as u32, chunk).await.0.expect("room");
    }
    landing.checkpoint().await.expect("room");
}

/// How many requests pass on a stream's first credit.
fn requests_of_first_credit(rig: &Rig) -> usize {
    let mut body = Vec::new();
    Body::from(super::whole(&rig.want(0))).encode(&mut body).expect("within bounds");
    (STREAM_CREDIT_FIRST_BYTES as usize).div_ceil(FRAME_CHARGE_BYTES + body.len())
}

/// Once it waited for credit with the first answers in its hands, the source for somebody to take them before it read
/// the request that would have given the credit; all of the stream's segments with them.
#[test]
fn a_segment_in_many_parts_takes_answers_while_it_waits_to_ask_for_the_rest() {
    // More than a source can send to somebody who takes nothing is missing before them.
    const PRESENT: [usize; 2] = [20, 22];
    let mut sizes = vec![24 * CHUNK_BYTES];
    sizes.resize(400, 1);
    let mut rig = Rig::new(1, &sizes);
    let (peer, reads, told) = slow_reader(&mut rig);
    hold_streams(&mut rig, peer, 140);
    let core = rig.sim.core(rig.target, 0);
    let transport = transport(&core, rig.target);
    let (large, content) = (want(&rig, 0), rig.samples[0].bytes.clone());
    // With these before it, two of the large one's three requests pass. The source has not read the second while it
    // answers the first, and so gives no credit for the third.
    let small: Vec<_> = (1..requests_of_first_credit(&rig) - 1).map(|index| want(&rig, index)).collect();
    let (count, ended) = (small.len() + 1, Rc::new(RefCell::new(Vec::new())));
    assert!(count < sizes.len());
    let results = Rc::clone(&ended);
    rig.sim.block_on(&core, async move {
        let (store, _) = Store::open(dest_options()).await.expect("it recovers");
        let store = Rc::new(store);
        stage(&store, large.clone(), &content, &PRESENT).await;
        let fetcher = Rc::new(Fetcher::new(transport, store, GROUP, Rc::default()));
        for want in small.into_iter().chain([large]) {
            let (fetcher, results) = (Rc::clone(&fetcher), Rc::clone(&results));
            drop(Core::current().spawn(Priority::Bulk, async move {
                let done = fetcher.fetch(want, (NodeId(9), peer, Work::Live), &[], &|_, _| ()).await;
                results.borrow_mut().push(done);
            }));
        }
    });
    rig.sim.run_for(Nanos::from_secs(1));
    assert!(ended.borrow().is_empty(), "the source has read nothing yet");
    reads.set(true);
    told.notify();
    let begun = rig.sim.now();
    let done = Rc::clone(&ended);
    rig.sim.run_until(move || done.borrow().len() == count, LONG);
    let took = rig.sim.now().since(begun);
    assert!(ended.borrow().iter().all(Result::is_ok), "after {took:?}: {:?}", ended.borrow());
    assert!(took < Nanos::from_secs(5), "{took:?}");
}

/// Once it was asked again in the same request: what was left of the refusals was taken for the answer, and the chunks
/// that came then for one to the next.
#[test]
fn p6_a_share_that_was_refused_is_asked_for_in_another_request_and_comes_once() {
    let mut rig = Rig::new(1, &[8 * CHUNK_BYTES]);
    let (want, bytes) = (want(&rig, 0), Rc::new(rig.samples[0].bytes.clone()));
    let asked = Rc::<RefCell<Vec<Fetch>>>::default();
    let (hears, content) = (Rc::clone(&asked), Rc::clone(&bytes));
    let address = start_source(&mut rig, NodeId(9), move |mut stream: Stream| {
        let (asked, content) = (Rc::clone(&hears), Rc::clone(&content));
        async move {
            while let Ok(message) = stream.receive().await {
                let Ok(Body::Fetch(fetch)) = message.decode() else { return };
                asked.borrow_mut().push(fetch.clone());
                // It has not heard of the segment yet when it is first asked, for two ranges.
                let given = if asked.borrow().len() <= 2 {
                    stream.send(FetchRefused { request: fetch.request, code: Refusal::NotHere }).await
                } else {
                    give(&stream, &fetch, &content).await
                };
                if given.is_err() {
                    return;
                }
            }
        }
    });
    let core = rig.sim.core(rig.target, 0);
    let staged = Rc::clone(&bytes);
    rig.sim.block_on(&core, async move {
        let (store, _) = Store::open(dest_options()).await.expect("it recovers");
        stage(&store, want, &staged, &[6]).await;
    });
    let other = Peer { node: Some(NodeId(9)), address };
    let shares = vec![share(rig.source_address(), 0..4), share(other, 4..8)];
    let fetched = fetch(&mut rig, shares);
    assert_eq!(*fetched.done.borrow(), Some(Ok(())));
    assert_eq!(*fetched.told.borrow(), [(NodeId(9), Told::Asked), (NodeId(9), Told::Came)]);
    let ranges: Vec<_> = asked.borrow().iter().map(|fetch| (fetch.first_chunk, fetch.chunk_count)).collect();
    assert_eq!(ranges, [(4, 2), (7, 1), (4, 2), (7, 1)], "{:?}", asked.borrow());
    assert_ne!(asked.borrow()[0].request, asked.borrow()[2].request);
    assert_eq!(fetched.stats.bytes_fetched.get(), 7 * CHUNK_BYTES as u64, "each chunk once");
}
