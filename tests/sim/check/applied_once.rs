//! What was asked for once is done once: however often it was sent, and whatever restarted meanwhile.

use std::collections::BTreeMap;

use ringway::ids::{Digest, GroupId, LogIndex};

use super::{Verdict, hold};

/// Changes of paths that nobody asks for twice.
#[derive(Default, Debug)]
pub struct AppliedOnce(BTreeMap<(GroupId, String, Option<Digest>), LogIndex>);

impl AppliedOnce {
    /// An entry gave a path a content, or took it away.
    ///
    /// # Errors
    /// An entry at another index did the same.
    pub fn changed(
        &mut self,
        group: GroupId,
        index: LogIndex,
        path: &str,
        content: Option<Digest>,
    ) -> Verdict {
        let first = *self.0.entry((group, path.to_owned(), content)).or_insert(index);
        hold(first == index, || {
            format!("group {group}: {path:?} became {content:?} at {first} and once more at {index}")
        })
    }
}
