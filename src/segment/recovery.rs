//! What becomes of everything that a restart finds: one total table, and nothing decided anywhere else.
//!
//! The rows say what stands under the segment's final name and what the inventory knows of it; the columns, what is
//! staged. The file of a segment whose name is an engine's is the pin that we keep of it.

/// Whether the manifest has the segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Wanted {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// What stands under the final name, and what the record says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Final {
    /// No file and no record.
    Absent,
    /// No file, but a record of one.
    Lost,
    /// A file, and no record of it.
    Unknown,
    /// A file; record and statx agree, and it is of this version.
    This,
    /// A file; record and statx agree, and it is of another version.
    Other,
    /// A file; record and statx disagree.
    Changed,
}

/// What is staged of the segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Staged {
    /// Nothing.
    None,
    /// This version.
    This,
    /// Another version.
    Other,
}

/// What becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Action {
    /// The file counts as it is; what is staged is not needed.
    Adopt,
    /// The file is hashed first: it is adopted if it is the segment, else it is quarantined, and what is staged is
    /// gone on from, or the segment is fetched.
    Hash,
    /// The landing is gone on from what is staged.
    Resume,
    /// What is staged goes, and a record without its file; the segment is fetched if it is wanted.
    Discard,
    /// The segment is fetched.
    Refetch,
    /// Nothing is done: what is not wanted and not ours to judge, or is removed by the difference in its own time.
    Leave,
}

#[cfg(test)]
impl Wanted {
    /// Both.
    const ALL: [Self; 2] = [Self::Yes, Self::No];
}

#[cfg(test)]
impl Final {
    /// All.
    const ALL: [Self; 6] = [Self::Absent, Self::Lost, Self::Unknown, Self::This, Self::Other, Self::Changed];
}

#[cfg(test)]
impl Staged {
    /// All.
    const ALL: [Self; 3] = [Self::None, Self::This, Self::Other];
}

/// The table. Every combination has its place, and only one.
#[rustfmt::skip]
const TABLE: [(Wanted, Final, [Action; 3]); 12] = {
    use Action::{Adopt, Discard, Hash, Leave, Refetch, Resume};
    use Final::{Absent, Changed, Lost, Other, This, Unknown};
    use Wanted::{No, Yes};
    [
        // wanted  final       staged: None   This     Other
        (Yes,      Absent,   [Refetch, Resume,  Discard]),
        (Yes,      Lost,     [Refetch, Resume,  Discard]),
        (Yes,      Unknown,  [Hash,    Hash,    Hash   ]),
        (Yes,      This,     [Adopt,   Adopt,   Adopt  ]),
        // The version before this one; landing replaces it by a rename.
        (Yes,      Other,    [Refetch, Resume,  Discard]),
        (Yes,      Changed,  [Hash,    Hash,    Hash   ]),
        (No,       Absent,   [Leave,   Discard, Discard]),
        (No,       Lost,     [Discard, Discard, Discard]),
        (No,       Unknown,  [Leave,   Discard, Discard]),
        (No,       This,     [Leave,   Discard, Discard]),
        (No,       Other,    [Leave,   Discard, Discard]),
        (No,       Changed,  [Hash,    Hash,    Hash   ]),
    ]
};

/// What becomes of a segment.
#[must_use]
pub fn decide(wanted: Wanted, at_name: Final, staged: Staged) -> Action {
    let row = TABLE.iter().find(|(w, f, _)| (*w, *f) == (wanted, at_name));
    let (_, _, actions) = row.expect("the table is total, which a test enumerates");
    match staged {
        Staged::None => actions[0],
        Staged::This => actions[1],
        Staged::Other => actions[2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn all() -> impl Iterator<Item = (Wanted, Final, Staged)> {
        Wanted::ALL.into_iter().flat_map(|wanted| {
            Final::ALL
                .into_iter()
                .flat_map(move |at_name| Staged::ALL.into_iter().map(move |staged| (wanted, at_name, staged)))
        })
    }

    #[test]
    fn every_combination_has_one_row_and_no_row_stands_twice() {
        assert_eq!(all().count(), 36);
        assert_eq!(all().collect::<BTreeSet<_>>().len(), 36);
        for (wanted, at_name, staged) in all() {
            let rows = TABLE.iter().filter(|(w, f, _)| (*w, *f) == (wanted, at_name));
            assert_eq!(rows.count(), 1, "{wanted:?} {at_name:?} {staged:?}");
        }
        let rows: BTreeSet<_> = TABLE.iter().map(|(wanted, at_name, _)| (wanted, at_name)).collect();
        assert_eq!(rows.len(), TABLE.len());
    }

    #[test]
    fn nothing_counts_unhashed_but_what_its_record_and_statx_agree_on() {
        for (wanted, at_name, staged) in all() {
            let adopted = decide(wanted, at_name, staged) == Action::Adopt;
            assert_eq!(adopted, (wanted, at_name) == (Wanted::Yes, Final::This), "{at_name:?} {staged:?}");
        }
    }

    #[test]
    fn a_changed_file_is_always_hashed_and_an_unknown_one_is_never_discarded_unhashed() {
        for (wanted, at_name, staged) in all() {
            let action = decide(wanted, at_name, staged);
            if at_name == Final::Changed || (at_name, wanted) == (Final::Unknown, Wanted::Yes) {
                assert_eq!(action, Action::Hash, "{wanted:?} {staged:?}");
            }
        }
    }

    #[test]
    fn what_is_staged_of_this_version_is_never_thrown_away_while_it_is_wanted_and_missing() {
        for at_name in [Final::Absent, Final::Lost, Final::Other] {
            assert_eq!(decide(Wanted::Yes, at_name, Staged::This), Action::Resume);
        }
    }

    #[test]
    fn what_is_not_wanted_leaves_nothing_staged() {
        for at_name in Final::ALL {
            for staged in [Staged::This, Staged::Other] {
                let action = decide(Wanted::No, at_name, staged);
                assert!(matches!(action, Action::Discard | Action::Hash), "{at_name:?} {staged:?}");
            }
        }
    }
}
