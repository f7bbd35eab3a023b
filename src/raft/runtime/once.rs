//! openraft's one-time answers, on the core's own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use openraft_rt::{Oneshot, OneshotSender, OptionalSend};

use crate::uring::{Answer, Question, question};

/// The family of one-time answers.
#[derive(Debug)]
pub struct CoreOnce;

/// Gives the one answer.
#[derive(Debug)]
pub struct OnceSender<T>(Answer<T>);

/// Waits for the one answer.
#[derive(Debug)]
pub struct OnceReceiver<T>(Question<T>);

/// Nobody will answer any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody will answer any more")
    }
}

impl std::error::Error for NoAnswer {}

impl Oneshot for CoreOnce {
    type Sender<T: OptionalSend> = OnceSender<T>;
    type Receiver<T: OptionalSend> = OnceReceiver<T>;
    type ReceiverError = NoAnswer;

    fn channel<T: OptionalSend>() -> (OnceSender<T>, OnceReceiver<T>) {
        let (answer, question) = question();
        (OnceSender(answer), OnceReceiver(question))
    }
}

impl<T> OneshotSender<T> for OnceSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.give(value)
    }
}

impl<T> Future for OnceReceiver<T> {
    type Output = Result<T, NoAnswer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, NoAnswer>> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.ok_or(NoAnswer))
    }
}
