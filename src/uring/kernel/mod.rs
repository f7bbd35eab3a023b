//! The ring of production: io_uring of Linux 6.x, behind the seam `Ring`.
//!
//! Owns the descriptors that its core opened and all memory that the kernel holds, until the kernel is through with
//! it. Dropping a ring waits for that. What it cannot do is in its probe or, if nothing can be done, in its error.
//! See kernel-notes/ring-setup.md and kernel-notes/cancellation.md.

mod address;
mod blocking;
mod entry;
mod error;
mod finish;
mod flight;
mod helper;
mod registration;
mod ring;
mod send_file;
mod setup;
mod sys;
mod wake;

pub use error::RingError;
pub use ring::KernelRing;
pub use setup::KernelOptions;
pub(crate) use sys::run_on_cpu;
