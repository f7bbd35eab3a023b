//! Dialling: one connection for all streams that go to the same core of the same peer in the same class, one
//! dial for all who ask for it at once, and a bounded memory of the dials that failed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::ids::{GroupId, Nanos, NodeId};
use crate::limits::{DIAL_BACKOFF_FIRST, DIAL_BACKOFF_MAX, DIAL_FAILURES_MAX};
use crate::uring::{Core, Notify, Priority, Socket, timeout};
use crate::wire::Class;

use super::connection::{Connection, Facts, Line};
use super::error::{DialError, DialPhase};
use super::handshake::{self, Proven};
use super::options::{Peer, core_of};
use super::transport::Inner;

/// Which connections may serve a dial: those to the same peer in the same class.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct DialKey {
    pub(super) node: Option<NodeId>,
    pub(super) address: SocketAddr,
    pub(super) class: Class,
}

impl DialKey {
    pub(super) fn new(peer: Peer, class: Class) -> Self {
        Self { node: peer.node, address: peer.address, class }
    }
}

/// Dials under way, and those that failed.
#[derive(Debug, Default)]
pub(super) struct Dials {
    under_way: RefCell<BTreeMap<DialKey, Rc<Attempt>>>,
    failures: RefCell<BTreeMap<DialKey, Failure>>,
}

#[derive(Debug, Default)]
struct Attempt {
    ended: Notify,
    outcome: RefCell<Option<Result<Rc<Connection>, DialError>>>,
}

#[derive(Clone, Debug)]
struct Failure {
    count: u32,
    at: Nanos,
    retry_at: Nanos,
    error: DialError,
}

impl Dials {
    /// Why it is too early to dial, if it is.
    fn too_early(&self, key: &DialKey, now: Nanos) -> Option<DialError> {
        let failures = self.failures.borrow();
        let failure = failures.get(key).filter(|failure| now < failure.retry_at)?;
        let last = Box::new(failure.error.clone());
        Some(DialError::BackingOff { retry_at: failure.retry_at, last })
    }

    /// Remembers a failure; `chance` spreads the peers that dial again.
    fn failed(&self, key: DialKey, error: DialError, now: Nanos, chance: u64) {
        let mut failures = self.failures.borrow_mut();
        let count = failures.get(&key).map_or(0, |failure| failure.count).saturating_add(1);
        let pause = DIAL_BACKOFF_FIRST.0.saturating_mul(1 << (count - 1).min(16)).min(DIAL_BACKOFF_MAX.0);
        // Between a half and the whole of the pause.
        let pause = Nanos(pause / 2 + chance % (pause / 2 + 1));
        failures.insert(key, Failure { count, at: now, retry_at: now.plus(pause), error });
        if failures.len() > DIAL_FAILURES_MAX {
            let oldest = failures.iter().min_by_key(|(_, failure)| failure.at).map(|(key, _)| *key);
            oldest.and_then(|key| failures.remove(&key));
        }
    }

    fn succeeded(&self, key: &DialKey) {
        self.failures.borrow_mut().remove(key);
    }

    fn begin(&self, key: DialKey) -> Rc<Attempt> {
        let attempt = Rc::new(Attempt::default());
        self.under_way.borrow_mut().insert(key, Rc::clone(&attempt));
        attempt
    }

    fn end(&self, key: &DialKey) {
        self.under_way.borrow_mut().remove(key);
    }
}

impl Inner {
    /// The connection to the core of `group` at `peer`: one that stands, or a new one.
    pub(super) async fn connection(
        self: &Rc<Self>,
        peer: Peer,
        group: GroupId,
        class: Class,
    ) -> Result<Rc<Connection>, DialError> {
        let key = DialKey::new(peer, class);
        let mut waited = false;
        loop {
            if self.is_shut_down() {
                return Err(DialError::ShutDown);
            }
            if let Some(connection) = self.standing(&key, group) {
                return Ok(connection);
            }
            let under_way = self.dials.under_way.borrow().get(&key).cloned();
            if let Some(attempt) = under_way {
                // It may be for another core of the peer; then this looks again and dials itself.
                let outcome = attempt.ended.until(|| attempt.outcome.borrow().clone()).await;
                outcome?;
                waited = true;
                continue;
            }
            let now = Core::current().now();
            if let Some(error) = self.dials.too_early(&key, now).filter(|_| !waited) {
                return Err(error);
            }
            let attempt = self.start_dial(key, group);
            return attempt.ended.until(|| attempt.outcome.borrow().clone()).await;
        }
    }

    /// Dials in a task of its own: whoever asked may give up without the others losing it.
    fn start_dial(self: &Rc<Self>, key: DialKey, group: GroupId) -> Rc<Attempt> {
        let attempt = self.dials.begin(key);
        let (transport, told) = (Rc::clone(self), Rc::clone(&attempt));
        drop(Core::current().spawn(Priority::Urgent, async move {
            let dialled = transport.dial(key, group).await;
            let core = Core::current();
            match &dialled {
                Ok(_) => transport.dials.succeeded(&key),
                Err(error) => {
                    transport.shared.stats.dial_failures.count();
                    let chance = u64::from_le_bytes(core.random());
                    transport.dials.failed(key, error.clone(), core.now(), chance);
                }
            }
            transport.dials.end(&key);
            told.outcome.replace(Some(dialled));
            told.ended.notify();
        }));
        attempt
    }

    async fn dial(self: &Rc<Self>, key: DialKey, group: GroupId) -> Result<Rc<Connection>, DialError> {
        let most = self.options.caps.connections;
        if self.connection_count() >= most {
            return Err(DialError::TooManyConnections { most });
        }
        self.shared.stats.dials.count();
        let timeouts = self.options.timeouts;
        let phase = DialPhase::Connect;
        let socket = timeout(timeouts.dial, Socket::connect(key.address, self.options.socket)).await;
        let socket = socket.map_err(|_| DialError::TimedOut { phase })?;
        let socket = socket.map_err(|errno| DialError::Socket { phase, errno })?;
        let ours = self.ours();
        let phase = DialPhase::Handshake;
        let proven = timeout(timeouts.handshake, handshake::dial(&ours, socket, key.node, key.class, group));
        let proven = proven.await.map_err(|_| DialError::TimedOut { phase })??;
        (self.options.admit)(&proven.peer).map_err(|code| DialError::NotAdmitted { code })?;
        if self.is_shut_down() {
            return Err(DialError::ShutDown);
        }
        let Proven { socket, ahead, session, peer, class, core_count, .. } = proven;
        let facts = Facts {
            id: self.next_id(),
            peer,
            address: key.address,
            class,
            version: session.version,
            key: session.key,
            remote_core: Some((core_of(group, core_count), core_count)),
            dialled: Some(key),
            caps: self.options.caps,
            seat: Cell::default(),
        };
        Ok(self.keep(facts, Line { socket, ahead, keys: session.keys }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uring::Errno;

    fn key(port: u16) -> DialKey {
        DialKey { node: None, address: SocketAddr::from(([10, 0, 0, 1], port)), class: Class::Control }
    }

    const ERROR: DialError = DialError::Socket { phase: DialPhase::Connect, errno: Errno::REFUSED };

    #[test]
    fn each_failure_in_a_row_doubles_the_pause_up_to_its_bound() {
        let dials = Dials::default();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            dials.failed(key(1), ERROR, Nanos(0), u64::MAX);
            let Some(DialError::BackingOff { retry_at, .. }) = dials.too_early(&key(1), Nanos(0)) else {
                panic!("a failure is remembered")
            };
            pauses.push(retry_at);
            assert!(dials.too_early(&key(1), retry_at).is_none());
        }
        assert!(pauses[0] <= DIAL_BACKOFF_FIRST && pauses[0].0 >= DIAL_BACKOFF_FIRST.0 / 2);
        assert!(pauses[39] <= DIAL_BACKOFF_MAX && pauses[39].0 >= DIAL_BACKOFF_MAX.0 / 2);
        dials.succeeded(&key(1));
        assert!(dials.too_early(&key(1), Nanos(0)).is_none());
    }

    #[test]
    fn the_memory_of_failures_is_bounded_and_forgets_the_oldest() {
        let dials = Dials::default();
        for port in 0..=u16::try_from(DIAL_FAILURES_MAX).expect("small") {
            dials.failed(key(port), ERROR, Nanos(port.into()), 0);
        }
        assert_eq!(dials.failures.borrow().len(), DIAL_FAILURES_MAX);
        assert!(dials.too_early(&key(0), Nanos(0)).is_none(), "the oldest is forgotten");
        assert!(dials.too_early(&key(1), Nanos(0)).is_some());
    }
}
