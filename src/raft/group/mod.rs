//! One replicated state on this node: the group's handle and all that can be asked of it.

mod barrier;
mod condense;
mod error;
mod handle;
mod inspect;
mod members;
mod options;
mod policy;
mod propose;
mod watch;

pub use condense::condense;
pub use error::{BarrierError, BootstrapError, MembersError, OpenError, ProposeError, TransferError};
pub use handle::Group;
pub use inspect::{Inspected, inspect};
pub use members::MemberState;
pub use options::{GroupConfig, GroupOptions};
pub use watch::{GroupFigures, GroupRole, Watermarks};

pub(super) use barrier::leader_barrier;
