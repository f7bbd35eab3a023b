//! Deliberate faults of the product, which prove that the checkers of the simulated clusters can fail. Without the
//! feature `sim` nothing is left of them: every question is answered with no when the program is compiled.

#[cfg(feature = "sim")]
use std::cell::Cell;

/// A fault put in on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// Now and then a replica passes over a command.
    CommandPassed,
    /// An entry counts as installed when it is applied.
    InstalledEarly,
    /// Chunks are taken as they come.
    ChunksUnverified,
    /// What a start finds missing is not fetched.
    MissingForgotten,
    /// As many fetches at a time as there are segments missing.
    FetchesUnbounded,
    /// A log comes back without the vote that was given.
    VoteForgotten,
    /// A vote is given to everybody who asks for one, in the same term too.
    VoteGrantedTwice,
    /// Entries are acknowledged that only the page cache has.
    EntriesUnflushed,
    /// A session forgets what it has answered: what is sent again happens again.
    AnswerForgotten,
    /// A registrar takes what an earlier process has proposed for what never happened.
    AskedAgain,
    /// A version that is pinned leaves its name to the one before, which landed there late.
    NameLeft,
    /// What is staged already is fetched again.
    ProgressForgotten,
    /// A leader that has lost its vote goes on to lead.
    LeadsWithoutVote,
    /// What has left the manifest is still to be fetched.
    GoneStillWanted,
    /// What was staged of a segment that has left the manifest stays.
    GoneStaysStaged,
    /// Chunks pass whether a limit allows it or not.
    RateIgnored,
    /// Of those that wait for a limit the last kind of work goes first.
    SharesIgnored,
    /// Chunks pass without asking a limit.
    LimitPassedBy,
}

#[cfg(feature = "sim")]
thread_local! {
    static BROKEN: Cell<Option<Broken>> = const { Cell::new(None) };
    static COMMANDS: Cell<u64> = const { Cell::new(0) };
}

/// Puts a fault in, on this thread, or takes it out.
#[cfg(feature = "sim")]
pub fn set(broken: Option<Broken>) {
    BROKEN.set(broken);
    COMMANDS.set(0);
}

/// Whether this fault was put in.
#[cfg(feature = "sim")]
#[must_use]
pub fn is(broken: Broken) -> bool {
    BROKEN.get() == Some(broken)
}

/// Whether this fault was put in.
#[cfg(not(feature = "sim"))]
#[must_use]
pub const fn is(_broken: Broken) -> bool {
    false
}

/// Whether this command is the one that a broken replica passes over.
#[cfg(feature = "sim")]
#[must_use]
pub fn passes_command() -> bool {
    COMMANDS.set(COMMANDS.get() + 1);
    is(Broken::CommandPassed) && COMMANDS.get().is_multiple_of(23)
}

/// Whether this command is the one that a broken replica passes over.
#[cfg(not(feature = "sim"))]
#[must_use]
pub const fn passes_command() -> bool {
    false
}
