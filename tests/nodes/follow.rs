//! A consumer of each shard's events on each node, which keeps its place over kills and power cuts: what it makes of
//! the events is what the manifest says, and what the node has.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ringway::ids::{Nanos, NodeId, SegmentId};
use ringway::manifest::Entry;
use ringway::shard::{Event, EventsGone, Happening, Place, Shard};
use ringway::uring::Core;

use crate::sim::check::Violation;

use super::checks::SharedChecks;

/// Between two comparisons.
const COMPARED_AFTER: Nanos = Nanos::from_millis(300);

/// What a consumer has made of the events of one shard on one node.
#[derive(Default)]
pub struct Follower {
    /// Nothing before it has walked the manifest.
    place: Option<Place>,
    paths: BTreeMap<String, SegmentId>,
    /// Segments that were said to stand there.
    here: BTreeSet<SegmentId>,
    /// How often it had to walk the manifest, and events that it has heard.
    pub walks: u64,
    pub heard: u64,
    /// Starts of the node that it has passed without one.
    pub crossed: u64,
    /// When it was last held against the manifest: all of both is compared.
    compared: Nanos,
}

/// Follows until the process ends.
pub async fn follow(node: NodeId, shard: Shard, checks: SharedChecks) {
    let key = (node, shard.id().group());
    loop {
        let place = checks.borrow_mut().followers.entry(key).or_default().place;
        let told = match place {
            None => Err(EventsGone),
            Some(place) => shard.events_after(place).await,
        };
        let Ok(events) = told else {
            let Some(now) = shard.events_end().await else { return };
            checks.borrow_mut().followers.entry(key).or_default().walk(now, &shard);
            continue;
        };
        let is_idle = events.is_empty();
        {
            let mut checks = checks.borrow_mut();
            let follower = checks.followers.entry(key).or_default();
            let verdict = events.into_iter().try_for_each(|event| follower.hear(event));
            let verdict = verdict.and_then(|()| follower.agrees_now_and_then(&shard));
            checks.hold("event_line", verdict);
        }
        if is_idle {
            shard.changed().await;
        }
    }
}

impl Follower {
    fn walk(&mut self, now: Place, shard: &Shard) {
        let machine = shard.group().machine();
        let state = machine.borrow();
        self.paths = state.entries(None).map(|entry| (entry.path().as_str().to_owned(), entry.id)).collect();
        let is_here = |entry: &Rc<Entry>| shard.store().is_held(entry.id, entry.root);
        self.here = state.entries(None).filter(|entry| is_here(entry)).map(|entry| entry.id).collect();
        self.place = Some(now);
        self.walks += 1;
    }

    fn hear(&mut self, event: Event) -> Result<(), Violation> {
        let place = self.place.expect("it has walked");
        if event.place.number != place.number + 1 {
            return Err(Violation(format!("event {:?} follows {place:?}", event.place)));
        }
        self.crossed += u64::from(event.place.life != place.life);
        self.place = Some(event.place);
        self.heard += 1;
        let Some((id, path)) = event.segment else { return Ok(()) };
        let before = self.paths.get(&path).copied();
        let is_odd = match event.what {
            Happening::Registered => self.paths.insert(path.clone(), id).is_some(),
            Happening::Updated => self.paths.insert(path.clone(), id).is_none_or(|old| old >= id),
            Happening::Deleted { .. } => self.paths.remove(&path) != Some(id),
            Happening::Installed | Happening::Repaired => {
                self.here.insert(id);
                before != Some(id)
            }
            Happening::Damaged => {
                self.here.remove(&id);
                before != Some(id)
            }
            Happening::Unavailable { .. } => before != Some(id),
            Happening::Role { .. } => false,
        };
        if is_odd {
            return Err(Violation(format!("{:?} of {path} {id:?}, which was {before:?}", event.what)));
        }
        Ok(())
    }

    fn agrees_now_and_then(&mut self, shard: &Shard) -> Result<(), Violation> {
        let now = Core::current().now();
        if now.since(self.compared) < COMPARED_AFTER {
            return Ok(());
        }
        self.compared = now;
        self.agrees(shard)
    }

    /// Of a node that rests: nothing is left to be heard.
    pub fn has_heard_all(&self, shard: &Shard) -> Result<(), Violation> {
        let end = shard.events_end_now();
        if self.place != end {
            return Err(Violation(format!("heard up to {:?}, told up to {end:?}", self.place)));
        }
        self.agrees(shard)
    }

    /// Whoever has heard everything knows what there is.
    fn agrees(&self, shard: &Shard) -> Result<(), Violation> {
        if self.place != shard.events_end_now() {
            return Ok(());
        }
        let machine = shard.group().machine();
        let state = machine.borrow();
        let said = |entry: &Entry| self.paths.get(entry.path().as_str()) == Some(&entry.id);
        if state.len() != self.paths.len() || !state.entries(None).all(|entry| said(entry)) {
            let has: Vec<_> = state.entries(None).map(|entry| (entry.path().as_str(), entry.id)).collect();
            return Err(Violation(format!(
                "at {:?} the events say {:?}, not {has:?}",
                state.applied(),
                self.paths
            )));
        }
        let has_all = shard.overdue().is_some() && shard.transfers(0).missing == 0;
        match state.entries(None).find(|entry| has_all && !self.here.contains(&entry.id)) {
            Some(untold) => Err(Violation(format!("nobody said that {:?} stands here", untold.id))),
            None => Ok(()),
        }
    }
}
