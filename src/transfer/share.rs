//! Shares: what is taken of a segment from other nodes than its source, beside the source's own part.
//!
//! A node answers for its share alone: what it sends in the place of that, sends too late or does not send at all is
//! told of it, and asked of the source.

use std::cell::Cell;
use std::ops::Range;
use std::pin::pin;

use futures_util::future::{Either, select};
use futures_util::stream::{self, StreamExt};

use crate::config::Work;
use crate::ids::NodeId;
use crate::limits::{SPREAD_ASKS_MAX, SPREAD_PAUSE};
use crate::segment::Landing;
use crate::transport::Peer;
use crate::uring::{Core, deadline, sleep};

use super::failure::Failure;
use super::fetch::{Fetcher, Receiving, WHOLE, lacking, missing};
use super::session::{Lane, Request};
use super::spread::{Part, Patience};

/// A part of a segment, and where its node is.
#[derive(Clone, Debug)]
pub struct Share {
    /// The part.
    pub part: Part,
    /// Where its node is.
    pub peer: Peer,
}

/// How it stands with a share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Its node is asked for it; one of the others is told later.
    Asked,
    /// All of it came.
    Came,
    /// It does not come from its node.
    Failed(Failure),
    /// It came more slowly than the source would have given it.
    Late,
    /// The fetch of its segment has ended before it; that says nothing of its node.
    GivenUp,
}

/// Hears how it stands with each share.
pub(super) type Tell<'a> = &'a dyn Fn(NodeId, Told);

/// A share that its node was asked for, until the end of it is told.
struct Asked<'a> {
    node: NodeId,
    tell: Tell<'a>,
    is_late: &'a Cell<bool>,
    is_told: bool,
}

impl<'a> Asked<'a> {
    fn of(node: NodeId, tell: Tell<'a>, is_late: &'a Cell<bool>) -> Self {
        tell(node, Told::Asked);
        Self { node, tell, is_late, is_told: false }
    }

    fn end(mut self, told: Told) {
        self.is_told = true;
        (self.tell)(self.node, told);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.is_told {
            (self.tell)(self.node, if self.is_late.get() { Told::Late } else { Told::GivenUp });
        }
    }
}

impl Fetcher {
    /// Takes the source's own part and the others' shares at once, and what is missing then from the source. All of it
    /// if its own part is here: it would have nothing to do meanwhile.
    pub(super) async fn receive_spread(
        &self,
        from: &mut Receiving<'_>,
        own: Range<u32>,
        asked: Range<u32>,
        (others, tell): (&[Share], Tell<'_>),
    ) -> Result<(), Failure> {
        let (landing, work) = (from.landing, from.work);
        let (begun, is_late) = (Core::current().now(), Cell::new(false));
        let count = lacking(landing, &own);
        if count > 0 {
            let own = pin!(self.receive_own(from, own, asked));
            let shares = pin!(self.receive_shares((others, work), landing, (tell, &is_late)));
            match select(own, shares).await {
                Either::Left((done, shares)) => {
                    done?;
                    let now = Core::current().now();
                    let patience = Patience::new(count, now.since(begun), now);
                    is_late.set(!wait(shares, patience, landing).await);
                }
                Either::Right(((), own)) => own.await?,
            }
        }
        self.receive_own(from, WHOLE, 0..0).await
    }

    /// Takes from other nodes than the source what they are asked for, all at once.
    async fn receive_shares(
        &self,
        (shares, work): (&[Share], Work),
        landing: &Landing,
        (tell, is_late): (Tell<'_>, &Cell<bool>),
    ) {
        let one = async |share: &Share| {
            let asked = Asked::of(share.part.node, tell, is_late);
            let told = match self.receive_share((share, work), landing).await {
                Ok(()) => Told::Came,
                Err(failure) => {
                    let (segment, node) = (landing.want().id, share.part.node);
                    tracing::debug!(%segment, %node, failure = failure.word(), "a share does not come from its node");
                    Told::Failed(failure)
                }
            };
            asked.end(told);
        };
        let shares = shares.iter().filter(|share| missing(landing, &share.part.chunks).next().is_some());
        stream::iter(shares).for_each_concurrent(None, one).await;
    }

    /// A replica may have heard of the segment later than this one: for a while it is asked again. In another request:
    /// to one that was refused more refusals may come, one for each range.
    async fn receive_share(&self, (share, work): (&Share, Work), landing: &Landing) -> Result<(), Failure> {
        let Share { part, peer } = share;
        let once = async || {
            let request = self.sessions.request((part.node, Lane::Share, work), *peer).await?;
            let Request { asker, mut answers } = request;
            let (asker, answers) = (&asker, &mut answers);
            let mut from = Receiving {
                asker,
                answers,
                source: part.node,
                peer: *peer,
                work,
                landing,
                hired: Vec::new(),
            };
            // Of one that is late the rest would take up its line for nothing.
            let middle = asker.or_hang_up();
            let ended = self.receive_missing(&mut from, part.chunks.clone(), false).await;
            middle.keep();
            ended
        };
        let mut asked = 0;
        loop {
            match once().await {
                Err(Failure::NotHere) if asked < SPREAD_ASKS_MAX => asked += 1,
                ended => return ended,
            }
            sleep(SPREAD_PAUSE).await;
        }
    }
}

/// Waits for shares as long as there is patience; whether they ended.
pub(super) async fn wait(
    mut shares: impl Future<Output = ()> + Unpin,
    mut patience: Patience,
    landing: &Landing,
) -> bool {
    let (core, before) = (Core::current(), landing.written_count());
    while patience.until() > core.now() {
        if deadline(patience.until(), &mut shares).await.is_ok() {
            return true;
        }
        patience.came(landing.written_count() - before, core.now());
    }
    false
}
