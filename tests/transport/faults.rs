//! Networks that break: cuts, partitions, corruption. What arrives is right or does not arrive.

use ringway::transport::{Class, Cut, Purpose, StreamError};
use ringway::uring::{Priority, sleep};
use ringway::wire::RaftRequest;

use super::scenes::{self, GROUP, call, expect_answer, fetch};
use super::{Pair, place, secs};
use crate::sim::{Chance, NetOptions, each_seed};

#[test]
fn a_connection_cut_at_any_byte_ends_its_streams_and_the_next_dial_works() {
    each_seed(24, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, peer) = (pair.user(), pair.peer());
        let after = 1 + pair.sim.draw(400_000);
        let (from, to) =
            if seed % 2 == 0 { (pair.nodes[0], pair.nodes[1]) } else { (pair.nodes[1], pair.nodes[0]) };
        pair.sim.link(from, to).cut_after = Some(after);
        let broken = pair.run(async move {
            let calls = call(&user, peer, GROUP, 2000).await;
            let mut again = calls.clone();
            for _ in 0..50 {
                if again.is_ok() {
                    break;
                }
                sleep(secs(3)).await;
                again = call(&user, peer, GROUP, 3).await;
            }
            again.expect("the network is sound after the cut");
            assert_eq!(fetch(&user, peer, 8).await, Ok(0));
            calls.is_err()
        });
        let cut_it = pair.sim.link(from, to).cut_after.is_none();
        assert_eq!(broken, cut_it, "the call fails if its connection was cut, after {after} bytes");
    });
}

#[test]
fn corruption_on_the_way_never_delivers_a_changed_control_frame() {
    let (mut noticed, mut damaged) = (0, 0);
    each_seed(10, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
        for (from, to) in [(0, 1), (1, 0)] {
            pair.sim.link(pair.nodes[from], pair.nodes[to]).corruption = Chance::percent(1);
        }
        // The scenes panic at any frame that was not sent so.
        let theirs = user.clone();
        let wrong = pair.run(async move {
            let mut wrong = 0;
            for _ in 0..40 {
                let _may_fail = call(&theirs, peer, GROUP, 30).await;
                wrong += fetch(&theirs, peer, 10).await.unwrap_or(0);
                sleep(secs(3)).await;
            }
            wrong
        });
        damaged += wrong;
        noticed += [user, server].iter().map(|side| side.stats().cut_for_rubbish.get()).sum::<u64>();
    });
    assert!(noticed > 20, "{noticed} connections cut: corruption was there");
    assert!(damaged > 0, "payload is not ours to check");
}

#[test]
fn a_partition_ends_the_connection_by_silence_and_a_healed_one_is_dialled_again() {
    each_seed(10, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
        let theirs = user.clone();
        let mut held = pair.run(async move {
            let stream = theirs.open_stream(peer, GROUP, Class::Control, Purpose::Raft).await;
            let mut stream = stream.expect("a peer");
            stream.send(RaftRequest { id: 1, rpc: 1, bytes: b"x" }).await.expect("a peer");
            expect_answer(&stream.receive().await.expect("an answer"), 1, b"x");
            stream
        });
        let (one, other) = (pair.nodes[0], pair.nodes[1]);
        match seed % 3 {
            0 => pair.sim.partition(&[one], &[other]),
            1 => pair.sim.block(one, other),
            _ => pair.sim.block(other, one),
        }
        let before = pair.sim.now();
        let ended = pair.run(async move { held.receive().await.map(|_| ()) });
        // Where one way is open, the other side may give up first, and its end gets through.
        let gone = matches!(ended, Err(StreamError::Connection(Cut::Silent | Cut::Ended)));
        assert!(gone, "{ended:?}");
        assert!(pair.sim.now().since(before) < secs(25), "{}", pair.sim.now().since(before));
        let theirs = user.clone();
        pair.run(async move { call(&theirs, peer, GROUP, 1).await.expect_err("still apart") });
        pair.sim.heal();
        pair.run(async move {
            let healed = ringway::uring::Core::current().now();
            while call(&user, peer, GROUP, 3).await.is_err() {
                sleep(ringway::ids::Nanos::from_millis(100)).await;
            }
            let took = ringway::uring::Core::current().now().since(healed);
            assert!(took < secs(15), "{took}");
        });
        pair.sim.run_for(secs(30));
        assert_eq!(server.connections().len(), 1, "the silent one is gone here too");
    });
}

#[test]
fn a_peer_that_is_killed_and_started_again_is_reached_again() {
    each_seed(10, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, peer) = (pair.user(), pair.peer());
        let failed = place(false);
        let (theirs, saw) = (user.clone(), failed.clone());
        drop(pair.cores[1].spawn(Priority::Urgent, async move {
            while call(&theirs, peer, GROUP, 10).await.is_ok() {}
            saw.replace(true);
        }));
        pair.sim.run_for(ringway::ids::Nanos::from_millis(200));
        let (node, address) = (pair.nodes[0], pair.address);
        pair.sim.kill(node);
        pair.sim.run_until(|| *failed.borrow(), secs(60));
        pair.sim.restart(node);
        let core = pair.sim.core(node, 0);
        let server = core.enter(|| ringway::transport::Transport::new(scenes::options(1)));
        core.enter(|| scenes::serve(&core, &server));
        let listening = server.clone();
        pair.sim.block_on(&core, async move {
            while listening.listen(address).await.is_err() {
                sleep(ringway::ids::Nanos::from_millis(10)).await;
            }
        });
        pair.run(async move {
            while call(&user, peer, GROUP, 3).await.is_err() {
                sleep(ringway::ids::Nanos::from_millis(100)).await;
            }
        });
    });
}

#[test]
fn a_transport_that_is_shut_down_ends_all_and_dials_no_more() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, peer) = (pair.user(), pair.peer());
    pair.run(async move {
        let mut stream = user.open_stream(peer, GROUP, Class::Control, Purpose::Raft).await.expect("a peer");
        user.shut_down();
        let ended = stream.receive().await.map(|_| ());
        assert_eq!(ended, Err(StreamError::Connection(Cut::ShutDown)));
        let refused = user.open_stream(peer, GROUP, Class::Control, Purpose::Raft).await.map(|_| ());
        assert_eq!(refused, Err(ringway::transport::DialError::ShutDown));
        sleep(secs(1)).await;
    });
    assert!(pair.server().connections().is_empty());
}
