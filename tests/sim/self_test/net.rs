//! The simulated network carries bytes in order, whole or not at all, and says so as TCP does.

use ringway::ids::{Nanos, NodeId};
use ringway::uring::{
    Buffer, Dir, Errno, Listener, Loose, OpenOptions, Priority, Socket, SocketOptions, mailbox, sleep,
    timeout,
};

use crate::sim::{Chance, NetOptions, Sim, SimOptions, each_seed, twice};

const PORT: u16 = 7000;

fn pair(seed: u64, net: NetOptions) -> (Sim, NodeId, NodeId) {
    let mut sim = Sim::new(seed, SimOptions { net, ..SimOptions::small() });
    let (one, other) = (sim.node(1), sim.node(2));
    (sim, one, other)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

async fn accept_one(sim_address: std::net::SocketAddr) -> Socket {
    let listener = Listener::bind(sim_address, 16).await.expect("the port is free");
    listener.accept().await.expect("somebody dials").0
}

async fn dial(address: std::net::SocketAddr) -> Result<Socket, Errno> {
    Socket::connect(address, SocketOptions::default()).await
}

/// Dials until somebody listens.
async fn reach(address: std::net::SocketAddr) -> Socket {
    loop {
        match dial(address).await {
            Ok(socket) => return socket,
            Err(Errno::REFUSED) => sleep(Nanos::MILLISECOND).await,
            Err(errno) => panic!("{errno}"),
        }
    }
}

async fn receive(socket: &Socket, len: usize) -> Result<Vec<u8>, Errno> {
    let (count, buffer) = socket.receive(Buffer::heap(len), 0..len).await;
    Ok(buffer.memory()[..count?].to_vec())
}

async fn send(socket: &Socket, bytes: &[u8]) -> Result<(), Errno> {
    socket.send_all(Buffer::from_bytes(bytes), 0..bytes.len(), false).await.0
}

/// Everything until the end, or the error that came first.
async fn drain(socket: &Socket) -> (Vec<u8>, Option<Errno>) {
    let mut all = Vec::new();
    loop {
        match receive(socket, 3000).await {
            Ok(bytes) if bytes.is_empty() => return (all, None),
            Ok(bytes) => all.extend(bytes),
            Err(errno) => return (all, Some(errno)),
        }
    }
}

#[test]
fn bytes_arrive_whole_and_in_order_however_they_are_cut() {
    each_seed(20, |seed| {
        let net = NetOptions { window: (1000, 40_000), loss: Chance::percent(2), ..NetOptions::default() };
        let (mut sim, one, other) = pair(seed, net);
        let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
        core.spawn(Priority::Urgent, async move {
            let socket = accept_one(address).await;
            send(&socket, &pattern(50_000)).await.expect("the peer reads");
            let tail = pattern(30_000);
            let (sent, _) = socket.send_zero_copy(Buffer::from_bytes(&tail), 0..tail.len()).await;
            sent.expect("the peer reads");
        });
        let (bytes, error) = sim.block_on(&peer, async move {
            let socket = reach(address).await;
            let (count, buffer) = socket.receive_all(Buffer::heap(10_000), 0..10_000).await;
            assert_eq!((count, &buffer.memory()[..10_000]), (Ok(10_000), &pattern(10_000)[..]));
            drain(&socket).await
        });
        assert_eq!(error, None);
        assert_eq!(bytes[..40_000], pattern(50_000)[10_000..]);
        assert_eq!(bytes[40_000..], pattern(30_000));
    });
}

#[test]
fn nobody_listens_means_refused_and_a_taken_port_is_taken() {
    let (mut sim, one, other) = pair(1, NetOptions::default());
    let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
    assert_eq!(sim.block_on(&peer, dial(address)).map(|_| ()), Err(Errno::REFUSED));
    let listeners = sim.block_on(&core, async move {
        let first = Listener::bind(address, 1).await;
        let second = Listener::bind(address, 1).await.map(|_| ());
        let any = Listener::bind("0.0.0.0:0".parse().expect("an address"), 1).await;
        (first.map(|_| ()), second, any.map(|any| any.address().port() > 0))
    });
    assert_eq!(listeners, (Ok(()), Err(Errno::ADDRESS_IN_USE), Ok(true)));
    let elsewhere = Listener::bind(sim.address(other, PORT), 1);
    assert_eq!(sim.block_on(&core, elsewhere).map(|_| ()), Err(Errno(libc::EADDRNOTAVAIL)));
}

#[test]
fn a_partition_is_silence_and_healing_delivers_what_was_sent() {
    each_seed(20, |seed| {
        let (mut sim, one, other) = pair(seed, NetOptions::default());
        let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
        let server = core.spawn(Priority::Urgent, async move {
            let socket = accept_one(address).await;
            let quiet = timeout(Nanos::from_secs(6), receive(&socket, 100)).await;
            assert!(quiet.is_err(), "nothing passes a partition");
            drain(&socket).await
        });
        let socket = sim.block_on(&peer, reach(address));
        sim.run_for(Nanos::from_millis(500));
        match seed % 3 {
            0 => sim.partition(&[one], &[other]),
            1 => sim.block(other, one),
            _ => {
                sim.partition(&[one, other], &[one, other]);
            }
        }
        let connects = dial(address);
        let sent = sim.block_on(&peer, async move {
            send(&socket, &pattern(4000)).await?;
            let dialled = timeout(Nanos::from_secs(4), connects).await;
            Ok::<_, Errno>((socket, dialled.is_err()))
        });
        let (socket, no_new) = sent.map_err(|errno| panic!("{errno}")).expect("it fits the window");
        assert!(no_new, "no connection comes about through a partition");
        sim.run_for(Nanos::from_secs(3));
        assert!(!server.is_ended());
        sim.heal();
        sim.block_on(&peer, async move { socket.shut_down().await });
        let (bytes, error) = sim.block_on(&core, server).expect("it was not aborted");
        assert_eq!(error, None);
        // A receive that was given up may have taken bytes with it only if they came before its cancellation.
        assert_eq!(bytes, pattern(4000));
    });
}

#[test]
fn a_killed_process_is_seen_by_its_peers() {
    let (mut resets, mut ends) = (0, 0);
    for seed in 1..=40 {
        let (mut sim, one, other) = pair(seed, NetOptions::default());
        let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
        core.spawn(Priority::Urgent, async move {
            let socket = accept_one(address).await;
            send(&socket, b"hello").await.expect("the peer is there");
            sleep(Nanos::from_secs(100)).await;
        });
        sim.later(Nanos::from_millis(50), move |sim| sim.kill(one));
        let (bytes, error) = sim.block_on(&peer, async move { drain(&reach(address).await).await });
        assert_eq!(bytes, b"hello");
        match error {
            None => ends += 1,
            Some(errno) => resets += u32::from(errno == Errno::RESET),
        }
        sim.run_for(Nanos::from_millis(10));
        assert_eq!(sim.block_on(&peer, dial(address)).map(|_| ()), Err(Errno::REFUSED));
        sim.restart(one);
        let core = sim.core(one, 0);
        core.spawn(Priority::Urgent, async move { accept_one(address).await });
        sim.block_on(&peer, async move { drop(reach(address).await) });
    }
    assert_eq!(resets + ends, 40);
    assert!(resets > 10 && ends > 2, "{resets} resets, {ends} ordinary ends");
}

#[test]
fn a_host_without_power_is_silent_until_it_is_back() {
    each_seed(10, |seed| {
        let (mut sim, one, other) = pair(seed, NetOptions::default());
        let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
        core.spawn(Priority::Urgent, async move {
            let _socket = accept_one(address).await;
            sleep(Nanos::from_secs(100)).await;
        });
        let socket = sim.block_on(&peer, reach(address));
        sim.run_for(Nanos::from_millis(5));
        sim.power_cut(one);
        let reader = socket.clone();
        let quiet =
            sim.block_on(
                &peer,
                async move { timeout(Nanos::from_secs(30), receive(&reader, 10)).await.is_err() },
            );
        assert!(quiet, "no word comes from a host without power");
        sim.restart(one);
        let told = sim.block_on(&peer, async move {
            let sent = send(&socket, b"are you there").await;
            (sent, receive(&socket, 10).await)
        });
        assert_eq!(told, (Ok(()), Err(Errno::RESET)), "the new system does not know the connection");
    });
}

#[test]
fn a_reader_that_does_not_read_stops_its_sender() {
    let (mut sim, one, other) = pair(2, NetOptions { window: (8192, 8192), ..NetOptions::default() });
    let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
    let server = core.spawn(Priority::Urgent, accept_one(address));
    let sender =
        peer.spawn(Priority::Urgent, async move { send(&reach(address).await, &pattern(20_000)).await });
    sim.run_for(Nanos::from_secs(60));
    assert!(!sender.is_ended(), "20000 bytes do not fit a window of 8192");
    let reader = async move { drain(&server.await.expect("it was not aborted")).await.0.len() };
    assert_eq!(sim.block_on(&core, reader), 20_000);
    assert_eq!(sim.block_on(&peer, sender), Some(Ok(())));
}

#[test]
fn a_corrupted_byte_arrives_and_nobody_says_so() {
    let (mut sim, one, other) = pair(3, NetOptions { corruption: Chance::ALWAYS, ..NetOptions::default() });
    let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
    core.spawn(Priority::Urgent, async move { send(&accept_one(address).await, &pattern(5000)).await });
    let (bytes, error) = sim.block_on(&peer, async move { drain(&reach(address).await).await });
    assert_eq!((bytes.len(), error), (5000, None));
    assert_ne!(bytes, pattern(5000));
}

#[test]
fn a_planned_cut_lets_exactly_so_many_bytes_pass() {
    for pass in [0, 1, 4095, 4096] {
        let (mut sim, one, other) = pair(4, NetOptions::default());
        sim.link(one, other).cut_after = Some(pass);
        let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
        core.spawn(Priority::Urgent, async move { send(&accept_one(address).await, &pattern(5000)).await });
        let (bytes, error) = sim.block_on(&peer, async move { drain(&reach(address).await).await });
        assert_eq!((bytes.len() as u64, error), (pass, Some(Errno::RESET)));
    }
}

#[test]
fn a_receive_that_is_given_up_never_returns_bytes_twice() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 1..=60 {
        let (mut sim, one, other) = pair(seed, NetOptions::default());
        let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
        core.spawn(Priority::Urgent, async move {
            let socket = accept_one(address).await;
            sleep(Nanos::MILLISECOND).await;
            send(&socket, &pattern(600)).await.expect("the peer is there");
        });
        let (bytes, error) = sim.block_on(&peer, async move {
            let socket = reach(address).await;
            let _given_up = timeout(Nanos(900_000 + seed * 10_000), receive(&socket, 600)).await;
            drain(&socket).await
        });
        assert_eq!(error, None);
        assert!(pattern(600).ends_with(&bytes), "what is left is the stream's tail");
        if bytes.len() == 600 { kept += 1 } else { lost += 1 }
    }
    assert!(lost > 0 && kept > 0, "a cancelled receive may take bytes with it: {lost} of {}", lost + kept);
}

#[test]
fn shutting_down_ends_both_directions() {
    let (mut sim, one, other) = pair(5, NetOptions::default());
    let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
    let server = core.spawn(Priority::Urgent, async move {
        let socket = accept_one(address).await;
        let waits = receive(&socket, 10);
        let other = socket.clone();
        let (received, ()) = futures_util::future::join(waits, async move {
            sleep(Nanos::from_millis(3)).await;
            other.shut_down().await;
        })
        .await;
        (received, send(&socket, b"x").await)
    });
    let seen = sim.block_on(&peer, async move { drain(&reach(address).await).await });
    assert_eq!(seen, (vec![], None));
    assert_eq!(sim.block_on(&core, server), Some((Ok(vec![]), Err(Errno::BROKEN_PIPE))));
}

#[test]
#[should_panic(expected = "two sends at once")]
fn two_sends_at_once_are_a_bug() {
    let (mut sim, one, other) = pair(6, NetOptions { window: (4096, 4096), ..NetOptions::default() });
    let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
    core.spawn(Priority::Urgent, accept_one(address));
    sim.block_on(&peer, async move {
        let socket = reach(address).await;
        let big = pattern(50_000);
        futures_util::future::join(send(&socket, &big), send(&socket, b"x")).await
    })
    .0
    .expect("not reached");
}

#[test]
fn a_connection_moves_between_cores_only_by_release_and_adopt() {
    let (mut sim, one, other) = pair(7, NetOptions::default());
    let (address, peer) = (sim.address(one, PORT), sim.core(other, 0));
    let (first, second) = (sim.core(one, 0), sim.core(one, 1));
    let (sender, mut receiver) = mailbox::<Loose>(1);
    first.spawn(Priority::Urgent, async move {
        let loose = accept_one(address).await.release();
        sender.try_send(loose).expect("there is room");
    });
    second.spawn(Priority::Urgent, async move {
        let socket = Socket::adopt(receiver.receive().await.expect("it comes"));
        send(&socket, b"from the second core").await
    });
    let (bytes, _) = sim.block_on(&peer, async move { drain(&reach(address).await).await });
    assert_eq!(bytes, b"from the second core");
}

/// A file goes from one node to another and lands there; the digest of the run.
fn copy(seed: u64) -> u64 {
    let (mut sim, one, other) = pair(seed, NetOptions::default());
    sim.host(one).disk.plant_file("/data/source", &pattern(300_000));
    let (address, core, peer) = (sim.address(one, PORT), sim.core(one, 0), sim.core(other, 0));
    core.spawn(Priority::Bulk, async move {
        let socket = accept_one(address).await;
        let root = Dir::open_root("/data").await?;
        let file = root.open("source", OpenOptions::default()).await?;
        for at in 0.. {
            let (count, buffer) = file.read_at(Buffer::heap(65_536), 0..65_536, at * 65_536).await;
            match count? {
                0 => break,
                count => socket.send_zero_copy(buffer, 0..count).await.0?,
            };
        }
        Ok::<_, Errno>(())
    });
    let landed = sim.block_on(&peer, async move {
        let socket = reach(address).await;
        let root = Dir::open_root("/data").await?;
        let options = OpenOptions { write: true, create: true, exclusive: true, ..OpenOptions::default() };
        let file = root.open("staged", options).await?;
        let mut offset = 0;
        loop {
            let (count, buffer) = socket.receive(Buffer::heap(65_536), 0..65_536).await;
            match count? {
                0 => break,
                count => {
                    file.write_at(buffer, 0..count, offset).await.0?;
                    offset += count as u64;
                }
            }
        }
        file.sync_data().await?;
        root.rename("staged", &root, "landed").await?;
        root.sync().await
    });
    assert_eq!(landed, Ok(()));
    sim.power_cut(other);
    assert_eq!(sim.host(other).disk.file("/data/landed"), Some(pattern(300_000)));
    sim.digest()
}

#[test]
fn a_copy_between_nodes_runs_the_same_twice() {
    each_seed(10, |seed| {
        twice(seed, copy);
    });
}
