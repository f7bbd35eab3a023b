//! The handshake of `auth` over a socket: four small frames without tags, then one that is tagged, by which
//! the dialler knows that its connection stands. Each side reads no more than a handshake's worth before the
//! other has proven itself.

#![expect(clippy::wildcard_enum_match_arm, reason = "all other frames are out of place in a handshake")]

use std::rc::Rc;

use crate::auth::{
    Expected, HandshakeError, Hello, Initiator, KeyId, KeyIds, Nonce, Proof, Purpose, Responder, SecretSet,
    Session, Side, Versions, Welcome,
};
use crate::ids::{ClusterId, GroupId, NodeId};
use crate::limits::READ_AHEAD_UNPROVEN_BYTES;
use crate::uring::{Buffer, Core, Socket};
use crate::wire::{self, Body, Class, Envelope, HEADER_BYTES, Header, HeaderError, Kind, Role, Text};

use super::error::{Cut, DialError, DialPhase, RefusedCode};
use super::intake::Intake;
use super::options::{NO_NODE, PeerIdentity};

/// What we bring to a handshake.
#[derive(Clone, Debug)]
pub(super) struct Ours {
    pub(super) side: Side,
    pub(super) role: Role,
    pub(super) secrets: SecretSet,
    pub(super) core_count: u16,
}

/// A connection whose peer has proven itself.
pub(super) struct Proven {
    pub(super) socket: Socket,
    /// Received behind the handshake.
    pub(super) ahead: Vec<u8>,
    pub(super) session: Session,
    pub(super) peer: PeerIdentity,
    pub(super) class: Class,
    pub(super) group: GroupId,
    /// Cores of the peer, if we dialled.
    pub(super) core_count: u16,
}

/// Why nothing came of an accepted connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// We refused it, with this code.
    Code(RefusedCode),
    /// It hung up or broke.
    Cut(Cut),
}

impl From<Cut> for Refusal {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

/// What this build speaks.
fn versions() -> Versions {
    Versions::new(wire::VERSION_MIN.into(), wire::VERSION.into()).expect("the oldest is not above the newest")
}

/// Class and role in one number, so that the proofs cover both.
fn purpose(class: Class, role: Role, group: GroupId) -> Purpose {
    Purpose { class: class.code() | role.code() << 4, group }
}

/// Dials: from connected to standing.
pub(super) async fn dial(
    ours: &Ours,
    socket: Socket,
    expected: Option<NodeId>,
    class: Class,
    group: GroupId,
) -> Result<Proven, DialError> {
    let mut intake = Intake::new(socket.clone(), READ_AHEAD_UNPROVEN_BYTES, &[], Rc::default());
    let nonce = Nonce(Core::current().random());
    let expect = expected.map_or(Expected::AnyMember, Expected::Node);
    let purpose = purpose(class, ours.role, group);
    let (initiator, hello) = Initiator::start(&ours.secrets, ours.side, versions(), purpose, expect, nonce);
    say(&socket, &hello_body(ours, &hello, class, expected)).await.map_err(dial_error)?;
    let Heard { header, body, .. } = hear(&mut intake).await.map_err(dial_error)?;
    let (welcome, core_count) = match header.decode_body(&body).map_err(|e| dial_error(Cut::Frame(e)))? {
        Body::Welcome(welcome) => (read_welcome(&welcome)?, welcome.core_count),
        Body::Refused(refused) => return Err(refused_by_peer(&refused)),
        other => return Err(dial_error(Cut::Unexpected { kind: other.kind() })),
    };
    let (proof, mut session) = initiator.welcome(&welcome).map_err(DialError::Handshake)?;
    say(&socket, &Body::Proof(wire::Proof { mac: proof.0 })).await.map_err(dial_error)?;
    stands(&mut intake, &mut session).await?;
    let peer = identity(&session.peer, Role::Node, true);
    let ahead = intake.ahead().to_vec();
    Ok(Proven { socket, ahead, session, peer, class, group, core_count: core_count.max(1) })
}

/// Waits for the first frame of the session, or for the refusal that comes in its place.
async fn stands(intake: &mut Intake, session: &mut Session) -> Result<(), DialError> {
    let Heard { head, header, body } = hear(intake).await.map_err(dial_error)?;
    if !header.tagged {
        return match header.decode_body(&body).map_err(|e| dial_error(Cut::Frame(e)))? {
            Body::Refused(refused) => Err(refused_by_peer(&refused)),
            other => Err(dial_error(Cut::Unexpected { kind: other.kind() })),
        };
    }
    if header.kind != Kind::Ready {
        return Err(dial_error(Cut::Unexpected { kind: header.kind }));
    }
    let (body, tag) = body.split_last_chunk().ok_or(DialError::Ended)?;
    let checked = session.keys.receive.check(header.sequence, &head, body, *tag);
    checked.map_err(|error| dial_error(Cut::Tag(error)))
}

/// Answers: from accepted to proven. What the peer may do is for the caller.
pub(super) async fn answer(ours: &Ours, socket: Socket) -> Result<Proven, Refusal> {
    let mut intake = Intake::new(socket.clone(), READ_AHEAD_UNPROVEN_BYTES, &[], Rc::default());
    let Heard { header, body, .. } = match hear(&mut intake).await {
        Err(Cut::Header(HeaderError::Version { .. })) => {
            return Err(refuse(&socket, RefusedCode::Version).await);
        }
        heard => heard?,
    };
    let Body::Hello(said) = header.decode_body(&body).map_err(Cut::Frame)? else {
        return Err(Refusal::Cut(Cut::Unexpected { kind: header.kind }));
    };
    let (class, role, group) = (said.class, said.role, said.group);
    if (said.node == NO_NODE) != (role == Role::Puller) {
        return Err(refuse(&socket, RefusedCode::Protocol).await);
    }
    let Some(hello) = read_hello(&said) else {
        return Err(refuse(&socket, RefusedCode::Version).await);
    };
    let nonce = Nonce(Core::current().random());
    let (responder, welcome) = match Responder::answer(&ours.secrets, ours.side, versions(), nonce, &hello) {
        Ok(answer) => answer,
        Err(error) => return Err(refuse(&socket, code_of(&error)).await),
    };
    say(&socket, &welcome_body(ours, &welcome)).await?;
    let Heard { header, body, .. } = hear(&mut intake).await?;
    let Body::Proof(proof) = header.decode_body(&body).map_err(Cut::Frame)? else {
        return Err(Refusal::Cut(Cut::Unexpected { kind: header.kind }));
    };
    let session = match responder.finish(&Proof(proof.mac)) {
        Ok(session) => session,
        Err(error) => return Err(refuse(&socket, code_of(&error)).await),
    };
    let peer = identity(&session.peer, role, false);
    let ahead = intake.ahead().to_vec();
    Ok(Proven { socket, ahead, session, peer, class, group, core_count: 1 })
}

/// Tells the peer why nothing comes of its connection.
pub(super) async fn refuse(socket: &Socket, code: RefusedCode) -> Refusal {
    let text = code.to_string();
    let body = Body::Refused(wire::Refused { code: code.number(), text: Text::clip(&text) });
    // Whether it hears it or not, the connection ends.
    let _unheard = say(socket, &body).await;
    Refusal::Code(code)
}

async fn say(socket: &Socket, body: &Body<'_>) -> Result<(), Cut> {
    let mut bytes = Vec::with_capacity(256);
    Envelope::default().encode(body, 0, &mut bytes).expect("a handshake's frames are small");
    let (sent, _) = socket.send_all(Buffer::from_bytes(&bytes), 0..bytes.len(), false).await;
    sent.map_err(|errno| Cut::Socket { errno })
}

/// A frame of a handshake.
struct Heard {
    head: [u8; HEADER_BYTES],
    header: Header,
    /// With the tag, if there is one.
    body: Vec<u8>,
}

/// The next frame of a handshake.
async fn hear(intake: &mut Intake) -> Result<Heard, Cut> {
    intake.fill(HEADER_BYTES).await?;
    let head = *intake.ahead().first_chunk().ok_or(Cut::Ended)?;
    let header = Header::decode(&head).map_err(Cut::Header)?;
    let whole = HEADER_BYTES + header.control_bytes();
    if !is_handshake(header.kind) || whole > intake.capacity() {
        return Err(Cut::Unexpected { kind: header.kind });
    }
    intake.fill(whole).await?;
    let body = intake.ahead().get(HEADER_BYTES..whole).unwrap_or_default().to_vec();
    intake.consume(whole);
    Ok(Heard { head, header, body })
}

fn is_handshake(kind: Kind) -> bool {
    kind.code() <= Kind::Refused.code()
}

fn identity(side: &Side, role: Role, dialled: bool) -> PeerIdentity {
    let node = (side.node != NO_NODE).then_some(side.node);
    PeerIdentity { cluster: side.cluster, node, incarnation: side.incarnation, role, dialled }
}

fn dial_error(cut: Cut) -> DialError {
    match cut {
        Cut::Ended => DialError::Ended,
        Cut::Socket { errno } => DialError::Socket { phase: DialPhase::Handshake, errno },
        other => DialError::Protocol(other),
    }
}

fn refused_by_peer(refused: &wire::Refused<'_>) -> DialError {
    // The text comes from a stranger and goes to a person's log.
    let text = refused.text.get().chars().filter(|c| !c.is_control()).collect();
    DialError::Refused { code: RefusedCode::of(refused.code), text }
}

/// What a peer that failed is told. Everything about secrets looks the same.
fn code_of(error: &HandshakeError) -> RefusedCode {
    match error {
        HandshakeError::OtherCluster { .. } | HandshakeError::NoCluster => RefusedCode::Cluster,
        HandshakeError::OurselvesAgain { .. } => RefusedCode::Ourselves,
        HandshakeError::NoCommonVersion { .. } | HandshakeError::Downgrade { .. } => RefusedCode::Version,
        HandshakeError::NoCommonSecret
        | HandshakeError::SecretNotOffered
        | HandshakeError::NonceRepeated
        | HandshakeError::WrongProof { .. }
        | HandshakeError::OtherNode { .. }
        | HandshakeError::OtherIncarnation { .. } => RefusedCode::Authentication,
    }
}

/// A side without a cluster writes zeros; no cluster is drawn as zeros.
fn cluster_bytes(cluster: Option<ClusterId>) -> ClusterId {
    cluster.unwrap_or_default()
}

fn cluster_of(bytes: ClusterId) -> Option<ClusterId> {
    (bytes != ClusterId::default()).then_some(bytes)
}

fn hello_body(ours: &Ours, hello: &Hello, class: Class, to: Option<NodeId>) -> Body<'static> {
    Body::Hello(wire::Hello {
        version_min: wire::VERSION_MIN,
        version_max: wire::VERSION,
        role: ours.role,
        class,
        group: hello.purpose.group,
        cluster: cluster_bytes(hello.from.cluster),
        node: hello.from.node,
        to_node: to.unwrap_or(NO_NODE),
        incarnation: hello.from.incarnation,
        key: hello.keys.current.0,
        key_previous: hello.keys.previous.0,
        nonce: hello.nonce.0,
    })
}

/// None if its versions are the wrong way round.
fn read_hello(said: &wire::Hello) -> Option<Hello> {
    Some(Hello {
        from: Side { cluster: cluster_of(said.cluster), node: said.node, incarnation: said.incarnation },
        versions: Versions::new(said.version_min.into(), said.version_max.into())?,
        purpose: purpose(said.class, said.role, said.group),
        keys: KeyIds { current: KeyId(said.key), previous: KeyId(said.key_previous) },
        nonce: Nonce(said.nonce),
    })
}

fn welcome_body(ours: &Ours, welcome: &Welcome) -> Body<'static> {
    Body::Welcome(wire::Welcome {
        version_min: wire::VERSION_MIN,
        version_max: wire::VERSION,
        version: u8::try_from(welcome.version).expect("a version that this build speaks"),
        core_count: ours.core_count,
        cluster: cluster_bytes(welcome.from.cluster),
        node: welcome.from.node,
        incarnation: welcome.from.incarnation,
        key: welcome.key.0,
        nonce: welcome.nonce.0,
        mac: welcome.proof.0,
    })
}

fn read_welcome(said: &wire::Welcome) -> Result<Welcome, DialError> {
    let versions = Versions::new(said.version_min.into(), said.version_max.into());
    Ok(Welcome {
        from: Side { cluster: cluster_of(said.cluster), node: said.node, incarnation: said.incarnation },
        versions: versions.ok_or(DialError::Protocol(Cut::Unexpected { kind: Kind::Welcome }))?,
        version: said.version.into(),
        key: KeyId(said.key),
        nonce: Nonce(said.nonce),
        proof: Proof(said.mac),
    })
}
