//! The sending half of a connection. It alone writes to the socket: small frames that wait are sent together,
//! and a payload goes straight out of its own buffer behind its frame. Whoever gave a frame may go away at
//! any time; what has begun is sent to its end all the same, so that the order of bytes never breaks.

use std::rc::Rc;

use crate::auth::Tagger;
use crate::ids::{GroupId, StreamId};
use crate::limits::{READ_AHEAD_BYTES, ZERO_COPY_BYTES_MIN};
use crate::stats::Sent;
use crate::uring::{Answer, Buffer, Core, Errno, Extent, Priority, Socket};
use crate::wire::{Body, Credit, HEADER_BYTES, Header, Kind, Ping, Pong, Ready, Reset, TAG_BYTES, Text};

use super::connection::Connection;
use super::error::{Cut, StreamError};
use super::outbox::{Freight, Loaded, Own};
use super::send_path::{SendPath, WhyCopy};

/// Sends on one connection until it ends.
pub(super) struct Writer {
    connection: Rc<Connection>,
    socket: Socket,
    tagger: Tagger,
    /// None only while it is being sent.
    batch: Option<Buffer>,
    scratch: Vec<u8>,
}

/// What a frame's header says beside what the writer knows.
struct Head {
    kind: Kind,
    group: GroupId,
    stream: StreamId,
    payload_bytes: usize,
}

/// Bytes of a frame beside its body.
const AROUND_BODY: usize = HEADER_BYTES + TAG_BYTES;
/// Room that each of the connection's own frames fits in.
const OWN_BYTES_MAX: usize = 512;

impl Writer {
    pub(super) fn new(connection: Rc<Connection>, socket: Socket, tagger: Tagger) -> Self {
        let batch = Some(Buffer::heap(READ_AHEAD_BYTES));
        Self { connection, socket, tagger, batch, scratch: Vec::with_capacity(OWN_BYTES_MAX) }
    }

    pub(super) async fn run(mut self) {
        loop {
            let connection = Rc::clone(&self.connection);
            connection.outbox.work.until(|| connection.outbox.has_work().then_some(())).await;
            if connection.is_cut() {
                return;
            }
            let mut batch = self.batch.take().unwrap_or_else(|| Buffer::heap(READ_AHEAD_BYTES));
            let freight = self.gather(&mut batch);
            if let Err((freight, cut)) = self.send(batch, freight).await {
                if let Some(freight) = freight {
                    freight.fail(StreamError::Connection(cut.clone()));
                }
                connection.cut(cut);
                return;
            }
        }
    }

    /// Fills the batch with what waits; a frame with a payload is its last one.
    fn gather(&mut self, batch: &mut Buffer) -> Option<Freight> {
        batch.set_filled(0);
        loop {
            while batch.capacity() - batch.filled().len() >= OWN_BYTES_MAX {
                let Some(own) = self.connection.outbox.next_own() else { break };
                self.append_own(batch, own);
            }
            let room = batch.capacity() - batch.filled().len();
            let empty = batch.filled().is_empty();
            let fits = |body: usize| empty || body + AROUND_BODY <= room;
            let next = self.connection.outbox.next_data(|next| fits(next.body.len()))?;
            if next.body.len() + AROUND_BODY > room {
                *batch = Buffer::heap(next.body.len() + AROUND_BODY);
            }
            let payload_bytes = next.freight.as_ref().map_or(0, Freight::bytes);
            let head = Head { kind: next.kind, group: next.group, stream: next.stream, payload_bytes };
            self.append(batch, head, &next.body);
            self.connection.outbox.recycle(next.body);
            if next.freight.is_some() {
                return next.freight;
            }
        }
    }

    fn append_own(&mut self, batch: &mut Buffer, own: Own) {
        let (stream, group, body) = match own {
            Own::Ready => (StreamId(0), GroupId::CLUSTER, Body::Ready(Ready {})),
            Own::Ping(id) => (StreamId(0), GroupId::CLUSTER, Body::Ping(Ping { id })),
            Own::Pong(id) => (StreamId(0), GroupId::CLUSTER, Body::Pong(Pong { id })),
            Own::Reset(stream, group, code) => {
                let text = Text::clip("");
                (stream, group, Body::Reset(Reset { code: code.number(), text }))
            }
            Own::Credit(stream) => {
                let Some(entry) = self.connection.entry(stream) else { return };
                let Some(bytes) = entry.inflow.tell() else { return };
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                (stream, entry.group, Body::Credit(Credit { bytes }))
            }
        };
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        body.encode(&mut bytes).expect("a connection's own frames are small");
        self.append(batch, Head { kind: body.kind(), group, stream, payload_bytes: 0 }, &bytes);
        self.scratch = bytes;
    }

    /// Puts header, body and tag into the batch.
    fn append(&mut self, batch: &mut Buffer, head: Head, body: &[u8]) {
        let Head { kind, group, stream, payload_bytes } = head;
        let mut header = Header {
            kind,
            group,
            stream,
            sequence: self.tagger.sequence(),
            tagged: true,
            body_bytes: body.len(),
            payload_bytes,
            checksum: 0,
        };
        header.checksum = header.checksum_over(body);
        let head = header.encode();
        batch.append(&head);
        batch.append(body);
        batch.append(&self.tagger.tag(&head, body));
        let stats = &self.connection.shared.stats;
        stats.frames_out.count();
        stats.control_bytes_out.add_bytes(AROUND_BODY + body.len());
        stats.payload_bytes_out.add_bytes(payload_bytes);
    }

    async fn send(&mut self, batch: Buffer, freight: Option<Freight>) -> Result<(), (Option<Freight>, Cut)> {
        let bytes = batch.filled().len();
        let more = freight.is_some();
        self.connection.mark_sending(Some(bytes));
        let (sent, batch) = self.socket.send_all(batch, 0..bytes, more).await;
        // One that was made for a large frame is not kept.
        self.batch = (batch.capacity() == READ_AHEAD_BYTES).then_some(batch);
        if let Err(errno) = sent {
            return Err((freight, broken(errno)));
        }
        if let Some(freight) = freight {
            self.send_payload(freight).await?;
        }
        self.connection.mark_sending(None);
        Ok(())
    }

    async fn send_payload(&mut self, freight: Freight) -> Result<(), (Option<Freight>, Cut)> {
        self.connection.mark_sending(Some(freight.bytes()));
        match freight {
            Freight::Memory(loaded) => {
                let is_of_slab = loaded.buffer.slot().is_some();
                let is_large = loaded.span.len() >= ZERO_COPY_BYTES_MIN;
                if is_of_slab && is_large && self.connection.paths.now() == SendPath::ZeroCopy {
                    self.send_zero_copy(loaded).await
                } else {
                    self.send_copy(loaded, 0).await
                }
            }
            Freight::Cached { extent, answer } => self.send_cached(extent, answer).await,
        }
    }

    /// Sends out of the page cache.
    async fn send_cached(
        &mut self,
        extent: Extent,
        answer: Answer<Result<(), StreamError>>,
    ) -> Result<(), (Option<Freight>, Cut)> {
        let cut = match self.socket.send_extent(&extent).await {
            Ok(true) => {
                let bytes_by_reference = extent.bytes as u64;
                self.connection.count_sent(Sent { bytes_by_reference, ..Sent::default() });
                let _gone = answer.give(Ok(()));
                return Ok(());
            }
            Ok(false) => Cut::PayloadShort,
            Err(errno) => broken(errno),
        };
        Err((Some(Freight::Cached { extent, answer }), cut))
    }

    async fn send_copy(&mut self, loaded: Loaded, from: usize) -> Result<(), (Option<Freight>, Cut)> {
        let Loaded { buffer, span, answer } = loaded;
        let rest = span.start + from..span.end;
        let (sent, buffer) = self.socket.send_all(buffer, rest, false).await;
        match sent {
            Ok(()) => {
                let bytes_copied = (span.len() - from) as u64;
                self.connection.count_sent(Sent { bytes_copied, ..Sent::default() });
                // Whoever gave it may have gone; then the buffer goes home here.
                let _unclaimed = answer.give((Ok(()), buffer));
                Ok(())
            }
            Err(errno) => Err((Some(Freight::Memory(Loaded { buffer, span, answer })), broken(errno))),
        }
    }

    /// Sends without copying. The next frame follows as soon as the bytes are on their way; the buffer comes
    /// back in a task of its own, because waiting for it here would cost a round trip for every payload.
    async fn send_zero_copy(&mut self, loaded: Loaded) -> Result<(), (Option<Freight>, Cut)> {
        let Loaded { buffer, span, answer } = loaded;
        let bytes = span.len();
        let mut send = self.socket.start_zero_copy(buffer, span.clone());
        if send.sent().await == Ok(bytes) {
            let connection = Rc::clone(&self.connection);
            drop(Core::current().spawn(Priority::Bulk, async move {
                let (sent, buffer) = send.finish().await;
                let delivered = match sent {
                    Ok((bytes, copied)) => {
                        connection.count_zero_copy(bytes, copied);
                        Ok(())
                    }
                    Err(errno) => Err(StreamError::Connection(broken(errno))),
                };
                let _unclaimed = answer.give((delivered, buffer));
            }));
            return Ok(());
        }
        let (sent, buffer) = send.finish().await;
        let loaded = Loaded { buffer, span, answer };
        match sent {
            Ok((0, _)) => Err((Some(Freight::Memory(loaded)), Cut::Ended)),
            Ok((part, copied)) => {
                self.connection.count_zero_copy(part, copied);
                self.send_copy(loaded, part).await
            }
            Err(Errno::INTERRUPTED) => self.send_copy(loaded, 0).await,
            // No byte has left: pages that may not be locked, or a socket that cannot.
            Err(errno @ (Errno::NO_MEMORY | Errno::NO_BUFFERS | Errno::NOT_SUPPORTED)) => {
                self.connection.copy_from_now_on(WhyCopy::Refused { errno });
                self.send_copy(loaded, 0).await
            }
            Err(errno) => Err((Some(Freight::Memory(loaded)), broken(errno))),
        }
    }
}

fn broken(errno: Errno) -> Cut {
    match errno {
        Errno::RESET | Errno::BROKEN_PIPE => Cut::Ended,
        errno => Cut::Socket { errno },
    }
}
