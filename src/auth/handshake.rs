//! The mutual handshake as two state machines without I/O: each step takes what the peer said and gives what to say,
//! or a refusal, and consumes the machine, so that no step runs twice or out of turn.

use super::refusal::{HandshakeError, Role};
use super::secret::{KeyId, KeyIds, SecretSet};
use super::session::SessionKeys;
use super::transcript::{Claims, Nonce, Proof, Purpose, Side, Transcript, TranscriptKeys, Versions};
use crate::ids::{Incarnation, NodeId};

const PROOF_OF_RESPONDER: &str = "proof, responder to initiator";
const PROOF_OF_INITIATOR: &str = "proof, initiator to responder";
const FRAMES_TO_RESPONDER: &str = "frames, initiator to responder";
const FRAMES_TO_INITIATOR: &str = "frames, responder to initiator";

/// The first message: the initiator's claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Who dials.
    pub from: Side,
    /// What it speaks.
    pub versions: Versions,
    /// What the connection is for.
    pub purpose: Purpose,
    /// The secrets that it holds.
    pub keys: KeyIds,
    /// Its fresh random bytes.
    pub nonce: Nonce,
}

/// The second message: the responder's claims, its choices and its proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Who was dialled.
    pub from: Side,
    /// What it speaks.
    pub versions: Versions,
    /// Its choice: the newest version that both speak.
    pub version: u16,
    /// Its choice of secret.
    pub key: KeyId,
    /// Its fresh random bytes.
    pub nonce: Nonce,
    /// Its proof.
    pub proof: Proof,
}

/// Whom the initiator means to reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Whoever holds the secret: a seed, of which only the address is known.
    AnyMember,
    /// One node, in whatever life it is.
    Node(NodeId),
    /// One node in one life.
    Life(NodeId, Incarnation),
}

/// What a finished handshake gives: a peer that holds the secret, and the keys to talk to it.
#[derive(Debug)]
pub struct Session {
    /// Who the peer is: proven for a holder of the secret. Whether it is a member is for the caller.
    pub peer: Side,
    /// The version to speak.
    pub version: u16,
    /// What the connection is for.
    pub purpose: Purpose,
    /// Which secret it stands on, so that an operator sees when the previous one is out of use.
    pub key: KeyId,
    /// The keys of the frames.
    pub keys: SessionKeys,
}

/// The side that dials.
#[derive(Debug)]
pub struct Initiator {
    secrets: SecretSet,
    expected: Expected,
    hello: Hello,
}

impl Initiator {
    /// Opens a handshake: gives the first message. `nonce` is fresh from the source of randomness.
    #[must_use]
    pub fn start(
        secrets: &SecretSet,
        local: Side,
        versions: Versions,
        purpose: Purpose,
        expected: Expected,
        nonce: Nonce,
    ) -> (Self, Hello) {
        let hello = Hello { from: local, versions, purpose, keys: secrets.ids(), nonce };
        (Self { secrets: secrets.clone(), expected, hello }, hello)
    }

    /// Takes the responder's answer: gives the last message, and the session.
    ///
    /// # Errors
    /// The peer is not who was dialled, does not hold the secret, or somebody changed a message.
    pub fn welcome(self, welcome: &Welcome) -> Result<(Proof, Session), HandshakeError> {
        let hello = &self.hello;
        meet(&hello.from, &welcome.from, hello.nonce, welcome.nonce)?;
        self.expect(&welcome.from)?;
        let best = common_version(hello.versions, welcome.versions)?;
        if welcome.version != best {
            return Err(HandshakeError::Downgrade { best, chosen: welcome.version });
        }
        let secret = self.secrets.by_id(welcome.key).ok_or(HandshakeError::SecretNotOffered)?;
        let keys = transcript(hello, welcome).keys(secret);
        if !keys.proves(PROOF_OF_RESPONDER, &welcome.proof) {
            return Err(HandshakeError::WrongProof { of: Role::Responder });
        }
        let session = Session {
            peer: welcome.from,
            version: best,
            purpose: hello.purpose,
            key: welcome.key,
            keys: session_keys(&keys, Role::Initiator),
        };
        Ok((keys.prove(PROOF_OF_INITIATOR), session))
    }

    fn expect(&self, found: &Side) -> Result<(), HandshakeError> {
        let (expected, life) = match self.expected {
            Expected::AnyMember => return Ok(()),
            Expected::Node(node) => (node, found.incarnation),
            Expected::Life(node, incarnation) => (node, incarnation),
        };
        if found.node != expected {
            return Err(HandshakeError::OtherNode { expected, found: found.node });
        }
        if found.incarnation != life {
            let (node, found) = (found.node, found.incarnation);
            return Err(HandshakeError::OtherIncarnation { node, expected: life, found });
        }
        Ok(())
    }
}

/// The side that is dialled, after its answer.
pub struct Responder {
    keys: TranscriptKeys,
    session: Session,
}

impl Responder {
    /// Answers a first message. `nonce` is fresh from the source of randomness.
    ///
    /// Nothing that the peer claims is proven yet: believe nothing before [`Responder::finish`].
    ///
    /// # Errors
    /// The two have no cluster, version or secret in common, or the peer reflects our own words.
    pub fn answer(
        secrets: &SecretSet,
        local: Side,
        versions: Versions,
        nonce: Nonce,
        hello: &Hello,
    ) -> Result<(Self, Welcome), HandshakeError> {
        meet(&local, &hello.from, nonce, hello.nonce)?;
        let version = common_version(versions, hello.versions)?;
        let (key, secret) = secrets.common(hello.keys).ok_or(HandshakeError::NoCommonSecret)?;
        let unproven = Welcome { from: local, versions, version, key, nonce, proof: Proof([0; 32]) };
        let keys = transcript(hello, &unproven).keys(secret);
        let welcome = Welcome { proof: keys.prove(PROOF_OF_RESPONDER), ..unproven };
        let session = Session {
            peer: hello.from,
            version,
            purpose: hello.purpose,
            key,
            keys: session_keys(&keys, Role::Responder),
        };
        Ok((Self { keys, session }, welcome))
    }

    /// Takes the initiator's proof: gives the session.
    ///
    /// # Errors
    /// The peer does not hold the secret, or somebody changed a message.
    pub fn finish(self, proof: &Proof) -> Result<Session, HandshakeError> {
        if !self.keys.proves(PROOF_OF_INITIATOR, proof) {
            return Err(HandshakeError::WrongProof { of: Role::Initiator });
        }
        Ok(self.session)
    }
}

/// What must hold between any two sides before a secret is touched.
fn meet(ours: &Side, theirs: &Side, our_nonce: Nonce, their_nonce: Nonce) -> Result<(), HandshakeError> {
    if our_nonce == their_nonce {
        return Err(HandshakeError::NonceRepeated);
    }
    if ours.node == theirs.node {
        return Err(HandshakeError::OurselvesAgain { node: ours.node });
    }
    match (ours.cluster, theirs.cluster) {
        (None, None) => Err(HandshakeError::NoCluster),
        (Some(ours), Some(theirs)) if ours != theirs => Err(HandshakeError::OtherCluster { ours, theirs }),
        (Some(_), _) | (None, Some(_)) => Ok(()),
    }
}

fn common_version(ours: Versions, theirs: Versions) -> Result<u16, HandshakeError> {
    ours.best(theirs).ok_or(HandshakeError::NoCommonVersion { ours, theirs })
}

fn transcript(hello: &Hello, welcome: &Welcome) -> Transcript {
    Transcript {
        initiator: Claims { side: hello.from, versions: hello.versions, nonce: hello.nonce },
        responder: Claims { side: welcome.from, versions: welcome.versions, nonce: welcome.nonce },
        purpose: hello.purpose,
        keys: hello.keys,
        version: welcome.version,
        key: welcome.key,
    }
}

fn session_keys(keys: &TranscriptKeys, role: Role) -> SessionKeys {
    let (send, receive) = match role {
        Role::Initiator => (FRAMES_TO_RESPONDER, FRAMES_TO_INITIATOR),
        Role::Responder => (FRAMES_TO_INITIATOR, FRAMES_TO_RESPONDER),
    };
    SessionKeys::new(keys.key(send), keys.key(receive))
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
