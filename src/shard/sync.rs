//! Bringing one shard up to date, and saying when it is: what the level-triggered shard does anyhow, awaited.

use std::fmt;
use std::rc::Rc;

use crate::ids::{LogIndex, Nanos, NodeId};
use crate::uring::{Core, deadline, sleep};

use super::shard::Shard;

/// Rest before a leader is asked again.
const RETRY: Nanos = Nanos::from_millis(50);

/// A shard that is up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Synced {
    /// Everything that was committed up to here when it was asked for stands here, is superseded or deleted.
    pub due: LogIndex,
    /// The snapshot of the manifest that was taken in meanwhile; none if the leader's log had every entry that was
    /// lacking.
    pub snapshot: Option<LogIndex>,
    /// Segments that landed meanwhile.
    pub landed: u64,
    /// Payload bytes received meanwhile.
    pub bytes_fetched: u64,
}

/// What a shard lacked when the time ran out.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Behind {
    /// What is due.
    pub due: LogIndex,
    /// What is installed.
    pub installed: LogIndex,
    /// Segments of the manifest that do not stand there; none where it is another node's shard.
    pub missing: Option<u64>,
    /// Why the first of those that no source could serve was not served, if there is any.
    pub unavailable: Option<&'static str>,
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, installed, missing, unavailable } = self;
        write!(f, "{installed} of {due} installed")?;
        missing.map_or(Ok(()), |missing| write!(f, " and {missing} segments missing"))?;
        unavailable.map_or(Ok(()), |why| write!(f, "; no source could serve some: {why}"))
    }
}

/// Why a shard is not up to date.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotSynced {
    /// The leader did not say what is committed.
    NoLeader {
        /// Why.
        why: String,
    },
    /// The time ran out.
    Late(Behind),
    /// There is no such member.
    NotAMember {
        /// The node.
        node: NodeId,
    },
    /// The shard has stopped.
    Stopped,
}

impl Shard {
    /// Waits until everything stands here that was committed anywhere when this was called. Looks anew at what is
    /// missing first, and asks for it at once, however long it was to rest. Writes go on meanwhile: segments do not
    /// change, and their sources hold them.
    ///
    /// # Errors
    /// `NotSynced`.
    pub async fn sync(&self, within: Nanos) -> Result<Synced, NotSynced> {
        let inner = &self.0;
        let until = Core::current().now().plus(within);
        let (landed, fetched) = (inner.stats.landed.get(), inner.stats.bytes_fetched.get());
        let snapshot = inner.installed_snapshot.get();
        let due = self.due(until).await?;
        Rc::clone(inner).derive().await;
        if let Some(driver) = inner.driver.get() {
            driver.hurry();
        }
        let done = inner.changed.until(|| {
            if inner.stopped.get() {
                return Some(Err(NotSynced::Stopped));
            }
            (inner.watermarks().installed >= due).then_some(Ok(()))
        });
        deadline(until, done).await.unwrap_or_else(|_| Err(self.late(due)))?;
        Ok(Synced {
            due,
            snapshot: inner.installed_snapshot.get().filter(|taken| Some(*taken) != snapshot),
            landed: inner.stats.landed.get() - landed,
            bytes_fetched: inner.stats.bytes_fetched.get() - fetched,
        })
    }

    /// Waits until another member tells that everything stands there that was committed anywhere when this was called.
    /// What is due.
    ///
    /// # Errors
    /// `NotSynced`.
    pub async fn sync_member(&self, node: NodeId, within: Nanos) -> Result<LogIndex, NotSynced> {
        let inner = &self.0;
        if node == inner.node {
            return self.sync(within).await.map(|synced| synced.due);
        }
        let until = Core::current().now().plus(within);
        let due = self.due(until).await?;
        let installed = || {
            let driver = inner.driver.get()?;
            driver.with_sources(|sources| sources.announced(node).map(|told| told.installed))
        };
        let done = inner.changed.until(|| {
            if inner.stopped.get() {
                return Some(Err(NotSynced::Stopped));
            }
            if !inner.members().contains(&node) {
                return Some(Err(NotSynced::NotAMember { node }));
            }
            (installed()? >= due).then_some(Ok(due))
        });
        deadline(until, done).await.unwrap_or_else(|_| {
            let installed = installed().unwrap_or_default();
            Err(NotSynced::Late(Behind { due, installed, missing: None, unavailable: None }))
        })
    }

    /// What is committed now, asked until a leader says it.
    pub(super) async fn due(&self, until: Nanos) -> Result<LogIndex, NotSynced> {
        loop {
            let left = until.since(Core::current().now());
            let error = match self.group().read_barrier(left).await {
                Ok(due) => return Ok(due),
                Err(error) => error,
            };
            if self.0.stopped.get() {
                return Err(NotSynced::Stopped);
            }
            if Core::current().now().plus(RETRY) >= until {
                return Err(NotSynced::NoLeader { why: error.to_string() });
            }
            sleep(RETRY).await;
        }
    }

    fn late(&self, due: LogIndex) -> NotSynced {
        let transfers = self.transfers(1);
        let unavailable = transfers.unavailable.first().map(|lost| lost.failure.word());
        let installed = self.watermarks().installed;
        NotSynced::Late(Behind { due, installed, missing: Some(transfers.missing), unavailable })
    }
}
