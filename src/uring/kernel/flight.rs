//! The table of requests in flight: the one owner of all that the kernel may still read or write.
//!
//! A flight rests in its slot from before its request is made until after its last completion. Its name carries how
//! often the slot was used, so that a late completion can never be taken for a new request's
//! (kernel-notes/cancellation.md).

use io_uring::types::OpenHow;

use crate::limits::OPERATIONS_IN_FLIGHT_MAX;
use crate::uring::op::Op;

use super::address::Address;

/// A request: the operation, and what of it the kernel reads or writes beside the operation's own buffer.
pub(super) struct Flight {
    pub(super) token: u64,
    pub(super) op: Op,
    pub(super) kept: Kept,
    /// It is with the kernel, not with a helper thread.
    pub(super) in_kernel: bool,
}

/// Memory of a request at an address that stays.
pub(super) enum Kept {
    Nothing,
    How(Box<OpenHow>),
    Facts(Box<libc::statx>),
    From(Box<Address>),
    /// The socket that is being connected, and where to.
    To(i32, Box<Address>),
}

/// The name of the wake's read in place of a flight's.
pub(super) const WAKE: u64 = u64::MAX;
/// The name of cancel requests, which own nothing and whose answers say nothing new.
pub(super) const CANCEL: u64 = u64::MAX - 1;

struct Slot {
    life: u32,
    flight: Option<Flight>,
}

pub(super) struct Flights {
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_kernel: usize,
}

fn name(index: u32, life: u32) -> u64 {
    u64::from(life) << 32 | u64::from(index)
}

fn index(name: u64) -> usize {
    (name & u64::from(u32::MAX)) as usize
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::with_capacity(OPERATIONS_IN_FLIGHT_MAX),
            free: Vec::with_capacity(OPERATIONS_IN_FLIGHT_MAX),
            in_kernel: 0,
        }
    }

    /// Takes a flight in and names it.
    pub(super) fn insert(&mut self, flight: Flight) -> u64 {
        self.in_kernel += usize::from(flight.in_kernel);
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { life: 0, flight: None });
            u32::try_from(self.slots.len() - 1).expect("fewer flights than memory has bytes")
        });
        assert!(place < u32::MAX - 1, "the last two names are not flights'");
        let slot = &mut self.slots[place as usize];
        slot.life = slot.life.wrapping_add(1);
        slot.flight = Some(flight);
        name(place, slot.life)
    }

    /// The flight of that name.
    pub(super) fn get_mut(&mut self, name: u64) -> Option<&mut Flight> {
        let slot = self.slots.get_mut(index(name))?;
        if u64::from(slot.life) == name >> 32 { slot.flight.as_mut() } else { None }
    }

    /// Gives a flight back after its last completion.
    pub(super) fn remove(&mut self, name: u64) -> Option<Flight> {
        let slot = self.slots.get_mut(index(name))?;
        if u64::from(slot.life) != name >> 32 {
            return None;
        }
        let flight = slot.flight.take()?;
        self.free.push((name & u64::from(u32::MAX)) as u32);
        self.in_kernel -= usize::from(flight.in_kernel);
        Some(flight)
    }

    /// The name under which the kernel knows an operation of the core, if it has it.
    pub(super) fn in_kernel_by_token(&self, token: u64) -> Option<u64> {
        let named = (0_u32..).zip(&self.slots);
        let found = named.into_iter().find(|(_, slot)| {
            slot.flight.as_ref().is_some_and(|flight| flight.token == token && flight.in_kernel)
        });
        found.map(|(index, slot)| name(index, slot.life))
    }

    /// Flights that the kernel still has.
    pub(super) fn in_kernel(&self) -> usize {
        self.in_kernel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(token: u64) -> Flight {
        Flight { token, op: Op::Close { raw: -1, aside: false }, kept: Kept::Nothing, in_kernel: true }
    }

    #[test]
    fn a_late_completion_never_finds_the_next_flight_of_its_slot() {
        let mut flights = Flights::new();
        let first = flights.insert(flight(1));
        assert!(flights.remove(first).is_some());
        let second = flights.insert(flight(2));
        assert_eq!(index(first), index(second), "the slot is used again");
        assert!(flights.get_mut(first).is_none() && flights.remove(first).is_none());
        assert_eq!(flights.in_kernel_by_token(2), Some(second));
        assert_eq!(flights.in_kernel(), 1);
    }
}
