//! A ring in memory for the executor's own tests: it does what the test says, on the test's clock.

#![expect(clippy::wildcard_enum_match_arm, reason = "the tests use few operations")]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ids::{Nanos, UnixNanos};

use super::buffer::Slab;
use super::core::Core;
use super::errno::Errno;
use super::op::{Completion, Op, Outcome};
use super::probe::Probe;
use super::ring::{Ring, Unpark};

#[derive(Default)]
pub(crate) struct Script {
    pub(crate) now: Nanos,
    /// Operations that the ring has, in the order in which they came.
    pub(crate) held: Vec<(u64, Op)>,
    pub(crate) cancelled: Vec<u64>,
    /// Answers for the next reap, with the operation that is dropped by the ring then.
    answers: Vec<(Completion, Option<Op>)>,
    pub(crate) closed: Vec<i32>,
    /// Cancelled operations complete by themselves.
    pub(crate) obeys_cancel: bool,
}

pub(crate) struct TestRing {
    script: Rc<RefCell<Script>>,
    unparks: Arc<Unparks>,
    probe: Probe,
}

#[derive(Default)]
pub(crate) struct Unparks(pub(crate) AtomicUsize);

impl Unpark for Unparks {
    fn unpark(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A core over a test ring, with two buffers of one page.
pub(crate) fn core() -> (Core, Rc<RefCell<Script>>, Arc<Unparks>) {
    let (script, unparks) = (Rc::<RefCell<Script>>::default(), Arc::<Unparks>::default());
    let ring =
        TestRing { script: Rc::clone(&script), unparks: Arc::clone(&unparks), probe: Probe::default() };
    (Core::new(Box::new(ring), 2, 4096), script, unparks)
}

impl Script {
    /// Answers the oldest operation that the ring has.
    pub(crate) fn answer(&mut self, result: Result<Outcome, Errno>) {
        let (token, op) = self.held.remove(0);
        self.answer_op(token, op, result);
    }

    fn answer_op(&mut self, token: u64, op: Op, result: Result<Outcome, Errno>) {
        let (buffer, rest) = match op {
            Op::Receive { socket, buffer, .. } | Op::SendZeroCopy { socket, buffer, .. } => {
                (Some(buffer), Some(Op::Shutdown { socket }))
            }
            Op::Read { file, buffer, .. } => (Some(buffer), Some(Op::Stat { file })),
            rest => (None, Some(rest)),
        };
        self.answers.push((Completion { token, result, buffer, more: false }, rest));
    }

    /// The first of two answers to the oldest operation.
    pub(crate) fn answer_half(&mut self, result: Result<Outcome, Errno>) {
        let token = self.held[0].0;
        self.answers.push((Completion { token, result, buffer: None, more: true }, None));
    }
}

impl Ring for TestRing {
    fn register(&mut self, _slab: &Slab) {}

    fn push(&mut self, token: u64, op: Op) {
        let mut script = self.script.borrow_mut();
        if let Op::Close { raw, .. } = op {
            script.closed.push(raw);
            script.answer_op(token, op, Ok(Outcome::Done));
        } else {
            script.held.push((token, op));
        }
    }

    fn cancel(&mut self, token: u64) {
        let mut script = self.script.borrow_mut();
        script.cancelled.push(token);
        if let Some(place) = script.held.iter().position(|(held, _)| *held == token)
            && script.obeys_cancel
        {
            let (token, op) = script.held.remove(place);
            script.answer_op(token, op, Err(Errno::CANCELED));
        }
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        let answers = std::mem::take(&mut self.script.borrow_mut().answers);
        for (completion, dropped_inside) in answers {
            completions.push(completion);
            drop(dropped_inside);
        }
    }

    fn park(&mut self, _deadline: Option<Nanos>, completions: &mut Vec<Completion>) {
        self.reap(completions);
    }

    fn unparker(&self) -> Arc<dyn Unpark> {
        Arc::<Unparks>::clone(&self.unparks)
    }

    fn release(&mut self, _raw: i32) {}

    fn adopt(&mut self, _raw: i32) {}

    fn now(&self) -> Nanos {
        self.script.borrow().now
    }

    fn wall(&self) -> UnixNanos {
        UnixNanos(0)
    }

    fn random(&mut self, out: &mut [u8]) {
        out.fill(4);
    }

    fn probe(&self) -> &Probe {
        &self.probe
    }
}
