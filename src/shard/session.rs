//! The node's session in a shard: durable on this disk, opened by a committed entry, its numbers reserved in blocks;
//! and the retirement, by committed entries too, of sessions in which nobody proposes any more.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::ids::{LogIndex, Nanos, NodeId, SessionId, ShardId};
use crate::journal::{SessionFileError, SessionRecord};
use crate::limits::{PROPOSE_TIMEOUT, SESSION_NUMBERS_RESERVED};
use crate::manifest::{Command, Outcome, Refusal};
use crate::raft::GroupRole;
use crate::uring::{Core, Dir, Errno, Priority, deadline};

use super::propose::ProposalError;
use super::proposer::{NoTicket, Session, Ticket};
use super::shard::Inner;

/// What this process knows of the record on the disk while no session is open.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kept {
    /// What an earlier process has left. Its reserved numbers may have been used.
    Earlier(Option<SessionRecord>),
    /// This one has reserved numbers from `first` on, and used none.
    Reserved {
        /// The record on the disk.
        record: SessionRecord,
        /// The first free number.
        first: u64,
    },
}

/// One at a time opens the session or reserves numbers.
struct Turn<'a>(&'a Inner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.session_busy.set(false);
        self.0.changed.notify();
    }
}

/// Reads what an earlier process has left. A damaged record is set aside: a session under a new id takes its place, and
/// the old one is retired.
pub(super) async fn load(dir: &Dir, shard: ShardId) -> Result<Kept, SessionFileError> {
    match SessionRecord::load(dir).await {
        Ok(record) => Ok(Kept::Earlier(record)),
        Err(error) if error.is_damage() => {
            tracing::error!(%error, %shard, "it is set aside, and a new session takes its place");
            let aside = SessionRecord::set_damaged_aside(dir).await;
            aside.map_err(|errno| SessionFileError::Disk { errno })?;
            Ok(Kept::Earlier(None))
        }
        Err(error) => Err(error),
    }
}

impl Inner {
    /// A number to propose under, in an open session, reserved on this disk.
    pub(super) async fn ticket(self: &Rc<Self>, until: Nanos) -> Result<Ticket, ProposalError> {
        // A newer number would make the manifest forget what became of what an earlier process has sent.
        let is_settled = || (!self.unsettled.get()).then_some(());
        let settled = deadline(until, self.changed.until(is_settled)).await;
        settled.map_err(|_| ProposalError::NoLeader { last: self.group().leader() })?;
        loop {
            let ticket = self.session.borrow_mut().as_mut().map(Session::ticket);
            match ticket {
                Some(Ok(ticket)) => return Ok(ticket),
                Some(Err(NoTicket::Full)) => return Err(ProposalError::TooMany),
                Some(Err(NoTicket::Unreserved)) | None => {}
            }
            if self.session_busy.replace(true) {
                let is_free = || (!self.session_busy.get()).then_some(());
                let free = deadline(until, self.changed.until(is_free)).await;
                free.map_err(|_| ProposalError::NoLeader { last: self.group().leader() })?;
                continue;
            }
            let _turn = Turn(self);
            let open = self.session.borrow().as_ref().map(|open| (open.id(), open.reserved()));
            // Rare, and boxed: a proposal's future has no room for them.
            match open {
                None => Box::pin(self.open_session(until)).await?,
                Some((session, reserved)) => Box::pin(self.reserve(session, reserved)).await?,
            }
        }
    }

    /// The session is no more: the next proposal opens another one, under a new id.
    pub(super) fn forget_session(&self, session: SessionId) {
        let mut open = self.session.borrow_mut();
        if open.as_ref().is_some_and(|open| open.id() == session) {
            *open = None;
            self.kept_session.set(Kept::Earlier(None));
        }
    }

    async fn reserve(&self, session: SessionId, reserved: u64) -> Result<(), ProposalError> {
        let record = SessionRecord { session, reserved: reserved + SESSION_NUMBERS_RESERVED };
        record.store(&self.journal).await.map_err(disk)?;
        if let Some(open) = self.session.borrow_mut().as_mut().filter(|open| open.id() == session) {
            open.reserve(record.reserved);
        }
        Ok(())
    }

    /// Opens the session of an earlier start again, or one under a new id. Its record is durable before anything is
    /// proposed in it.
    async fn open_session(self: &Rc<Self>, until: Nanos) -> Result<(), ProposalError> {
        loop {
            let (record, first) = self.reserved_record().await?;
            let session = record.session;
            let opened = match self.insist(&Command::OpenSession { session }.encode(), until).await {
                // The change itself was never sent.
                Err(ProposalError::OutcomeUnknown) => {
                    return Err(ProposalError::NoLeader { last: self.group().leader() });
                }
                opened => opened?,
            };
            match opened.outcome {
                Outcome::SessionOpened => {
                    self.session.replace(Some(Session::new(session, first, record.reserved)));
                    self.retire_soon();
                    return Ok(());
                }
                // This node was removed, or came back in another life.
                Outcome::Refused(Refusal::SessionRetired) => self.kept_session.set(Kept::Earlier(None)),
                Outcome::Refused(refusal) => return Err(ProposalError::Refused(refusal)),
                // From a member that is of another build, or worse.
                Outcome::Applied { .. } | Outcome::SessionRetired => {
                    tracing::error!(shard = %self.id, "a member answered an opening as something else");
                    return Err(ProposalError::OutcomeUnknown);
                }
            }
        }
    }

    /// A record on the disk whose numbers from the second value on nobody has used.
    async fn reserved_record(&self) -> Result<(SessionRecord, u64), ProposalError> {
        let earlier = match self.kept_session.get() {
            Kept::Reserved { record, first } => return Ok((record, first)),
            Kept::Earlier(earlier) => earlier,
        };
        let fresh =
            || SessionRecord { session: SessionId::of(self.node, Core::current().random()), reserved: 0 };
        let earlier = earlier.unwrap_or_else(fresh);
        // A root that was put back from a backup remembers less than the manifest does.
        let first = earlier.reserved.max(self.number_after_known(earlier.session));
        let record = SessionRecord { reserved: first + SESSION_NUMBERS_RESERVED, ..earlier };
        record.store(&self.journal).await.map_err(disk)?;
        self.kept_session.set(Kept::Reserved { record, first });
        Ok((record, first))
    }

    fn number_after_known(&self, session: SessionId) -> u64 {
        let machine = self.group().machine();
        let state = machine.borrow();
        state.session(session).map_or(0, |session| session.next_number())
    }

    /// In a task of its own: retires sessions in which nobody proposes any more.
    pub(super) fn retire_soon(self: &Rc<Self>) {
        if self.group.get().is_some() && !self.retiring.replace(true) {
            drop(Core::current().spawn(Priority::Urgent, Rc::clone(self).retire()));
        }
    }

    async fn retire(self: Rc<Self>) {
        let until = Core::current().now().plus(PROPOSE_TIMEOUT);
        // The opening of our own is applied here first: it tells the older ones.
        let is_known = || {
            let open = self.session.borrow().as_ref().map(Session::id);
            open.is_none_or(|id| self.group().machine().borrow().session(id).is_some()).then_some(())
        };
        let _in_time = deadline(until, self.changed.until(is_known)).await;
        for session in self.left_behind() {
            let retired = self.insist(&Command::RetireSession { session }.encode(), until).await;
            match retired {
                Ok(_) => tracing::debug!(%session, shard = %self.id, "an old session is retired"),
                // The next derivation, or the next change of members, tries again.
                Err(error) => {
                    tracing::debug!(?error, %session, shard = %self.id, "an old session stays for now");
                    break;
                }
            }
        }
        self.retiring.set(false);
    }

    fn left_behind(&self) -> Vec<SessionId> {
        let machine = self.group().machine();
        let state = machine.borrow();
        let sessions: Vec<_> = state.sessions().map(|(id, session)| (id, session.opened)).collect();
        let is_leader = self.group().watermarks().role == GroupRole::Leader;
        let members: Option<BTreeSet<NodeId>> = is_leader.then(|| self.members().into_iter().collect());
        let open = self.session.borrow().as_ref().map(Session::id);
        left_behind(&sessions, self.node, open, members.as_ref())
    }
}

/// Sessions in which nobody proposes any more: those of this node that are older than the one it has open, and, as the
/// leader knows, those of nodes that are no members.
fn left_behind(
    sessions: &[(SessionId, LogIndex)],
    node: NodeId,
    open: Option<SessionId>,
    members: Option<&BTreeSet<NodeId>>,
) -> Vec<SessionId> {
    let opened = sessions.iter().find(|(id, _)| Some(*id) == open).map(|(_, opened)| *opened);
    let is_left = |(id, at): &&(SessionId, LogIndex)| {
        let owner = id.node();
        let is_older = owner == node && opened.is_some_and(|opened| *at < opened);
        is_older || members.is_some_and(|members| owner != node && !members.contains(&owner))
    };
    sessions.iter().filter(is_left).map(|(id, _)| *id).collect()
}

fn disk(errno: Errno) -> ProposalError {
    ProposalError::Disk { why: format!("the session's file: {errno}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node: u64, chance: u8) -> SessionId {
        SessionId::of(NodeId(node), [chance; 8])
    }

    #[test]
    fn m4_a_node_leaves_its_older_sessions_behind_and_touches_nobody_else_s() {
        let at = LogIndex;
        let sessions = [(id(1, 1), at(2)), (id(1, 2), at(9)), (id(1, 3), at(12)), (id(2, 1), at(3))];
        assert_eq!(
            left_behind(&sessions, NodeId(1), Some(id(1, 2)), None),
            [id(1, 1)],
            "a later one may live"
        );
        assert_eq!(left_behind(&sessions, NodeId(1), None, None), [], "without an open one nothing is known");
        assert_eq!(left_behind(&sessions, NodeId(1), Some(id(1, 9)), None), [], "nor before it is applied");
    }

    #[test]
    fn m4_the_leader_leaves_behind_the_sessions_of_nodes_that_were_removed() {
        let sessions = [(id(1, 1), LogIndex(2)), (id(2, 1), LogIndex(3)), (id(3, 1), LogIndex(4))];
        let members = BTreeSet::from([NodeId(1), NodeId(2)]);
        assert_eq!(left_behind(&sessions, NodeId(1), Some(id(1, 1)), Some(&members)), [id(3, 1)]);
        assert_eq!(left_behind(&sessions, NodeId(2), Some(id(2, 1)), None), [], "only the leader knows");
    }
}
