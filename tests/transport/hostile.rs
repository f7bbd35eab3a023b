//! Peers that are not who they say, say nothing, or say what may not be said.

use std::rc::Rc;

use ringway::auth::SecretSet;
use ringway::ids::{ClusterId, GroupId, Incarnation, Nanos, NodeId};
use ringway::limits::{CHUNK_BYTES, RECEIVE_QUEUED_BYTES_MAX};
use ringway::transport::{Class, DialError, PeerIdentity, Purpose, RefusedCode, Role, TransportOptions};
use ringway::uring::{Core, Priority, sleep, timeout};
use ringway::wire::{Body, Chunk, Close, Credit, Open, Ping, RaftRequest, Ready, Reset, Text};

use super::raw::{Claims, Ended, Raw, plain};
use super::scenes::{self, CLUSTER, GROUP, call, fetch, fetch_of, secrets};
use super::{Pair, place, secs};
use crate::sim::{NetOptions, each_seed};

fn opened(user: TransportOptions) -> Result<(), DialError> {
    let mut pair = Pair::with(1, NetOptions::default(), scenes::options(1), user);
    let (user, peer) = (pair.user(), pair.peer());
    pair.run(async move { user.open_stream(peer, GROUP, Class::Control, Purpose::Raft).await.map(|_| ()) })
}

fn refused(code: RefusedCode) -> Result<(), DialError> {
    Err(DialError::Refused { code, text: code.to_string() })
}

#[test]
fn a1_who_holds_another_secret_learns_only_that_authentication_failed() {
    let user = TransportOptions { secrets: secrets(2), ..scenes::options(2) };
    assert_eq!(opened(user), refused(RefusedCode::Authentication));
}

#[test]
fn a1_a_node_of_another_cluster_is_refused() {
    let user = TransportOptions { cluster: Some(ClusterId([8; 16])), ..scenes::options(2) };
    assert_eq!(opened(user), refused(RefusedCode::Cluster));
}

#[test]
fn a_node_that_claims_to_be_the_one_it_dials_is_refused() {
    assert_eq!(opened(scenes::options(1)), refused(RefusedCode::Ourselves));
}

#[test]
fn a_node_that_has_not_joined_and_a_puller_connect_where_they_are_admitted() {
    let joiner = TransportOptions { cluster: None, ..scenes::options(2) };
    assert_eq!(opened(joiner), Ok(()));
    let puller = TransportOptions { cluster: None, node: None, ..scenes::options(2) };
    assert_eq!(opened(puller), Ok(()));
}

#[test]
fn another_node_at_the_address_is_not_taken_for_the_one_that_was_dialled() {
    let mut pair = Pair::new(1, NetOptions::default());
    let user = pair.user();
    let wrong = scenes::peer(3, pair.address);
    let error = pair.run(async move {
        user.open_stream(wrong, GROUP, Class::Control, Purpose::Raft).await.map(|_| ()).expect_err("node 1")
    });
    assert!(matches!(error, DialError::Handshake(_)), "{error}");
}

#[test]
fn d15_who_is_admitted_is_decided_by_the_proven_identity() {
    let seen = place(Vec::new());
    let noted = seen.clone();
    let admit = Rc::new(move |peer: &PeerIdentity| {
        noted.borrow_mut().push(*peer);
        match peer.incarnation {
            Incarnation(life) if life == [2; 16] => Ok(()),
            _ => Err(RefusedCode::Incarnation),
        }
    });
    let server = TransportOptions { admit, ..scenes::options(1) };
    let user = TransportOptions { incarnation: Incarnation([3; 16]), ..scenes::options(2) };
    let mut pair = Pair::with(1, NetOptions::default(), server, user);
    let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
    let error = pair.run(async move { call(&user, peer, GROUP, 1).await.expect_err("another life") });
    assert!(error.contains("another incarnation"), "{error}");
    assert_eq!(server.stats().refused[usize::from(RefusedCode::Incarnation.number())].get(), 1);
    let expected = PeerIdentity {
        cluster: Some(CLUSTER),
        node: Some(NodeId(2)),
        incarnation: Incarnation([3; 16]),
        role: Role::Node,
        dialled: false,
    };
    assert_eq!(*seen.borrow(), [expected]);
}

#[test]
fn a4_secrets_change_without_a_stop() {
    let mut pair = Pair::new(1, NetOptions::default());
    let (user, server, peer) = (pair.user(), pair.server(), pair.peer());
    let both = |new: u8, old: u8| {
        // The sets of the tests hold one secret each; two of them make one of two.
        let one = |seed: u8| {
            let mut random: [u8; 32] = std::array::from_fn(|place| place as u8 ^ seed);
            ringway::auth::Secret::generate(&mut random).expect("not weak")
        };
        SecretSet::new(one(new), Some(one(old)))
    };
    pair.run(async move {
        call(&user, peer, GROUP, 1).await.expect("the old secret");
        server.set_secrets(both(2, 1));
        user.cut_unless(|_| false);
        call(&user, peer, GROUP, 1).await.expect("the old secret is still accepted");
        user.set_secrets(both(2, 1));
        user.cut_unless(|_| false);
        call(&user, peer, GROUP, 1).await.expect("both hold both");
        assert_eq!(user.connections()[0].key, secrets(2).ids().current, "the newest that both hold");
        server.set_secrets(secrets(2));
        user.set_secrets(secrets(2));
        call(&user, peer, GROUP, 1).await.expect("what stands is not touched");
        user.cut_unless(|_| false);
        call(&user, peer, GROUP, 1).await.expect("the new one alone");
    });
}

#[test]
fn a5_a_version_that_is_not_spoken_is_refused_with_its_code() {
    let pair = Pair::new(1, NetOptions::default());
    let (mut pair, address) = (pair.sim, pair.address);
    let stranger = pair.node(3);
    let core = pair.core(stranger, 0);
    let ended = pair.block_on(&core, async move {
        let newer = Claims { versions: (2, 9), ..Claims::default() };
        let framed = Claims { frame_version: 2, ..Claims::default() };
        let spoken = Claims { versions: (1, 9), ..Claims::default() };
        [
            Raw::dial(address, &newer).await.map(|_| ()),
            Raw::dial(address, &framed).await.map(|_| ()),
            Raw::dial(address, &spoken).await.map(|_| ()),
        ]
    });
    let version = Err(Ended::Refused(RefusedCode::Version.number()));
    assert_eq!(ended[..2], [version, Err(Ended::Refused(RefusedCode::Version.number()))]);
    assert_eq!(ended[2], Ok(()), "the newest that both speak");
}

#[test]
fn a6_a_thousand_that_never_speak_are_dropped_in_time_and_an_honest_peer_works() {
    each_seed(2, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, server, peer, address) = (pair.user(), pair.server(), pair.peer(), pair.address);
        let stranger = pair.sim.node(3);
        let core = pair.sim.core(stranger, 0);
        let hung_up = place(0);
        for index in 0..1000_u64 {
            let hung_up = hung_up.clone();
            drop(core.spawn(Priority::Bulk, async move {
                sleep(Nanos::from_millis(index / 4)).await;
                let mut raw = Raw::connect(address).await;
                // Some say nothing, some begin.
                if index % 3 == 0 {
                    let _may_be_late = raw.send(&plain(&Body::Ready(Ready {}))[..30]).await;
                }
                raw.is_hung_up().await;
                *hung_up.borrow_mut() += 1;
            }));
        }
        for _ in 0..20 {
            let (theirs, started) = (user.clone(), pair.sim.now());
            pair.run(async move {
                theirs.cut_unless(|_| false);
                call(&theirs, peer, GROUP, 2).await.expect("honest");
            });
            let took = pair.sim.now().since(started);
            assert!(took < secs(1), "an honest peer waited for {took}");
        }
        pair.sim.run_until(|| *hung_up.borrow() == 1000, secs(10));
        let stats = server.stats();
        let dropped = stats.unproven_evicted.get() + stats.unproven_timed_out.get();
        assert_eq!(dropped, 1000, "{stats:?}");
        assert!(stats.unproven_timed_out.get() > 0 && stats.unproven_evicted.get() > 0);
    });
}

#[test]
fn connections_of_one_peer_are_bounded_and_free_again() {
    let mut server = scenes::options(1);
    server.caps.peer = 2;
    let pair = Pair::with(1, NetOptions::default(), server, scenes::options(2));
    let (mut sim, address) = (pair.sim, pair.address);
    let stranger = sim.node(3);
    let core = sim.core(stranger, 0);
    sim.block_on(&core, async move {
        let claims = Claims::default();
        let first = Raw::dial(address, &claims).await.map_err(|_| ()).expect("room");
        let _second = Raw::dial(address, &claims).await.map_err(|_| ()).expect("room");
        let third = Raw::dial(address, &claims).await.map(|_| ());
        assert_eq!(third, Err(Ended::Refused(RefusedCode::Busy.number())));
        drop(first);
        sleep(secs(1)).await;
        Raw::dial(address, &claims).await.map_err(|_| ()).expect("room again");
    });
}

#[test]
fn a10_recorded_bytes_of_a_session_prove_nothing_later() {
    each_seed(10, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (server, address) = (pair.server(), pair.address);
        // What the honest side sent, taken down byte for byte.
        let recorded = pair.run(async move {
            let claims = Claims { node: NodeId(2), incarnation: Incarnation([2; 16]), ..Claims::default() };
            let mut raw = Raw::dial(address, &claims).await.map_err(|_| ()).expect("honest");
            let open = Body::Open(Open { group: GROUP, purpose: Purpose::Raft });
            let mut session = raw.tagged(1, GROUP, &open, &[]);
            let request = Body::RaftRequest(RaftRequest { id: 1, rpc: 1, bytes: b"once only" });
            session.extend(raw.tagged(1, GROUP, &request, &[]));
            raw.send(&session).await.expect("connected");
            while raw.hear().await.expect("an answer").0.kind != ringway::wire::Kind::RaftResponse {}
            // The same session again, in the same session.
            raw.send(&session).await.expect("connected");
            raw.is_hung_up().await;
            session
        });
        assert_eq!(server.stats().tag_failures.get(), 1);
        let accepted = server.stats().streams_accepted.get();
        pair.run(async move {
            // In a new session of the same node.
            let claims = Claims { node: NodeId(2), incarnation: Incarnation([2; 16]), ..Claims::default() };
            let mut raw = Raw::dial(address, &claims).await.map_err(|_| ()).expect("honest");
            raw.send(&recorded).await.expect("connected");
            raw.is_hung_up().await;
        });
        assert_eq!(server.stats().tag_failures.get(), 2);
        assert_eq!(server.stats().streams_accepted.get(), accepted, "nothing was acted on");
    });
}

#[test]
fn a10_a_recorded_handshake_is_refused() {
    let mut pair = Pair::new(3, NetOptions::default());
    let (server, address) = (pair.server(), pair.address);
    let ended = pair.run(async move {
        let hello = ringway::wire::Hello {
            version_min: 1,
            version_max: 1,
            role: Role::Node,
            class: Class::Control,
            group: GROUP,
            cluster: CLUSTER,
            node: NodeId(2),
            to_node: NodeId(1),
            incarnation: Incarnation([2; 16]),
            key: secrets(1).ids().current.0,
            key_previous: secrets(1).ids().previous.0,
            nonce: [4; 32],
        };
        let mut raw = Raw::connect(address).await;
        raw.send(&plain(&Body::Hello(hello))).await.expect("connected");
        let (welcome, _) = raw.hear().await.expect("a welcome");
        assert_eq!(welcome.kind, ringway::wire::Kind::Welcome);
        // A proof that was good for another nonce of the responder.
        raw.send(&plain(&Body::Proof(ringway::wire::Proof { mac: [5; 32] }))).await.expect("connected");
        let (header, body) = raw.hear().await.expect("a refusal");
        match header.decode_body(&body) {
            Ok(Body::Refused(refused)) => refused.code,
            other => panic!("{other:?}"),
        }
    });
    assert_eq!(ended, RefusedCode::Authentication.number());
    assert!(server.connections().is_empty());
}

/// What a proven peer may not do, and what of it is counted.
type Breach = (&'static str, fn(&mut Raw) -> Vec<u8>);

fn open(raw: &mut Raw, stream: u32) -> Vec<u8> {
    raw.tagged(stream, GROUP, &Body::Open(Open { group: GROUP, purpose: Purpose::Soft }), &[])
}

fn request(raw: &mut Raw, stream: u32, bytes: usize) -> Vec<u8> {
    let bytes = vec![1; bytes];
    raw.tagged(stream, GROUP, &Body::RaftRequest(RaftRequest { id: 1, rpc: 1, bytes: &bytes }), &[])
}

const BREACHES: [Breach; 17] = [
    ("a message on a stream that was never opened", |raw| request(raw, 1, 10)),
    ("an end of a stream that was never opened", |raw| raw.tagged(1, GROUP, &Body::Close(Close {}), &[])),
    ("credit for a stream that was never opened", |raw| {
        raw.tagged(7, GROUP, &Body::Credit(Credit { bytes: 1 }), &[])
    }),
    ("a stream opened twice", |raw| [open(raw, 1), open(raw, 1)].concat()),
    ("a stream with a number of ours", |raw| open(raw, 2)),
    ("a stream with number zero", |raw| open(raw, 0)),
    ("streams out of order", |raw| [open(raw, 3), open(raw, 1)].concat()),
    ("a message after the end", |raw| {
        let close = |raw: &mut Raw| raw.tagged(1, GROUP, &Body::Close(Close {}), &[]);
        [open(raw, 1), close(raw), request(raw, 1, 10)].concat()
    }),
    ("two ends", |raw| {
        let close = |raw: &mut Raw| raw.tagged(1, GROUP, &Body::Close(Close {}), &[]);
        [open(raw, 1), close(raw), close(raw)].concat()
    }),
    ("another group than the stream's", |raw| {
        let other = Body::RaftRequest(RaftRequest { id: 1, rpc: 1, bytes: b"x" });
        [open(raw, 1), raw.tagged(1, GroupId(5), &other, &[])].concat()
    }),
    ("an open that names two groups", |raw| {
        raw.tagged(1, GROUP, &Body::Open(Open { group: GroupId(5), purpose: Purpose::Soft }), &[])
    }),
    ("more than its credit", |raw| {
        [open(raw, 1), request(raw, 1, 60_000), request(raw, 1, 60_000), request(raw, 1, 60_000)].concat()
    }),
    ("a frame of the handshake", |raw| raw.tagged(0, GroupId(0), &Body::Ready(Ready {}), &[])),
    ("a frame without a tag", |_| plain(&Body::Ping(Ping { id: 1 }))),
    ("a frame twice", |raw| {
        let ping = raw.tagged(0, GroupId(0), &Body::Ping(Ping { id: 1 }), &[]);
        [ping.clone(), ping].concat()
    }),
    ("a frame with one bit changed", |raw| {
        let mut ping = raw.tagged(0, GroupId(0), &Body::Ping(Ping { id: 1 }), &[]);
        let place = ping.len() - 20;
        ping[place] ^= 1;
        ping
    }),
    ("a frame with a wrong tag", |raw| {
        let mut ping = raw.tagged(0, GroupId(0), &Body::Ping(Ping { id: 1 }), &[]);
        let place = ping.len() - 1;
        ping[place] ^= 1;
        ping
    }),
];

#[test]
fn a_proven_peer_that_breaks_the_protocol_is_cut_and_counted_and_others_go_on() {
    for (what, breach) in BREACHES {
        let mut pair = Pair::new(5, NetOptions::default());
        let (user, server, peer, address) = (pair.user(), pair.server(), pair.peer(), pair.address);
        let ended = pair.run(async move {
            call(&user, peer, GROUP, 1).await.expect("honest");
            let mut raw = Raw::dial(address, &Claims::default()).await.map_err(|_| ()).expect("a member");
            let bytes = breach(&mut raw);
            let _may_be_cut_meanwhile = raw.send(&bytes).await;
            let ended = timeout(secs(1), raw.is_hung_up()).await;
            call(&user, peer, GROUP, 1).await.expect("others are not concerned");
            ended
        });
        assert_eq!(ended, Ok(()), "{what}: not cut");
        let stats = server.stats();
        assert_eq!(stats.cut_for_rubbish.get(), 1, "{what}: not counted");
        // Each for its own reason, and not because the test numbers its frames wrong.
        let of_tags = ["a frame twice", "a frame with a wrong tag"].contains(&what);
        assert_eq!(stats.tag_failures.get(), u64::from(of_tags), "{what}");
        assert_eq!(stats.credit_overruns.get(), u64::from(what == "more than its credit"), "{what}");
    }
}

#[test]
fn a_stream_that_the_peer_gives_up_is_given_up_here_and_late_credit_is_no_breach() {
    let mut pair = Pair::new(5, NetOptions::default());
    let (server, address) = (pair.server(), pair.address);
    pair.run(async move {
        let mut raw = Raw::dial(address, &Claims::default()).await.map_err(|_| ()).expect("a member");
        let mut bytes = open(&mut raw, 1);
        let reset = Body::Reset(Reset { code: 1, text: Text::clip("because") });
        bytes.extend(raw.tagged(1, GROUP, &reset, &[]));
        bytes.extend(raw.tagged(1, GROUP, &Body::Credit(Credit { bytes: 1000 }), &[]));
        bytes.extend(raw.tagged(0, GroupId(0), &Body::Ping(Ping { id: 77 }), &[]));
        raw.send(&bytes).await.expect("connected");
        let mut kinds = Vec::new();
        while kinds.len() < 2 {
            kinds.push(raw.hear().await.expect("it stands").0.kind);
        }
        kinds.sort();
        assert_eq!(kinds, [ringway::wire::Kind::Pong, ringway::wire::Kind::Reset]);
    });
    assert_eq!(server.stats().cut_for_rubbish.get(), 0);
    assert_eq!(server.connections()[0].streams, 0);
}

#[test]
fn random_and_truncated_bytes_end_in_nothing_but_a_closed_connection() {
    each_seed(30, |seed| {
        let mut pair = Pair::new(seed, NetOptions::default());
        let (user, peer, address) = (pair.user(), pair.peer(), pair.address);
        let drawn: Vec<u64> = (0..64).map(|_| pair.sim.draw(u64::MAX)).collect();
        pair.run(async move {
            let noise: Vec<u8> = drawn.iter().flat_map(|number| number.to_le_bytes()).collect();
            let mut raw = Raw::connect(address).await;
            let _may_be_cut_meanwhile = raw.send(&noise).await;
            raw.is_hung_up().await;
            // Proven, then noise; then a frame of a chunk that is cut in its payload.
            let mut raw = Raw::dial(address, &Claims::default()).await.map_err(|_| ()).expect("a member");
            let _may_be_cut_meanwhile = raw.send(&noise).await;
            raw.is_hung_up().await;
            let bulk = Claims { class: Class::Bulk, ..Claims::default() };
            let mut raw = Raw::dial(address, &bulk).await.map_err(|_| ()).expect("a member");
            let mut bytes = open(&mut raw, 1);
            let chunk = Body::Chunk(Chunk { request: 1, chunk: 1 });
            bytes.extend(raw.tagged(1, GROUP, &chunk, &vec![7; 300_000]));
            let cut = bytes.len() - 1 - (drawn[0] % 299_000) as usize;
            raw.send(&bytes[..cut]).await.expect("connected");
            drop(raw);
            sleep(secs(1)).await;
            call(&user, peer, GROUP, 3).await.expect("others are not concerned");
            assert_eq!(fetch(&user, peer, 3).await, Ok(0));
        });
        let core = pair.cores[0].clone();
        assert_eq!(core.slab().free(), usize::from(core.slab().count()), "no buffer stays behind");
    });
}

/// Once what a frame was charged when it began stayed charged: after as many broken connections as the core may hold
/// chunks, everything that anybody sent was too much.
#[test]
fn connections_that_end_within_a_payload_cost_later_ones_nothing() {
    let mut pair = Pair::new(5, NetOptions::default());
    let (user, peer, address) = (pair.user(), pair.peer(), pair.address);
    let server = pair.server();
    pair.run(async move {
        let payload = vec![7; CHUNK_BYTES];
        for _ in 0..RECEIVE_QUEUED_BYTES_MAX / CHUNK_BYTES as i64 + 1 {
            let bulk = Claims { class: Class::Bulk, ..Claims::default() };
            let mut raw = Raw::dial(address, &bulk).await.map_err(|_| ()).expect("a member");
            let mut bytes = open(&mut raw, 1);
            bytes.extend(raw.tagged(1, GROUP, &Body::Chunk(Chunk { request: 1, chunk: 1 }), &payload));
            bytes.truncate(bytes.len() - payload.len() + 10);
            raw.send(&bytes).await.expect("connected");
            drop(raw);
            sleep(Nanos::from_millis(5)).await;
        }
        call(&user, peer, GROUP, 3).await.expect("others are not concerned");
        assert_eq!(fetch(&user, peer, 3).await, Ok(0));
    });
    assert_eq!(server.connections().len(), 2, "of the honest one");
}

/// Once the ends of streams that a peer had opened and given up waited for it to read them, however many they were.
#[test]
fn a_peer_that_opens_and_gives_up_streams_and_reads_nothing_is_cut() {
    let mut server = scenes::options(1);
    server.caps.streams = 64;
    let mut pair = Pair::with(5, NetOptions::default(), server, scenes::options(2));
    let (server, address) = (pair.server(), pair.address);
    pair.run(async move {
        let mut raw = Raw::dial(address, &Claims::default()).await.map_err(|_| ()).expect("a member");
        for place in 0..20_000 {
            let stream = 2 * place + 1;
            let reset = Body::Reset(Reset { code: 1, text: Text::clip("") });
            let mut bytes = open(&mut raw, stream);
            bytes.extend(raw.tagged(stream, GROUP, &reset, &[]));
            if raw.send(&bytes).await.is_err() {
                break;
            }
        }
    });
    let stats = server.stats();
    assert_eq!(stats.cut_for_rubbish.get(), 1);
    // As many ends as the way to the peer holds, and 64.
    assert!(stats.streams_accepted.get() < 10_000, "{stats:?}");
}

#[test]
fn a_peer_that_stops_reading_or_goes_silent_is_cut() {
    let mut pair = Pair::new(5, NetOptions::default());
    let (server, address) = (pair.server(), pair.address);
    pair.run(async move {
        // Asks for much, and reads nothing of it, but shows signs of life.
        let bulk = Claims { class: Class::Bulk, ..Claims::default() };
        let mut raw = Raw::dial(address, &bulk).await.map_err(|_| ()).expect("a member");
        let open = Body::Open(Open { group: GROUP, purpose: Purpose::Transfer });
        let mut bytes = raw.tagged(1, GROUP, &open, &[]);
        bytes.extend(raw.tagged(1, GROUP, &Body::Credit(Credit { bytes: 8 << 20 }), &[]));
        bytes.extend(raw.tagged(1, GROUP, &Body::Fetch(fetch_of(0, 100)), &[]));
        raw.send(&bytes).await.expect("connected");
        let started = Core::current().now();
        loop {
            let ping = raw.tagged(0, GroupId(0), &Body::Ping(Ping { id: 1 }), &[]);
            if raw.send(&ping).await.is_err() {
                break;
            }
            sleep(secs(1)).await;
        }
        let took = Core::current().now().since(started);
        assert!(took < secs(60), "{took}");
    });
    assert_eq!(server.stats().cut_for_silence.get(), 1);
}
