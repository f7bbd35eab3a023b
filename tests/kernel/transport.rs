//! Connections between nodes over loopback: the scenes of the simulation on real rings and real sockets.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use ringway::ids::{GroupId, Nanos};
use ringway::limits::CHUNK_BYTES;
use ringway::stats::Sent;
use ringway::transport::{
    Carry, Class, ConnectionInfo, Purpose, RefusedCode, SendPath, Transport, TransportOptions, WhyCopy,
};
use ringway::uring::{
    Buffer, Congestion, Core, KernelOptions, KernelRing, OpenOptions, Pinned, Priority, SendError, Socket,
    SocketOptions, mailbox, pinned, sleep,
};
use ringway::wire::Chunk;

use super::drive;
use super::scenes::{self, GROUP, call, fetch};
use super::without::Forbidden;

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An address of this machine that is not loopback's; what is sent to it stays here all the same.
fn own_address() -> Option<SocketAddr> {
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    // Only chooses a route; nothing is sent.
    probe.connect("192.0.2.1:9").ok()?;
    let address = probe.local_addr().ok()?;
    (!address.ip().is_loopback()).then(|| SocketAddr::new(address.ip(), 0))
}

fn core() -> Core {
    core_with(KernelOptions::default())
}

fn core_with(options: KernelOptions) -> Core {
    let ring = KernelRing::open(options).expect("this machine has io_uring");
    Core::new(Box::new(ring), 16, CHUNK_BYTES)
}

/// A server on a thread of its own; gives its address.
fn server(options: impl FnOnce() -> TransportOptions + Send + 'static) -> (Pinned, SocketAddr) {
    let (tell, told) = channel();
    let thread = pinned(0, None, move || {
        let core = core();
        core.enter(|| {
            let transport = Transport::new(options());
            scenes::serve(&core, &transport);
            drop(core.spawn(Priority::Urgent, async move {
                tell.send(transport.listen(any()).await.expect("loopback")).expect("the test waits");
                // The transport lives as long as this task.
                std::future::pending::<()>().await;
                drop(transport);
            }));
        });
        Ok(core)
    });
    let address = told.recv_timeout(Duration::from_secs(10)).expect("it listens");
    (thread.expect("a thread"), address)
}

/// A user of node 2 on the test's own thread.
fn with_user<F: Future + 'static>(
    options: TransportOptions,
    play: impl FnOnce(Core, Transport) -> F,
) -> F::Output
where
    F::Output: 'static,
{
    let core = core();
    let transport = core.enter(|| Transport::new(options));
    let output = drive(&core, play(core.clone(), transport));
    core.shut_down();
    output
}

#[test]
fn many_streams_of_both_classes_run_over_loopback_and_every_byte_is_right() {
    let (server, address) = server(|| scenes::options(1));
    with_user(scenes::options(2), |core, user| async move {
        let peer = scenes::peer(1, address);
        let tasks: Vec<_> = (0..24_u64)
            .map(|index| {
                let user = user.clone();
                core.spawn(Priority::Bulk, async move {
                    match index % 3 {
                        0 => assert_eq!(fetch(&user, peer, 40).await, Ok(0)),
                        _ => call(&user, peer, GROUP, 60).await.expect("loopback"),
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("not aborted");
        }
        assert_eq!(user.stats().dials.get(), 2);
        assert_eq!(core.slab().free(), usize::from(core.slab().count()), "all buffers are home");
        let copies = SendPath::Copy(WhyCopy::Loopback);
        assert!(user.connections().iter().all(|connection| connection.send_path == copies));
    });
    server.stop();
}

/// What the one connection of a source tells when a peer has fetched so many chunks over it, what its core does, and
/// how much payload there was. Here the user serves, so that its connection can be looked at.
fn fetched_from(core: &Core, own: SocketAddr, chunks: u32) -> (ConnectionInfo, Sent, u64) {
    let source = core.enter(|| Transport::new(scenes::options(2)));
    let (tell, told) = channel();
    let (release, released) = channel::<()>();
    let serving = core.clone();
    let found = drive(core, async move {
        scenes::serve(&serving, &source);
        let listening = source.listen(own).await.expect("our own address");
        let other = std::thread::spawn(move || {
            with_user(scenes::options(3), |_, user| async move {
                let fetched = fetch(&user, scenes::peer(2, listening), chunks).await;
                tell.send(fetched).expect("the test waits");
                // The connection stands until it was looked at.
                while released.try_recv() == Err(TryRecvError::Empty) {
                    sleep(Nanos::from_millis(5)).await;
                }
            });
        });
        let fetched = loop {
            match told.try_recv() {
                Ok(fetched) => break fetched,
                Err(_) => sleep(Nanos::from_millis(5)).await,
            }
        };
        assert_eq!(fetched, Ok(0));
        let (connections, stats) = (source.connections(), source.stats());
        let [connection] = &connections[..] else { panic!("{connections:?}") };
        let found = (connection.clone(), stats.sent.get(), stats.payload_bytes_out.get());
        drop(release);
        other.join().expect("it ends");
        found
    });
    core.shut_down();
    found
}

/// All bytes that have left.
fn total(sent: Sent) -> u64 {
    sent.bytes_by_reference + sent.bytes_zero_copy + sent.bytes_copied_by_kernel + sent.bytes_copied
}

#[test]
fn d10_a_route_on_which_the_kernel_copies_is_sent_to_by_copying() {
    let Some(own) = own_address() else {
        return super::skip("an address that is not loopback's");
    };
    let core = core();
    let (connection, sent, payload_bytes) = fetched_from(&core, own, 70);
    assert_eq!(connection.sent, sent, "there was no other");
    assert_eq!(total(sent), payload_bytes, "{sent:?}");
    if core.probe().uses("zero-copy send") && core.probe().uses("registered buffers") {
        assert!(sent.zero_copy_sends_copied >= 4, "{sent:?}");
        assert!(sent.zero_copy_sends < 20, "given up after the first reports: {sent:?}");
        assert_eq!(sent.bytes_zero_copy, 0, "what the kernel copies does not pass for zero-copy: {sent:?}");
        assert!(sent.bytes_copied_by_kernel > 0 && sent.bytes_copied > 0, "{sent:?}");
        assert_eq!(connection.send_path, SendPath::Copy(WhyCopy::Reported));
    }
}

/// A zero-copy send from memory that is not registered locks it each time, against the limit that has refused the
/// registration.
#[test]
fn d10_a_core_whose_buffers_are_not_registered_sends_by_copying_on_every_route() {
    let Some(own) = own_address() else {
        return super::skip("an address that is not loopback's");
    };
    let core = core_with(KernelOptions { registered: false, ..KernelOptions::default() });
    let (connection, sent, payload_bytes) = fetched_from(&core, own, 14);
    if core.probe().uses("zero-copy send") {
        assert_eq!(connection.send_path, SendPath::Copy(WhyCopy::Unregistered));
    }
    assert_eq!(sent, Sent { bytes_copied: payload_bytes, ..Sent::default() });
}

#[test]
fn d10_what_leaves_by_reference_is_counted_as_that() {
    let (server, address) = server(|| scenes::options(1));
    let folder = super::scratch();
    std::fs::write(folder.path().join("file"), [7; 100_000]).expect("room");
    with_user(scenes::options(2), |_, user| async move {
        let dir = super::open(&folder).await;
        let file = dir.open("file", OpenOptions::default()).await.expect("just written");
        let extent = file.cached(0, 100_000).await.expect("what was just written is in the page cache");
        let opened = user.open_stream(scenes::peer(1, address), GROUP, Class::Bulk, Purpose::Soft).await;
        let (sender, _receiver) = opened.expect("loopback").split();
        sender.ready().await.expect("it has room");
        sender.send_extent(Chunk { request: 5, chunk: 0 }, extent).await.expect("it has room");
        let expected = Sent { bytes_by_reference: 100_000, ..Sent::default() };
        assert_eq!((user.connections()[0].sent, user.stats().sent.get()), (expected, expected));
    });
    server.stop();
}

#[test]
fn both_ends_of_a_connection_have_the_congestion_control_that_is_asked_for_and_tell_it() {
    for congestion in Congestion::ALL {
        let options = move |node| {
            let socket = SocketOptions { congestion: Some(congestion) };
            TransportOptions { socket, ..scenes::options(node) }
        };
        with_user(options(2), |core, source| async move {
            if !core.probe().uses(congestion.name()) {
                return super::skip(congestion.name());
            }
            scenes::serve(&core, &source);
            let at = source.listen(any()).await.expect("loopback");
            let other = core.clone().enter(|| Transport::new(options(3)));
            assert_eq!(fetch(&other, scenes::peer(2, at), 1).await, Ok(0));
            for end in [&source, &other] {
                let found: Vec<_> = end.connections().into_iter().map(|end| end.congestion).collect();
                assert_eq!(found, [Some(congestion.name().to_owned())]);
            }
        });
    }
}

#[test]
fn a_congestion_control_that_the_system_refuses_leaves_its_default_and_the_probe_says_what_to_allow() {
    let default = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").expect("Linux");
    for (errno, words) in [
        (libc::ENOENT, "`modprobe tcp_cubic`"),
        (libc::EPERM, "sysctl net.ipv4.tcp_allowed_congestion_control"),
    ] {
        let default = default.trim().to_owned();
        let thread = std::thread::spawn(move || {
            Forbidden::congestion(errno).here();
            let socket = SocketOptions { congestion: Some(Congestion::Cubic) };
            let options = TransportOptions { socket, ..scenes::options(2) };
            with_user(options, |core, user| async move {
                let text = core.probe().to_string();
                assert!(text.contains(words) && text.contains(&format!("default, {default}")), "{text}");
                scenes::serve(&core, &user);
                let at = user.listen(any()).await.expect("loopback");
                let other = core.clone().enter(|| Transport::new(scenes::options(3)));
                assert_eq!(fetch(&other, scenes::peer(2, at), 1).await, Ok(0));
                assert_eq!(user.connections()[0].congestion, Some(default));
            });
        });
        thread.join().expect("it ends");
    }
}

#[test]
fn a_connection_is_handed_to_the_core_of_its_group_on_another_thread() {
    let (sender, mut receiver) = mailbox(8);
    let (second, _) = {
        let (tell, told) = channel();
        let thread = pinned(1, None, move || {
            let core = core();
            core.enter(|| {
                let options = TransportOptions { core_count: 2, core_index: 1, ..scenes::options(1) };
                let transport = Transport::new(options);
                scenes::serve(&core, &transport);
                drop(core.spawn(Priority::Urgent, async move {
                    while let Some(hand_over) = receiver.receive().await {
                        transport.adopt(hand_over);
                    }
                }));
            });
            tell.send(()).expect("the test waits");
            Ok(core)
        });
        told.recv_timeout(Duration::from_secs(10)).expect("it runs");
        (thread.expect("a thread"), ())
    };
    let (first, address) = server(move || {
        let carry: Carry = Rc::new(move |core, hand_over| {
            assert_eq!(core, 1);
            sender.try_send(hand_over).map_err(|refused| match refused {
                SendError::Full(back) | SendError::Closed(back) => back,
            })
        });
        TransportOptions { core_count: 2, carry: Some(carry), ..scenes::options(1) }
    });
    with_user(scenes::options(2), |_, user| async move {
        let peer = scenes::peer(1, address);
        for group in 0..6 {
            call(&user, peer, GroupId(group), 20).await.expect("loopback");
        }
        assert_eq!(user.stats().dials.get(), 2, "one to each core of the peer");
        assert_eq!(fetch(&user, peer, 10).await, Ok(0), "group 1 is the second core's");
    });
    first.stop();
    second.stop();
}

#[test]
fn who_holds_another_secret_is_refused_over_loopback() {
    let (server, address) = server(|| scenes::options(1));
    let user = TransportOptions { secrets: scenes::secrets(2), ..scenes::options(2) };
    let error = with_user(user, |_, user| async move {
        call(&user, scenes::peer(1, address), GROUP, 1).await.expect_err("another secret")
    });
    assert!(error.contains(&RefusedCode::Authentication.to_string()), "{error}");
    server.stop();
}

#[test]
fn a6_strangers_that_never_speak_are_dropped_in_time_and_an_honest_peer_works() {
    let (server, address) = server(|| {
        let mut options = scenes::options(1);
        options.timeouts.handshake = Nanos::from_millis(400);
        options
    });
    with_user(scenes::options(2), |core, user| async move {
        let mut strangers = Vec::new();
        for _ in 0..200 {
            let socket = Socket::connect(address, SocketOptions::default()).await.expect("loopback");
            strangers.push(core.spawn(Priority::Bulk, async move {
                // Nothing is said; the other side hangs up.
                socket.receive(Buffer::heap(1), 0..1).await.0
            }));
        }
        for _ in 0..10 {
            user.cut_unless(|_| false);
            call(&user, scenes::peer(1, address), GROUP, 3).await.expect("honest");
            sleep(Nanos::from_millis(20)).await;
        }
        for stranger in strangers {
            let heard = stranger.await.expect("not aborted");
            assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
        }
    });
    server.stop();
}

#[test]
fn a_server_that_goes_away_ends_its_streams_and_one_that_returns_is_reached() {
    let (first, address) = server(|| scenes::options(1));
    with_user(scenes::options(2), |_, user| async move {
        let peer = scenes::peer(1, address);
        call(&user, peer, GROUP, 3).await.expect("loopback");
        first.stop();
        call(&user, peer, GROUP, 1).await.expect_err("nobody is there");
        let (second, address) = server(|| scenes::options(1));
        call(&user, scenes::peer(1, address), GROUP, 3).await.expect("another one");
        second.stop();
    });
}
