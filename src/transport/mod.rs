//! Connections between nodes: dial and accept, streams with credits, payload sent from the buffer that it
//! lies in.
//!
//! Owns every socket between nodes on its core. Promises: a message that is received is the next one that the
//! proven peer sent on that stream, unchanged; what cannot be told so ends the connection with a typed
//! reason. A stream whose consumer is slow holds up no other stream. Memory, streams, connections and times
//! are bounded. Refuses: whoever does not hold the cluster's secret, and whoever breaks the protocol. It
//! knows nothing of what a message means, and nothing of membership: whom to admit is asked of above.
//!
//! ```text
//! frame on the wire = header (40) | body | tag (16) | payload
//!                     '---- covered by the tag ----'   held against the committed digest
//! ```

mod body;
mod connection;
mod credit;
mod dial;
mod entry;
mod error;
mod hand_over;
mod handshake;
mod intake;
mod listen;
mod options;
mod outbox;
mod reader;
mod send_path;
mod stream;
#[expect(clippy::module_inception, reason = "the room's one owner of state has the room's name")]
mod transport;
mod writer;

pub use crate::wire::{Class, Purpose, Role};
pub use body::BodyBytes;
pub use entry::Message;
pub use error::{Cut, DialError, DialPhase, RefusedCode, ResetCode, StreamError};
pub use hand_over::HandOver;
pub use options::{Admit, Caps, Carry, ConnectionInfo, Peer, PeerIdentity, Timeouts, TransportOptions, Who};
pub use send_path::{SendPath, WhyCopy};
pub use stream::{Delivery, Incoming, Stream, StreamReceiver, StreamSender};
pub use transport::Transport;
