//! The room's owner of state on one core: who we are, the connections that stand, and what ends with them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use crate::auth::SecretSet;
use crate::ids::{GroupId, Nanos};
use crate::limits::INCOMING_MAX;
use crate::stats::{Seldom, TransportStats};
use crate::uring::{Core, Errno, Priority, QueueReceiver, QueueSender, Task, queue, sleep};
use crate::wire::{Class, Purpose};

use super::connection::{Connection, Facts, Line, Shared};
use super::dial::{DialKey, Dials};
use super::entry::Entry;
use super::error::{Cut, DialError, ResetCode};
use super::hand_over::{HandOver, Seats};
use super::handshake::Ours;
use super::listen::Unproven;
use super::options::{ConnectionInfo, Peer, TransportOptions, core_of};
use super::stream::{Incoming, Stream};

/// Connections between this core and the cores of other nodes. Clones are the same transport.
///
/// Making one starts nothing. Dropping the last clone ends all of its connections.
#[derive(Clone)]
pub struct Transport(Rc<Inner>);

pub(super) struct Inner {
    pub(super) options: TransportOptions,
    pub(super) shared: Rc<Shared>,
    pub(super) dials: Dials,
    pub(super) seats: Seats,
    pub(super) unproven: Unproven,
    pub(super) listeners: RefCell<Vec<Task<()>>>,
    secrets: RefCell<SecretSet>,
    connections: RefCell<BTreeMap<u64, Rc<Connection>>>,
    next_id: Cell<u64>,
    incoming: (QueueSender<Incoming>, RefCell<Option<QueueReceiver<Incoming>>>),
    shut_down: Cell<bool>,
    keeper: Cell<bool>,
    /// When a refused connection was last told of.
    pub(super) refusal_told: Seldom,
}

impl Transport {
    /// A transport of the current core.
    #[must_use]
    pub fn new(options: TransportOptions) -> Self {
        let (sender, receiver) = queue(INCOMING_MAX);
        Self(Rc::new(Inner {
            secrets: RefCell::new(options.secrets.clone()),
            options,
            shared: Rc::default(),
            dials: Dials::default(),
            seats: Seats::default(),
            unproven: Unproven::default(),
            listeners: RefCell::default(),
            connections: RefCell::default(),
            next_id: Cell::new(0),
            incoming: (sender, RefCell::new(Some(receiver))),
            shut_down: Cell::new(false),
            keeper: Cell::new(false),
            refusal_told: Seldom::default(),
        }))
    }

    /// Accepts connections on `address`; gives the address, its port known.
    ///
    /// # Errors
    /// `ADDRESS_IN_USE`, or the system's.
    pub async fn listen(&self, address: SocketAddr) -> Result<SocketAddr, Errno> {
        self.0.listen(address).await
    }

    /// Opens a stream to the core of `group` at `peer`, over the connection that stands or a new one. The
    /// peer may still refuse it: then its first use says so.
    ///
    /// # Errors
    /// `DialError`.
    pub async fn open_stream(
        &self,
        peer: Peer,
        group: GroupId,
        class: Class,
        purpose: Purpose,
    ) -> Result<Stream, DialError> {
        // A connection that ends just now gives no stream; the next one is another connection.
        for _ in 0..2 {
            let connection = self.0.connection(peer, group, class).await?;
            if let Some(stream) = connection.open(group, purpose) {
                return Ok(stream);
            }
            if !connection.is_cut() {
                return Err(DialError::TooManyStreams { most: self.0.options.caps.streams });
            }
        }
        Err(DialError::Ended)
    }

    /// Streams that peers open, for the one who takes them.
    ///
    /// # Panics
    /// The second time.
    #[must_use]
    pub fn incoming(&self) -> QueueReceiver<Incoming> {
        self.0.incoming.1.borrow_mut().take().expect("streams of peers have one taker")
    }

    /// Goes on with a connection that another core of the node accepted.
    pub fn adopt(&self, hand_over: Box<HandOver>) {
        if !self.0.is_shut_down() {
            let _kept = self.0.adopt(*hand_over);
        }
    }

    /// The secrets that count from now on; connections that stand are not touched.
    pub fn set_secrets(&self, secrets: SecretSet) {
        self.0.secrets.replace(secrets);
    }

    /// Ends all connections with peers for which `keep` is false: a removed node, another life, an old
    /// secret.
    pub fn cut_unless(&self, keep: impl Fn(&ConnectionInfo) -> bool) {
        let gone: Vec<_> =
            self.0.connections.borrow().values().filter(|c| !keep(&c.info())).cloned().collect();
        for connection in gone {
            connection.cut(Cut::ShutDown);
        }
    }

    /// What the transport did so far.
    #[must_use]
    pub fn stats(&self) -> &TransportStats {
        &self.0.shared.stats
    }

    /// The connections that stand.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.0.connections.borrow().values().map(|connection| connection.info()).collect()
    }

    /// Accepts and dials no more, and ends what stands.
    pub fn shut_down(&self) {
        self.0.end();
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transport({:?}, {} connections)", self.0.options, self.0.connection_count())
    }
}

impl Inner {
    pub(super) fn ours(&self) -> Ours {
        let secrets = self.secrets.borrow().clone();
        Ours {
            side: self.options.side(),
            role: self.options.role(),
            secrets,
            core_count: self.options.core_count,
        }
    }

    pub(super) fn next_id(&self) -> u64 {
        self.next_id.set(self.next_id.get() + 1);
        self.next_id.get()
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.shut_down.get()
    }

    pub(super) fn connection_count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// A connection that stands and leads to the core of `group`.
    pub(super) fn standing(&self, key: &DialKey, group: GroupId) -> Option<Rc<Connection>> {
        let connections = self.connections.borrow();
        let found = connections
            .values()
            .find(|connection| connection.facts.dialled.as_ref() == Some(key) && connection.leads_to(group));
        found.cloned()
    }

    /// Starts a connection and keeps it until it ends.
    pub(super) fn keep(self: &Rc<Self>, facts: Facts, line: Line) -> Rc<Connection> {
        let id = facts.id;
        let connection = Connection::start(facts, Rc::clone(&self.shared), Rc::downgrade(self), line);
        self.connections.borrow_mut().insert(id, Rc::clone(&connection));
        if !self.keeper.replace(true) {
            let tick = Nanos((self.options.timeouts.ping.0 / 4).max(1));
            drop(Core::current().spawn(Priority::Urgent, keep_alive(Rc::downgrade(self), tick)));
        }
        connection
    }

    /// A peer opened a stream.
    pub(super) fn incoming(&self, connection: &Rc<Connection>, entry: &Rc<Entry>) -> Result<(), ResetCode> {
        if core_of(entry.group, self.options.core_count) != self.options.core_index {
            return Err(ResetCode::WrongCore);
        }
        let stream = Stream::new(Rc::clone(connection), Rc::clone(entry));
        let facts = &connection.facts;
        let (group, purpose) = (entry.group, entry.purpose);
        let incoming = Incoming { peer: facts.peer, group, purpose, class: facts.class, stream };
        self.incoming.0.try_send(incoming).map_err(|refused| {
            refused.stream.give_up(ResetCode::Busy);
            ResetCode::Busy
        })
    }

    /// A connection is over.
    pub(super) fn ended(&self, id: u64, cut: &Cut) {
        let Some(connection) = self.connections.borrow_mut().remove(&id) else { return };
        let peer = connection.facts.peer;
        let (node, address) = (peer.node, connection.facts.address);
        if cut.is_rubbish() {
            tracing::warn!(?node, %address, %cut, "a peer was cut off");
        } else {
            tracing::debug!(?node, %address, %cut, "a connection ended");
        }
    }

    fn end(&self) {
        self.shut_down.set(true);
        self.listeners.take().iter().for_each(Task::abort);
        self.unproven.abort_all();
        let all: Vec<_> = self.connections.borrow().values().cloned().collect();
        for connection in all {
            connection.cut(Cut::ShutDown);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}

/// Looks at all connections from time to time, while there are any.
async fn keep_alive(transport: Weak<Inner>, tick: Nanos) {
    loop {
        sleep(tick).await;
        let Some(transport) = transport.upgrade() else { return };
        let all: Vec<_> = transport.connections.borrow().values().cloned().collect();
        if all.is_empty() {
            transport.keeper.set(false);
            return;
        }
        let now = Core::current().now();
        let timeouts = transport.options.timeouts;
        for connection in all {
            connection.check(now, timeouts.ping, timeouts.idle, timeouts.unused);
        }
    }
}
