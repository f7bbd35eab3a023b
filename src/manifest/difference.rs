//! The difference between the manifest and what a node has: one walk over both, in order of segment ids.
//!
//! Derived again whenever either side changed; nothing is remembered between two walks, so nothing can be
//! lost.

use std::iter::Peekable;
use std::rc::Rc;

use super::entry::Entry;
use super::state::State;
use crate::ids::{Digest, SegmentId};

/// One thing that is not the same on both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference<'a> {
    /// In the manifest and not in the inventory, or there with another root: to be fetched.
    Missing(&'a Rc<Entry>),
    /// In the inventory and not in the manifest, or there with another root: to be dropped.
    Surplus {
        /// The id that the inventory has it under.
        id: SegmentId,
        /// The root that it was verified against.
        root: Digest,
    },
}

/// Walks both sides behind `after`, lazily: take as much as there is room for. `inventory` gives the verified
/// segments of this node, ids strictly ascending, and must begin behind `after` too.
///
/// # Panics
/// While walking, if the inventory does not ascend.
pub fn difference<'a, I>(
    state: &'a State,
    after: Option<SegmentId>,
    inventory: I,
) -> impl Iterator<Item = Difference<'a>> + use<'a, I>
where
    I: IntoIterator<Item = (SegmentId, Digest)>,
{
    Walk {
        manifest: state.entries(after).peekable(),
        inventory: inventory.into_iter().peekable(),
        before: after,
        same_id: None,
    }
}

struct Walk<'a, M: Iterator<Item = &'a Rc<Entry>>, I: Iterator<Item = (SegmentId, Digest)>> {
    manifest: Peekable<M>,
    inventory: Peekable<I>,
    before: Option<SegmentId>,
    /// Of an id with another root, the half that is still to be told.
    same_id: Option<&'a Rc<Entry>>,
}

impl<'a, M: Iterator<Item = &'a Rc<Entry>>, I: Iterator<Item = (SegmentId, Digest)>> Walk<'a, M, I> {
    fn next_held(&mut self) -> Option<(SegmentId, Digest)> {
        let held = self.inventory.next()?;
        assert!(self.before.is_none_or(|before| before < held.0), "{} comes after {:?}", held.0, self.before);
        self.before = Some(held.0);
        Some(held)
    }
}

impl<'a, M: Iterator<Item = &'a Rc<Entry>>, I: Iterator<Item = (SegmentId, Digest)>> Iterator
    for Walk<'a, M, I>
{
    type Item = Difference<'a>;

    fn next(&mut self) -> Option<Difference<'a>> {
        if let Some(entry) = self.same_id.take() {
            return Some(Difference::Missing(entry));
        }
        loop {
            let wanted = self.manifest.peek().map(|entry| entry.id);
            let held = self.inventory.peek().map(|held| held.0);
            match (wanted, held) {
                (None, None) => return None,
                (Some(wanted), held) if held.is_none_or(|held| wanted < held) => {
                    return self.manifest.next().map(Difference::Missing);
                }
                (Some(wanted), Some(held)) if wanted == held => {
                    let (entry, (id, root)) = (self.manifest.next()?, self.next_held()?);
                    if entry.root != root {
                        self.same_id = Some(entry);
                        return Some(Difference::Surplus { id, root });
                    }
                }
                (_, _) => return self.next_held().map(|(id, root)| Difference::Surplus { id, root }),
            }
        }
    }
}
