//! One stream to one member, and the calls that wait for their answers on it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use crate::ids::Nanos;
use crate::raft::rpc::Call;
use crate::transport::{Stream, StreamError, StreamReceiver, StreamSender};
use crate::uring::{Answer, Core, Notify, Priority, Question, Task, question, timeout};
use crate::wire::{Body, RaftRequest};

use super::error::CallError;

type Outcome = Result<Vec<u8>, CallError>;

/// One open stream. Dropping it gives the stream up.
pub(super) struct Line {
    shared: Rc<Shared>,
    tasks: [Task<()>; 2],
}

struct Shared {
    outbox: RefCell<std::collections::VecDeque<(u64, Call, Vec<u8>)>>,
    /// Told when a call is to be sent, or the line has ended.
    work: Notify,
    waiting: RefCell<BTreeMap<u64, Answer<Outcome>>>,
    next: Cell<u64>,
    ended: RefCell<Option<CallError>>,
}

/// A call that was made.
pub(super) struct Pending {
    id: u64,
    question: Question<Outcome>,
    shared: Weak<Shared>,
}

impl Line {
    pub(super) fn new(stream: Stream) -> Rc<Self> {
        let shared = Rc::new(Shared {
            outbox: RefCell::default(),
            work: Notify::default(),
            waiting: RefCell::default(),
            next: Cell::new(1),
            ended: RefCell::new(None),
        });
        let (sender, receiver) = stream.split();
        let core = Core::current();
        let tasks = [
            core.spawn(Priority::Urgent, send(Rc::clone(&shared), sender)),
            core.spawn(Priority::Urgent, receive(Rc::clone(&shared), receiver)),
        ];
        Rc::new(Self { shared, tasks })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.borrow().is_some()
    }

    /// Makes a call. Calls leave in the order in which they are made.
    pub(super) fn start(&self, call: Call, bytes: Vec<u8>) -> Result<Pending, CallError> {
        if let Some(ended) = &*self.shared.ended.borrow() {
            return Err(ended.clone());
        }
        let id = self.shared.next.get();
        self.shared.next.set(id + 1);
        let (answer, question) = question();
        self.shared.waiting.borrow_mut().insert(id, answer);
        self.shared.outbox.borrow_mut().push_back((id, call, bytes));
        self.shared.work.notify();
        Ok(Pending { id, question, shared: Rc::downgrade(&self.shared) })
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.tasks.iter().for_each(Task::abort);
        self.shared.end(CallError::Closed);
    }
}

impl Pending {
    /// The answer, if it comes in time.
    pub(super) async fn within(self, length: Nanos) -> Outcome {
        timeout(length, self).await.unwrap_or(Err(CallError::TimedOut { after: length }))
    }
}

impl Future for Pending {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.question).poll(context).map(|answer| answer.unwrap_or(Err(CallError::Closed)))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let given_up = shared.waiting.borrow_mut().remove(&self.id);
        if given_up.is_some() {
            // What has not left goes too: else all that is ever to be told is kept for a member that takes nothing.
            shared.outbox.borrow_mut().retain(|(id, ..)| *id != self.id);
        }
    }
}

impl Shared {
    fn end(&self, why: CallError) {
        let first = self.ended.borrow().is_none();
        if first {
            self.ended.replace(Some(why.clone()));
        }
        self.outbox.borrow_mut().clear();
        let waiting = self.waiting.take();
        for answer in waiting.into_values() {
            let _nobody_waits = answer.give(Err(why.clone()));
        }
        self.work.notify();
    }
}

async fn send(shared: Rc<Shared>, sender: StreamSender) {
    loop {
        let next = || {
            if shared.ended.borrow().is_some() {
                return Some(None);
            }
            shared.outbox.borrow_mut().pop_front().map(Some)
        };
        let Some((id, call, bytes)) = shared.work.until(next).await else { return };
        let request = RaftRequest { id, rpc: call.number(), bytes: &bytes };
        if let Err(error) = sender.send(request).await {
            shared.end(CallError::Stream(error));
            return;
        }
    }
}

async fn receive(shared: Rc<Shared>, mut receiver: StreamReceiver) {
    let why = loop {
        let message = match receiver.receive().await {
            Ok(message) => message,
            Err(error) => break CallError::Stream(error),
        };
        let Ok(Body::RaftResponse(response)) = message.decode() else {
            break CallError::Stream(StreamError::Closed);
        };
        let Some(answer) = shared.waiting.borrow_mut().remove(&response.id) else { continue };
        let outcome = if response.ok {
            Ok(response.bytes.to_vec())
        } else {
            Err(CallError::Refused { text: String::from_utf8_lossy(response.bytes).into_owned() })
        };
        let _nobody_waits = answer.give(outcome);
    };
    shared.end(why);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Secret, SecretSet};
    use crate::ids::{ClusterId, GroupId, Incarnation, NodeId};
    use crate::raft::testing::on_core;
    use crate::transport::{Class, Peer, Purpose, Transport, TransportOptions};

    fn transport(node: u64) -> Transport {
        let mut random: [u8; 32] = std::array::from_fn(|place| place as u8 ^ 9);
        let secrets = SecretSet::new(Secret::generate(&mut random).expect("not weak"), None);
        let (cluster, node) = (Some(ClusterId([3; 16])), Some(NodeId(node)));
        Transport::new(TransportOptions::new(cluster, node, Incarnation([4; 16]), secrets))
    }

    /// A follower whose disk stands still answers pings, and takes no calls. Once each try of a call stayed in its
    /// leader's memory.
    #[test]
    fn calls_that_are_given_up_before_they_leave_are_not_kept() {
        on_core(async {
            let (ours, theirs) = (transport(1), transport(2));
            let address = theirs.listen("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
            let peer = Peer { node: Some(NodeId(2)), address };
            let stream =
                ours.open_stream(peer, GroupId(1), Class::Control, Purpose::Raft).await.expect("a peer");
            let line = Line::new(stream);
            let never = Nanos::from_millis(5);
            for _ in 0..40 {
                let calls: Vec<Pending> =
                    (0..4).map(|_| line.start(Call::Append, vec![0; 50_000]).expect("it stands")).collect();
                for call in calls {
                    assert_eq!(call.within(never).await, Err(CallError::TimedOut { after: never }));
                }
            }
            assert_eq!((line.shared.outbox.borrow().len(), line.shared.waiting.borrow().len()), (0, 0));
            drop(line);
            ours.shut_down();
            theirs.shut_down();
        });
    }
}
