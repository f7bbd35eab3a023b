//! The log as openraft asks for it.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;

use futures_util::Stream;
use futures_util::stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use crate::limits::LOG_READ_BYTES_MAX;
use crate::raft::types::{Entry, LogId, Point, Types, Vote};

use super::reader::indexes;
use super::store::Log;

impl RaftLogReader<Types> for Log {
    async fn entries_stream<RB: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> {
        // In bounded pieces: what is applied after a restart may be the whole log.
        let log = self.clone();
        let begin = (indexes(&range), Vec::new().into_iter());
        stream::unfold(Some(begin), move |state| {
            let log = log.clone();
            async move {
                let (mut range, mut piece) = state?;
                if let Some(entry) = piece.next() {
                    return Some((Ok(entry), Some((range, piece))));
                }
                match log.read(range.clone(), LOG_READ_BYTES_MAX).await {
                    Ok(entries) => {
                        range.start = Point::of_entry(entries.last()?).index.0 + 1;
                        let mut piece = entries.into_iter();
                        piece.next().map(|entry| (Ok(entry), Some((range, piece))))
                    }
                    Err(stopped) => Some((Err(stopped.into()), None)),
                }
            }
        })
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read(indexes(&range), usize::MAX).await?)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read(indexes(&(start..end)), LOG_READ_BYTES_MAX).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.0.state.borrow().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let (purged, last) = self.ends();
        Ok(LogState { last_purged_log_id: purged.log_id(), last_log_id: last.log_id() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        Ok(self.keep_vote(*vote).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.keep_committed(Point::of(committed.as_ref()))?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.committed().log_id())
    }

    async fn append<I: IntoIterator<Item = Entry>>(
        &mut self,
        entries: I,
        callback: IOFlushed<Types>,
    ) -> Result<(), io::Error> {
        Ok(self.append_entries(entries, callback).await?)
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.truncate(Point::of(last.as_ref()))?)
    }

    async fn purge(&mut self, up_to: LogId) -> Result<(), io::Error> {
        Ok(self.purge_up_to(Point::of(Some(&up_to)))?)
    }
}
