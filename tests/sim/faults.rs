//! Plans of what breaks: the nth operation of a kind, or on a path, fails, falls short, is slow, hangs, or is the last
//! thing that the node does.

use ringway::ids::Nanos;
use ringway::uring::Errno;

use super::job::OpKind;

/// What happens to an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It fails. A failing sync loses what it should have written, as the kernel does; nothing else has an effect.
    Fail(Errno),
    /// A transfer moves less than asked for.
    Short,
    /// It takes this much longer.
    Slow(Nanos),
    /// A write says that it is done and never reaches the medium, whatever is synced after it.
    Lose,
    /// A write says that it is done and lands some blocks from where it belongs.
    Misdirect,
    /// It does not complete before `Sim::thaw`.
    Hang,
    /// The node goes down.
    Crash(Crash),
}

/// How and when a node goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crash {
    /// How.
    pub how: How,
    /// Whether the operation has still had its effect; its completion is not seen in either case.
    pub after: bool,
}

/// How a node goes down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// The process is killed (SIGKILL): what it wrote stays, its descriptors close.
    Kill,
    /// The power goes: what was not synced is kept, lost or torn.
    PowerCut,
}

/// When a fault strikes, and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    kinds: Vec<OpKind>,
    steps_only: bool,
    path: Option<String>,
    skip: u64,
    times: u64,
    hits: u64,
}

impl Rule {
    /// Strikes the first operation, once.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, kinds: Vec::new(), steps_only: false, path: None, skip: 0, times: 1, hits: 0 }
    }

    /// Only operations of this kind; said twice, of either.
    #[must_use]
    pub fn on(mut self, kind: OpKind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Only operations that can change what the disk holds: the crash points of a recipe.
    #[must_use]
    pub fn on_durable_steps(mut self) -> Self {
        self.steps_only = true;
        self
    }

    /// Only operations on a path that contains this.
    #[must_use]
    pub fn path(mut self, part: &str) -> Self {
        self.path = Some(part.to_owned());
        self
    }

    /// Lets this many matching operations pass first.
    #[must_use]
    pub fn skip(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// Strikes this often.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }

    /// How often it has struck.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Whether the rule looks at paths.
    #[must_use]
    pub fn needs_path(&self) -> bool {
        self.path.is_some()
    }

    /// The fault, if the rule strikes this operation.
    pub fn strike(&mut self, kind: OpKind, path: &str) -> Option<Fault> {
        let matches = (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (!self.steps_only || kind.is_durable_step())
            && self.path.as_ref().is_none_or(|part| path.contains(part.as_str()));
        if !matches || self.times == 0 {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times -= 1;
        self.hits += 1;
        Some(self.fault)
    }
}
