//! The line of a shard's events in memory: the latest, and those that are not written yet.
//!
//! What a log repeats after a start is told once: entries up to `applied` are in the line already. Until it has
//! repeated them the manifest is an old one: what befalls its segments meanwhile is told then, of those still in it.
//! What has landed before a kill and was not written is told when the start finds it.

use std::collections::{BTreeSet, VecDeque};

use crate::ids::{LogIndex, SegmentId};
use crate::journal::{EventsFound, EventsHead};
use crate::limits::{EVENTS_MAX, EVENTS_UNWRITTEN_MAX};
use crate::manifest::Entry;

use super::event::{Event, Happening};

/// A place in the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// The start of the node that has told the event before it.
    pub life: u64,
    /// Events before it.
    pub number: u64,
}

/// Events behind a place are not all kept any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventsGone;

/// Of segments that stand here since before they were asked for, which the line has told of: those up to an index, and
/// these. A kill may have kept it from the others, or the log comes to them only now.
#[derive(Debug, Default)]
struct Told {
    to: LogIndex,
    ids: BTreeSet<SegmentId>,
}

impl Told {
    fn has(&self, id: SegmentId) -> bool {
        id.index <= self.to || self.ids.contains(&id)
    }

    fn insert(&mut self, id: SegmentId) {
        if id.index > self.to {
            self.ids.insert(id);
        }
    }

    fn all_to(&mut self, to: LogIndex) {
        self.to = self.to.max(to);
        while self.ids.first().is_some_and(|id| id.index <= to) {
            self.ids.pop_first();
        }
    }
}

/// What befalls a segment on this node, apart from the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::shard) enum Local {
    /// It stands here.
    Landed,
    /// It stands here since before this start.
    Held,
    /// It stood here when so much was installed, and does not any more.
    Lost(LogIndex),
    /// No source could serve it so far: why, in a word.
    Unavailable(&'static str),
}

#[derive(Debug)]
pub(in crate::shard) struct Line {
    life: u64,
    last: u64,
    /// The start that has told the last event.
    last_life: u64,
    /// The last event that an earlier start has left.
    found: u64,
    /// They end with the last event, and begin after the written ones that went.
    latest: VecDeque<Event>,
    /// Events up to here are in the files.
    written: u64,
    /// What is not written is told all the same: the disk refuses.
    refused: bool,
    /// The line goes on behind something that it has not told: what the files have ends before it.
    broken: bool,
    /// Entries of the log up to here are told; nothing before the first.
    applied: Option<LogIndex>,
    /// The entry that is being applied was told by an earlier start.
    repeats: bool,
    /// The manifest has not come back yet to what was told.
    is_behind: bool,
    /// What has befallen segments meanwhile.
    later: Vec<(SegmentId, Local)>,
    told: Told,
    /// What was installed when an earlier start wrote its last event.
    installed: LogIndex,
    /// Segments that are damaged.
    damaged: BTreeSet<SegmentId>,
    /// Segments that no source could serve.
    unavailable: BTreeSet<SegmentId>,
}

impl Line {
    /// The line of a start that goes on after what it has found.
    pub fn new(life: u64, found: Option<EventsFound>) -> Self {
        let kept = found.unwrap_or_default();
        let told_to = if kept.closed { kept.applied } else { kept.installed_first };
        let life = kept.silent.unwrap_or(life);
        Self {
            life,
            last: kept.last,
            last_life: kept.life.unwrap_or(life),
            found: kept.last,
            latest: VecDeque::new(),
            written: kept.last,
            refused: false,
            broken: false,
            applied: found.map(|found| found.applied),
            repeats: false,
            is_behind: found.is_some(),
            later: Vec::new(),
            told: Told { to: told_to, ids: BTreeSet::new() },
            installed: kept.installed,
            damaged: BTreeSet::new(),
            unavailable: BTreeSet::new(),
        }
    }

    /// Takes what an earlier start has told of.
    pub fn had(&mut self, event: &Event) {
        if let (Some((id, _)), Happening::Installed | Happening::Repaired) = (&event.segment, &event.what) {
            self.told.insert(*id);
        }
    }

    /// The manifest that the start has found.
    pub fn stands_at(&mut self, index: LogIndex) {
        match self.applied {
            Some(applied) if index > applied => self.leap(index),
            Some(_) => {}
            // Nobody has a place in the line: whoever begins walks the manifest.
            None => self.told.all_to(index),
        }
        self.applied = Some(self.applied.unwrap_or_default().max(index));
        self.passed(index);
    }

    /// An entry of the log is being applied. What lies between it and the one before has no events.
    pub fn begin(&mut self, index: LogIndex) {
        self.repeats = self.applied.is_some_and(|applied| index <= applied);
        if !self.repeats {
            let before = LogIndex(index.0.saturating_sub(1));
            if self.applied.is_some_and(|applied| before > applied) {
                self.leap(before);
            }
            if self.later.is_empty() {
                // An entry is applied once now: nothing before it is asked about again.
                self.told.all_to(before);
            }
            self.applied = Some(index);
        }
        self.passed(index);
    }

    /// The manifest has become another one at once.
    pub fn installed_snapshot(&mut self, index: LogIndex) {
        if self.applied.is_none_or(|applied| index > applied) {
            self.leap(index);
            self.applied = Some(index);
        }
        self.passed(index);
    }

    fn passed(&mut self, index: LogIndex) {
        self.is_behind &= self.applied.is_some_and(|applied| index < applied);
    }

    /// To a manifest that whoever follows has to walk.
    fn leap(&mut self, to: LogIndex) {
        self.told.all_to(to);
        self.last += 1;
        self.last_life = self.life;
        self.latest.clear();
        self.later.clear();
        self.broken = true;
    }

    /// Whether something was kept back that can be told now.
    pub fn has_later(&self) -> bool {
        !self.is_behind && !self.later.is_empty()
    }

    /// What was kept back.
    pub fn take_later(&mut self) -> Vec<(SegmentId, Local)> {
        if self.is_behind { Vec::new() } else { std::mem::take(&mut self.later) }
    }

    /// An event of the entry that is being applied.
    pub fn of_log(&mut self, entry: &Entry, what: Happening) {
        if !self.repeats {
            self.push(Some(entry), what);
        }
    }

    /// Something has befallen a segment of the manifest.
    pub fn local(&mut self, entry: &Entry, what: Local) {
        let is_news = match &what {
            Local::Landed | Local::Lost(_) => true,
            Local::Held => !self.told.has(entry.id),
            Local::Unavailable(_) => !self.unavailable.contains(&entry.id),
        };
        match (is_news, self.is_behind) {
            (false, _) => {}
            (true, true) => self.later.push((entry.id, what)),
            (true, false) => self.tell(entry, what),
        }
    }

    fn tell(&mut self, entry: &Entry, what: Local) {
        match what {
            Local::Landed | Local::Held => {
                self.unavailable.remove(&entry.id);
                let was_damaged = self.damaged.remove(&entry.id);
                self.told.insert(entry.id);
                self.push(Some(entry), if was_damaged { Happening::Repaired } else { Happening::Installed });
            }
            Local::Lost(installed) => {
                if entry.id.index <= installed.max(self.installed) && self.damaged.insert(entry.id) {
                    self.push(Some(entry), Happening::Damaged);
                }
            }
            Local::Unavailable(why) => {
                self.unavailable.insert(entry.id);
                self.push(Some(entry), Happening::Unavailable { why: why.to_owned() });
            }
        }
    }

    /// What stands here of the manifest up to this index has been told.
    pub fn told_to(&self) -> LogIndex {
        self.told.to
    }

    /// A segment is no more in the manifest.
    pub fn forget(&mut self, id: SegmentId) {
        self.damaged.remove(&id);
        self.unavailable.remove(&id);
    }

    /// An event of no segment.
    pub fn of_node(&mut self, what: Happening) {
        self.push(None, what);
    }

    fn push(&mut self, entry: Option<&Entry>, what: Happening) {
        self.last += 1;
        self.last_life = self.life;
        let place = Place { life: self.life, number: self.last };
        let segment = entry.map(|entry| (entry.id, entry.path().as_str().to_owned()));
        let applied = self.applied.unwrap_or_default();
        self.latest.push_back(Event { place, applied, segment, what });
        self.trim();
    }

    fn trim(&mut self) {
        while self.latest.len() > EVENTS_MAX {
            let first = self.last - self.latest.len() as u64 + 1;
            if first > self.written {
                if self.latest.len() <= EVENTS_UNWRITTEN_MAX {
                    return;
                }
                self.broken = true;
            }
            self.latest.pop_front();
        }
    }

    /// The place behind the last event.
    pub fn end(&self) -> Place {
        Place { life: self.last_life, number: self.last }
    }

    /// Events behind a place, as many as there are in memory and at most `EVENTS_MAX`; nothing if they are not in
    /// memory, but may be in the files.
    ///
    /// # Errors
    /// They are nowhere. `end_of` tells where an earlier start's events end.
    pub fn after(
        &self,
        place: Place,
        end_of: impl FnOnce(u64) -> Option<Option<u64>>,
    ) -> Result<Option<Vec<Event>>, EventsGone> {
        let in_memory = self.last - self.latest.len() as u64;
        let end = if place.number == 0 || place == self.end() || place.life == self.life {
            self.last
        } else if self.broken {
            return Err(EventsGone);
        } else {
            end_of(place.life).ok_or(EventsGone)?.unwrap_or(self.found)
        };
        if place.number > end || (self.broken && place.number < in_memory) {
            return Err(EventsGone);
        }
        if place.number < in_memory {
            return Ok(None);
        }
        let passed = usize::try_from(place.number - in_memory).map_err(|_| EventsGone)?;
        let told = if self.refused { self.last } else { self.written };
        let told = self.latest.iter().skip(passed).take_while(|event| event.place.number <= told);
        Ok(Some(told.take(EVENTS_MAX).cloned().collect()))
    }

    /// All that is to be written, and the head of a file that would begin with it.
    pub fn unwritten(&self, installed: LogIndex) -> (EventsHead, Vec<Event>) {
        let in_memory = self.last - self.latest.len() as u64;
        let after = self.written.max(in_memory);
        let skip = usize::try_from(after - in_memory).unwrap_or(usize::MAX);
        let head = EventsHead { salt: 0, life: self.life, after, installed };
        (head, self.latest.iter().skip(skip).cloned().collect())
    }

    /// Whether there is something to write.
    pub fn is_unwritten(&self) -> bool {
        self.written < self.last
    }

    /// Whether what the files have has to go before the next event is written.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// The files have nothing any more.
    pub fn mended(&mut self) {
        self.broken = false;
        self.written = self.written.max(self.last - self.latest.len() as u64);
        self.found = self.written;
    }

    /// Events up to this one are in the files.
    pub fn wrote(&mut self, to: u64) {
        self.written = self.written.max(to);
        self.refused = false;
        self.trim();
    }

    /// The disk refuses: nobody waits for it.
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// Entries of the log up to here are told.
    pub fn applied(&self) -> LogIndex {
        self.applied.unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
