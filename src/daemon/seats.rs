//! The places of the admin endpoint's connections: so many at a time, and the oldest that still sends makes room.

use std::collections::BTreeMap;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Connections at a time, and so threads.
const CONNECTIONS_MAX: usize = 64;

/// What a connection is at.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Phase {
    /// It may be shut down for another.
    Reading,
    /// Its request is complete: it is let end.
    Answering,
    /// Its thread ends with the next thing it does to the socket.
    Shut,
}

struct Place {
    stream: Arc<TcpStream>,
    phase: Phase,
}

#[derive(Default)]
struct Places {
    next: u64,
    is_stopping: bool,
    /// By age.
    taken: BTreeMap<u64, Place>,
}

/// Who is connected.
#[derive(Default)]
pub(super) struct Table {
    places: Mutex<Places>,
    freed: Condvar,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat, at the cost of the oldest that still sends if none is free; `None` if all are being answered.
    pub(super) fn seat(&self, stream: &Arc<TcpStream>) -> Option<Seat<'_>> {
        let mut places = self.lock();
        while places.taken.len() >= CONNECTIONS_MAX {
            if places.taken.values().all(|place| place.phase != Phase::Shut) {
                shut(places.taken.values_mut().find(|place| place.phase == Phase::Reading)?);
            }
            places = self.freed.wait(places).unwrap_or_else(PoisonError::into_inner);
        }
        let id = places.next;
        places.next += 1;
        places.taken.insert(id, Place { stream: Arc::clone(stream), phase: Phase::Reading });
        Some(Seat { table: self, id, stream: Arc::clone(stream) })
    }

    /// Ends all that still send, now and later.
    pub(super) fn stop(&self) {
        let mut places = self.lock();
        places.is_stopping = true;
        places.taken.values_mut().filter(|place| place.phase == Phase::Reading).for_each(shut);
    }
}

fn shut(place: &mut Place) {
    place.phase = Phase::Shut;
    if let Err(error) = place.stream.shutdown(Shutdown::Both) {
        tracing::debug!(%error, "an asker was gone already");
    }
}

/// A connection's place in the table, until it is dropped.
pub(super) struct Seat<'a> {
    table: &'a Table,
    id: u64,
    pub(super) stream: Arc<TcpStream>,
}

impl Seat<'_> {
    /// Whether it is in that phase now; if not, it is to end at once.
    pub(super) fn enter(&self, phase: Phase) -> bool {
        let mut places = self.table.lock();
        let is_let = phase == Phase::Answering || !places.is_stopping;
        let place = places.taken.get_mut(&self.id).expect("a seat has its place until it is dropped");
        if !is_let || place.phase == Phase::Shut {
            return false;
        }
        place.phase = phase;
        true
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.table.lock().taken.remove(&self.id);
        self.table.freed.notify_all();
    }
}
