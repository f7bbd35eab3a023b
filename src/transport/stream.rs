//! The two ends of a stream, as its users hold them.
//!
//! Ending: `close` ends the sending direction behind all that was sent; dropping an end that has not ended
//! gives the whole stream up, except that a receiver which is dropped after its sender's close lets the peer
//! finish unheard.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::ids::GroupId;
use crate::limits::FRAME_PAYLOAD_BYTES_MAX;
use crate::uring::{Buffer, Extent, Place, Question, Span};
use crate::wire::{Body, Class, Purpose};

use super::connection::{Connection, is_message};
use super::credit::charge;
use super::entry::{Entry, Message};
use super::error::{Cut, ResetCode, StreamError};
use super::options::{PeerIdentity, Who};
use super::outbox::{Delivered, Freight, Loaded, Outgoing};

/// A stream of messages in both directions.
#[derive(Debug)]
pub struct Stream {
    sender: StreamSender,
    receiver: StreamReceiver,
}

/// The sending end of a stream.
#[derive(Debug)]
pub struct StreamSender(End);

/// The receiving end of a stream.
#[derive(Debug)]
pub struct StreamReceiver(End);

#[derive(Clone, Debug)]
struct End {
    connection: Rc<Connection>,
    entry: Rc<Entry>,
}

/// A payload on its way: what became of it, and its buffer.
#[derive(Debug)]
#[must_use = "the buffer comes back with it"]
pub struct Delivery(Question<Delivered>);

impl Future for Delivery {
    type Output = Delivered;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Delivered> {
        // It is left without an answer only when the core shuts down, and its buffer with it.
        let lost = || (Err(StreamError::Connection(Cut::ShutDown)), Buffer::heap(0));
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(lost))
    }
}

/// A stream that a peer opened.
#[derive(Debug)]
pub struct Incoming {
    /// Who opened it.
    pub peer: PeerIdentity,
    /// The group that it is about.
    pub group: GroupId,
    /// What it is for.
    pub purpose: Purpose,
    /// The class of its connection.
    pub class: Class,
    /// The stream.
    pub stream: Stream,
}

impl Stream {
    pub(super) fn new(connection: Rc<Connection>, entry: Rc<Entry>) -> Self {
        let end = End { connection, entry };
        Self { sender: StreamSender(end.clone()), receiver: StreamReceiver(end) }
    }

    /// Both ends, each for its own task.
    #[must_use]
    pub fn split(self) -> (StreamSender, StreamReceiver) {
        (self.sender, self.receiver)
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> PeerIdentity {
        self.sender.0.connection.facts.peer
    }

    /// As whom the other end counts where peers have bounds.
    #[must_use]
    pub fn who(&self) -> Who {
        let facts = &self.sender.0.connection.facts;
        facts.peer.who(facts.address)
    }

    /// See [`StreamSender::send`].
    ///
    /// # Errors
    /// As there.
    pub async fn send<'a>(&self, body: impl Into<Body<'a>>) -> Result<(), StreamError> {
        self.sender.send(body).await
    }

    /// See [`StreamSender::send_payload`].
    pub async fn send_payload<'a>(
        &self,
        body: impl Into<Body<'a>>,
        buffer: Buffer,
        span: Span,
    ) -> (Result<(), StreamError>, Buffer) {
        self.sender.send_payload(body, buffer, span).await
    }

    /// See [`StreamReceiver::receive`].
    ///
    /// # Errors
    /// As there.
    pub async fn receive(&mut self) -> Result<Message, StreamError> {
        self.receiver.receive().await
    }

    /// Gives the stream up with a reason.
    pub fn give_up(self, code: ResetCode) {
        self.sender.0.connection.reset(&self.sender.0.entry, code);
    }

    /// Ends our direction in good order; what the peer still sends is dropped.
    pub fn close(self) {
        self.sender.close();
    }
}

impl StreamSender {
    /// Sends a message when the peer has room for it. It is on its way when this returns, not received.
    ///
    /// # Errors
    /// The stream or its connection is over, or the message is none that a stream can carry.
    pub async fn send<'a>(&self, body: impl Into<Body<'a>>) -> Result<(), StreamError> {
        let outgoing = self.0.encode(&body.into(), 0)?;
        self.0.pass(outgoing.body.len(), 0).await?;
        self.0.push(outgoing)
    }

    /// Sends a message with `buffer[span]` behind it, straight from there, and gives the buffer back when the
    /// kernel is through with it.
    pub async fn send_payload<'a>(
        &self,
        body: impl Into<Body<'a>>,
        buffer: Buffer,
        span: Span,
    ) -> (Result<(), StreamError>, Buffer) {
        match self.start_payload(body, buffer, span).await {
            Ok(delivery) => delivery.await,
            Err((error, buffer)) => (Err(error), buffer),
        }
    }

    /// Sends a message with an extent behind it, out of the page cache where its pages are. A file that turns out to
    /// be shorter costs the connection, as its frame has been announced then.
    ///
    /// # Errors
    /// As [`StreamSender::send`].
    pub async fn send_extent<'a>(
        &self,
        body: impl Into<Body<'a>>,
        extent: Extent,
    ) -> Result<(), StreamError> {
        let bytes = extent.bytes;
        let outgoing = self.0.encode(&body.into(), bytes)?;
        self.0.pass(outgoing.body.len(), bytes).await?;
        let (answer, question) = self.0.connection.outbox.sendings.question();
        // An error comes back through the answer.
        let _answered =
            self.0.push(Outgoing { freight: Some(Freight::Cached { extent, answer }), ..outgoing });
        question.await.unwrap_or(Err(StreamError::Connection(Cut::ShutDown)))
    }

    /// Sends a message with `buffer[span]` behind it, and returns when the message has its place among what is sent.
    /// The buffer comes back later: after a round trip where the route does not copy. Whoever wants throughput has
    /// several under way.
    ///
    /// # Errors
    /// As [`StreamSender::send`], with the buffer.
    pub async fn start_payload<'a>(
        &self,
        body: impl Into<Body<'a>>,
        buffer: Buffer,
        span: Span,
    ) -> Result<Delivery, (StreamError, Buffer)> {
        let bytes = span.len();
        let outgoing = match self.0.encode(&body.into(), bytes) {
            Ok(outgoing) if span.end <= buffer.capacity() => outgoing,
            Ok(outgoing) => return Err((unsendable(&outgoing, bytes), buffer)),
            Err(error) => return Err((error, buffer)),
        };
        if let Err(error) = self.0.pass(outgoing.body.len(), bytes).await {
            return Err((error, buffer));
        }
        let (answer, question) = self.0.connection.outbox.deliveries.question();
        if bytes == 0 {
            let sent = self.0.push(outgoing);
            let _the_question_waits = answer.give((sent, buffer));
        } else {
            let freight = Some(Freight::Memory(Loaded { buffer, span, answer }));
            // An error comes back through the answer, with the buffer.
            let _answered = self.0.push(Outgoing { freight, ..outgoing });
        }
        Ok(Delivery(question))
    }

    /// Waits until the peer has room for a message, and the connection for its body. To be asked before a buffer is
    /// taken for one, or a large body made: buffers that wait for a peer's credit would be missing where its payloads
    /// arrive. Asked and sent in one go, a message does not wait.
    ///
    /// # Errors
    /// The stream or its connection is over.
    pub async fn ready(&self) -> Result<(), StreamError> {
        self.0.roomy().await
    }

    /// Waits for one of the places that the connection, its peer and the core have for payloads in memory. To be held
    /// from before a buffer is taken until it is back, so that a peer that does not read leaves buffers for others.
    ///
    /// # Errors
    /// The stream or its connection is over.
    pub async fn load(&self) -> Result<Place, StreamError> {
        let loads = &self.0.connection.loads;
        let look = || match self.0.over() {
            Some(error) => Some(Err(error)),
            None => loads.has_room().then(|| Ok(loads.take())),
        };
        loads.until(look).await
    }

    /// Ends this direction behind all that was sent.
    pub fn close(self) {
        self.0.connection.close(&self.0.entry);
    }
}

impl Drop for StreamSender {
    fn drop(&mut self) {
        // Says nothing if the direction has ended.
        self.0.connection.reset(&self.0.entry, ResetCode::Dropped);
    }
}

impl StreamReceiver {
    /// The next message; what came before an end is given before it.
    ///
    /// # Errors
    /// `Closed` at the peer's orderly end; else the stream or its connection is over, and messages may be missing.
    pub async fn receive(&mut self) -> Result<Message, StreamError> {
        let End { connection, entry } = &self.0;
        let take = || {
            let taken = entry.take(connection.window(), &connection.budget);
            taken.or_else(|| connection.cut_reason().map(Err))
        };
        let (message, grant) = entry.changed.until(take).await?;
        if grant {
            connection.outbox.credit(entry.id);
        }
        Ok(message)
    }
}

impl Drop for StreamReceiver {
    fn drop(&mut self) {
        let End { connection, entry } = &self.0;
        if !entry.peer_has_ended() && entry.our_end().is_none() {
            connection.reset(entry, ResetCode::Dropped);
        }
        if entry.deafen(connection.window(), &connection.budget) && !connection.is_cut() {
            connection.outbox.credit(entry.id);
        }
    }
}

impl End {
    fn encode(&self, body: &Body<'_>, payload_bytes: usize) -> Result<Outgoing, StreamError> {
        let kind = body.kind();
        let mut bytes = self.connection.outbox.body();
        let encoded = body.encode(&mut bytes);
        let outgoing =
            Outgoing { kind, group: self.entry.group, stream: self.entry.id, body: bytes, freight: None };
        let most = kind.payload_bytes_max().min(FRAME_PAYLOAD_BYTES_MAX);
        if encoded.is_err() || !is_message(kind) || payload_bytes > most {
            return Err(unsendable(&outgoing, payload_bytes));
        }
        Ok(outgoing)
    }

    /// Puts a frame that has passed into the queue; its payload goes back to its owner if the connection is
    /// over.
    fn push(&self, outgoing: Outgoing) -> Result<(), StreamError> {
        self.connection.outbox.push(outgoing).map_err(|refused| {
            let error = self.connection.ended_error();
            if let Some(freight) = refused.freight {
                freight.fail(error.clone());
            }
            error
        })
    }

    /// Waits for credit.
    async fn open(&self) -> Result<(), StreamError> {
        let look = || {
            if let Some(error) = self.over() {
                return Some(Err(error));
            }
            self.entry.outflow.is_open().then_some(Ok(()))
        };
        self.entry.changed.until(look).await
    }

    /// Waits for credit and for room in the queue, and pays.
    async fn pass(&self, body_bytes: usize, payload_bytes: usize) -> Result<(), StreamError> {
        self.roomy().await?;
        self.entry.outflow.spend(charge(body_bytes, payload_bytes));
        Ok(())
    }

    /// Waits for credit and for room in the queue.
    async fn roomy(&self) -> Result<(), StreamError> {
        let outbox = &self.connection.outbox;
        loop {
            self.open().await?;
            if outbox.is_roomy() {
                return Ok(());
            }
            outbox.room.until(|| (outbox.is_roomy() || self.over().is_some()).then_some(())).await;
        }
    }

    fn over(&self) -> Option<StreamError> {
        self.connection.cut_reason().or_else(|| self.entry.refuses())
    }
}

fn unsendable(outgoing: &Outgoing, payload_bytes: usize) -> StreamError {
    StreamError::Unsendable { kind: outgoing.kind, body_bytes: outgoing.body.len(), payload_bytes }
}
