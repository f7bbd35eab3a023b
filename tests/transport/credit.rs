//! Credit: a slow consumer holds up nobody else, and nothing waits for ever.

use std::cell::RefCell;
use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::limits::{CHUNK_BYTES, RECEIVE_CREDIT_BYTES, STREAM_CREDIT_BYTES};
use ringway::transport::{Class, Purpose, Transport};
use ringway::uring::{Core, Priority, sleep};

use super::scenes::{self, GROUP, call, fetch, fetch_of, is_chunk};
use super::{Pair, place, secs};
use crate::sim::{NetOptions, each_seed};

#[test]
fn a_slow_consumer_gets_no_more_than_its_credit_and_holds_up_no_other_stream() {
    each_seed(6, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, peer) = (pair.user(), pair.peer());
        let theirs = user.clone();
        let mut slow = pair.run(async move {
            let stream = theirs.open_stream(peer, GROUP, Class::Bulk, Purpose::Transfer).await;
            let stream = stream.expect("a peer");
            stream.send(fetch_of(0, 200)).await.expect("a peer");
            sleep(secs(2)).await;
            stream
        });
        let waiting = user.stats().payload_bytes_in.get();
        let bound = (STREAM_CREDIT_BYTES + CHUNK_BYTES) as u64;
        assert!(waiting > 0 && waiting <= bound, "{waiting} bytes for one who does not take them");
        let theirs = user.clone();
        pair.run(async move {
            assert_eq!(fetch(&theirs, peer, 30).await, Ok(0));
            call(&theirs, peer, GROUP, 5).await.expect("a sound network");
        });
        // And what was late is all there.
        pair.run(async move {
            for chunk in 0..200 {
                assert!(is_chunk(&slow.receive().await.expect("it comes"), chunk));
            }
        });
    });
}

/// The user sends what nobody takes, for as long as it may: how many messages that is.
fn send_in_vain(pair: &Pair, class: Class) -> Rc<RefCell<usize>> {
    let sent = place(0);
    let (user, peer, count) = (pair.user(), pair.peer(), sent.clone());
    drop(pair.cores[1].spawn(Priority::Urgent, async move {
        let stream = scenes::ignored(&user, peer, class).await.expect("a peer");
        let bytes = vec![0; 10_000];
        loop {
            let request = ringway::wire::RaftRequest { id: 1, rpc: 1, bytes: &bytes };
            stream.send(request).await.expect("the peer only waits");
            *count.borrow_mut() += 1;
        }
    }));
    sent
}

#[test]
fn control_frames_that_nobody_takes_stop_their_sender_and_no_other() {
    let mut pair = Pair::new(2, NetOptions::default());
    let (user, peer) = (pair.user(), pair.peer());
    let sent = send_in_vain(&pair, Class::Control);
    pair.sim.run_for(secs(5));
    let stuck_at = *sent.borrow();
    assert!((2..=10).contains(&stuck_at), "{stuck_at} messages passed on the first credit alone");
    pair.run(async move { call(&user, peer, GROUP, 40).await.expect("another stream") });
    assert_eq!(*sent.borrow(), stuck_at);
}

/// Once a peer that only held streams left every other one nothing but the least that a stream is granted.
#[test]
fn a_peer_that_was_granted_all_that_the_core_has_leaves_another_its_window() {
    let mut pair = Pair::new(3, NetOptions::default());
    let (greedy, peer) = (pair.sim.node(3), pair.peer());
    let core = pair.sim.core(greedy, 0);
    let transport = core.enter(|| Transport::new(scenes::options(3)));
    let window = 2 * CHUNK_BYTES;
    let opening = async move {
        let mut held = Vec::new();
        for _ in 0..RECEIVE_CREDIT_BYTES as usize / window + 10 {
            held.push(scenes::ignored(&transport, peer, Class::Bulk).await.expect("a peer"));
        }
        (transport, held)
    };
    let _held = pair.sim.block_on(&core, opening);
    let sent = send_in_vain(&pair, Class::Bulk);
    pair.sim.run_for(secs(5));
    let passed = *sent.borrow() * 10_000;
    assert!(passed > window * 9 / 10, "{passed} bytes passed");
}

#[test]
fn two_nodes_that_serve_each_other_with_few_buffers_never_wait_for_each_other() {
    each_seed(6, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let done = place(0);
        // Node 2 serves too.
        let (user, user_core) = (pair.user(), pair.cores[1].clone());
        let back = pair.sim.address(pair.nodes[1], 7000);
        user_core.enter(|| scenes::serve(&user_core, &user));
        let listening = user.clone();
        pair.run(async move { listening.listen(back).await }).expect("a free port");
        for index in 0..12_u64 {
            let done = done.clone();
            let (side, to) = if index % 2 == 0 { (1, pair.peer()) } else { (0, scenes::peer(2, back)) };
            let transport = pair.transports[side].clone();
            drop(pair.cores[side].spawn(Priority::Bulk, async move {
                assert_eq!(fetch(&transport, to, 40).await, Ok(0));
                *done.borrow_mut() += 1;
            }));
        }
        pair.sim.run_until(|| *done.borrow() == 12, secs(120));
    });
}

#[test]
fn a_core_whose_buffers_are_all_taken_still_receives() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, peer) = (pair.user(), pair.peer());
    let theirs = user.clone();
    pair.run(async move {
        let core = Core::current();
        let mut held = Vec::new();
        while let Some(buffer) = core.slab().try_take() {
            held.push(buffer);
        }
        assert_eq!(fetch(&theirs, peer, 20).await, Ok(0));
        drop(held);
        sleep(Nanos::from_millis(1)).await;
    });
    assert!(user.stats().payloads_unregistered.get() >= 20, "counted, not hidden");
}
