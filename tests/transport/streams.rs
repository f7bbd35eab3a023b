//! Streams over connections that nobody disturbs.

use ringway::ids::{GroupId, Nanos};
use ringway::stats::Sent;
use ringway::transport::{
    Class, DialError, Purpose, ResetCode, SendPath, StreamError, TransportOptions, WhyCopy,
};
use ringway::uring::{Errno, Priority, mailbox, sleep};
use ringway::wire::{Ping, RaftRequest};

use super::scenes::{self, GROUP, call, fetch};
use super::{Pair, place, secs};
use crate::sim::{Chance, Fault, NetOptions, OpKind, Rule, each_seed, twice};

#[test]
fn many_streams_run_side_by_side_over_one_connection_of_each_class() {
    each_seed(8, |seed| {
        let net = NetOptions { window: (2000, 300_000), loss: Chance::percent(1), ..NetOptions::default() };
        let mut pair = Pair::new(seed, net);
        let (user, peer) = (pair.user(), pair.peer());
        let done = place(0);
        for index in 0..24_u64 {
            let (user, done) = (user.clone(), done.clone());
            drop(pair.cores[1].spawn(Priority::Bulk, async move {
                match index % 3 {
                    0 => assert_eq!(fetch(&user, peer, 9).await, Ok(0)),
                    _ => call(&user, peer, GROUP, 20).await.expect("a sound network"),
                }
                *done.borrow_mut() += 1;
            }));
        }
        pair.sim.run_until(|| *done.borrow() == 24, secs(60));
        assert_eq!(user.stats().dials.get(), 2, "one for each class, shared by all");
        assert_eq!(pair.server().connections().len(), 2);
        pair.sim.run_for(secs(1));
        let open: Vec<_> = user.connections().iter().map(|connection| connection.streams).collect();
        assert_eq!(open, [0, 0], "streams that ended are forgotten");
        for core in &pair.cores {
            assert_eq!(core.slab().free(), usize::from(core.slab().count()), "all buffers are home");
        }
    });
}

#[test]
fn one_seed_gives_one_run() {
    twice(3, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, peer) = (pair.user(), pair.peer());
        pair.run(async move {
            assert_eq!(fetch(&user, peer, 12).await, Ok(0));
            call(&user, peer, GROUP, 30).await.expect("a sound network");
        });
        pair.sim.digest()
    });
}

#[test]
fn most_of_a_payload_is_received_where_it_stays() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, peer) = (pair.user(), pair.peer());
    let theirs = user.clone();
    pair.run(async move { assert_eq!(fetch(&theirs, peer, 70).await, Ok(0)) });
    let (moved, received) = (user.stats().payload_bytes_moved.get(), user.stats().payload_bytes_in.get());
    assert!(moved * 10 < received, "{moved} of {received} bytes were moved");
}

#[test]
fn d10_payload_leaves_without_copying_and_the_next_one_does_not_wait_for_its_buffer() {
    each_seed(6, |seed| {
        // Notifications come late, as over a long route.
        let late = (Nanos::from_millis(20), Nanos::from_millis(40));
        let net = NetOptions { notice: late, ..NetOptions::default() };
        let mut pair = Pair::new(seed, net);
        let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
        let theirs = user.clone();
        let took = pair.run(async move {
            let started = ringway::uring::Core::current().now();
            // Each of these sources waits for its own buffer; no other one waits for it.
            let tasks: Vec<_> = (0..8)
                .map(|_| {
                    let user = theirs.clone();
                    let core = ringway::uring::Core::current();
                    core.spawn(Priority::Bulk, async move { fetch(&user, peer, 14).await })
                })
                .collect();
            for task in tasks {
                assert_eq!(task.await, Some(Ok(0)));
            }
            ringway::uring::Core::current().now().since(started)
        });
        let sent = server.stats().sent.get();
        let count = sent.zero_copy_sends;
        assert_eq!(count, 8 * 14 * 5 / 7, "those of at least 16 KiB");
        assert!(took.0 < late.0.0 * count / 2, "{took} for {count} payloads");
        let connection = &server.connections()[0];
        assert_eq!((connection.send_path, connection.sent), (SendPath::ZeroCopy, sent));
        assert_eq!((sent.zero_copy_sends_copied, sent.bytes_copied_by_kernel), (0, 0));
        assert_eq!(sent.bytes_copied, 8 * 2 * (1 + 4096), "the small ones");
        assert_eq!(sent.bytes_zero_copy + sent.bytes_copied, server.stats().payload_bytes_out.get());
    });
}

/// The connection was cut, with all of its streams.
#[test]
fn d10_a_zero_copy_send_that_the_kernel_refuses_is_sent_by_copying_and_so_are_those_behind_it() {
    for errno in [Errno::NO_MEMORY, Errno::NO_BUFFERS, Errno::NOT_SUPPORTED] {
        let mut pair = Pair::new(1, NetOptions::default());
        let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
        pair.sim.fault(pair.nodes[0], Rule::new(Fault::Fail(errno)).on(OpKind::SendZeroCopy));
        assert_eq!(pair.run(async move { fetch(&user, peer, 14).await }), Ok(0));
        let connection = &server.connections()[0];
        assert_eq!(connection.send_path, SendPath::Copy(WhyCopy::Refused { errno }));
        let Sent { zero_copy_sends, bytes_copied, .. } = connection.sent;
        assert_eq!((zero_copy_sends, bytes_copied), (0, server.stats().payload_bytes_out.get()));
    }
}

#[test]
fn d10_a_kernel_that_cannot_send_without_copying_is_told_by_each_connection() {
    let mut pair = Pair::new(1, NetOptions { zero_copy: false, ..NetOptions::default() });
    let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
    assert_eq!(pair.run(async move { fetch(&user, peer, 7).await }), Ok(0));
    let connection = &server.connections()[0];
    assert_eq!(connection.send_path, SendPath::Copy(WhyCopy::Unsupported));
    assert_eq!(connection.sent.bytes_copied, server.stats().payload_bytes_out.get());
}

#[test]
fn a_stream_to_another_core_gets_its_own_connection_there() {
    each_seed(4, |seed| {
        let (sender, mut receiver) = mailbox(8);
        let carry: ringway::transport::Carry = std::rc::Rc::new(move |core, hand_over| {
            assert_eq!(core, 1);
            sender.try_send(hand_over).map_err(|refused| match refused {
                ringway::uring::SendError::Full(back) | ringway::uring::SendError::Closed(back) => back,
            })
        });
        let server = TransportOptions { core_count: 2, carry: Some(carry), ..scenes::options(1) };
        let mut pair = Pair::with(seed, NetOptions::default(), server, scenes::options(2));
        let other_core = pair.sim.core(pair.nodes[0], 1);
        let other = other_core.enter(|| {
            let options = TransportOptions { core_count: 2, core_index: 1, ..scenes::options(1) };
            ringway::transport::Transport::new(options)
        });
        other_core.enter(|| scenes::serve(&other_core, &other));
        let adopting = other.clone();
        drop(other_core.spawn(Priority::Urgent, async move {
            while let Some(hand_over) = receiver.receive().await {
                adopting.adopt(hand_over);
            }
        }));
        let (user, peer) = (pair.user(), pair.peer());
        let theirs = user.clone();
        pair.run(async move {
            for group in [0, 1, 2, 3, 5, 4] {
                call(&theirs, peer, GroupId(group), 5).await.expect("a sound network");
            }
        });
        assert_eq!(user.stats().dials.get(), 2, "one to each core of the peer");
        assert_eq!(pair.server().connections().len(), 1);
        assert_eq!(other.connections().len(), 1);
        assert_eq!(pair.server().stats().hand_overs.get(), 1);
        assert_eq!(other.stats().streams_accepted.get(), 3);
    });
}

#[test]
fn a_group_whose_core_cannot_be_reached_is_refused() {
    let server = TransportOptions { core_count: 2, ..scenes::options(1) };
    let mut pair = Pair::with(1, NetOptions::default(), server, scenes::options(2));
    let (user, peer) = (pair.user(), pair.peer());
    let refused = pair.run(async move { call(&user, peer, GroupId(1), 1).await });
    assert_eq!(refused, Err("the peer refused: no core serves the group".to_owned()));
}

#[test]
fn a_dropped_stream_is_told_to_the_peer_and_a_closed_one_is_not_an_error() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
    let core = pair.cores[0].clone();
    drop(core);
    let theirs = user.clone();
    pair.run(async move {
        let stream = theirs.open_stream(peer, GROUP, Class::Control, Purpose::Raft).await.expect("a peer");
        stream.send(RaftRequest { id: 1, rpc: 1, bytes: b"x" }).await.expect("a peer");
        sleep(Nanos::from_millis(50)).await;
        drop(stream);
        call(&theirs, peer, GROUP, 2).await.expect("the connection goes on");
        sleep(Nanos::from_millis(50)).await;
    });
    assert_eq!(user.stats().streams_reset.get(), 1);
    assert_eq!(server.stats().streams_reset.get(), 1, "the peer answers a reset with its own");
    assert_eq!(server.connections()[0].streams, 0);
    assert_eq!(user.connections()[0].streams, 0);
}

#[test]
fn what_no_stream_carries_is_refused_before_it_is_sent() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, peer) = (pair.user(), pair.peer());
    pair.run(async move {
        let stream = user.open_stream(peer, GROUP, Class::Control, Purpose::Raft).await.expect("a peer");
        let refused = stream.send(Ping { id: 1 }).await;
        assert!(matches!(refused, Err(StreamError::Unsendable { .. })), "{refused:?}");
        let large = vec![0; ringway::limits::FRAME_BODY_BYTES_MAX];
        let refused = stream.send(RaftRequest { id: 1, rpc: 1, bytes: &large }).await;
        assert!(matches!(refused, Err(StreamError::Unsendable { .. })), "{refused:?}");
        let largest = &large[..large.len() - 16];
        stream.send(RaftRequest { id: 1, rpc: 1, bytes: largest }).await.expect("the largest that may be");
        let mut stream = stream;
        scenes::expect_answer(&stream.receive().await.expect("an answer"), 1, largest);
    });
}

#[test]
fn concurrent_callers_share_one_dial_and_its_failure() {
    let mut pair = Pair::new(1, NetOptions::default());
    let user = pair.user();
    let nobody = scenes::peer(1, pair.sim.address(pair.nodes[0], 9));
    let errors = place(Vec::new());
    for _ in 0..5 {
        let (user, errors) = (user.clone(), errors.clone());
        drop(pair.cores[1].spawn(Priority::Urgent, async move {
            let refused = user.open_stream(nobody, GROUP, Class::Control, Purpose::Raft).await;
            errors.borrow_mut().push(refused.map(|_| ()).expect_err("nobody listens"));
        }));
    }
    pair.sim.run_until(|| errors.borrow().len() == 5, secs(30));
    assert!(errors.borrow().iter().all(|error| matches!(error, DialError::Socket { .. })));
    assert_eq!(user.stats().dials.get(), 1);
    let theirs = user.clone();
    let too_early = pair.run(async move {
        theirs.open_stream(nobody, GROUP, Class::Control, Purpose::Raft).await.map(|_| ())
    });
    assert!(matches!(too_early, Err(DialError::BackingOff { .. })), "{too_early:?}");
    assert_eq!(user.stats().dials.get(), 1);
}

#[test]
fn an_unused_connection_is_closed_by_who_dialled_it_and_a_used_one_lives() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, peer) = (pair.user(), pair.peer());
    let theirs = user.clone();
    let held = pair.run(async move {
        fetch(&theirs, peer, 1).await.expect("a peer");
        scenes::ignored(&theirs, peer, Class::Control).await.expect("a peer")
    });
    pair.sim.run_for(secs(300));
    assert_eq!(user.connections().len(), 1, "the one with a stream stands, kept alive by pings");
    assert!(user.connections()[0].round_trip.is_some());
    assert_eq!(pair.server().connections().len(), 1);
    drop(held);
}

#[test]
fn more_streams_than_allowed_are_refused_here() {
    let mut user = scenes::options(2);
    user.caps.streams = 3;
    let mut pair = Pair::with(1, NetOptions::default(), scenes::options(1), user);
    let (user, peer) = (pair.user(), pair.peer());
    pair.run(async move {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(scenes::ignored(&user, peer, Class::Control).await.expect("room"));
        }
        let refused = scenes::ignored(&user, peer, Class::Control).await.map(|_| ());
        assert_eq!(refused, Err(DialError::TooManyStreams { most: 3 }));
        held.pop();
        sleep(Nanos::from_millis(50)).await;
        scenes::ignored(&user, peer, Class::Control).await.expect("room again");
    });
}

#[test]
fn when_nobody_takes_streams_they_are_refused_and_the_connection_stands() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, peer) = (pair.user(), pair.peer());
    // The server's own side: a transport whose streams nobody takes.
    let core = pair.cores[0].clone();
    let deaf = core.enter(|| ringway::transport::Transport::new(scenes::options(3)));
    drop(core.enter(|| deaf.incoming()));
    let address = pair.sim.address(pair.nodes[0], 7001);
    let listening = deaf.clone();
    pair.sim.block_on(&core, async move { listening.listen(address).await }).expect("a free port");
    pair.run(async move {
        let mut stream = user
            .open_stream(scenes::peer(3, address), GROUP, Class::Control, Purpose::Raft)
            .await
            .expect("a peer");
        let refused = stream.receive().await.map(|_| ());
        assert_eq!(refused, Err(StreamError::Reset { code: ResetCode::Busy }));
        call(&user, peer, GROUP, 1).await.expect("others are not concerned");
    });
    assert_eq!(deaf.connections().len(), 1);
}
