//! What only tests reach: a stop before and after every step of landing, and deliberate faults that the checkers
//! must notice. Without the feature `sim` nothing is left of it.

#[cfg(feature = "sim")]
use std::cell::{Cell, RefCell};
#[cfg(feature = "sim")]
use std::rc::Rc;

use super::landing::Step;

/// Before or after a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Edge {
    /// Nothing of the step has been done.
    Before,
    /// All of the step has been done.
    After,
}

/// A fault put into the store on purpose, to prove that the checkers of the crash test can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sabotage {
    /// Sound.
    #[default]
    None,
    /// A checkpoint makes its bitmap durable without the data.
    BitBeforeData,
    /// Landing leaves out the fdatasync of the content.
    RenameWithoutDataSync,
    /// Landing leaves out the fsync of the folders.
    RenameWithoutDirSync,
    /// Landing leaves out the intent before the rename.
    RenameWithoutIntent,
    /// Recovery believes a record whose file has changed.
    TrustChangedFile,
}

/// What a watcher says at a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Go on.
    Go,
    /// Never go on: the power is about to be cut.
    Stop,
}

/// The hooks of one store.
#[derive(Default)]
pub(super) struct Hooks {
    #[cfg(feature = "sim")]
    watch: RefCell<Option<Watcher>>,
    #[cfg(feature = "sim")]
    sabotage: Cell<Sabotage>,
}

#[cfg(feature = "sim")]
type Watcher = Rc<dyn Fn(Step, Edge) -> Verdict>;

impl Hooks {
    /// A step is about to be done, or was done.
    #[cfg(feature = "sim")]
    pub(super) async fn reach(&self, step: Step, edge: Edge) {
        let watch = self.watch.borrow().clone();
        if watch.is_some_and(|watch| watch(step, edge) == Verdict::Stop) {
            std::future::pending::<()>().await;
        }
    }

    /// A step is about to be done, or was done.
    #[cfg(not(feature = "sim"))]
    pub(super) async fn reach(&self, _step: Step, _edge: Edge) {}

    /// Whether this fault was put in.
    #[cfg(feature = "sim")]
    pub(super) fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage.get() == sabotage
    }

    /// Whether this fault was put in.
    #[cfg(not(feature = "sim"))]
    pub(super) const fn sabotaged(&self, _sabotage: Sabotage) -> bool {
        false
    }

    #[cfg(feature = "sim")]
    pub(super) fn watch(&self, watch: impl Fn(Step, Edge) -> Verdict + 'static) {
        *self.watch.borrow_mut() = Some(Rc::new(watch));
    }

    #[cfg(feature = "sim")]
    pub(super) fn sabotage(&self, sabotage: Sabotage) {
        self.sabotage.set(sabotage);
    }
}
