//! Hosts, processes, time and chance: what the harness promises to tests of the product.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringway::ids::{Nanos, NodeId};
use ringway::uring::{
    Buffer, Core, Dir, Errno, Listener, OpenOptions, Priority, Socket, SocketOptions, mailbox, sleep,
    timeout, yield_now,
};

use crate::sim::{Chance, Ended, Fault, OpKind, Rule, Sim, SimOptions, each_seed, twice};

const NODES: u64 = 3;
const PORT: u16 = 7000;

fn one_node(seed: u64) -> (Sim, NodeId, Core) {
    let mut sim = Sim::new(seed, SimOptions::small());
    let node = sim.node(1);
    let core = sim.core(node, 0);
    (sim, node, core)
}

/// Appends what comes in over connections to a file, synced.
async fn serve(address: std::net::SocketAddr) -> Result<(), Errno> {
    let root = Dir::open_root("/data").await?;
    let options = OpenOptions { write: true, create: true, ..OpenOptions::default() };
    let file = root.open("log", options).await?;
    root.sync().await?;
    let listener = loop {
        match Listener::bind(address, 8).await {
            Ok(listener) => break listener,
            Err(Errno::ADDRESS_IN_USE) => sleep(Nanos::MILLISECOND).await,
            Err(errno) => return Err(errno),
        }
    };
    loop {
        let (socket, _) = listener.accept().await?;
        let file = file.clone();
        Core::current().spawn(Priority::Bulk, async move {
            loop {
                let (count, buffer) = socket.receive(Buffer::heap(4096), 0..4096).await;
                let count = count?;
                if count == 0 {
                    return Ok::<_, Errno>(());
                }
                let end = file.stat().await?.bytes;
                file.write_at(buffer, 0..count, end).await.0?;
                file.sync_data().await?;
            }
        });
    }
}

/// Sends to the others for ever, whatever becomes of it.
async fn chatter(peers: Vec<std::net::SocketAddr>) {
    for round in 0_u8.. {
        for peer in &peers {
            let talk = async {
                let socket = Socket::connect(*peer, SocketOptions::default()).await?;
                socket.send_zero_copy(Buffer::from_bytes(&[round; 3000]), 0..3000).await.0?;
                socket.shut_down().await;
                Ok::<_, Errno>(())
            };
            let _whatever = timeout(Nanos::from_millis(200), talk).await;
        }
        sleep(Nanos::from_millis(20)).await;
    }
}

fn start(sim: &mut Sim, id: NodeId) {
    let core = sim.core(id, 0);
    let peers =
        (1..=NODES).filter(|peer| *peer != id.0).map(|peer| sim.address(NodeId(peer), PORT)).collect();
    core.spawn(Priority::Urgent, serve(sim.address(id, PORT)));
    core.spawn(Priority::Bulk, chatter(peers));
}

fn disturb(sim: &mut Sim) {
    let node = NodeId(1 + sim.draw(NODES));
    let other = NodeId(1 + sim.draw(NODES));
    match sim.draw(8) {
        0 | 1 if sim.is_up(node) => sim.kill(node),
        2 if sim.is_up(node) => sim.power_cut(node),
        3 => sim.block(node, other),
        4 => sim.cut(node, other),
        5 => sim.pause(node, Nanos::from_millis(300)),
        6 if sim.is_up(node) => {
            sim.freeze(node);
            sim.later(Nanos::from_millis(100), move |sim| sim.thaw(node));
        }
        _ => {
            sim.heal();
            for node in (1..=NODES).map(NodeId) {
                if !sim.is_up(node) {
                    sim.restart(node);
                    start(sim, node);
                }
            }
        }
    }
}

/// Three nodes, and everything that can happen to them; the digest of the run.
fn swarm(seed: u64) -> u64 {
    let mut options = SimOptions::small();
    options.net.loss = Chance::percent(1);
    let mut sim = Sim::new(seed, options);
    for id in 1..=NODES {
        let node = sim.node(id);
        sim.fault(node, Rule::new(Fault::Fail(Errno::IO)).on(OpKind::Sync).skip(100));
    }
    (1..=NODES).for_each(|id| start(&mut sim, NodeId(id)));
    for _ in 0..20 {
        let length = Nanos(sim.draw(200_000_000));
        sim.run_for(length);
        disturb(&mut sim);
    }
    sim.digest()
}

#[test]
fn a_swarm_of_faults_runs_the_same_twice() {
    each_seed(12, |seed| {
        twice(seed, swarm);
    });
}

#[test]
fn the_digest_sees_what_the_seed_does_not_decide() {
    let run = |chance_from_outside: u64| {
        let (mut sim, _, core) = one_node(1);
        sim.block_on(&core, async move {
            sleep(Nanos::from_millis(chance_from_outside)).await;
            Dir::open_root("/data").await.map(|_| ())
        })
        .expect("it is there");
        sim.digest()
    };
    assert_ne!(run(10), run(20));
}

#[test]
fn a_killed_process_does_nothing_more() {
    each_seed(20, |seed| {
        let (mut sim, node, core) = one_node(seed);
        let ticks = Rc::new(Cell::new(0));
        let theirs = Rc::clone(&ticks);
        core.spawn(Priority::Urgent, async move {
            let root = Dir::open_root("/data").await.expect("it is there");
            for tick in 0.. {
                theirs.set(tick);
                let name = format!("{tick}");
                root.make_dir(&name).await.expect("a new name");
            }
        });
        sim.run_for(Nanos::from_millis(5 + seed));
        drop(core);
        sim.kill(node);
        let (before, files) = (ticks.get(), sim.host(node).disk.paths("/data").len());
        assert!(before > 10, "it worked until then");
        sim.run_for(Nanos::from_millis(100));
        assert_eq!((ticks.get(), sim.host(node).disk.paths("/data").len()), (before, files));
        assert!(sim.host(node).descriptors.is_empty(), "its descriptors are closed");
        assert_eq!(Rc::strong_count(&ticks), 1, "its memory is gone");
    });
}

#[test]
fn a_paused_node_stands_still_while_its_clock_goes_on() {
    let (mut sim, node, core) = one_node(2);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let theirs = Rc::clone(&seen);
    core.spawn(Priority::Urgent, async move {
        loop {
            theirs.borrow_mut().push(Core::current().now());
            sleep(Nanos::from_millis(10)).await;
        }
    });
    sim.run_for(Nanos::from_millis(100));
    sim.pause(node, Nanos::from_secs(2));
    sim.run_for(Nanos::from_secs(3));
    let seen = seen.borrow();
    let longest = seen.windows(2).map(|pair| pair[1].since(pair[0])).max().expect("it ticked");
    assert!(longest >= Nanos::from_millis(1990), "{longest}");
    assert!(seen.len() > 100, "it went on");
}

#[test]
fn clocks_of_two_nodes_have_nothing_in_common_but_their_pace() {
    let mut sim = Sim::new(3, SimOptions::small());
    let cores = [1, 2].map(|id| {
        let node = sim.node(id);
        sim.core(node, 0)
    });
    let read = |sim: &mut Sim| cores.clone().map(|core| sim.block_on(&core, async { Core::current().now() }));
    let before = read(&mut sim);
    sim.run_for(Nanos::from_secs(1));
    let after = read(&mut sim);
    assert!(before[0].since(before[1]).max(before[1].since(before[0])) > Nanos::from_secs(1));
    for (before, after) in before.into_iter().zip(after) {
        let passed = after.since(before);
        assert!(passed >= Nanos::from_secs(1) && passed < Nanos::from_millis(1010), "{passed}");
    }
    sim.host(NodeId(1)).wall = -3_600_000_000_000;
    let walls = cores.map(|core| core.wall().0);
    assert_eq!(walls[1] - walls[0], 3_600_000_000_000);
}

#[test]
fn a_process_that_exits_in_good_order_waits_for_its_operations() {
    let (mut sim, node, core) = one_node(4);
    let address = sim.address(node, PORT);
    core.spawn(Priority::Urgent, async move {
        let listener = Listener::bind(address, 1).await.expect("the port is free");
        listener.accept().await.map(|_| ())
    });
    sim.run_for(Nanos::from_millis(10));
    sim.exit(node);
    assert!(!sim.is_up(node));
    sim.restart(node);
    let core = sim.core(node, 0);
    let again = async move { timeout(Nanos::from_secs(1), Listener::bind(address, 1)).await.map(|_| ()) };
    assert_eq!(sim.block_on(&core, again), Ok(()));
}

#[test]
fn two_cores_of_a_node_talk_by_mailbox() {
    let (mut sim, node, first) = one_node(5);
    let second = sim.core(node, 1);
    let (sender, mut receiver) = mailbox::<u32>(2);
    first.spawn(Priority::Urgent, async move {
        for number in 0..100 {
            sender.send(number).await.expect("somebody receives");
        }
    });
    let sum = sim.block_on(&second, async move {
        let mut sum = 0;
        while let Some(number) = receiver.receive().await {
            sum += number;
        }
        sum
    });
    assert_eq!(sum, 4950);
}

#[test]
fn nothing_left_to_happen_is_told() {
    let (mut sim, _, core) = one_node(6);
    core.spawn(Priority::Urgent, std::future::pending::<()>());
    assert_eq!(sim.try_until(|| false, Nanos::from_secs(10)), Ended::Idle);
    core.spawn(Priority::Urgent, async { sleep(Nanos::from_secs(60)).await });
    assert_eq!(sim.try_until(|| false, Nanos::from_secs(10)), Ended::TimedOut);
}

#[test]
#[should_panic(expected = "never rests")]
fn a_core_that_never_rests_is_found() {
    let (mut sim, _, core) = one_node(7);
    core.spawn(Priority::Urgent, async {
        loop {
            yield_now().await;
        }
    });
    sim.run_for(Nanos::from_secs(3600));
}
