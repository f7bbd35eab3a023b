//! The only door to the outside: rings, operations and completions, buffers, the executor of a core, timers, files,
//! sockets, mappings, mailboxes. It knows no word of the domain.
//!
//! `Ring` is the seam: [`kernel`] stands behind it in production, the simulator in tests.

mod arena;
mod buffer;
mod climb;
mod core;
mod cuts;
mod errno;
#[cfg(test)]
mod executor_tests;
mod file;
mod gate;
mod guest;
mod handle;
mod host;
mod kernel;
mod local;
mod mailbox;
mod map;
mod op;
mod operation;
mod outside;
mod places;
mod probe;
mod race;
mod ring;
mod socket;
mod task;
#[cfg(test)]
pub(crate) mod test_ring;
mod timer;

pub use buffer::{Buffer, Slab, Span};
pub use core::{Core, Turn, WeakCore};
pub use errno::Errno;
pub use file::{Dir, Extent, File};
pub use gate::{Bulk, Gate, GateFigures, Urgent};
#[cfg(feature = "glommio")]
pub use guest::Glommio;
#[cfg(feature = "tokio-uring")]
pub use guest::Tokio;
pub use guest::{Guest, Hosting};
pub use handle::Handle;
pub use host::{HostError, Pinned, block_on, pinned, run};
pub use kernel::{KernelOptions, KernelRing, RingError};
pub use local::{Answer, Notify, Question, Questions, QueueReceiver, QueueSender, question, queue};
pub use mailbox::{MailReceiver, MailSender, SendError, mailbox};
pub use map::Mapping;
pub use op::{
    Completion, Congestion, FileKind, Name, Op, OpenOptions, Outcome, SocketOptions, Space, Stat, Taken,
};
pub use operation::{Completed, Operation};
pub use places::{Place, Places, Shares};
pub use probe::{Finding, Probe, REGISTERED_BUFFERS, ZERO_COPY_SEND};
pub use ring::{Ring, SignalReads, Unpark};
pub use socket::{Listener, Loose, Socket, ZeroCopySend};
pub use task::{Priority, Task};
pub use timer::{Elapsed, Sleep, deadline, sleep, sleep_until, timeout, yield_now};
