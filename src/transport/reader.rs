//! The receiving half of a connection: takes frame after frame, believes none before its tag is checked, and
//! hands each to its stream. It never waits for a consumer, so that one slow stream holds up no other: credit
//! bounds what it takes.

use std::rc::Rc;

use crate::auth::Checker;
use crate::limits::PAYLOAD_SMALL_BYTES;
use crate::uring::{Buffer, Core};
use crate::wire::{Body, FrameError, HEADER_BYTES, Header, TAG_BYTES};

use super::body::BodyBytes;
use super::connection::{Connection, is_message};
use super::entry::{End, Message};
use super::error::{Cut, ResetCode};
use super::intake::Intake;

/// Receives on one connection until it ends.
pub(super) struct Reader {
    connection: Rc<Connection>,
    intake: Intake,
    checker: Checker,
}

impl Reader {
    pub(super) fn new(connection: Rc<Connection>, intake: Intake, checker: Checker) -> Self {
        Self { connection, intake, checker }
    }

    pub(super) async fn run(mut self) {
        while !self.connection.is_cut() {
            if let Err(cut) = self.frame().await {
                self.connection.cut(cut);
            }
        }
    }

    async fn frame(&mut self) -> Result<(), Cut> {
        self.intake.fill(HEADER_BYTES).await?;
        let head: [u8; HEADER_BYTES] = *self.intake.ahead().first_chunk().ok_or(Cut::Ended)?;
        let header = Header::decode(&head).map_err(Cut::Header)?;
        if !header.tagged {
            return Err(Cut::Unexpected { kind: header.kind });
        }
        let whole = HEADER_BYTES + header.control_bytes();
        self.connection.shared.stats.control_bytes_in.add_bytes(whole);
        if !is_message(header.kind) {
            self.intake.fill(whole).await?;
            return self.own_frame(&head, &header);
        }
        let body = self.body(&head, &header).await?;
        self.intake.expect_payload(header.payload_bytes > 0);
        self.message(header, body).await
    }

    /// The body of a message, checked.
    async fn body(&mut self, head: &[u8; HEADER_BYTES], header: &Header) -> Result<BodyBytes, Cut> {
        let whole = HEADER_BYTES + header.control_bytes();
        if whole <= self.intake.capacity() {
            self.intake.fill(whole).await?;
            let control = self.intake.ahead().get(HEADER_BYTES..whole).unwrap_or_default();
            let body = check(&mut self.checker, head, header, control)?;
            let own = BodyBytes::of(body);
            self.intake.consume(whole);
            return Ok(own);
        }
        self.intake.consume(HEADER_BYTES);
        let mut control = self.intake.long(header.control_bytes()).await?;
        check(&mut self.checker, head, header, &control)?;
        control.resize(header.body_bytes, 0);
        Ok(control.into())
    }

    /// A frame of the connection itself; it lies whole in the read-ahead.
    fn own_frame(&mut self, head: &[u8; HEADER_BYTES], header: &Header) -> Result<(), Cut> {
        let whole = HEADER_BYTES + header.control_bytes();
        let control = self.intake.ahead().get(HEADER_BYTES..whole).unwrap_or_default();
        let body = check(&mut self.checker, head, header, control)?;
        let connection = &self.connection;
        connection.shared.stats.frames_in.count();
        #[expect(clippy::wildcard_enum_match_arm, reason = "all other kinds are out of place here")]
        match header.decode_body(body).map_err(Cut::Frame)? {
            Body::Ping(ping) => connection.outbox.pong(ping.id),
            Body::Pong(pong) => connection.ponged(pong.id),
            Body::Open(open) if !connection.facts.peer.dialled => {
                if open.group != header.group {
                    let (stream, expected, found) = (header.stream, header.group, open.group);
                    return Err(Cut::OtherGroup { stream, expected, found });
                }
                connection.opened(header.stream, &open)?;
            }
            Body::Credit(credit) => match connection.entry(header.stream) {
                Some(entry) => {
                    entry.outflow.grant(credit.bytes.into());
                    entry.changed.notify();
                }
                // One that was on its way when the stream ended.
                None if connection.has_been(header.stream) => {}
                None => return Err(Cut::UnknownStream { stream: header.stream }),
            },
            Body::Close(_) => self.peer_ended(header, End::Close)?,
            Body::Reset(reset) => self.peer_ended(header, End::Reset(ResetCode::of(reset.code)))?,
            _ => return Err(Cut::Unexpected { kind: header.kind }),
        }
        self.intake.consume(whole);
        Ok(())
    }

    fn peer_ended(&self, header: &Header, end: End) -> Result<(), Cut> {
        let stream = header.stream;
        let entry = self.connection.entry(stream).ok_or(Cut::UnknownStream { stream })?;
        self.connection.peer_ended(&entry, end)
    }

    async fn message(&mut self, header: Header, body: BodyBytes) -> Result<(), Cut> {
        let stream = header.stream;
        let connection = Rc::clone(&self.connection);
        let budget = &connection.budget;
        connection.shared.stats.frames_in.count();
        let entry = connection.entry(stream).ok_or(Cut::UnknownStream { stream })?;
        if entry.group != header.group {
            return Err(Cut::OtherGroup { stream, expected: entry.group, found: header.group });
        }
        entry.admit(header.body_bytes, header.payload_bytes, budget)?;
        let payload = match self.payload(header.payload_bytes).await {
            Ok(payload) if !connection.is_cut() => payload,
            ended => {
                // What was admitted is nobody's: the budget would be short of it for as long as the core lives.
                entry.lose(header.body_bytes, header.payload_bytes, budget);
                return ended.map(drop);
            }
        };
        let message = Message { kind: header.kind, body, payload };
        if entry.arrive(message, connection.window(), budget) {
            connection.outbox.credit(stream);
        }
        if budget.is_overloaded() {
            connection.reset(&entry, ResetCode::Overloaded);
            let _told_by_the_reset = entry.drain(0, budget);
        }
        Ok(())
    }

    /// The payload behind a frame, if there is one.
    async fn payload(&mut self, bytes: usize) -> Result<Option<Buffer>, Cut> {
        if bytes == 0 {
            return Ok(None);
        }
        let (buffer, moved) = self.intake.payload(self.place(bytes), bytes).await?;
        let stats = &self.connection.shared.stats;
        stats.payload_bytes_in.add_bytes(bytes);
        stats.payload_bytes_moved.add_bytes(moved);
        Ok(Some(buffer))
    }

    /// Where a payload goes: a spare registered buffer, else memory of its own, which credit bounds.
    fn place(&self, bytes: usize) -> Buffer {
        if bytes > PAYLOAD_SMALL_BYTES
            && let Some(buffer) = Core::current().slab().spare(bytes)
        {
            return buffer;
        }
        self.connection.shared.stats.payloads_unregistered.count();
        Buffer::heap(bytes)
    }
}

/// Splits body and tag, and checks both with the header.
fn check<'a>(
    checker: &mut Checker,
    head: &[u8; HEADER_BYTES],
    header: &Header,
    control: &'a [u8],
) -> Result<&'a [u8], Cut> {
    let (body, tag) = control.split_last_chunk::<TAG_BYTES>().ok_or(Cut::Ended)?;
    let found = header.checksum_over(body);
    if found != header.checksum {
        return Err(Cut::Frame(FrameError::Checksum { kind: header.kind, expected: header.checksum, found }));
    }
    checker.check(header.sequence, head, body, *tag).map_err(Cut::Tag)?;
    Ok(body)
}
