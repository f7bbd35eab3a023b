//! Point to point: what `serve` and `pull` share. Neither is a member of a cluster; a secret is all they have
//! in common.

use std::rc::Rc;

use crate::auth::SecretSet;
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::transport::{RefusedCode, Transport, TransportOptions};
use crate::uring::{Congestion, Core, SocketOptions};

/// The serving end.
pub(crate) const SOURCE: NodeId = NodeId(1);
/// Of all of their connections.
pub(super) const CONGESTION: Congestion = Congestion::Cubic;
/// What both ends name as their cluster, so that no connection of a cluster passes for one of these.
const CLUSTER: ClusterId = ClusterId(*b"ringway-point-v1");

/// A transport of the current core for one end: the source is node 1, a puller is none.
pub(crate) fn transport(secrets: SecretSet, node: Option<NodeId>) -> Transport {
    let incarnation = Incarnation(Core::current().random());
    let mut options = TransportOptions::new(Some(CLUSTER), node, incarnation, secrets);
    options.socket = SocketOptions { congestion: Some(CONGESTION) };
    if node.is_some() {
        // Whoever says that it is a node says which, and would be another peer each time.
        options.admit = Rc::new(|peer| if peer.node.is_some() { Err(RefusedCode::Role) } else { Ok(()) });
    }
    Transport::new(options)
}
