//! A segment that is served on while it is being staged: nobody waits for it without bound, and nothing waits for who
//! reads it.

use ringway::ids::Nanos;
use ringway::limits::{CHUNK_BYTES, PARTIAL_WAIT, PARTIAL_WAIT_MAX};
use ringway::segment::{Landing, NotReady};
use ringway::uring::{Buffer, Core, Errno, Priority, sleep};

use crate::crash::rig::{Segment, replica, segment};
use crate::sim::{Fault, OpKind, Rule};

async fn write(landing: &Landing, segment: &Segment, index: u32) {
    landing.write_chunk(index, segment.chunk(index)).await.0.expect("the disk is sound");
}

/// Once whoever read kept the landing, and the segment was not begun again before it had read.
#[test]
fn p6_a_segment_is_begun_again_while_a_peer_still_reads_what_was_staged_before() {
    let (mut sim, node, core, store) = replica(1);
    let slow = Rule::new(Fault::Slow(Nanos::from_secs(1))).on(OpKind::Read).path("staging");
    let slow = sim.fault(node, slow);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", 2 * CHUNK_BYTES);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        write(&landing, &segment, 1).await;
        landing.checkpoint().await.expect("sound");
        let partial = store.partial(segment.want.id, segment.want.root).expect("it is being staged");
        let read = async move { partial.read_chunk(1, Buffer::heap(CHUNK_BYTES)).await };
        let reading = Core::current().spawn(Priority::Bulk, read);
        sleep(Nanos::from_millis(10)).await;
        assert!(!reading.is_ended(), "the disk is slow");
        drop(landing);
        let again = store.begin(segment.want.clone(), segment.chunks.clone()).await;
        let again = again.expect("nobody stages it");
        assert!(!reading.is_ended(), "the disk is still slow");
        write(&again, &segment, 0).await;
        again.land().await.expect("complete");
        let (read, buffer) = reading.await.expect("not aborted");
        assert_eq!(read, Ok(CHUNK_BYTES));
        assert!(buffer.filled() == segment.chunk(1).filled());
    });
    assert_eq!(sim.hits(node, slow), 1);
}

/// Once it was waited for as long as others came: for all of a large segment.
#[test]
fn p6_a_chunk_is_waited_for_while_others_come_but_not_for_all_of_them() {
    let (mut sim, _, core, store) = replica(2);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", 20 * CHUNK_BYTES);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        let partial = store.partial(segment.want.id, segment.want.root).expect("it is being staged");
        let (core, soon) = (Core::current(), partial.clone());
        let begun = core.now();
        let fourth = core.spawn(Priority::Bulk, async move { soon.ready(3).await });
        let clock = core.clone();
        let last =
            core.spawn(Priority::Bulk, async move { (partial.ready(19).await, clock.now().since(begun)) });
        for index in 0..20 {
            sleep(Nanos::SECOND).await;
            write(&landing, &segment, index).await;
        }
        assert_eq!(fourth.await, Some(Ok(())), "it came, four seconds later");
        let (ready, took) = last.await.expect("not aborted");
        assert_eq!(ready, Err(NotReady::Stalled), "after {took}");
        assert!(took >= PARTIAL_WAIT.plus(Nanos::SECOND) && took <= PARTIAL_WAIT_MAX, "{took}");
    });
}

/// Once each who asked waited anew, however long nothing had come.
#[test]
fn p6_what_has_stood_still_for_long_is_told_to_at_once() {
    let (mut sim, _, core, store) = replica(3);
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", 4 * CHUNK_BYTES);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        let partial = store.partial(segment.want.id, segment.want.root).expect("it is being staged");
        write(&landing, &segment, 0).await;
        for (stood, left) in [(0, 2000), (1500, 500), (2500, 0)] {
            sleep(Nanos::from_millis(stood)).await;
            let begun = Core::current().now();
            assert_eq!(partial.ready(1).await, Err(NotReady::Stalled));
            let took = Core::current().now().since(begun);
            assert!(took <= Nanos::from_millis(left), "{took} after {stood} ms");
            write(&landing, &segment, 2 + u32::from(stood > 0)).await;
        }
    });
}

/// Once whoever waited heard of it when its time was over.
#[test]
fn p6_a_staging_that_a_failed_sync_has_ruined_is_waited_for_no_more() {
    let (mut sim, node, core, store) = replica(4);
    sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).path("staging"));
    sim.block_on(&core, async move {
        let segment = segment(1, "a.seg", 2 * CHUNK_BYTES);
        let landing = store.begin(segment.want.clone(), segment.chunks.clone()).await.expect("new");
        write(&landing, &segment, 0).await;
        let partial = store.partial(segment.want.id, segment.want.root).expect("it is being staged");
        let core = Core::current();
        let (clock, begun) = (core.clone(), core.now());
        let waiting =
            core.spawn(Priority::Bulk, async move { (partial.ready(1).await, clock.now().since(begun)) });
        sleep(Nanos::MILLISECOND).await;
        landing.checkpoint().await.expect_err("the disk refuses it");
        let (ready, took) = waiting.await.expect("not aborted");
        assert_eq!(ready, Err(NotReady::Ended));
        assert!(took < Nanos::SECOND, "{took}");
    });
}
