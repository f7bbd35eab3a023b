//! What nodes tell each other of a shard: soft state, sent again after every change and every second, so that losing it
//! costs a moment and nothing else.

use std::rc::Rc;

use crate::ids::{Nanos, NodeId};
use crate::transfer::{Announced, Driver};
use crate::transport::{Peer, Stream};
use crate::uring::{Core, Priority, sleep, timeout};
use crate::wire::{Announce, Body, Class, Purpose};

use super::shard::{Inner, Shard};

/// The longest silence.
const INTERVAL: Nanos = Nanos::from_secs(1);
/// Changes that come together are told together.
const GATHER: Nanos = Nanos::from_millis(2);
/// Rest before a node that does not answer is tried again.
const REST: Nanos = Nanos::from_millis(500);

impl Shard {
    /// Hears what a peer tells, until its stream ends.
    pub async fn hear(self, node: NodeId, mut stream: Stream) {
        if let Some(driver) = self.0.driver.get() {
            driver.came_back(node);
        }
        while let Ok(message) = stream.receive().await {
            let Ok(Body::Announce(told)) = message.decode() else { return };
            if told.shard != self.0.id {
                return;
            }
            let announced = Announced {
                incarnation: told.incarnation,
                installed: told.installed,
                held_to: told.held_to,
                exceptions: told.exceptions,
                load: told.load,
            };
            if let Some(driver) = self.0.driver.get() {
                driver.announce(node, announced);
            }
            self.0.changed.notify();
        }
    }
}

impl Inner {
    /// Keeps one teller for each other member.
    pub(super) async fn announce_forever(self: Rc<Self>) {
        let mut told = std::collections::BTreeMap::new();
        while !self.stopped.get() {
            let changed = self.changed.notified();
            let others: Vec<NodeId> = self.members().into_iter().filter(|node| *node != self.node).collect();
            let known =
                |driver: &Driver| driver.with_sources(|sources| sources.nodes().eq(others.iter().copied()));
            if let Some(driver) = self.driver.get().filter(|driver| !known(driver)) {
                driver.set_sources(others.iter().copied());
                self.retire_soon();
            }
            for node in &others {
                told.entry(*node).or_insert_with(|| {
                    Core::current().spawn(Priority::Urgent, Rc::clone(&self).tell_forever(*node))
                });
            }
            told.retain(|node, task| {
                let stays = others.contains(node);
                if !stays {
                    task.abort();
                }
                stays
            });
            let _either = timeout(INTERVAL, changed).await;
        }
    }

    async fn tell_forever(self: Rc<Self>, node: NodeId) {
        while !self.stopped.get() {
            let address = self.addresses.borrow().get(&node).copied();
            if let Some(address) = address {
                let peer = Peer { node: Some(node), address };
                let opened =
                    self.transport.open_stream(peer, self.id.group(), Class::Control, Purpose::Soft).await;
                if let Ok(stream) = opened {
                    self.tell(&stream).await;
                }
            }
            sleep(REST).await;
        }
    }

    /// Tells until the stream breaks.
    async fn tell(&self, stream: &Stream) {
        let mut last: Option<Announce> = None;
        while !self.stopped.get() {
            let changed = self.changed.notified();
            let now = self.announcement();
            // The load alone is no news: it is told with what is, and every interval.
            let is_told = |last: &Announce| Announce { load: now.load, ..last.clone() } == now;
            if !last.as_ref().is_some_and(is_told) {
                if stream.send(now.clone()).await.is_err() {
                    return;
                }
                last = Some(now);
            }
            if timeout(INTERVAL, changed).await.is_err() {
                last = None;
            }
            sleep(GATHER).await;
        }
    }

    fn announcement(&self) -> Announce {
        let installed = self.installed.borrow();
        let (held_to, exceptions) = installed.held();
        Announce {
            incarnation: self.incarnation,
            shard: self.id,
            load: self.desk.serving(),
            installed: installed.installed(),
            applied: self.watermarks().applied,
            held_to,
            exceptions,
        }
    }
}
