//! Events on this disk: written before they are told, made durable by and by, read again for whoever is far behind.

use std::rc::Rc;

use crate::ids::SegmentId;
use crate::journal::{EventBatch, EventFiles};
use crate::limits::{EVENTS_MAX, EVENTS_SYNC_INTERVAL};
use crate::manifest::State;
use crate::shard::shard::{Inner, Shard};
use crate::uring::{Core, Dir, Errno, Priority, timeout};

use super::event::{Event, Happening};
use super::line::{EventsGone, Line, Local, Place};

/// What writes events.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::shard) enum EventWriter {
    /// It has not begun.
    #[default]
    Waits,
    /// It writes what there is.
    Writes,
    /// It is to write the last.
    Closing,
    /// It has.
    Ended,
}

/// The events that earlier starts have left in a shard's folder, and the line that goes on behind them. What cannot be
/// read is no reason not to start: consumers are told of a gap.
///
/// # Errors
/// The disk's.
pub(in crate::shard) async fn open(dir: &Dir) -> Result<(EventFiles, Line), Errno> {
    let (files, found) = EventFiles::open(dir.clone()).await?;
    let life = u64::from_le_bytes(Core::current().random());
    let mut line = Line::new(life, found);
    if found.is_some_and(|found| !found.closed) {
        files
            .all(|bytes| {
                if let Ok(event) = Event::decode(bytes, Place::default()) {
                    line.had(&event);
                }
            })
            .await?;
    }
    Ok((files, line))
}

impl Shard {
    /// Events behind a place, in order, at most `EVENTS_MAX`; none if there are none yet.
    ///
    /// # Errors
    /// They are not all kept any more, or the place is none of this shard's on this node.
    pub async fn events_after(&self, place: Place) -> Result<Vec<Event>, EventsGone> {
        let Inner { files, events, .. } = &*self.0;
        let in_memory = events.borrow().after(place, |life| files.end_of(life));
        if let Some(latest) = in_memory? {
            return Ok(latest);
        }
        let kept = files.after(place.number).await.map_err(|_| EventsGone)?;
        let told = kept
            .into_iter()
            .take(EVENTS_MAX)
            .map(|(number, life, bytes)| Event::decode(&bytes, Place { life, number }));
        told.collect::<Result<_, _>>().map_err(|_| EventsGone)
    }

    /// The place behind the last event, as soon as the manifest here has what was told: after a start, when the log has
    /// repeated it. Nothing if the shard stops first.
    pub async fn events_end(&self) -> Option<Place> {
        let end = || self.events_end_now().map(Some).or_else(|| self.0.stopped.get().then_some(None));
        self.0.changed.until(end).await
    }

    /// The same, unless the log has something to repeat.
    #[must_use]
    pub fn events_end_now(&self) -> Option<Place> {
        let line = self.0.events.borrow();
        let at = self.0.group.get()?.machine().borrow().applied();
        (at >= line.applied()).then(|| line.end())
    }
}

impl Inner {
    /// Begins to write events, and tells what the node is in its group. Before it nothing is told.
    pub(in crate::shard) fn begin_events(self: &Rc<Self>) {
        let core = Core::current();
        self.event_writer.set(EventWriter::Writes);
        drop(core.spawn(Priority::Urgent, Rc::clone(self).watch_role()));
        drop(core.spawn(Priority::Urgent, Rc::clone(self).write_events_forever()));
    }

    /// What stands here since before this start, and an earlier one may not have told of.
    pub(in crate::shard) fn tell_held(&self, state: &State) {
        let mut events = self.events.borrow_mut();
        let told_to = SegmentId { index: events.told_to(), ordinal: u32::MAX };
        for entry in state.entries(Some(told_to)).filter(|entry| self.store.is_held(entry.id, entry.root)) {
            events.local(entry, Local::Held);
        }
    }

    /// What befell segments while the log repeated what was told, if it has. In a task of its own: the state is
    /// borrowed by whoever applies just now.
    pub(in crate::shard) fn tell_later(self: &Rc<Self>) {
        if !self.events.borrow().has_later() {
            return;
        }
        let shard = Rc::clone(self);
        drop(Core::current().spawn(Priority::Urgent, async move {
            let Some(group) = shard.group.get() else { return };
            let machine = group.machine();
            let state = machine.borrow();
            let mut events = shard.events.borrow_mut();
            for (id, what) in events.take_later() {
                if let Some(entry) = state.entry(&id) {
                    events.local(entry, what);
                }
            }
            shard.changed.notify();
        }));
    }

    async fn watch_role(self: Rc<Self>) {
        let mut before = None;
        while !self.stopped.get() {
            let changed = self.group().changed().notified();
            let at = self.group().watermarks();
            let now = Some((at.role, at.leader));
            if now != before {
                before = now;
                self.events.borrow_mut().of_node(Happening::Role { role: at.role, leader: at.leader });
                self.changed.notify();
            }
            changed.await;
        }
    }

    async fn write_events_forever(self: Rc<Self>) {
        // What is installed is known when what is missing was derived.
        self.changed.until(|| (!self.deriving.is_due() || self.is_last()).then_some(())).await;
        let mut is_first = true;
        while !self.is_last() {
            let is_due = || (is_first || self.events.borrow().is_unwritten() || self.is_last()).then_some(());
            let done = match timeout(EVENTS_SYNC_INTERVAL, self.changed.until(is_due)).await {
                Ok(()) => self.write_events(false).await,
                Err(_) => self.write_progress().await,
            };
            is_first = false;
            self.heed_events(done).await;
        }
        let closed = match self.write_events(true).await {
            Ok(()) => self.sync_events().await,
            Err(errno) => Err(errno),
        };
        if let Err(errno) = closed {
            tracing::warn!(%errno, shard = %self.id, "the last events cannot be written");
        }
        self.event_writer.set(EventWriter::Ended);
        self.changed.notify();
    }

    fn is_last(&self) -> bool {
        self.event_writer.get() == EventWriter::Closing
    }

    /// Writes what there is, and that it is all: with it a restart is no gap, whatever was told.
    pub(in crate::shard) async fn close_events(&self) {
        if self.event_writer.get() == EventWriter::Writes {
            self.event_writer.set(EventWriter::Closing);
            self.changed.notify();
            self.changed.until(|| (self.event_writer.get() == EventWriter::Ended).then_some(())).await;
        }
    }

    /// Nothing has happened for a while: how far the log is without an event.
    async fn write_progress(&self) -> Result<(), Errno> {
        if self.events.borrow().applied() > self.events_progress.get() {
            self.write_events(false).await?;
        }
        self.sync_events().await
    }

    async fn sync_events(&self) -> Result<(), Errno> {
        self.events_synced.set(Core::current().now());
        self.files.sync().await
    }

    async fn heed_events(&self, done: Result<(), Errno>) {
        let Err(errno) = done else { return };
        self.events.borrow_mut().refused();
        self.changed.notify();
        if self.events_told.is_due(Core::current().now()) {
            tracing::warn!(%errno, shard = %self.id, "events cannot be written; a restart is a gap for consumers");
        }
        let is_over = self.changed.until(|| self.is_last().then_some(()));
        let _either = timeout(EVENTS_SYNC_INTERVAL, is_over).await;
    }

    async fn write_events(&self, closed: bool) -> Result<(), Errno> {
        if self.events.borrow().is_broken() {
            self.files.clear().await?;
            self.events.borrow_mut().mended();
        }
        let installed = self.installed.borrow().installed();
        let (head, batch, last) = {
            let line = self.events.borrow();
            let (head, events) = line.unwritten(installed);
            let last = head.after + events.len() as u64;
            let events = events.iter().map(Event::encode).collect();
            (head, EventBatch { applied: line.applied(), installed, closed, events }, last)
        };
        self.files.append(head, &batch).await?;
        self.events_progress.set(batch.applied);
        self.events.borrow_mut().wrote(last);
        self.changed.notify();
        let is_due = Core::current().now().since(self.events_synced.get()) >= EVENTS_SYNC_INTERVAL;
        if is_due { self.sync_events().await } else { Ok(()) }
    }
}
