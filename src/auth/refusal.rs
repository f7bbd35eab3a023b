//! Why a handshake came to nothing. Each says what a person can do; none carries a secret.

use std::fmt;

use crate::ids::{ClusterId, Incarnation, NodeId};

use super::transcript::Versions;

/// A side of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The side that dialled.
    Initiator,
    /// The side that was dialled.
    Responder,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initiator => "initiator",
            Self::Responder => "responder",
        })
    }
}

/// Why a handshake was refused. The connection is closed, and nothing that the peer claimed is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeError {
    /// The peer belongs to another cluster.
    OtherCluster {
        /// Our cluster.
        ours: ClusterId,
        /// The peer's.
        theirs: ClusterId,
    },
    /// Neither side belongs to a cluster yet.
    NoCluster,
    /// The peer claims to be this very node: our own words came back, or a data root was copied.
    OurselvesAgain {
        /// The node that both claim to be.
        node: NodeId,
    },
    /// Another node answers at the address that was dialled.
    OtherNode {
        /// Who was dialled.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The node that answers has another data root than the one that was dialled.
    OtherIncarnation {
        /// The node.
        node: NodeId,
        /// The life that was dialled.
        expected: Incarnation,
        /// The life that answered.
        found: Incarnation,
    },
    /// No version that both speak.
    NoCommonVersion {
        /// What we speak.
        ours: Versions,
        /// What the peer speaks.
        theirs: Versions,
    },
    /// The responder chose something else than the newest version that both speak.
    Downgrade {
        /// The newest that both speak.
        best: u16,
        /// What it chose.
        chosen: u16,
    },
    /// No secret that both hold.
    NoCommonSecret,
    /// The responder chose a secret that was not offered.
    SecretNotOffered,
    /// The peer sent our own nonce back.
    NonceRepeated,
    /// The proof is not that of a holder of the secret who saw the same messages.
    WrongProof {
        /// Whose proof it was.
        of: Role,
    },
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherCluster { ours, theirs } => {
                write!(f, "the peer is of cluster {theirs}, this node of {ours}: correct the peer's address")
            }
            Self::NoCluster => {
                f.write_str("neither side belongs to a cluster: bootstrap one, or join through a member")
            }
            Self::OurselvesAgain { node } => write!(
                f,
                "the peer claims to be node {node}, as we do: correct its address, or start the copy from an empty root"
            ),
            Self::OtherNode { expected, found } => {
                write!(f, "node {found} answers where node {expected} was dialled: correct the address")
            }
            Self::OtherIncarnation { node, expected, found } => {
                write!(
                    f,
                    "node {node} answers as incarnation {found}, {expected} was dialled: read its entry again"
                )
            }
            Self::NoCommonVersion { ours, theirs } => {
                write!(f, "no common version: we speak {ours}, the peer {theirs}: upgrade the older side")
            }
            Self::Downgrade { best, chosen } => {
                write!(
                    f,
                    "the peer chose version {chosen} where both speak {best}: something tampers, or it is faulty"
                )
            }
            Self::NoCommonSecret => {
                f.write_str("no secret in common: give both nodes the cluster's secret file")
            }
            Self::SecretNotOffered => f.write_str(
                "the peer chose a secret that was not offered: something tampers, or it is faulty",
            ),
            Self::NonceRepeated => {
                f.write_str("the peer sent our own nonce back: something reflects our messages")
            }
            Self::WrongProof { of } => {
                write!(
                    f,
                    "the {of}'s proof is wrong: its secret is another one, or something changed the messages"
                )
            }
        }
    }
}

impl std::error::Error for HandshakeError {}
