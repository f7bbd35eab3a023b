//! A group's state as openraft sees it: it applies what is committed, gives and takes snapshots.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;

use futures_util::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};

use crate::broken;
use crate::ids::GroupId;
use crate::uring::{Core, Dir, File, Gate, Notify, Priority, yield_now};

use super::machine::{Applied, Machine};
use super::payload::OutcomeBytes;
use super::snapshot::{self, Loaded, SnapshotFault, SnapshotFile, SnapshotHead};
use super::types::{Entry, LogId, Membership, Point, SnapshotMeta, StoredMembership, Types};

/// Told of everything that happens to a state, in order, as part of applying it. It must not wait and not fail.
pub type Hook<M> = Rc<dyn Fn(Applied<'_, M>)>;

/// The state and what belongs to it. Clones are the same.
pub struct Keeper<M: Machine>(Rc<Inner<M>>);

struct Inner<M: Machine> {
    group: GroupId,
    dir: Dir,
    gate: Option<Gate>,
    machine: Rc<RefCell<M>>,
    applied: Cell<Point>,
    members: RefCell<StoredMembership>,
    current: RefCell<Option<SnapshotFile>>,
    /// A snapshot that came from the leader, checked already.
    arrived: RefCell<Option<Loaded<M>>>,
    hook: Option<Hook<M>>,
    changed: Rc<Notify>,
}

/// Writes a snapshot of the state as it was when the builder was made.
pub struct Builder<M: Machine> {
    keeper: Keeper<M>,
    work: Work<M>,
}

enum Work<M: Machine> {
    /// It is there already.
    Done(SnapshotFile),
    Write(SnapshotHead, Option<M::Frozen>),
}

type SnapshotOf = Snapshot<super::types::Leader, u64, super::types::Member, SnapshotFile>;

impl<M: Machine> Keeper<M> {
    /// The state of the latest snapshot in `dir`, or an empty one.
    pub(super) async fn open(
        group: GroupId,
        dir: Dir,
        gate: Option<Gate>,
        hook: Option<Hook<M>>,
        changed: Rc<Notify>,
    ) -> Result<Self, SnapshotFault> {
        let (machine, current) = match snapshot::latest::<M>(&dir, group).await? {
            Some(Loaded { machine, file }) => (machine, Some(file)),
            None => (M::empty(), None),
        };
        let head = current.as_ref().map(|file| file.head.clone()).unwrap_or_default();
        Ok(Self(Rc::new(Inner {
            group,
            dir,
            gate,
            machine: Rc::new(RefCell::new(machine)),
            applied: Cell::new(head.point),
            members: RefCell::new(head.members),
            current: RefCell::new(current),
            arrived: RefCell::new(None),
            hook,
            changed,
        })))
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.0.dir
    }

    pub(super) fn gate(&self) -> Option<&Gate> {
        self.0.gate.as_ref()
    }

    /// The state, to be read; only this room changes it.
    pub(super) fn machine(&self) -> &Rc<RefCell<M>> {
        &self.0.machine
    }

    /// The last entry applied.
    pub(super) fn applied(&self) -> Point {
        self.0.applied.get()
    }

    /// The members that are committed as far as is known here.
    pub(super) fn members(&self) -> Membership {
        self.0.members.borrow().membership().clone()
    }

    /// The entry of the latest snapshot, and its bytes.
    pub(super) fn snapshot(&self) -> Option<(Point, u64)> {
        self.0.current.borrow().as_ref().map(|file| (file.head.point, file.bytes))
    }

    /// Writes a snapshot of the state as it is now. A newer one that came in meanwhile stands in for it.
    pub(super) async fn write_snapshot(&self) -> Result<(), SnapshotFault> {
        let (head, frozen) = self.freeze();
        self.write(head, frozen).await.map(|_| ())
    }

    fn freeze(&self) -> (SnapshotHead, M::Frozen) {
        let head = SnapshotHead { point: self.0.applied.get(), members: self.0.members.borrow().clone() };
        (head, self.0.machine.borrow_mut().freeze())
    }

    async fn write(&self, head: SnapshotHead, frozen: M::Frozen) -> Result<SnapshotFile, SnapshotFault> {
        let Inner { group, dir, gate, machine, .. } = &*self.0;
        let written = snapshot::write(dir, *group, gate.as_ref(), head, machine, frozen).await;
        let newer = self.0.current.borrow().clone();
        let file = match (written, newer) {
            (Err(SnapshotFault::Replaced), Some(newer)) => newer,
            (Ok(ours), Some(newer)) if newer.head.point > ours.head.point => newer,
            (written, _) => written?,
        };
        *self.0.current.borrow_mut() = Some(file.clone());
        Ok(file)
    }

    /// Checks a snapshot file that came from the leader: a damaged one must not reach openraft, which would end the
    /// group.
    pub(super) async fn arrive(
        &self,
        file: File,
        name: &Rc<str>,
        head: &SnapshotHead,
    ) -> Result<SnapshotFile, SnapshotFault> {
        let loaded = snapshot::load::<M>(file, self.0.group, name, Some(Rc::clone(name))).await?;
        if loaded.file.head != *head {
            return Err(SnapshotFault::OtherPoint { due: head.point, found: loaded.file.head.point });
        }
        let file = loaded.file.clone();
        self.0.arrived.replace(Some(loaded));
        Ok(file)
    }

    /// Forgets what arrived under this name, if it was not installed.
    pub(super) fn let_go(&self, name: &Rc<str>) {
        self.0.arrived.borrow_mut().take_if(|loaded| loaded.file.unsettled.as_ref() == Some(name));
    }

    /// Applies the next entry.
    pub(super) fn take(&self, entry: Entry) -> OutcomeBytes {
        let point = Point::of(Some(&entry.log_id));
        match entry.payload {
            EntryPayload::Normal(command) if !broken::passes_command() => {
                return self.command(point, &command);
            }
            EntryPayload::Normal(_) | EntryPayload::Blank => {}
            EntryPayload::Membership(members) => {
                *self.0.members.borrow_mut() = StoredMembership::new(Some(entry.log_id), members);
            }
        }
        self.pass(point);
        OutcomeBytes::default()
    }

    /// The next snapshot names no members.
    pub(super) fn forget_members(&self) {
        *self.0.members.borrow_mut() = StoredMembership::default();
    }

    fn command(&self, point: Point, command: &[u8]) -> OutcomeBytes {
        let effect = self.0.machine.borrow_mut().apply(point.index, command);
        let outcome = OutcomeBytes(M::outcome(&effect));
        self.0.applied.set(point);
        if let Some(hook) = &self.0.hook {
            hook(Applied::Command { index: point.index, effect, state: &self.0.machine.borrow() });
        }
        outcome
    }

    fn pass(&self, point: Point) {
        self.0.machine.borrow_mut().pass(point.index);
        self.0.applied.set(point);
        if let Some(hook) = &self.0.hook {
            hook(Applied::Passed { index: point.index });
        }
    }

    async fn install(&self, head: SnapshotHead, file: SnapshotFile) -> Result<(), SnapshotFault> {
        let Inner { group, dir, machine, current, .. } = &*self.0;
        let is_it = |loaded: &Loaded<M>| loaded.file.unsettled == file.unsettled && loaded.file.head == head;
        let arrived = self.0.arrived.borrow_mut().take_if(|loaded| is_it(loaded));
        let Loaded { machine: state, file } = match arrived {
            Some(loaded) => loaded,
            None => {
                let name = file.unsettled.as_deref().unwrap_or("that is installed").to_owned();
                snapshot::load::<M>(file.file, *group, &name, file.unsettled).await?
            }
        };
        if file.head != head {
            return Err(SnapshotFault::OtherPoint { due: head.point, found: file.head.point });
        }
        snapshot::settle(dir, &file).await?;
        let mut replaced = machine.replace(state);
        drop(Core::current().spawn(Priority::Bulk, async move {
            while replaced.shed() {
                yield_now().await;
            }
        }));
        self.0.applied.set(head.point);
        *self.0.members.borrow_mut() = head.members;
        *current.borrow_mut() = Some(SnapshotFile { unsettled: None, ..file });
        if let Some(hook) = &self.0.hook {
            hook(Applied::Installed { state: &machine.borrow() });
        }
        self.0.changed.notify();
        Ok(())
    }
}

impl<M: Machine> RaftStateMachine<Types> for Keeper<M> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.0.applied.get().log_id(), self.0.members.borrow().clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let outcome = self.take(entry);
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        self.0.changed.notify();
        Ok(())
    }

    /// A snapshot is written before openraft is asked to note it: one that fails must not end the group.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder<M>> {
        let current = self.0.current.borrow().clone();
        let is_latest = |file: &SnapshotFile| file.head.point == self.0.applied.get();
        match current {
            Some(file) if !force || is_latest(&file) => {
                Some(Builder { keeper: self.clone(), work: Work::Done(file) })
            }
            _ if force => Some(self.get_snapshot_builder().await),
            _ => None,
        }
    }

    async fn get_snapshot_builder(&mut self) -> Builder<M> {
        let (head, frozen) = self.freeze();
        Builder { keeper: self.clone(), work: Work::Write(head, Some(frozen)) }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        Ok(self.install(SnapshotHead::of(meta), snapshot).await?)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf>, io::Error> {
        Ok(self.0.current.borrow().clone().map(of_file))
    }
}

impl<M: Machine> RaftSnapshotBuilder<Types> for Builder<M> {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf, io::Error> {
        let file = match &mut self.work {
            Work::Done(file) => file.clone(),
            Work::Write(head, frozen) => {
                let Some(frozen) = frozen.take() else {
                    return Err(SnapshotFault::Replaced.into());
                };
                self.keeper.write(head.clone(), frozen).await?
            }
        };
        Ok(of_file(file))
    }
}

fn of_file(file: SnapshotFile) -> SnapshotOf {
    Snapshot { meta: file.head.meta(), snapshot: file }
}

impl<M: Machine> Clone for Keeper<M> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<M: Machine> fmt::Debug for Keeper<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper(group {}, applied {})", self.0.group, self.applied())
    }
}
