//! Carrying out what the table of recovery says, for all that is wanted and all that was found.

use std::collections::BTreeSet;

use futures_util::stream::{self, StreamExt};

use crate::ids::{LogIndex, SegmentId};
use crate::limits::STORE_OPERATIONS_MAX;

use super::adopt::Hashed;
use super::fault::{DiskError, Doing, failed};
use super::identity::Identity;
use super::look::Folders;
use super::names::Stem;
use super::path::RelativePath;
use super::record::{Change, Ownership, Record};
use super::recovery::{Action, Final, Staged, Wanted, decide};
use super::store::{Store, Want};
use super::table::Standing;

/// What became of what was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reconciled {
    /// Held: as they were, or after they were hashed.
    pub adopted: Vec<SegmentId>,
    /// Partly staged, to be gone on with.
    pub resumed: Vec<SegmentId>,
    /// To be fetched.
    pub refetched: Vec<SegmentId>,
    /// Staged and not needed, or recorded without a file: removed.
    pub discarded: Vec<SegmentId>,
    /// Under whose name stood what is not the segment; it is set aside, or left if it is an engine's.
    pub quarantined: Vec<SegmentId>,
}

/// One segment in recovery: what is wanted of it, if anything is.
struct Case {
    id: SegmentId,
    want: Option<Want>,
    record: Option<Record>,
    found: Option<Identity>,
    action: Action,
}

impl Store {
    /// Compares what was found with all that the manifest has, and settles every difference by the table of
    /// recovery. What is then missing is fetched by whoever asks for the difference. May be asked again at any time.
    ///
    /// # Errors
    /// The disk refuses something; what was settled before stays settled.
    pub async fn reconcile(&self, wanted: impl IntoIterator<Item = Want>) -> Result<Reconciled, DiskError> {
        self.settle_to(wanted, LogIndex(u64::MAX), |_| false).await
    }

    /// The same with a manifest that is known up to `known_to` only: what is of a later entry is not wanted yet, and
    /// stays as it is. Of what `is_listed` says that it is in the manifest all the same the pin stays: it was made, and
    /// not recorded, and may be all that there is.
    ///
    /// # Errors
    /// As `reconcile`.
    pub async fn settle_to(
        &self,
        wanted: impl IntoIterator<Item = Want>,
        known_to: LogIndex,
        is_listed: impl Fn(SegmentId) -> bool,
    ) -> Result<Reconciled, DiskError> {
        let mut done = Reconciled::default();
        let mut open: BTreeSet<SegmentId> = self.unsettled(known_to);
        let mut later = Vec::new();
        let folders = Folders::default();
        let cases = stream::iter(wanted).map(|want| self.case(want.id, Some(want), &folders));
        let mut cases = cases.buffered(STORE_OPERATIONS_MAX);
        while let Some(case) = cases.next().await {
            let case = case?;
            open.remove(&case.id);
            later.push(case);
            if later.len() >= STORE_OPERATIONS_MAX {
                self.settle_all(&mut later, &mut done).await?;
            }
        }
        drop(cases);
        self.settle_all(&mut later, &mut done).await?;
        for id in open {
            let case = self.case(id, None, &folders).await?;
            self.settle(case, &mut done).await?;
        }
        self.sweep(known_to, is_listed).await?;
        Ok(done)
    }

    /// What is not simply held: staged, or suspect.
    fn unsettled(&self, known_to: LogIndex) -> BTreeSet<SegmentId> {
        let table = self.0.inventory.table();
        let suspects = table
            .after(None)
            .filter(|(_, standing)| *standing == Standing::Suspect)
            .map(|(record, _)| record.id);
        let staged = self.staged().into_iter().map(|stem| stem.id).filter(|id| id.index <= known_to);
        suspects.chain(staged).collect()
    }

    /// Looks at everything that decides over a segment. Reads no content.
    async fn case(&self, id: SegmentId, want: Option<Want>, folders: &Folders) -> Result<Case, DiskError> {
        let (record, is_held) = {
            let table = self.0.inventory.table();
            let known = want.as_ref().and_then(|want| table.at_path(&want.path)).or_else(|| table.known(id));
            let is_held = known.is_some_and(|(_, standing)| standing == Standing::Held);
            (known.map(|(record, _)| record.clone()), is_held)
        };
        let found = match (&record, &want) {
            // What is held was looked at when it was opened or landed.
            (Some(record), _) if is_held => Some(record.identity),
            (Some(record), _) => self.0.look(record, folders).await?,
            (None, Some(want)) => self.0.look_at_want(want, folders).await?,
            (None, None) => None,
        };
        let at_name = match (&record, found) {
            (None, None) => Final::Absent,
            (Some(_), None) => Final::Lost,
            (None, Some(_)) => Final::Unknown,
            (Some(record), Some(found)) if found != record.identity => Final::Changed,
            (Some(record), Some(_)) => match &want {
                Some(want) if (want.root, want.len) != (record.root, record.len) => Final::Other,
                Some(_) | None => Final::This,
            },
        };
        let action = decide(
            if want.is_some() { Wanted::Yes } else { Wanted::No },
            at_name,
            self.staged_of(id, want.as_ref()),
        );
        Ok(Case { id, want, record, found, action })
    }

    fn staged_of(&self, id: SegmentId, want: Option<&Want>) -> Staged {
        let staged = self.0.staged.borrow();
        let mut of_id = staged.range(Stem::all_of(id)).peekable();
        if of_id.peek().is_none() {
            return Staged::None;
        }
        let is_this = want.is_none_or(|want| staged.contains(&want.stem()));
        if is_this { Staged::This } else { Staged::Other }
    }

    async fn settle_all(&self, cases: &mut Vec<Case>, done: &mut Reconciled) -> Result<(), DiskError> {
        for case in cases.drain(..) {
            self.settle(case, done).await?;
        }
        Ok(())
    }

    /// Settles one case, looked at once more under its name's lock if anything is to be done: it may have landed since.
    async fn settle(&self, mut case: Case, done: &mut Reconciled) -> Result<(), DiskError> {
        let acts = matches!(case.action, Action::Adopt | Action::Hash | Action::Discard);
        let path = case.path().cloned();
        let _name = match path.filter(|_| acts) {
            Some(path) => {
                let name = self.0.names.lock(path).await;
                case = self.case(case.id, case.want, &Folders::default()).await?;
                Some(name)
            }
            None => None,
        };
        if case.action == Action::Hash {
            case = self.hash(case, done).await?;
        }
        match case.action {
            Action::Adopt => self.adopt(case, done).await?,
            Action::Hash => unreachable!("what was hashed is not hashed again"),
            Action::Resume => done.resumed.push(case.id),
            Action::Refetch => done.refetched.push(case.id),
            Action::Discard => self.discard_case(case, done).await?,
            Action::Leave => {}
        }
        Ok(())
    }

    /// The file is the segment. A record of the same content under another id becomes the wanted one's.
    async fn adopt(&self, case: Case, done: &mut Reconciled) -> Result<(), DiskError> {
        let (Some(want), Some(record)) = (case.want, case.record) else {
            unreachable!("only a wanted segment with a record is adopted")
        };
        if record.id == want.id {
            self.0.inventory.set_standing(want.id, Standing::Held);
        } else {
            let old = record.stem();
            self.0.rename_private(old, want.stem()).await?;
            self.0.inventory.append(vec![Change::Put(Record { id: want.id, ..record })]).await?;
        }
        self.discard_staged(want.id).await?;
        done.adopted.push(want.id);
        Ok(())
    }

    async fn discard_case(&self, case: Case, done: &mut Reconciled) -> Result<(), DiskError> {
        let is_lost = case.found.is_none() && case.want.is_none();
        if let Some(record) = case.record.filter(|record| is_lost && record.id == case.id) {
            if let Err(error) = self.0.keep_name(&record.path).await {
                tracing::warn!(%error, segment = %case.id, "the record of a lost file stays for now");
                return Ok(());
            }
            self.0.forget(&record).await?;
        }
        self.discard_staged(case.id).await?;
        done.discarded.push(case.id);
        if case.want.is_some() {
            done.refetched.push(case.id);
        }
        Ok(())
    }

    /// Hashes the file before anything is done with it; says what becomes of the segment then.
    async fn hash(&self, case: Case, done: &mut Reconciled) -> Result<Case, DiskError> {
        let path = case.path().cloned().expect("a file is hashed for a want or a record");
        let owner = case.record.as_ref().map_or(self.0.options.ownership, |record| record.owner);
        let hashed = self.0.hash_file(case.want.as_ref(), case.record.as_ref(), &path).await?;
        let (id, wanted) = (case.id, if case.want.is_some() { Wanted::Yes } else { Wanted::No });
        let staged = self.staged_of(id, case.want.as_ref());
        let next = |at_name, want, record, found| Case {
            id,
            want,
            record,
            found,
            action: decide(wanted, at_name, staged),
        };
        match hashed {
            Hashed::Wanted(tree, identity) => {
                let want = case.want.expect("a file is what is wanted only if something is");
                let Want { id, ref path, len, root } = want;
                // What the engine has registered is its own, whoever had the name before.
                let is_proposed = self.0.is_proposed(&identity).await?;
                let owner = if is_proposed { Ownership::Engine } else { owner };
                let record = Record { id, root, len, path: path.clone(), identity, owner };
                self.0.keep_adopted(&record, tree).await?;
                Ok(next(Final::This, Some(want), Some(record), Some(identity)))
            }
            Hashed::Recorded(identity) => {
                let record = case.record.expect("a file is what its record says only if there is one");
                let record = Record { identity, ..record };
                self.0.sync_folder(path.folder()).await?;
                self.0.inventory.append(vec![Change::Put(record.clone())]).await?;
                let at_name = if case.want.is_some() { Final::Other } else { Final::This };
                Ok(next(at_name, case.want, Some(record), Some(identity)))
            }
            Hashed::Neither(identity, why) => {
                // What the engine has proposed as the path's new content stays in its place, as does what has landed as
                // that: the log may not have come back yet to its commit.
                if !self.0.is_landing(&path, &identity) {
                    let is_proposed = self.0.is_proposed(&identity).await?;
                    let owner = if is_proposed { Ownership::Engine } else { owner };
                    let (record, is_wanted) = (case.record.as_ref(), case.want.is_some());
                    self.0.put_away(record, &path, &identity, owner, &why, is_wanted).await?;
                    done.quarantined.push(id);
                }
                Ok(next(Final::Absent, case.want, None, None))
            }
            Hashed::Gone => Ok(next(Final::Lost, case.want, case.record, None)),
        }
    }

    /// Removes from our folders what belongs to no version that is held, suspect or staged. A pin is made of what is
    /// committed: one of an entry that the log has not come back to yet stays, it may be all that there is.
    async fn sweep(
        &self,
        known_to: LogIndex,
        is_listed: impl Fn(SegmentId) -> bool,
    ) -> Result<(), DiskError> {
        let is_of_use = |stem: &Stem| {
            let table = self.0.inventory.table();
            let is_known = table.known(stem.id).is_some_and(|(record, _)| record.root == stem.root);
            let is_landing = |intent: &Record| (intent.id, intent.root) == (stem.id, stem.root);
            is_known || table.intents().any(is_landing) || self.0.staged.borrow().contains(stem)
        };
        let names = self.0.folders.digests.list().await.map_err(failed(Doing::List, "digests"))?;
        let stems = names.iter().filter_map(|name| Stem::parse(std::str::from_utf8(&name.bytes).ok()?));
        for stem in stems.filter(|stem| !is_of_use(stem)).collect::<Vec<_>>() {
            self.0.unlink_list(stem).await?;
        }
        let loose: Vec<Stem> = self.0.inventory.table().loose_pins().copied().collect();
        let is_settled = |stem: &Stem| stem.id.index <= known_to && !is_listed(stem.id) && !is_of_use(stem);
        for stem in loose.into_iter().filter(is_settled) {
            self.0.drop_pins(stem.id).await?;
        }
        Ok(())
    }
}

impl Case {
    /// The final name; none of what is only staged and not wanted.
    fn path(&self) -> Option<&RelativePath> {
        let recorded = self.record.as_ref().map(|record| &record.path);
        self.want.as_ref().map(|want| &want.path).or(recorded)
    }
}
