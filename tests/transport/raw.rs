//! A peer made by hand: it holds the secret, knows the protocol, and says what it likes.

#![expect(clippy::wildcard_enum_match_arm, reason = "all other frames are out of place in a handshake")]

use std::net::SocketAddr;

use ringway::auth::{
    Expected, Initiator, KeyId, Nonce, Proof, Purpose, SecretSet, Session, Side, Versions, Welcome,
};
use ringway::ids::{ClusterId, GroupId, Incarnation, NodeId, StreamId};
use ringway::uring::{Buffer, Core, Errno, Socket, SocketOptions};
use ringway::wire::{self, Body, Class, Envelope, HEADER_BYTES, Header, Role};

use super::scenes::{CLUSTER, GROUP, secrets};

/// What the hand-made peer says of itself.
#[derive(Clone)]
pub struct Claims {
    pub cluster: Option<ClusterId>,
    pub node: NodeId,
    pub incarnation: Incarnation,
    pub role: Role,
    pub class: Class,
    pub group: GroupId,
    pub secrets: SecretSet,
    pub versions: (u8, u8),
    /// Of the bytes that it writes; `versions` is what its Hello says.
    pub frame_version: u8,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            cluster: Some(CLUSTER),
            node: NodeId(9),
            incarnation: Incarnation([9; 16]),
            role: Role::Node,
            class: Class::Control,
            group: GROUP,
            secrets: secrets(1),
            versions: (1, 1),
            frame_version: 1,
        }
    }
}

/// Frames of a handshake or a session, one by one.
pub struct Raw {
    pub socket: Socket,
    pub session: Option<Session>,
}

/// How a hand-made handshake ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    Refused(u16),
    HungUp,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = Socket::connect(address, SocketOptions::default()).await.expect("somebody listens");
        Self { socket, session: None }
    }

    /// Dials and proves itself.
    pub async fn dial(address: SocketAddr, claims: &Claims) -> Result<Self, Ended> {
        let mut raw = Self::connect(address).await;
        let side = Side { cluster: claims.cluster, node: claims.node, incarnation: claims.incarnation };
        let (oldest, newest) = claims.versions;
        let versions = Versions::new(oldest.into(), newest.into()).expect("in order");
        let class = claims.class.code() | claims.role.code() << 4;
        let purpose = Purpose { class, group: claims.group };
        let nonce = Nonce(Core::current().random());
        let (initiator, hello) =
            Initiator::start(&claims.secrets, side, versions, purpose, Expected::AnyMember, nonce);
        let said = wire::Hello {
            version_min: oldest,
            version_max: newest,
            role: claims.role,
            class: claims.class,
            group: claims.group,
            cluster: claims.cluster.unwrap_or_default(),
            node: claims.node,
            to_node: NodeId(0),
            incarnation: claims.incarnation,
            key: hello.keys.current.0,
            key_previous: hello.keys.previous.0,
            nonce: nonce.0,
        };
        let mut bytes = plain(&Body::Hello(said));
        bytes[4] = claims.frame_version;
        raw.send(&bytes).await.expect("connected");
        let (header, body) = raw.hear().await?;
        let welcome = match header.decode_body(&body).expect("a sound frame") {
            Body::Welcome(said) => Welcome {
                from: Side {
                    cluster: (said.cluster != ClusterId::default()).then_some(said.cluster),
                    node: said.node,
                    incarnation: said.incarnation,
                },
                versions: Versions::new(said.version_min.into(), said.version_max.into()).expect("in order"),
                version: said.version.into(),
                key: KeyId(said.key),
                nonce: Nonce(said.nonce),
                proof: Proof(said.mac),
            },
            Body::Refused(refused) => return Err(Ended::Refused(refused.code)),
            other => panic!("{other:?} in a handshake"),
        };
        let (proof, session) = initiator.welcome(&welcome).expect("the server is honest");
        raw.send(&plain(&Body::Proof(wire::Proof { mac: proof.0 }))).await.expect("connected");
        let (header, body) = raw.hear().await?;
        if !header.tagged {
            match header.decode_body(&body).expect("a sound frame") {
                Body::Refused(refused) => return Err(Ended::Refused(refused.code)),
                other => panic!("{other:?} without a tag"),
            }
        }
        assert_eq!(header.kind, wire::Kind::Ready);
        raw.session = Some(session);
        Ok(raw)
    }

    pub async fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        self.socket.send_all(Buffer::from_bytes(bytes), 0..bytes.len(), false).await.0
    }

    /// A frame of the session with its tag.
    pub fn tagged(&mut self, stream: u32, group: GroupId, body: &Body<'_>, payload: &[u8]) -> Vec<u8> {
        let tagger = &mut self.session.as_mut().expect("proven").keys.send;
        let envelope =
            Envelope { group, stream: StreamId(stream), sequence: tagger.sequence(), tagged: true };
        let mut bytes = Vec::new();
        envelope.encode(body, payload.len(), &mut bytes).expect("within bounds");
        let tag = tagger.tag(&bytes[..HEADER_BYTES], &bytes[HEADER_BYTES..]);
        bytes.extend_from_slice(&tag);
        bytes.extend_from_slice(payload);
        bytes
    }

    pub async fn hear(&mut self) -> Result<(Header, Vec<u8>), Ended> {
        let head = self.take(HEADER_BYTES).await?;
        let header = Header::decode(head.first_chunk().expect("40 bytes")).expect("a header");
        let body = self.take(header.control_bytes()).await?;
        Ok((header, body))
    }

    async fn take(&mut self, bytes: usize) -> Result<Vec<u8>, Ended> {
        let (count, buffer) = self.socket.receive_all(Buffer::heap(bytes.max(1)), 0..bytes).await;
        match count {
            Ok(count) if count == bytes => Ok(buffer.memory()[..bytes].to_vec()),
            Ok(_) | Err(_) => Err(Ended::HungUp),
        }
    }

    /// Whether the other side hangs up, whatever it says before.
    pub async fn is_hung_up(&mut self) {
        while self.take(1).await.is_ok() {}
    }
}

/// A frame without a tag.
pub fn plain(body: &Body<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    Envelope::default().encode(body, 0, &mut bytes).expect("within bounds");
    bytes
}
