//! openraft's runtime on a core's executor: tasks, time, chance, and channels of one thread.
//!
//! openraft calls its runtime through functions without `self`; they act on the core whose turn it is, so that one
//! thread can drive, or simulate, many nodes. Nothing here reads a clock or draws a number but through that core's
//! ring.

mod channel;
mod clock;
mod mutex;
mod once;
mod random;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;

pub(super) use tasks::CoreRuntime;
