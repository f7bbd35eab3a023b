//! The roll of the nodes: what one node tells another that is behind and meets somebody whom it does not know.

use rkyv::{Archive, Deserialize, Serialize};

use super::command::NodeRecord;
use super::state::ClusterState;
use crate::ids::LogIndex;
use crate::limits::NODES_MAX;
use crate::wire::{DecodeError, ValueBytes, decode_value, encode_value};

/// All nodes, as they were at one entry of the cluster's log.
#[derive(Clone, PartialEq, Eq, Debug, Archive, Serialize, Deserialize)]
pub struct Roll {
    /// Log index of the latest change of any node.
    pub changed: LogIndex,
    /// The nodes, in order of their ids.
    pub nodes: Vec<NodeRecord>,
}

impl Roll {
    /// The roll as this state has it.
    #[must_use]
    pub fn of(state: &ClusterState) -> Self {
        let nodes = state.nodes().map(|node| node.record.clone()).collect();
        Self { changed: state.nodes_changed(), nodes }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> ValueBytes {
        encode_value(self)
    }

    /// Reads a roll.
    ///
    /// # Errors
    /// The bytes are no roll of this format, or tell of more nodes than a cluster has.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let roll: Self = decode_value(bytes)?;
        if roll.nodes.len() > NODES_MAX {
            return Err(DecodeError::Invalid { why: format!("{} nodes are too many", roll.nodes.len()) });
        }
        Ok(roll)
    }
}
