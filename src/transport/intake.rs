//! Reading from a connection: small frames many at a time from a buffer that is read ahead, payload straight
//! into its own buffer. What was read ahead of a payload is copied there; the rest of it is not.

use std::cell::Cell;
use std::rc::Rc;

use rkyv::util::AlignedVec;

use crate::ids::Nanos;
use crate::limits::{RATE_LEAST_BYTES, READ_AHEAD_LEAN_BYTES};
use crate::uring::{Buffer, Core, Errno, Socket};

use super::error::Cut;

/// Signs of life of a peer, seen by the reader and judged by the keeper.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// When something was last received.
    pub(super) heard: Cell<Nanos>,
    /// What a long receive may take on top of the usual silence.
    pub(super) patience: Cell<Nanos>,
}

impl Pulse {
    pub(super) fn now(&self) {
        self.heard.set(Core::current().now());
        self.patience.set(Nanos(0));
    }
}

/// The time that `bytes` may take at the least rate.
pub(super) fn patience(bytes: usize) -> Nanos {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Nanos((bytes / RATE_LEAST_BYTES).saturating_mul(Nanos::SECOND.0))
}

/// The receiving end of a socket.
pub(super) struct Intake {
    socket: Socket,
    /// None only while an operation has it, or after one was given up.
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
    /// A payload is likely to follow the next head: read little ahead.
    lean: bool,
    pulse: Rc<Pulse>,
}

impl Intake {
    /// Goes on after `ahead`, which was received before.
    pub(super) fn new(socket: Socket, read_ahead_bytes: usize, ahead: &[u8], pulse: Rc<Pulse>) -> Self {
        let mut buffer = Buffer::heap(read_ahead_bytes.max(ahead.len()));
        buffer.append(ahead);
        Self { socket, buffer: Some(buffer), start: 0, end: ahead.len(), lean: false, pulse }
    }

    /// What is read ahead and not consumed.
    pub(super) fn ahead(&self) -> &[u8] {
        self.buffer.as_ref().and_then(|buffer| buffer.memory().get(self.start..self.end)).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        assert!(bytes <= self.end - self.start, "{bytes} bytes consumed of {}", self.end - self.start);
        self.start += bytes;
    }

    pub(super) fn capacity(&self) -> usize {
        self.buffer.as_ref().map_or(0, Buffer::capacity)
    }

    pub(super) fn expect_payload(&mut self, lean: bool) {
        self.lean = lean;
    }

    /// Reads until at least `bytes` are ahead, which must fit the buffer.
    pub(super) async fn fill(&mut self, bytes: usize) -> Result<(), Cut> {
        while self.end - self.start < bytes {
            let mut buffer = self.buffer.take().ok_or(Cut::Ended)?;
            assert!(bytes <= buffer.capacity(), "{bytes} bytes ahead in a buffer of {}", buffer.capacity());
            if self.start == self.end || buffer.capacity() - self.start < bytes {
                buffer.memory_mut().copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            let missing = bytes - (self.end - self.start);
            let ask = if self.lean { missing.max(READ_AHEAD_LEAN_BYTES) } else { buffer.capacity() };
            let most = buffer.capacity().min(self.end.saturating_add(ask));
            let (count, back) = self.socket.receive(buffer, self.end..most).await;
            self.buffer = Some(back);
            self.end += received(count)?;
            self.pulse.now();
        }
        Ok(())
    }

    /// Consumes `bytes` into a vector of their own: a body that is larger than the read-ahead.
    pub(super) async fn long(&mut self, bytes: usize) -> Result<AlignedVec, Cut> {
        let mut out = AlignedVec::with_capacity(bytes);
        let here = bytes.min(self.end - self.start);
        out.extend_from_slice(self.ahead().get(..here).unwrap_or_default());
        self.consume(here);
        let rest = bytes - here;
        if rest > 0 {
            let buffer = self.receive_all(Buffer::heap(rest), 0, rest).await?;
            out.extend_from_slice(buffer.memory().get(..rest).unwrap_or_default());
        }
        Ok(out)
    }

    /// Consumes `bytes` into `buffer`; gives it back with them as its content, and how many had to be copied.
    pub(super) async fn payload(&mut self, mut buffer: Buffer, bytes: usize) -> Result<(Buffer, usize), Cut> {
        let here = bytes.min(self.end - self.start);
        buffer.set_filled(0);
        buffer.append(self.ahead().get(..here).unwrap_or_default());
        self.consume(here);
        if here < bytes {
            buffer = self.receive_all(buffer, here, bytes).await?;
        }
        buffer.set_filled(bytes);
        Ok((buffer, here))
    }

    async fn receive_all(&mut self, buffer: Buffer, from: usize, to: usize) -> Result<Buffer, Cut> {
        self.pulse.patience.set(patience(to - from));
        let (count, buffer) = self.socket.receive_all(buffer, from..to).await;
        match count {
            Ok(count) if count == to - from => {
                self.pulse.now();
                Ok(buffer)
            }
            Ok(_) => Err(Cut::Ended),
            Err(errno) => Err(Cut::Socket { errno }),
        }
    }
}

fn received(count: Result<usize, Errno>) -> Result<usize, Cut> {
    match count {
        Ok(0) | Err(Errno::RESET | Errno::BROKEN_PIPE) => Err(Cut::Ended),
        Ok(count) => Ok(count),
        Err(Errno::INTERRUPTED) => Ok(0),
        Err(errno) => Err(Cut::Socket { errno }),
    }
}
