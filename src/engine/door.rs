//! Who is let in: members in the life that the cluster knows; before the cluster is founded, or known here, the members
//! of the configuration.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::{Incarnation, NodeId};
use crate::transport::{PeerIdentity, RefusedCode};
use crate::uring::Notify;

use super::placement::Placement;

/// The door of one core.
pub(super) struct Door {
    /// The members of the configuration.
    first: BTreeSet<NodeId>,
    placement: RefCell<Option<Arc<Placement>>>,
    /// Nodes that are about to be added: dialled, so that they show their life.
    joining: RefCell<BTreeSet<NodeId>>,
    /// Lives that answered where the cluster knows another one of the same node.
    returning: RefCell<BTreeMap<NodeId, Incarnation>>,
    /// Somebody was turned away who may be one of the cluster by now.
    turned_away: Cell<bool>,
    knocked: Notify,
}

impl Door {
    pub(super) fn new(first: BTreeSet<NodeId>) -> Self {
        Self {
            first,
            placement: RefCell::default(),
            joining: RefCell::default(),
            returning: RefCell::default(),
            turned_away: Cell::new(false),
            knocked: Notify::default(),
        }
    }

    /// Decides about a peer that has proven itself.
    pub(super) fn admit(&self, peer: &PeerIdentity) -> Result<(), RefusedCode> {
        let Some(node) = peer.node else { return Err(RefusedCode::UnknownNode) };
        let admitted = self.knows(node, peer.incarnation);
        if admitted.is_err() && !peer.dialled {
            self.turned_away.set(true);
            self.knocked.notify();
        }
        // Where the node itself is dialled, and nowhere else.
        if admitted == Err(RefusedCode::Incarnation) && peer.dialled {
            self.returning.borrow_mut().insert(node, peer.incarnation);
        }
        admitted
    }

    /// Whether a node that shows this life is let in now.
    pub(super) fn knows(&self, node: NodeId, life: Incarnation) -> Result<(), RefusedCode> {
        let known = match &*self.placement.borrow() {
            Some(placement) => placement.admits(node, life),
            None if self.first.contains(&node) => Ok(()),
            None => Err(RefusedCode::UnknownNode),
        };
        if known == Err(RefusedCode::UnknownNode) && self.joining.borrow().contains(&node) {
            return Ok(());
        }
        known
    }

    pub(super) fn placement(&self) -> Option<Arc<Placement>> {
        self.placement.borrow().clone()
    }

    pub(super) fn place(&self, placement: Arc<Placement>) {
        self.placement.replace(Some(placement));
    }

    /// Lets a node in that nobody knows yet, until it is told otherwise.
    pub(super) fn expect(&self, node: NodeId) {
        self.joining.borrow_mut().insert(node);
    }

    pub(super) fn expect_no_more(&self, node: NodeId) {
        self.joining.borrow_mut().remove(&node);
    }

    /// The lives that came back.
    pub(super) fn returning(&self) -> &RefCell<BTreeMap<NodeId, Incarnation>> {
        &self.returning
    }

    /// Waits until somebody was turned away since this was last asked.
    pub(super) async fn turned_away(&self) {
        self.knocked.until(|| self.turned_away.replace(false).then_some(())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
    use crate::transport::Role;

    fn peer(node: u64, dialled: bool) -> PeerIdentity {
        PeerIdentity {
            cluster: Some(ClusterId([1; 16])),
            node: Some(NodeId(node)),
            incarnation: Incarnation([7; 16]),
            role: Role::Node,
            dialled,
        }
    }

    #[test]
    fn before_there_is_a_cluster_the_members_of_the_configuration_are_let_in_and_whoever_is_expected() {
        let door = Door::new(BTreeSet::from([NodeId(1)]));
        assert_eq!(door.admit(&peer(1, false)), Ok(()));
        assert_eq!(door.admit(&peer(4, true)), Err(RefusedCode::UnknownNode));
        assert!(!door.turned_away.get(), "whom this node dials does not knock");
        door.expect(NodeId(4));
        assert_eq!(door.admit(&peer(4, true)), Ok(()));
        door.expect_no_more(NodeId(4));
        assert_eq!(door.admit(&peer(4, false)), Err(RefusedCode::UnknownNode));
        assert!(door.turned_away.get());
    }
}
