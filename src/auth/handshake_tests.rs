//! The handshake's tests: every message changed in every field, replayed, reflected and carried elsewhere.

use super::*;
use crate::ids::{ClusterId, GroupId};

use crate::auth::secret::{SECRET_BYTES, Secret};

const CLUSTER: ClusterId = ClusterId([7; 16]);

fn secret(seed: u8) -> Secret {
    let mut random: [u8; SECRET_BYTES] = std::array::from_fn(|place| place as u8 ^ seed);
    Secret::generate(&mut random).unwrap()
}

fn set(seed: u8) -> SecretSet {
    SecretSet::new(secret(seed), None)
}

fn side(node: u64) -> Side {
    Side { cluster: Some(CLUSTER), node: NodeId(node), incarnation: Incarnation([node as u8; 16]) }
}

fn versions(oldest: u16, newest: u16) -> Versions {
    Versions::new(oldest, newest).unwrap()
}

/// One end: what it is, holds and speaks. Node 1 dials node 2.
#[derive(Clone)]
struct End {
    secrets: SecretSet,
    side: Side,
    versions: Versions,
    nonce: u8,
}

fn dialling() -> End {
    End { secrets: set(0), side: side(1), versions: versions(1, 2), nonce: 0x11 }
}

fn dialled() -> End {
    End { secrets: set(0), side: side(2), versions: versions(1, 2), nonce: 0x22 }
}

fn start(end: &End, expected: Expected) -> (Initiator, Hello) {
    let purpose = Purpose { class: 3, group: GroupId(4) };
    Initiator::start(&end.secrets, end.side, end.versions, purpose, expected, Nonce([end.nonce; 32]))
}

fn answer(end: &End, hello: &Hello) -> Result<(Responder, Welcome), HandshakeError> {
    Responder::answer(&end.secrets, end.side, end.versions, Nonce([end.nonce; 32]), hello)
}

/// A whole handshake through somebody who may change each message.
fn run(
    initiator: &End,
    responder: &End,
    expected: Expected,
    change: impl Fn(&mut Hello, &mut Welcome, &mut Proof, Step),
) -> Result<(Session, Session), HandshakeError> {
    let (mut welcome, mut proof) = (placeholder(), Proof([0; 32]));
    let (dials, mut hello) = start(initiator, expected);
    change(&mut hello, &mut welcome, &mut proof, Step::Hello);
    let (answers, sent) = answer(responder, &hello)?;
    welcome = sent;
    change(&mut hello, &mut welcome, &mut proof, Step::Welcome);
    let (sent, here) = dials.welcome(&welcome)?;
    proof = sent;
    change(&mut hello, &mut welcome, &mut proof, Step::Proof);
    Ok((here, answers.finish(&proof)?))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Hello,
    Welcome,
    Proof,
}

fn placeholder() -> Welcome {
    let (nonce, proof) = (Nonce([0; 32]), Proof([0; 32]));
    Welcome { from: side(9), versions: versions(1, 1), version: 1, key: KeyId([0; 8]), nonce, proof }
}

fn honest(
    initiator: &End,
    responder: &End,
    expected: Expected,
) -> Result<(Session, Session), HandshakeError> {
    run(initiator, responder, expected, |_, _, _, _| ())
}

#[test]
fn a1_two_holders_of_the_secret_know_each_other_and_can_talk() {
    let expected = Expected::Life(NodeId(2), side(2).incarnation);
    let (mut here, mut there) = honest(&dialling(), &dialled(), expected).unwrap();
    assert_eq!((here.peer, there.peer), (side(2), side(1)));
    assert_eq!((here.version, there.version), (2, 2));
    assert_eq!((here.key, there.key), (secret(0).id(), secret(0).id()));
    assert_eq!(here.purpose, Purpose { class: 3, group: GroupId(4) });
    assert_eq!(here.purpose, there.purpose);
    let tag = here.keys.send.tag(b"head", b"body");
    assert_eq!(there.keys.receive.check(0, b"head", b"body", tag), Ok(()));
    let tag = there.keys.send.tag(b"head", b"body");
    assert_eq!(here.keys.receive.check(0, b"head", b"body", tag), Ok(()));
}

#[test]
fn a1_any_field_of_the_hello_changed_on_the_way_ends_the_handshake() {
    let changes: [fn(&mut Hello); 13] = [
        |hello| hello.from.cluster = None,
        |hello| hello.from.cluster = Some(ClusterId([8; 16])),
        |hello| hello.from.node = NodeId(3),
        |hello| hello.from.incarnation.0[15] ^= 1,
        |hello| hello.versions = versions(1, 1),
        |hello| hello.versions = versions(2, 2),
        |hello| hello.versions = versions(1, 3),
        |hello| hello.purpose.class = 0,
        |hello| hello.purpose.group = GroupId(0),
        |hello| hello.keys.previous = KeyId([9; 8]),
        |hello| hello.keys.current = KeyId([9; 8]),
        |hello| hello.nonce.0[0] ^= 1,
        |hello| hello.nonce.0[31] ^= 0x80,
    ];
    for (number, change) in changes.iter().enumerate() {
        let result = run(&dialling(), &dialled(), Expected::AnyMember, |hello, _, _, step| {
            if step == Step::Hello {
                change(hello);
            }
        });
        assert!(result.is_err(), "change {number} went unnoticed");
    }
}

#[test]
fn a1_any_field_of_the_welcome_or_the_proof_changed_on_the_way_ends_the_handshake() {
    let changes: [fn(&mut Welcome); 13] = [
        |welcome| welcome.from.cluster = None,
        |welcome| welcome.from.cluster = Some(ClusterId([8; 16])),
        |welcome| welcome.from.node = NodeId(3),
        |welcome| welcome.from.incarnation.0[0] ^= 1,
        |welcome| welcome.versions = versions(1, 3),
        |welcome| welcome.versions = versions(2, 2),
        |welcome| (welcome.versions, welcome.version) = (versions(1, 1), 1),
        |welcome| welcome.version = 1,
        |welcome| welcome.key = KeyId([9; 8]),
        |welcome| welcome.nonce.0[31] ^= 1,
        |welcome| welcome.nonce = Nonce([0x11; 32]),
        |welcome| welcome.proof.0[0] ^= 1,
        |welcome| welcome.proof.0[31] ^= 0x80,
    ];
    for (number, change) in changes.iter().enumerate() {
        let result = run(&dialling(), &dialled(), Expected::AnyMember, |_, welcome, _, step| {
            if step == Step::Welcome {
                change(welcome);
            }
        });
        assert!(result.is_err(), "change {number} went unnoticed");
    }
    for bit in 0..256 {
        let result = run(&dialling(), &dialled(), Expected::AnyMember, |_, _, proof, step| {
            if step == Step::Proof {
                proof.0[bit / 8] ^= 1 << (bit % 8);
            }
        });
        assert_eq!(result.unwrap_err(), HandshakeError::WrongProof { of: Role::Initiator });
    }
}

#[test]
fn a1_without_the_secret_neither_side_gets_in() {
    let stranger = End { secrets: set(1), ..dialling() };
    let refused = honest(&stranger, &dialled(), Expected::AnyMember);
    assert_eq!(refused.unwrap_err(), HandshakeError::NoCommonSecret);
    // One who lies about the secret that it holds gets no further, on either side.
    let liar = run(&stranger, &dialled(), Expected::AnyMember, |hello, _, _, step| {
        if step == Step::Hello {
            hello.keys = set(0).ids();
        }
    });
    assert_eq!(liar.unwrap_err(), HandshakeError::SecretNotOffered);
    let (_, hello) = start(&dialling(), Expected::AnyMember);
    let (answers, welcome) = answer(&dialled(), &hello).unwrap();
    let forged = transcript(&hello, &welcome).keys(&secret(1)).prove(PROOF_OF_INITIATOR);
    let refused = answers.finish(&forged).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::WrongProof { of: Role::Initiator }));
    let (dials, hello) = start(&dialling(), Expected::AnyMember);
    let forged = transcript(&hello, &welcome).keys(&secret(1)).prove(PROOF_OF_RESPONDER);
    let refused = dials.welcome(&Welcome { proof: forged, ..welcome }).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::WrongProof { of: Role::Responder }));
}

#[test]
fn a1_messages_of_an_earlier_handshake_prove_nothing_in_a_later_one() {
    let (dials, hello) = start(&dialling(), Expected::AnyMember);
    let (answers, old_welcome) = answer(&dialled(), &hello).unwrap();
    let (old_proof, _) = dials.welcome(&old_welcome).unwrap();
    assert!(answers.finish(&old_proof).is_ok());

    let fresh = End { nonce: 0x33, ..dialled() };
    let (answers, _) = answer(&fresh, &hello).unwrap();
    let refused = answers.finish(&old_proof).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::WrongProof { of: Role::Initiator }), "hello and proof replayed");

    let (dials, _) = start(&End { nonce: 0x44, ..dialling() }, Expected::AnyMember);
    let refused = dials.welcome(&old_welcome).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::WrongProof { of: Role::Responder }), "welcome replayed");
}

#[test]
fn a1_our_own_words_reflected_are_refused() {
    let (dials, hello) = start(&dialling(), Expected::AnyMember);
    let refused = answer(&End { nonce: 0x33, ..dialling() }, &hello).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::OurselvesAgain { node: NodeId(1) }), "dialled by itself");
    let back = answer(&End { nonce: hello.nonce.0[0], ..dialled() }, &hello).map(|_| ());
    assert_eq!(back, Err(HandshakeError::NonceRepeated));

    let (answers, welcome) = answer(&dialled(), &hello).unwrap();
    let refused = answers.finish(&welcome.proof).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::WrongProof { of: Role::Initiator }), "our proof sent back to us");
    let (proof, mut session) = dials.welcome(&welcome).unwrap();
    assert_ne!(proof, welcome.proof);
    let tag = session.keys.send.tag(b"h", b"b");
    assert!(session.keys.receive.check(0, b"h", b"b", tag).is_err(), "our frame sent back to us");
}

#[test]
fn a1_another_cluster_is_refused_even_with_the_same_secret() {
    let other = ClusterId([8; 16]);
    let foreign = End { side: Side { cluster: Some(other), ..side(2) }, ..dialled() };
    let refused = honest(&dialling(), &foreign, Expected::AnyMember);
    assert_eq!(refused.unwrap_err(), HandshakeError::OtherCluster { ours: other, theirs: CLUSTER });
    // The claim itself is bound: a relay that puts our cluster in the place of its own is found out.
    let relayed = run(&dialling(), &foreign, Expected::AnyMember, |hello, welcome, _, step| match step {
        Step::Hello => hello.from.cluster = Some(other),
        Step::Welcome => welcome.from.cluster = Some(CLUSTER),
        Step::Proof => (),
    });
    assert_eq!(relayed.unwrap_err(), HandshakeError::WrongProof { of: Role::Responder });
}

#[test]
fn k7_a_node_without_a_cluster_meets_one_with_a_cluster_only() {
    let nobody = |end: End| End { side: Side { cluster: None, ..end.side }, ..end };
    let (here, there) = honest(&nobody(dialling()), &dialled(), Expected::AnyMember).unwrap();
    assert_eq!((here.peer.cluster, there.peer.cluster), (Some(CLUSTER), None));
    let (here, _) = honest(&dialling(), &nobody(dialled()), Expected::AnyMember).unwrap();
    assert_eq!(here.peer.cluster, None);
    let refused = honest(&nobody(dialling()), &nobody(dialled()), Expected::AnyMember);
    assert_eq!(refused.unwrap_err(), HandshakeError::NoCluster);
}

#[test]
fn s8_another_node_or_another_life_than_the_one_dialled_is_refused() {
    let dial = |expected| honest(&dialling(), &dialled(), expected).map(|_| ());
    assert_eq!(dial(Expected::Node(NodeId(2))), Ok(()));
    let error = HandshakeError::OtherNode { expected: NodeId(3), found: NodeId(2) };
    assert_eq!(dial(Expected::Node(NodeId(3))), Err(error));
    assert_eq!(dial(Expected::Life(NodeId(3), side(2).incarnation)), Err(error));
    let (node, expected, found) = (NodeId(2), Incarnation([5; 16]), side(2).incarnation);
    let error = HandshakeError::OtherIncarnation { node, expected, found };
    assert_eq!(dial(Expected::Life(node, expected)), Err(error));
}

#[test]
fn a5_neighbouring_versions_meet_and_distant_ones_say_so() {
    let speaking = |oldest, newest| End { versions: versions(oldest, newest), ..dialled() };
    let meet = |end: End| {
        honest(&dialling(), &end, Expected::AnyMember).map(|(here, there)| (here.version, there.version))
    };
    assert_eq!(meet(speaking(2, 3)), Ok((2, 2)));
    assert_eq!(meet(speaking(0, 1)), Ok((1, 1)));
    let error = HandshakeError::NoCommonVersion { ours: versions(3, 4), theirs: versions(1, 2) };
    assert_eq!(meet(speaking(3, 4)), Err(error));
}

#[test]
fn a1_a_forced_older_version_is_refused() {
    // Even by a faulty or hostile responder that proves its choice.
    let (dials, hello) = start(&dialling(), Expected::AnyMember);
    let (_, welcome) = answer(&dialled(), &hello).unwrap();
    let older = Welcome { version: 1, ..welcome };
    let proof = transcript(&hello, &older).keys(&secret(0)).prove(PROOF_OF_RESPONDER);
    let refused = dials.welcome(&Welcome { proof, ..older }).map(|_| ());
    assert_eq!(refused, Err(HandshakeError::Downgrade { best: 2, chosen: 1 }));
}

#[test]
fn a4_a_cluster_changes_its_secret_node_by_node() {
    let stages = [
        SecretSet::new(secret(1), None),
        SecretSet::new(secret(2), Some(secret(1))),
        SecretSet::new(secret(2), None),
    ];
    for (ours, first) in stages.iter().enumerate() {
        for (theirs, second) in stages.iter().enumerate() {
            let dials = End { secrets: first.clone(), ..dialling() };
            let answers = End { secrets: second.clone(), ..dialled() };
            let result = honest(&dials, &answers, Expected::AnyMember);
            if ours.abs_diff(theirs) == 2 {
                assert_eq!(result.unwrap_err(), HandshakeError::NoCommonSecret);
                continue;
            }
            let newest = if ours + theirs >= 2 { secret(2) } else { secret(1) };
            assert_eq!(result.unwrap().0.key, newest.id(), "{ours} and {theirs}");
        }
    }
}

#[test]
fn a1_two_sessions_of_the_same_pair_share_no_key() {
    let (mut one, _) = honest(&dialling(), &dialled(), Expected::AnyMember).unwrap();
    let later = End { nonce: 0x55, ..dialling() };
    let (_, mut two) = honest(&later, &dialled(), Expected::AnyMember).unwrap();
    let tag = one.keys.send.tag(b"head", b"body");
    assert!(two.keys.receive.check(0, b"head", b"body", tag).is_err());
}

#[test]
fn the_proofs_are_part_of_the_wire_format_and_never_change() {
    let (dials, hello) = start(&dialling(), Expected::AnyMember);
    let (_, welcome) = answer(&dialled(), &hello).unwrap();
    let (proof, _) = dials.welcome(&welcome).unwrap();
    let hex = |proof: Proof| proof.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    // Computed apart from this code, from the module's description, with HMAC of another library.
    assert_eq!(hex(welcome.proof), "f5008d5b360ef0395febadacbe0499f2c5ee2fe435eb3bc0a3b6de5f880e54a6");
    assert_eq!(hex(proof), "dc25d48f42fb71fd525123277a2517c820cdf052d77703633565dd55d574915e");
}
