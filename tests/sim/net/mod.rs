//! A simulated network: ordered byte streams between hosts, with delay, windows, partitions, resets and corruption.
//!
//! It behaves as TCP does to a program: within a connection bytes keep their order, loss shows as delay, a partition
//! as silence, a killed process as an end or a reset, a host without power as silence until it is back.

mod accept;
mod asks;
mod cable;
mod ends;
mod file;
mod stream;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use ringway::ids::{Nanos, NodeId};
use ringway::uring::Errno;

pub use cable::Link;

/// The network.
#[derive(Debug, Default)]
pub struct Net {
    conns: BTreeMap<u64, Conn>,
    listeners: BTreeMap<u64, Listener>,
    blocked: BTreeSet<(NodeId, NodeId)>,
    links: BTreeMap<(NodeId, NodeId), Link>,
}

/// Something that happens on the network.
#[derive(Clone, Copy, Debug)]
pub enum NetEvent {
    /// An operation was asked for; by plan it comes late.
    Ask(u64),
    /// An operation fails by plan.
    Fail(u64, Errno),
    /// A dialler's first segment is at its target, on this attempt.
    Syn(u64, u32),
    /// The answer to it is at the dialler: whether it is refused.
    Answer(u64, u32, bool),
    /// What one side sent is due at the other.
    Segment(u64, usize),
    /// One side's way to the other is tried again.
    Retry(u64, usize),
    /// Acknowledgements are back at one side.
    Ack(u64, usize),
    /// One side looks at what its program has asked for.
    Pump(u64, usize),
    /// A listener looks at what its program has asked for.
    PumpListener(u64),
    /// A cancellation takes effect.
    Cancel(u64),
    /// A zero-copy send gives its buffer back.
    Notice(u64),
}

/// A listening socket.
#[derive(Debug)]
struct Listener {
    node: NodeId,
    address: SocketAddr,
    backlog: usize,
    ready: VecDeque<u64>,
    accepts: VecDeque<u64>,
}

/// A connection: side 0 dialled, side 1 accepted.
#[derive(Debug)]
struct Conn {
    ends: [End; 2],
    dial: Option<u64>,
    listener: Option<u64>,
}

/// One side of a connection; the counters are of the bytes that it sends.
#[derive(Debug)]
struct End {
    node: NodeId,
    address: SocketAddr,
    /// The system knows the socket.
    socket: bool,
    arrived: VecDeque<u8>,
    /// The peer's end has arrived.
    ended: bool,
    reset: bool,
    /// Some operation has reported the reset: to later ones it is an ordinary end, as on Linux.
    told: bool,
    /// The program has shut it down.
    shut: bool,
    receives: VecDeque<u64>,
    sends: VecDeque<u64>,
    rooms: Vec<u64>,
    notices: VecDeque<(u64, u64)>,
    window: usize,
    sent: u64,
    /// At the peer's system, and taken by its program; what of both is known here.
    delivered: u64,
    consumed: u64,
    known: (u64, u64),
    transit: VecDeque<(Nanos, Segment)>,
    last_due: Nanos,
    stalled: bool,
    ack_under_way: bool,
    ack_stalled: bool,
}

#[derive(Debug)]
enum Segment {
    Established,
    Bytes(Vec<u8>),
    Fin,
    Reset,
}

impl End {
    /// The error that a reset is to the next operation, once. One that comes after the peer's end is none.
    fn tell_reset(&mut self) -> bool {
        self.reset && !self.ended && !std::mem::replace(&mut self.told, true)
    }

    /// Bytes that the window takes now.
    fn room(&self) -> usize {
        self.window.saturating_sub((self.sent - self.known.1) as usize)
    }

    fn new(node: NodeId, address: SocketAddr, window: usize) -> Self {
        Self {
            node,
            address,
            socket: false,
            arrived: VecDeque::new(),
            ended: false,
            reset: false,
            told: false,
            shut: false,
            receives: VecDeque::new(),
            sends: VecDeque::new(),
            rooms: Vec::new(),
            notices: VecDeque::new(),
            window,
            sent: 0,
            delivered: 0,
            consumed: 0,
            known: (0, 0),
            transit: VecDeque::new(),
            last_due: Nanos(0),
            stalled: false,
            ack_under_way: false,
            ack_stalled: false,
        }
    }
}
