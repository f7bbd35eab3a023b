//! Content that the node holds already is not fetched (P10): this shard's store is asked, then the node's other shards,
//! on whichever cores they are.

use std::collections::VecDeque;
use std::fmt;

use crate::ids::{Digest, GroupId};
use crate::limits::LOOK_TIMEOUT;
use crate::segment::{self, LinkError, Sharing, Spare, Store};
use crate::uring::{MailSender, mailbox, timeout};

use super::failure::Fetched;
use super::fetch::Fetcher;
use super::plan::Want;

/// One shard asks the others on a core for content.
#[derive(Clone)]
pub struct Inquiry {
    /// Who asks.
    pub group: GroupId,
    contents: Vec<(Digest, u64)>,
    answer: MailSender<Vec<Option<Spare>>>,
}

impl Inquiry {
    /// Answers for the other shards on a core, without any I/O.
    pub fn answer<'a>(self, stores: impl Iterator<Item = &'a Store> + Clone) {
        let find = |(root, len): &(Digest, u64)| stores.clone().find_map(|store| store.spare(*root, *len));
        let found: Vec<_> = self.contents.iter().map(find).collect();
        // Whoever has stopped waiting fetches it.
        let _given_up = self.answer.try_send(found);
    }
}

/// Hands an inquiry to a core, or drops it.
type Ask = dyn Fn(u16, Box<Inquiry>);

/// The cores on which the node's other shards are.
#[derive(Default)]
pub struct Neighbours {
    cores: Vec<u16>,
    ask: Option<Box<Ask>>,
}

impl Neighbours {
    /// On these cores; `ask` hands an inquiry to one of them, or drops it.
    #[must_use]
    pub fn new(cores: Vec<u16>, ask: impl Fn(u16, Box<Inquiry>) + 'static) -> Self {
        Self { cores, ask: Some(Box::new(ask)) }
    }

    /// A file with each content, if another shard has one and says so in time.
    async fn find(&self, group: GroupId, contents: Vec<(Digest, u64)>) -> Vec<Option<Spare>> {
        let mut found = vec![None; contents.len()];
        let Some(ask) = self.ask.as_ref().filter(|_| !contents.is_empty()) else { return found };
        let (answer, mut answers) = mailbox(self.cores.len());
        let inquiry = Inquiry { group, contents, answer };
        self.cores.iter().for_each(|core| ask(*core, Box::new(inquiry.clone())));
        drop(inquiry);
        let gather = async {
            while let Some(spares) = answers.receive().await {
                for (place, spare) in found.iter_mut().zip(spares) {
                    *place = place.take().or(spare);
                }
            }
        };
        if timeout(LOOK_TIMEOUT, gather).await.is_err() {
            tracing::debug!(%group, "another core takes too long to say what its shards hold");
        }
        found
    }
}

impl fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Neighbours(on cores {:?})", self.cores)
    }
}

/// Where the node holds some content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In the shard's own store.
    Own,
    /// In another shard's.
    Other(Spare),
}

impl Fetcher {
    /// The same; what the node holds already, in this shard or another one, is not fetched.
    #[must_use]
    pub fn that_links(mut self, neighbours: Neighbours) -> Self {
        self.neighbours = Some(neighbours);
        self
    }

    /// Where the node holds the content of each.
    pub(super) async fn find(&self, wants: &[Want]) -> Vec<Option<Place>> {
        let Some(neighbours) = &self.neighbours else { return vec![None; wants.len()] };
        let is_own = |want: &Want| self.stands_here(want);
        let others = wants.iter().filter(|want| !is_own(want));
        let contents = others.map(|want| (want.root, want.bytes)).collect();
        let own: Vec<bool> = wants.iter().map(is_own).collect();
        let mut spares: VecDeque<_> = neighbours.find(self.group, contents).await.into();
        let place = |is_own| match is_own {
            true => Some(Place::Own),
            false => spares.pop_front().flatten().map(Place::Other),
        };
        own.into_iter().map(place).collect()
    }

    /// Whether the content stands in this shard.
    pub(super) fn stands_here(&self, want: &Want) -> bool {
        self.store.has_content(want.root, want.bytes)
    }

    /// Whether anybody but the other nodes can be asked for content.
    pub(super) fn may_find(&self, want: &Want) -> bool {
        let asks = |neighbours: &Neighbours| !neighbours.cores.is_empty();
        self.neighbours.as_ref().is_some_and(asks) || self.stands_here(want)
    }

    /// Lands a segment with content that the node holds. `None` if it has to be fetched after all.
    pub(super) async fn link(&self, want: segment::Want, place: Place) -> Option<Fetched> {
        if self.stands(&want).await.ok()? {
            return Some(Fetched::Held);
        }
        let (id, bytes) = (want.id, want.len);
        let sharing = match &place {
            Place::Own => self.store.link_existing(&want).await.transpose()?,
            Place::Other(spare) => self.store.link_spare(&want, spare).await,
        };
        let landed = match sharing {
            Ok(Sharing::Renamed(_)) => Fetched::Linked(bytes),
            Ok(Sharing::Staged(landing, shared)) => {
                tracing::debug!(segment = %id, ?shared, "content that is held already is shared");
                match self.lander.land(vec![landing]).await.pop().expect("one answer for one landing") {
                    Ok(Fetched::Landed) => Fetched::Linked(bytes),
                    Ok(other) => other,
                    Err(_) => return None, // the fetch meets the same disk, and says so
                }
            }
            Err(error) => {
                self.tell_unlinked(&want, &error);
                return None;
            }
        };
        Some(landed)
    }

    fn tell_unlinked(&self, want: &segment::Want, error: &LinkError) {
        let segment = want.id;
        tracing::warn!(%error, %segment, "content that is held already cannot be used: it is fetched");
    }
}
