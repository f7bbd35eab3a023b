//! Cores as guests in other executors' threads: how one is driven there, and how each of the executors waits.
//! See kernel-notes/guest-runtimes.md.

mod drive;
#[cfg(feature = "glommio")]
mod glommio;
#[cfg(feature = "tokio-uring")]
mod tokio;

#[cfg(feature = "glommio")]
pub use self::glommio::Glommio;
#[cfg(feature = "tokio-uring")]
pub use self::tokio::Tokio;
pub use drive::{Guest, Hosting};
