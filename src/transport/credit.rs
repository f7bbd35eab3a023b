//! Who may send how much: a stream's allowance in both directions, and the core's budget that all streams
//! share. Pure.
//!
//! A frame is charged with its bytes and a fixed part, so that many empty frames are bounded too. A sender
//! whose allowance is above zero may send one whole frame, of whatever size, and goes below zero by it; so no
//! frame is too large for a stream, and a stream never holds more than its window and one frame.
//!
//! Nothing here can block for ever: a receiver whose consumer has taken everything always grants at least
//! `STREAM_CREDIT_FIRST_BYTES`, however short the core's budget is, and a payload for which the core has no
//! buffer left gets memory of its own. So no stream waits for another one's consumer. What bounds the memory
//! is the credit.
//!
//! Nor does a peer go without because others are greedy: its first bytes are its own, on top of what the core
//! has for all.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use crate::limits::{
    CHUNK_BYTES, CONTROL_CREDIT_BYTES, FRAME_CHARGE_BYTES, RECEIVE_CREDIT_BYTES, RECEIVE_FIRSTS_BYTES_MAX,
    RECEIVE_PEER_FIRST_BYTES, RECEIVE_PEER_QUEUED_BYTES_MAX, RECEIVE_QUEUED_BYTES_MAX, STREAM_CREDIT_BYTES,
    STREAM_CREDIT_FIRST_BYTES,
};
use crate::wire::Class;

use super::options::Who;

/// What a frame costs.
pub(super) fn charge(body_bytes: usize, payload_bytes: usize) -> i64 {
    i64::try_from(FRAME_CHARGE_BYTES + body_bytes + payload_bytes).unwrap_or(i64::MAX)
}

/// What we may still send on a stream.
#[derive(Debug)]
pub(super) struct Outflow(Cell<i64>);

impl Outflow {
    pub(super) fn new() -> Self {
        Self(Cell::new(STREAM_CREDIT_FIRST_BYTES))
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.get() > 0
    }

    pub(super) fn spend(&self, charge: i64) {
        debug_assert!(self.is_open(), "a frame is sent with credit only");
        self.0.set(self.0.get().saturating_sub(charge));
    }

    /// Takes a grant; never more than the protocol's window in all, whatever the peer says.
    pub(super) fn grant(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.0.set(self.0.get().saturating_add(bytes).min(STREAM_CREDIT_BYTES as i64));
    }
}

/// What a peer may still send on a stream, and what of it waits for its consumer.
#[derive(Debug)]
pub(super) struct Inflow {
    granted: Cell<i64>,
    queued: Cell<i64>,
    /// Granted here, not told yet.
    untold: Cell<i64>,
    /// The peer's direction has ended: nothing is granted any more.
    released: Cell<bool>,
}

/// The peer sent without credit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Overrun;

impl Inflow {
    pub(super) fn new(budget: &Budget) -> Self {
        budget.hold(STREAM_CREDIT_FIRST_BYTES);
        Self {
            granted: Cell::new(STREAM_CREDIT_FIRST_BYTES),
            queued: Cell::new(0),
            untold: Cell::new(0),
            released: Cell::new(false),
        }
    }

    /// A frame has arrived.
    pub(super) fn arrive(&self, charge: i64, budget: &Budget) -> Result<(), Overrun> {
        // What was granted but not told cannot have been used.
        if self.granted.get() - self.untold.get() <= 0 {
            return Err(Overrun);
        }
        self.granted.set(self.granted.get().saturating_sub(charge));
        self.queued.set(self.queued.get().saturating_add(charge));
        budget.queue(charge);
        Ok(())
    }

    /// The consumer has taken a frame. True if there is a grant to tell.
    pub(super) fn consume(&self, charge: i64, window: i64, budget: &Budget) -> bool {
        self.lose(charge, budget);
        self.widen(window, budget)
    }

    /// A frame that was charged when it began to arrive will not arrive whole: its connection ends within it.
    pub(super) fn lose(&self, charge: i64, budget: &Budget) {
        self.queued.set(self.queued.get() - charge);
        budget.queue(-charge);
        budget.hold(-charge);
    }

    /// Grants up to the window, if it is worth a frame. True if there is a grant to tell.
    pub(super) fn widen(&self, window: i64, budget: &Budget) -> bool {
        if self.released.get() {
            return false;
        }
        let (granted, queued) = (self.granted.get(), self.queued.get());
        let missing = window - granted - queued;
        let starved = granted <= 0 && queued == 0;
        let least = if starved { STREAM_CREDIT_FIRST_BYTES - granted } else { 0 };
        let grant = missing.min(budget.room()).max(least);
        if grant < window / 4 && !starved {
            return false;
        }
        self.granted.set(granted + grant);
        self.untold.set(self.untold.get() + grant);
        budget.hold(grant);
        self.untold.get() > 0
    }

    /// The grant that is told now.
    pub(super) fn tell(&self) -> Option<u64> {
        u64::try_from(self.untold.take()).ok().filter(|bytes| *bytes > 0)
    }

    /// Nothing more will come: what was granted is free again. What waits is freed as it is consumed.
    pub(super) fn release(&self, budget: &Budget) {
        self.released.set(true);
        self.untold.set(0);
        budget.hold(-self.granted.take());
    }

    #[cfg(test)]
    pub(super) fn outstanding(&self) -> i64 {
        self.granted.get() + self.queued.get()
    }
}

/// The receive memory of one core, and each peer's part of it.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    whole: Rc<Budget>,
    parts: RefCell<BTreeMap<Who, Weak<Budget>>>,
}

impl Budgets {
    /// A peer's part, over all of its connections.
    pub(super) fn of(&self, who: Who) -> Rc<Budget> {
        let mut parts = self.parts.borrow_mut();
        if let Some(part) = parts.get(&who).and_then(Weak::upgrade) {
            return part;
        }
        parts.retain(|_, part| part.strong_count() > 0);
        let part = Rc::new(Budget { whole: Some(Rc::clone(&self.whole)), ..Budget::default() });
        parts.insert(who, Rc::downgrade(&part));
        part
    }
}

/// The receive memory of one core, in bytes; or one peer's part of it.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// What it is a part of: all that is counted here is counted there too.
    whole: Option<Rc<Budget>>,
    /// Granted or queued, over all streams.
    held: Cell<i64>,
    /// Received and not consumed, over all streams.
    queued: Cell<i64>,
    /// Bulk streams that receive.
    bulk_streams: Cell<i64>,
}

impl Budget {
    fn hold(&self, change: i64) {
        self.held.set(self.held.get() + change);
        if let Some(whole) = &self.whole {
            whole.hold(change);
        }
    }

    fn queue(&self, change: i64) {
        self.queued.set(self.queued.get() + change);
        if let Some(whole) = &self.whole {
            whole.queue(change);
        }
    }

    /// What may still be granted: of what all share, or of the peer's first bytes, which others cannot take.
    fn room(&self) -> i64 {
        let Some(whole) = &self.whole else { return (RECEIVE_CREDIT_BYTES - self.held.get()).max(0) };
        let first = RECEIVE_PEER_FIRST_BYTES - self.held.get();
        let of_firsts = RECEIVE_CREDIT_BYTES + RECEIVE_FIRSTS_BYTES_MAX - whole.held.get();
        whole.room().max(first.min(of_firsts))
    }

    /// More waits for consumers than the core, or one peer of it, may ever hold. A peer meets its own bound first, and
    /// has its first bytes when others have all, so that whoever sends what nobody takes costs others no stream.
    pub(super) fn is_overloaded(&self) -> bool {
        let queued = self.queued.get();
        let Some(whole) = &self.whole else { return queued > RECEIVE_QUEUED_BYTES_MAX };
        let of_all = whole.queued.get();
        queued > RECEIVE_PEER_QUEUED_BYTES_MAX
            || queued > RECEIVE_PEER_FIRST_BYTES && of_all > RECEIVE_QUEUED_BYTES_MAX
            || of_all > RECEIVE_QUEUED_BYTES_MAX + RECEIVE_FIRSTS_BYTES_MAX
    }

    pub(super) fn count_stream(&self, class: Class, change: i64) {
        match &self.whole {
            Some(whole) => whole.count_stream(class, change),
            None if class == Class::Bulk => self.bulk_streams.set(self.bulk_streams.get() + change),
            None => {}
        }
    }

    /// How much a stream may hold: bulk streams share half of the core's buffers, each at least two chunks.
    pub(super) fn window(&self, class: Class, slab_buffers: u16) -> i64 {
        if let Some(whole) = &self.whole {
            return whole.window(class, slab_buffers);
        }
        match class {
            Class::Control => CONTROL_CREDIT_BYTES,
            Class::Bulk => {
                let share = i64::from(slab_buffers / 2) * CHUNK_BYTES as i64;
                let each = share / self.bulk_streams.get().max(1);
                each.clamp(2 * CHUNK_BYTES as i64, STREAM_CREDIT_BYTES as i64)
            }
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> i64 {
        self.held.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;

    const WINDOW: i64 = CONTROL_CREDIT_BYTES;

    #[test]
    fn a_frame_beyond_the_credit_is_an_overrun_and_one_frame_may_overdraw_it() {
        let budget = Budget::default();
        let inflow = Inflow::new(&budget);
        let large = charge(4 << 20, 1 << 20);
        assert_eq!(inflow.arrive(large, &budget), Ok(()));
        assert_eq!(inflow.arrive(charge(0, 0), &budget), Err(Overrun));
    }

    #[test]
    fn a_grant_counts_from_when_it_is_told() {
        let budget = Budget::default();
        let inflow = Inflow::new(&budget);
        inflow.arrive(STREAM_CREDIT_FIRST_BYTES, &budget).expect("credit");
        assert!(inflow.consume(STREAM_CREDIT_FIRST_BYTES, WINDOW, &budget));
        assert_eq!(inflow.arrive(1, &budget), Err(Overrun));
        assert_eq!(inflow.tell(), Some(WINDOW as u64));
        assert_eq!(inflow.arrive(1, &budget), Ok(()));
    }

    #[test]
    fn the_two_sides_agree_and_what_is_held_stays_within_the_window() {
        let budget = Budget::default();
        let (inflow, outflow) = (Inflow::new(&budget), Outflow::new());
        let sizes = [1, 100, 70_000, 128, 1_000_000, 5, 300_000];
        let mut waiting = std::collections::VecDeque::new();
        let mut sent = 0;
        for round in 0..10_000_usize {
            let cost = charge(sizes[round % sizes.len()], 0);
            if outflow.is_open() && !round.is_multiple_of(3) {
                outflow.spend(cost);
                inflow.arrive(cost, &budget).expect("the sender keeps to its credit");
                waiting.push_back(cost);
                sent += 1;
            } else if let Some(cost) = waiting.pop_front() {
                inflow.consume(cost, WINDOW, &budget);
                if let Some(bytes) = inflow.tell() {
                    outflow.grant(bytes);
                }
            } else {
                assert!(outflow.is_open(), "nothing waits, and nothing may be sent: stuck at {round}");
            }
            assert!(inflow.outstanding() <= WINDOW.max(STREAM_CREDIT_FIRST_BYTES));
            assert_eq!(budget.held(), inflow.outstanding());
        }
        assert!(sent > 1000);
        inflow.release(&budget);
        for cost in waiting {
            assert!(!inflow.consume(cost, WINDOW, &budget), "nothing is granted to one that has ended");
        }
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_starved_stream_gets_its_minimum_from_an_empty_budget() {
        let budget = Budget::default();
        let inflow = Inflow::new(&budget);
        budget.hold(RECEIVE_CREDIT_BYTES);
        let cost = STREAM_CREDIT_FIRST_BYTES + 1;
        inflow.arrive(cost, &budget).expect("credit");
        assert!(inflow.consume(cost, WINDOW, &budget));
        let told = inflow.tell().expect("a grant");
        assert_eq!(told as i64, STREAM_CREDIT_FIRST_BYTES + 1, "what was overdrawn, and the minimum");
        assert_eq!(inflow.arrive(1, &budget), Ok(()));
    }

    #[test]
    fn bulk_streams_share_the_buffers_and_each_has_two_chunks_at_least() {
        let budget = Budget::default();
        budget.count_stream(Class::Bulk, 1);
        assert_eq!(budget.window(Class::Bulk, 32), STREAM_CREDIT_BYTES as i64);
        budget.count_stream(Class::Bulk, 3);
        assert_eq!(budget.window(Class::Bulk, 32), 4 * CHUNK_BYTES as i64);
        budget.count_stream(Class::Bulk, 100);
        assert_eq!(budget.window(Class::Bulk, 32), 2 * CHUNK_BYTES as i64);
        assert_eq!(budget.window(Class::Control, 32), CONTROL_CREDIT_BYTES);
    }

    #[test]
    fn a_frame_that_never_arrives_whole_leaves_nothing_behind() {
        let budgets = Budgets::default();
        let budget = budgets.of(Who::Node(NodeId(1)));
        let inflow = Inflow::new(&budget);
        let cost = charge(8, CHUNK_BYTES);
        inflow.arrive(cost, &budget).expect("credit");
        inflow.lose(cost, &budget);
        inflow.release(&budget);
        for counted in [&budget, &budgets.whole] {
            assert_eq!((counted.held.get(), counted.queued.get()), (0, 0));
        }
    }

    #[test]
    fn a_peer_meets_its_own_bound_before_it_costs_others_theirs() {
        let budgets = Budgets::default();
        let (greedy, honest) = (budgets.of(Who::Node(NodeId(1))), budgets.of(Who::Node(NodeId(2))));
        greedy.queue(RECEIVE_PEER_QUEUED_BYTES_MAX + 1);
        assert!(greedy.is_overloaded() && !honest.is_overloaded());
        assert!(Rc::ptr_eq(&greedy, &budgets.of(Who::Node(NodeId(1)))), "one part over all connections");
        honest.queue(RECEIVE_PEER_QUEUED_BYTES_MAX);
        assert!(honest.is_overloaded(), "together they have more than the core may hold");
        drop(greedy);
        let _other = budgets.of(Who::Node(NodeId(3)));
        assert_eq!(budgets.parts.borrow().len(), 2, "who is gone is forgotten");
    }

    /// Once two peers that had what one may have cost every third one its streams, and left it no window.
    #[test]
    fn each_peer_has_its_first_bytes_when_others_have_all_and_all_of_these_are_bounded() {
        let budgets = Budgets::default();
        let greedy: Vec<_> = (1..=2).map(|node| budgets.of(Who::Node(NodeId(node)))).collect();
        for peer in &greedy {
            peer.queue(RECEIVE_PEER_QUEUED_BYTES_MAX);
            peer.hold(peer.room());
        }
        budgets.whole.queue(1);
        assert!(greedy.iter().all(|peer| peer.is_overloaded()));
        let mut granted = 0;
        let peers: Vec<_> = (3..103).map(|node| budgets.of(Who::Node(NodeId(node)))).collect();
        for peer in &peers {
            let first = peer.room();
            peer.hold(first);
            peer.queue(first);
            assert!(!peer.is_overloaded() && peer.room() == 0, "{first} of its own, and no more");
            granted += first;
        }
        assert_eq!(peers[0].held(), RECEIVE_PEER_FIRST_BYTES);
        assert_eq!(granted + greedy[1].held(), RECEIVE_FIRSTS_BYTES_MAX, "the bound of all first bytes");
        peers[0].queue(1);
        assert!(peers[0].is_overloaded(), "beyond its first");
        peers[99].queue(RECEIVE_PEER_FIRST_BYTES);
        assert!(peers[99].is_overloaded(), "beyond all of them");
    }

    #[test]
    fn a_peer_cannot_raise_our_sending_beyond_the_protocols_window() {
        let outflow = Outflow::new();
        outflow.grant(u64::MAX);
        outflow.grant(u64::MAX);
        outflow.spend(STREAM_CREDIT_BYTES as i64);
        assert!(!outflow.is_open());
    }
}
