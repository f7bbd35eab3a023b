//! A proxy in front of a node that changes frames on their way, so that TCP has nothing to say about it.
//!
//! It passes whole frames on, both ways, and mends the checksum of what it changes: what is left to refuse a header or
//! a body is the tag, and a payload the digest.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ringway::wire::{HEADER_BYTES, Header, Kind};

/// What is changed of a frame, one bit of it each time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The sequence number in the header, with a checksum that fits.
    Header,
    /// The body, with a checksum that fits.
    Body,
    /// The payload: bytes of a segment.
    Payload,
}

/// What a proxy shall do, and what it has done.
#[derive(Default)]
pub struct Plan {
    part: Option<Part>,
    /// Every so many-th frame that has such a part is changed,
    every: u64,
    /// until so many were.
    most: u64,
    seen: AtomicU64,
    pub changed: AtomicU64,
    /// Directions of connections on which a frame was changed and that have been ended since by who received it.
    pub ended: AtomicU64,
}

impl Plan {
    pub fn new(part: Part, every: u64, most: u64) -> Arc<Self> {
        Arc::new(Self { part: Some(part), every, most, ..Self::default() })
    }

    /// Changes the frame if it is its turn; whether it was.
    fn change(&self, head: &mut [u8; HEADER_BYTES], control: &mut [u8], payload: &mut [u8]) -> bool {
        let header = Header::decode(head).expect("it was decoded before");
        let has_part = match self.part {
            None => false,
            Some(Part::Payload) => !payload.is_empty(),
            Some(Part::Header) => header.tagged,
            // Not of the handshake's end, which is tagged too but has none.
            Some(Part::Body) => header.tagged && header.body_bytes > 0,
        };
        let is_turn = || (self.seen.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(self.every);
        if !has_part || !is_turn() {
            return false;
        }
        let turn = self.changed.fetch_add(1, Ordering::Relaxed);
        if turn >= self.most {
            self.changed.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        let mut header = header;
        let flip = |bytes: &mut [u8]| {
            let at = usize::try_from(turn.wrapping_mul(7919)).expect("64 bits") % bytes.len();
            bytes[at] ^= 1 << (turn % 8);
        };
        match self.part.expect("it is one that the frame has") {
            Part::Payload => flip(payload),
            Part::Body => flip(&mut control[..header.body_bytes]),
            Part::Header => header.sequence ^= 1 << (turn % 8),
        }
        header.checksum = header.checksum_over(&control[..header.body_bytes]);
        *head = header.encode();
        true
    }
}

/// Listens in front of `target` until the process ends, and does to what passes what the plan says.
pub fn corrupt(target: SocketAddr, plan: &Arc<Plan>) -> SocketAddr {
    let listener = TcpListener::bind((target.ip(), 0)).expect("a port is free");
    let at = listener.local_addr().expect("it is bound");
    let plan = Arc::clone(plan);
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            // A node that is not there yet is dialled again by who wants it.
            let Ok(far) = TcpStream::connect(target) else { continue };
            for (from, to) in [(&near, &far), (&far, &near)] {
                let _either = from.set_nodelay(true);
                let (from, to) = (from.try_clone().expect("room"), to.try_clone().expect("room"));
                let plan = Arc::clone(&plan);
                thread::spawn(move || {
                    let mut is_changed = false;
                    let _ended = pass(&from, &to, &plan, &mut is_changed);
                    plan.ended.fetch_add(u64::from(is_changed), Ordering::Relaxed);
                    let _both = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                });
            }
        }
    });
    at
}

/// Passes frames on until either side ends.
fn pass(mut from: &TcpStream, mut to: &TcpStream, plan: &Plan, is_changed: &mut bool) -> io::Result<()> {
    let mut whole = Vec::new();
    loop {
        let mut head = [0; HEADER_BYTES];
        from.read_exact(&mut head)?;
        let header = Header::decode(&head).map_err(io::Error::other)?;
        assert!(header.payload_bytes == 0 || header.kind == Kind::Chunk, "{header:?}");
        let (mut control, mut payload) = (vec![0; header.control_bytes()], vec![0; header.payload_bytes]);
        from.read_exact(&mut control)?;
        from.read_exact(&mut payload)?;
        // One that is to end its connection is the last that counts on it.
        if !*is_changed || plan.part == Some(Part::Payload) {
            *is_changed |= plan.change(&mut head, &mut control, &mut payload);
        }
        whole.clear();
        whole.extend_from_slice(&head);
        whole.extend_from_slice(&control);
        whole.extend_from_slice(&payload);
        to.write_all(&whole)?;
    }
}
