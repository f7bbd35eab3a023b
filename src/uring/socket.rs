//! Connections. Bytes go out of and come into owned buffers; giving up a receive cancels it, so that it
//! cannot take the bytes of a later one (kernel-notes/cancellation.md).

#![expect(clippy::wildcard_enum_match_arm, reason = "an answer of another kind is a bug of the ring")]

use std::net::SocketAddr;
use std::rc::Rc;

use super::buffer::{Buffer, Span};
use super::core::Core;
use super::errno::Errno;
use super::file::{Extent, counted, submit};
use super::handle::Handle;
use super::op::{Op, Outcome, SocketOptions};
use super::operation::Operation;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    handle: Rc<Handle>,
    address: SocketAddr,
}

/// One TCP connection. Clones share the descriptor: one may send while another receives.
#[derive(Clone, Debug)]
pub struct Socket(Rc<Handle>);

/// A connection on its way from one core of a node to another. One that never arrives is closed with the
/// process.
#[derive(Debug)]
pub struct Loose(i32);

/// A send without copying that is under way. Dropped, it is seen to its end all the same.
#[must_use = "its buffer comes back with its end"]
pub struct ZeroCopySend(Operation);

impl ZeroCopySend {
    /// Waits until its bytes are on their way; gives how many.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn sent(&mut self) -> Result<usize, Errno> {
        self.0.sent().await
    }

    /// Waits until the kernel is through with the buffer; gives how many bytes went out, and whether the
    /// kernel copied after all.
    pub async fn finish(self) -> (Result<(usize, bool), Errno>, Buffer) {
        let (result, back) = self.0.await;
        let buffer = back.expect("the ring gives the buffer back with the last completion");
        let result = result.map(|outcome| match outcome {
            Outcome::Sent { bytes, copied } => (bytes, copied),
            // A kernel that cannot: it has copied.
            Outcome::Count(bytes) => (bytes, true),
            other => unreachable!("a zero-copy send completed with {other:?}"),
        });
        (result, buffer)
    }
}

impl Listener {
    /// Listens on `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// `ADDRESS_IN_USE`, or the kernel's.
    pub async fn bind(address: SocketAddr, backlog: u32) -> Result<Self, Errno> {
        Self::bind_with(address, backlog, SocketOptions::default()).await
    }

    /// The same, with options for the connections that it will take.
    ///
    /// # Errors
    /// As `bind`.
    pub async fn bind_with(address: SocketAddr, backlog: u32, options: SocketOptions) -> Result<Self, Errno> {
        match submit(Op::Listen { address, backlog, options }).await.0? {
            Outcome::Listening(raw, address) => {
                Ok(Self { handle: Rc::new(Handle::new(&Core::current(), raw)), address })
            }
            other => unreachable!("a listen completed with {other:?}"),
        }
    }

    /// The address that it listens on, its port known.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection and where it comes from.
    ///
    /// # Errors
    /// The kernel's; out of descriptors among them.
    pub async fn accept(&self) -> Result<(Socket, SocketAddr), Errno> {
        match submit(Op::Accept { listener: Rc::clone(&self.handle) }).await.0? {
            Outcome::Accepted(raw, from) => Ok((Socket(Rc::new(Handle::new(&Core::current(), raw))), from)),
            other => unreachable!("an accept completed with {other:?}"),
        }
    }
}

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// `REFUSED`, or the kernel's.
    pub async fn connect(address: SocketAddr, options: SocketOptions) -> Result<Self, Errno> {
        match submit(Op::Connect { address, options }).await.0? {
            Outcome::Opened(raw) => Ok(Self(Rc::new(Handle::new(&Core::current(), raw)))),
            other => unreachable!("a connect completed with {other:?}"),
        }
    }

    /// Receives at least one byte into `buffer[span]`; 0 when the peer has ended.
    pub async fn receive(&self, buffer: Buffer, span: Span) -> (Result<usize, Errno>, Buffer) {
        counted(Op::Receive { socket: Rc::clone(&self.0), buffer, span, all: false }).await
    }

    /// Receives the whole of `buffer[span]`; fewer only when the peer has ended.
    pub async fn receive_all(&self, mut buffer: Buffer, span: Span) -> (Result<usize, Errno>, Buffer) {
        let mut count = 0;
        while count < span.len() {
            let rest = span.start + count..span.end;
            let op = Op::Receive { socket: Rc::clone(&self.0), buffer, span: rest, all: true };
            let (result, back) = counted(op).await;
            buffer = back;
            match result {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(Errno::INTERRUPTED) => {}
                Err(errno) => return (Err(errno), buffer),
            }
        }
        (Ok(count), buffer)
    }

    /// Sends the whole of `buffer[span]`; `more` says that more follows at once (MSG_MORE).
    pub async fn send_all(&self, mut buffer: Buffer, span: Span, more: bool) -> (Result<(), Errno>, Buffer) {
        let mut count = 0;
        while count < span.len() {
            let rest = span.start + count..span.end;
            let (result, back) =
                counted(Op::Send { socket: Rc::clone(&self.0), buffer, span: rest, more }).await;
            buffer = back;
            match result {
                Ok(0) => return (Err(Errno::BROKEN_PIPE), buffer),
                Ok(sent) => count += sent,
                Err(Errno::INTERRUPTED) => {}
                Err(errno) => return (Err(errno), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Sends the whole of `buffer[span]` without copying where the route can, and gives the buffer back when
    /// the kernel is through with it. True if the kernel copied a part after all (kernel-notes/send-
    /// zerocopy.md).
    pub async fn send_zero_copy(&self, mut buffer: Buffer, span: Span) -> (Result<bool, Errno>, Buffer) {
        let (mut count, mut any_copied) = (0, false);
        while count < span.len() {
            let rest = span.start + count..span.end;
            let (result, back) = self.start_zero_copy(buffer, rest).finish().await;
            buffer = back;
            match result {
                Ok((0, _)) => return (Err(Errno::BROKEN_PIPE), buffer),
                Ok((bytes, copied)) => {
                    count += bytes;
                    any_copied |= copied;
                }
                Err(Errno::INTERRUPTED) => {}
                Err(errno) => return (Err(errno), buffer),
            }
        }
        (Ok(any_copied), buffer)
    }

    /// Begins to send `buffer[span]` without copying. The next send on the connection may begin when this
    /// one's bytes are on their way; its buffer comes back later.
    pub fn start_zero_copy(&self, buffer: Buffer, span: Span) -> ZeroCopySend {
        ZeroCopySend(submit(Op::SendZeroCopy { socket: Rc::clone(&self.0), buffer, span }))
    }

    /// Sends an extent from the page cache without copying it. False if the file has ended before it: what went out
    /// stays out.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn send_extent(&self, extent: &Extent) -> Result<bool, Errno> {
        let mut sent = 0;
        while sent < extent.bytes {
            let op = Op::SendFile {
                socket: Rc::clone(&self.0),
                file: Rc::clone(extent.file.handle()),
                offset: extent.offset + sent as u64,
                bytes: extent.bytes - sent,
            };
            match submit(op).await.0 {
                Ok(Outcome::Count(0)) => return Ok(false),
                Ok(Outcome::Count(more)) => sent += more,
                Ok(other) => unreachable!("a send completed with {other:?}"),
                Err(Errno::AGAIN) => submit(Op::Room { socket: Rc::clone(&self.0) }).await.0.map(|_| ())?,
                Err(Errno::INTERRUPTED) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(true)
    }

    /// The congestion control in force, where the ring can tell.
    #[must_use]
    pub fn congestion(&self) -> Option<String> {
        self.0.core()?.congestion(self.0.raw()).ok()
    }

    /// Ends the connection in both directions; waiting receives and sends complete.
    pub async fn shut_down(&self) {
        let _already_down = submit(Op::Shutdown { socket: Rc::clone(&self.0) }).await.0;
    }

    /// Ends the connection without waiting for it.
    pub fn abort(&self) {
        Core::current().detach(Op::Shutdown { socket: Rc::clone(&self.0) });
    }

    /// Gives the connection away to another core. Nothing may be in flight on it.
    #[must_use]
    pub fn release(self) -> Loose {
        Loose(self.0.release())
    }

    /// Takes a connection that another core released.
    #[must_use]
    pub fn adopt(loose: Loose) -> Self {
        let core = Core::current();
        core.adopt(loose.0);
        Self(Rc::new(Handle::new(&core, loose.0)))
    }
}
