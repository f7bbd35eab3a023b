//! Messages with entries, several on their way: requests leave as openraft makes them, answers are given in their
//! order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use openraft::errors::RPCError;
use openraft::network::RPCTypes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};

use crate::limits::{APPEND_TIMEOUT, APPENDS_IN_FLIGHT_MAX};
use crate::raft::rpc::{Call, write_append};
use crate::raft::types::{LogId, Types, Vote};
use crate::uring::{Sleep, sleep};

use super::client::{Client, read_append_answer};
use super::error::CallError;
use super::line::{Line, Pending};

/// Answers to a stream of messages.
pub(super) struct Pipeline<'a, S> {
    client: &'a Client,
    line: Result<Rc<Line>, CallError>,
    first: Option<AppendEntriesRequest<Types>>,
    input: Option<S>,
    waiting: VecDeque<OnTheWay>,
}

struct OnTheWay {
    by: Vote,
    prev: Option<LogId>,
    last: Option<LogId>,
    answer: Pending,
    patience: Pin<Box<Sleep>>,
}

type Item = Result<StreamAppendResult<Types>, RPCError<Types>>;

impl<'a, S> Pipeline<'a, S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    /// Waits for the first message before it dials: openraft waits there when an earlier dial has failed, and
    /// nowhere else.
    pub(super) async fn begin(client: &'a Client, mut input: S) -> Self {
        let first = input.next().await;
        let line = match first {
            Some(_) => client.line().await,
            None => Err(CallError::Closed),
        };
        let input = first.as_ref().map(|_| input);
        Self { client, line, first, input, waiting: VecDeque::new() }
    }

    /// Sends what openraft has made, up to the bound.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<(), CallError> {
        if let Some(first) = self.first.take() {
            self.send(&first)?;
        }
        while let Some(input) = self.input.as_mut().filter(|_| self.waiting.len() < APPENDS_IN_FLIGHT_MAX) {
            match Pin::new(input).poll_next(context) {
                Poll::Pending => break,
                Poll::Ready(None) => self.input = None,
                Poll::Ready(Some(request)) => self.send(&request)?,
            }
        }
        Ok(())
    }

    fn send(&mut self, request: &AppendEntriesRequest<Types>) -> Result<(), CallError> {
        let line = self.line.as_ref().map_err(CallError::clone)?;
        let bytes = write_append(self.client.group(), request);
        let last = request.entries.last().map(|entry| entry.log_id);
        self.waiting.push_back(OnTheWay {
            by: request.vote,
            prev: request.prev_log_id,
            last: last.or(request.prev_log_id),
            answer: line.start(Call::Append, bytes)?,
            patience: Box::pin(sleep(APPEND_TIMEOUT)),
        });
        Ok(())
    }

    /// What follows from an answer; after anything but a full success the stream ends, and openraft begins another.
    fn settle(&mut self, done: &OnTheWay, answer: Result<Vec<u8>, CallError>) -> Item {
        let reply = answer.and_then(|bytes| read_append_answer(&bytes, done.by).map_err(CallError::Answer));
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                self.end();
                return Err(self.client.failed(&error, RPCTypes::AppendEntries));
            }
        };
        let is_whole = match &reply {
            AppendEntriesResponse::Success => true,
            AppendEntriesResponse::PartialSuccess(last) => *last == done.last,
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => false,
        };
        if !is_whole {
            self.end();
        }
        Ok(reply.into_stream_result(done.prev, done.last))
    }

    fn end(&mut self) {
        self.input = None;
        self.waiting.clear();
    }
}

impl<S> Stream for Pipeline<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let this = &mut *self;
        if let Err(error) = this.fill(context) {
            this.end();
            return Poll::Ready(Some(Err(this.client.failed(&error, RPCTypes::AppendEntries))));
        }
        let Some(first) = this.waiting.front_mut() else {
            return if this.input.is_none() { Poll::Ready(None) } else { Poll::Pending };
        };
        let answer = match Pin::new(&mut first.answer).poll(context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => match first.patience.as_mut().poll(context) {
                Poll::Ready(()) => Err(CallError::TimedOut { after: APPEND_TIMEOUT }),
                Poll::Pending => return Poll::Pending,
            },
        };
        let Some(done) = this.waiting.pop_front() else { unreachable!("it was just polled") };
        let item = this.settle(&done, answer);
        Poll::Ready(Some(item))
    }
}
