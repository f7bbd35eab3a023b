//! The log on the kernel's ring: what comes back after it was opened again, and what is refused.

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage, RaftLogStorageExt};

use crate::ids::{GroupId, LogIndex, Nanos, Term};
use crate::limits::{LOG_BATCH_BYTES_MAX, LOG_FILE_BYTES, LOG_MARK_AFTER};
use crate::raft::payload::CommandBytes;
use crate::raft::testing::{on_core, open, scratch};
use crate::raft::types::{Entry, Point, Vote};

use crate::uring::{sleep, timeout};

use super::record::BLOCK_BYTES;
use super::*;

const GROUP: GroupId = GroupId(3);

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let id = point(term, index).log_id().expect("not the start");
    let byte = u8::try_from(index % 251).expect("small");
    Entry::new(id, EntryPayload::Normal(CommandBytes::copy_of(&vec![byte; bytes])))
}

fn point(term: u64, index: u64) -> Point {
    Point { term: Term(term), index: LogIndex(index) }
}

async fn opened(folder: &tempfile::TempDir) -> Log {
    Log::open(open(folder).await, GROUP, None).await.expect("the log opens")
}

/// Why it does not open.
async fn refusal(folder: &tempfile::TempDir, group: GroupId) -> LogOpenError {
    Log::open(open(folder).await, group, None).await.expect_err("it is refused")
}

async fn all(log: &Log) -> Vec<Entry> {
    log.clone().try_get_log_entries(..).await.expect("they read back")
}

#[test]
fn what_was_appended_voted_and_committed_comes_back() {
    let folder = scratch();
    on_core(async {
        let mut log = opened(&folder).await;
        let entries: Vec<Entry> = (1..=40).map(|n| entry(1, n, n as usize * 7)).collect();
        log.save_vote(&Vote::new_committed(1, 9)).await.expect("saved");
        log.blocking_append(entries.clone()).await.expect("appended");
        log.save_committed(point(1, 30).log_id()).await.expect("noted");
        assert_eq!(all(&log).await, entries);
        log.close().await.expect("closed");
        let mut log = opened(&folder).await;
        assert_eq!(all(&log).await, entries);
        assert_eq!(log.read_vote().await.expect("read"), Some(Vote::new_committed(1, 9)));
        assert_eq!(log.committed(), point(1, 30));
        assert!(log.figures().entries_read >= 40, "they came from disk");
        log.close().await.expect("closed");
    });
}

#[test]
fn what_was_truncated_and_purged_stays_so_and_what_follows_counts() {
    let folder = scratch();
    on_core(async {
        let mut log = opened(&folder).await;
        log.blocking_append((1..=20).map(|n| entry(1, n, 100))).await.expect("appended");
        log.truncate_after(point(1, 12).log_id()).await.expect("truncated");
        log.blocking_append((13..=15).map(|n| entry(2, n, 50))).await.expect("appended");
        log.purge(point(1, 4).log_id().expect("an entry")).await.expect("purged");
        log.close().await.expect("closed");
        let log = opened(&folder).await;
        assert_eq!(log.ends(), (point(1, 4), point(2, 15)));
        let expected: Vec<Entry> =
            (5..=12).map(|n| entry(1, n, 100)).chain((13..=15).map(|n| entry(2, n, 50))).collect();
        assert_eq!(all(&log).await, expected);
        log.close().await.expect("closed");
    });
}

#[test]
fn a_purge_behind_the_end_empties_the_log_and_the_next_entry_follows_it() {
    let folder = scratch();
    on_core(async {
        let mut log = opened(&folder).await;
        log.blocking_append((1..=3).map(|n| entry(1, n, 10))).await.expect("appended");
        log.purge(point(2, 90).log_id().expect("an entry")).await.expect("purged");
        log.blocking_append([entry(2, 91, 10)]).await.expect("appended");
        log.close().await.expect("closed");
        let log = opened(&folder).await;
        assert_eq!(log.ends(), (point(2, 90), point(2, 91)));
        log.close().await.expect("closed");
    });
}

#[test]
fn files_rotate_are_mapped_and_go_when_purged() {
    let folder = scratch();
    let files = || std::fs::read_dir(folder.path()).expect("readable").count();
    on_core(async {
        let mut log = opened(&folder).await;
        let bytes = 1024 * 1024;
        let count = 3 * LOG_FILE_BYTES / bytes as u64;
        for n in 1..=count {
            log.blocking_append([entry(1, n, bytes)]).await.expect("appended");
        }
        assert!(files() >= 4, "{} files", files());
        for n in 1..=count {
            let read = log.limited_get_log_entries(n - 1, count).await.expect("read");
            assert_eq!(read.first(), Some(&entry(1, n, bytes)));
            assert!(read.len() <= 2, "reads are bounded");
        }
        let held = log.clone().try_get_log_entries(0..1).await.expect("read");
        log.save_vote(&Vote::new(4, 2)).await.expect("saved");
        log.purge(point(1, count - 1).log_id().expect("an entry")).await.expect("purged");
        log.save_vote(&Vote::new(5, 2)).await.expect("saved");
        let gone = async {
            while files() > 2 {
                sleep(Nanos::MILLISECOND).await;
            }
        };
        timeout(Nanos::from_secs(10), gone).await.expect("old files go");
        assert_eq!(held, [entry(1, 1, bytes)], "a mapping outlives its file");
        log.close().await.expect("closed");
        let mut log = opened(&folder).await;
        assert_eq!(log.ends(), (point(1, count - 1), point(1, count)));
        assert_eq!(log.read_vote().await.expect("read"), Some(Vote::new(5, 2)));
        log.close().await.expect("closed");
    });
}

#[test]
fn appends_that_wait_together_share_a_flush() {
    let folder = scratch();
    on_core(async {
        let mut log = opened(&folder).await;
        for n in 1..=255 {
            log.append([entry(1, n, 200)], IOFlushed::noop()).await.expect("accepted");
        }
        log.blocking_append([entry(1, 256, 200)]).await.expect("appended");
        assert!(log.figures().batches <= 2, "{:?}", log.figures());
        log.close().await.expect("closed");
    });
}

#[test]
fn an_entry_of_the_largest_size_and_a_batch_above_the_bound_go_through() {
    let folder = scratch();
    on_core(async {
        let mut log = opened(&folder).await;
        let entries: Vec<Entry> =
            (1..=9).map(|n| entry(1, n, LOG_BATCH_BYTES_MAX / 2 - n as usize)).collect();
        log.blocking_append(entries.clone()).await.expect("appended");
        log.close().await.expect("closed");
        let log = opened(&folder).await;
        assert_eq!(all(&log).await, entries);
        log.close().await.expect("closed");
    });
}

/// Three batches of one entry each, and what the file looks like then.
fn three_batches(folder: &tempfile::TempDir) -> (std::path::PathBuf, Vec<u8>) {
    on_core(async {
        let mut log = opened(folder).await;
        for n in 1..=3 {
            log.blocking_append([entry(1, n, 5000)]).await.expect("appended");
        }
    });
    let path = folder.path().join(files::name(1));
    let bytes = std::fs::read(&path).expect("readable");
    (path, bytes)
}

/// Rot of the last acknowledged batch was taken for a write that had been cut short, and cut off: the node went on
/// without what it had promised to keep.
#[test]
fn a_last_batch_that_was_written_to_its_end_and_rots_is_reported_and_not_cut() {
    let folder = scratch();
    let (path, whole) = three_batches(&folder);
    let last = BLOCK_BYTES + 2 * 2 * BLOCK_BYTES;
    // Not in the padding, 40 to 47: nothing is read from there.
    for at in [0, 4, 31, 32, 39, 48, 100, 5000] {
        let mut rotten = whole.clone();
        rotten[last + at] ^= 0x10;
        std::fs::write(&path, &rotten).expect("writable");
        on_core(async {
            let refused = refusal(&folder, GROUP).await;
            let LogOpenError::Corrupt { offset, .. } = refused else {
                panic!("flipped at {at}: {refused:?}")
            };
            assert!((last as u64..last as u64 + 64).contains(&offset), "{offset}");
        });
        assert_eq!(std::fs::read(&path).expect("readable"), rotten, "the disk is as it was");
    }
}

/// Of a batch that stood alone and had become zeros, nothing was left that could tell.
#[test]
fn a_log_that_rested_misses_even_a_last_batch_that_has_become_zeros() {
    let folder = scratch();
    on_core(async {
        let mut log = opened(&folder).await;
        for n in 1..=3 {
            log.blocking_append([entry(1, n, 5000)]).await.expect("appended");
        }
        sleep(Nanos(LOG_MARK_AFTER.0 + LOG_MARK_AFTER.0 / 2)).await;
        assert_eq!(log.figures().batches, 4, "one mark, and no second one");
    });
    let path = folder.path().join(files::name(1));
    let mut bytes = std::fs::read(&path).expect("readable");
    let last = BLOCK_BYTES + 2 * 2 * BLOCK_BYTES;
    bytes[last..last + 2 * BLOCK_BYTES].fill(0);
    std::fs::write(&path, &bytes).expect("writable");
    on_core(async {
        let refused = refusal(&folder, GROUP).await;
        assert!(matches!(refused, LogOpenError::Corrupt { .. }), "{refused:?}");
    });
}

#[test]
fn a_torn_tail_is_cut_wherever_it_tears() {
    let folder = scratch();
    let (path, whole) = three_batches(&folder);
    let last = BLOCK_BYTES + 2 * 2 * BLOCK_BYTES;
    for at in (0..5080).step_by(512) {
        let mut torn = whole.clone();
        torn[last + at..last + at + 512].fill(0);
        std::fs::write(&path, &torn).expect("writable");
        on_core(async {
            let mut log = opened(&folder).await;
            assert_eq!(log.ends().1, point(1, 2), "torn at {at}");
            log.blocking_append([entry(2, 3, 10)]).await.expect("appended");
            log.close().await.expect("closed");
        });
        on_core(async {
            let log = opened(&folder).await;
            assert_eq!(log.ends().1, point(2, 3), "the log goes on where it was cut");
            log.close().await.expect("closed");
        });
    }
}

/// The rest of it would stand behind the shorter batch that takes its place, and pass for damage from then on.
#[test]
fn of_a_torn_batch_nothing_stays_behind_a_shorter_one_that_takes_its_place() {
    let folder = scratch();
    let bytes = 6 * BLOCK_BYTES;
    let append = async |log: &mut Log, entry: Entry| log.blocking_append([entry]).await.expect("appended");
    on_core(async {
        let mut log = opened(&folder).await;
        append(&mut log, entry(1, 1, 5000)).await;
        append(&mut log, entry(1, 2, bytes)).await;
    });
    let path = folder.path().join(files::name(1));
    let whole = std::fs::read(&path).expect("readable");
    let last = BLOCK_BYTES + 2 * BLOCK_BYTES;
    for at in [0, BLOCK_BYTES, 3 * BLOCK_BYTES + 512] {
        let mut torn = whole.clone();
        torn[last + at..last + at + 512].fill(0);
        std::fs::write(&path, &torn).expect("writable");
        on_core(async {
            let mut log = opened(&folder).await;
            assert_eq!(log.ends().1, point(1, 1), "torn at {at}");
            append(&mut log, entry(2, 2, 10)).await;
        });
        on_core(async { assert_eq!(opened(&folder).await.ends().1, point(2, 2), "torn at {at}") });
    }
}

/// A file has all its room from the beginning; one that is written on no more keeps none that it does not need.
#[test]
fn a_full_file_gives_its_room_back_also_where_the_process_died_before_that() {
    let folder = scratch();
    let bytes = LOG_BATCH_BYTES_MAX / 2;
    let count = LOG_FILE_BYTES / bytes as u64 + 1;
    let entries: Vec<Entry> = (1..=count).map(|n| entry(1, n, bytes)).collect();
    on_core(async {
        let mut log = opened(&folder).await;
        for entry in &entries {
            log.blocking_append([entry.clone()]).await.expect("appended");
        }
    });
    let path = folder.path().join(files::name(1));
    let room = || std::fs::metadata(&path).expect("it is there").len();
    let needed = room();
    assert!(needed < LOG_FILE_BYTES, "it was cut when the next one began");
    std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("writable")
        .set_len(LOG_FILE_BYTES)
        .expect("room");
    on_core(async {
        let log = opened(&folder).await;
        assert_eq!(room(), needed);
        assert_eq!(all(&log).await, entries);
    });
}

#[test]
fn damage_before_valid_batches_is_reported_and_nothing_is_cut() {
    let folder = scratch();
    let (path, whole) = three_batches(&folder);
    let second = BLOCK_BYTES + 2 * BLOCK_BYTES;
    for at in [0, 4, 31, 32, 39, 48, 100, 5000] {
        let mut bad = whole.clone();
        bad[second + at] ^= 0xff;
        std::fs::write(&path, &bad).expect("writable");
        on_core(async {
            let refused = refusal(&folder, GROUP).await;
            let LogOpenError::Corrupt { file, offset, .. } = refused else {
                panic!("flipped at {at}: {refused:?}")
            };
            assert_eq!(file, files::name(1));
            assert!((second as u64..second as u64 + 8192).contains(&offset), "{offset}");
        });
        assert_eq!(std::fs::read(&path).expect("readable"), bad, "the disk is as it was");
    }
}

#[test]
fn a_missing_file_a_foreign_log_and_an_unknown_version_are_refused() {
    let folder = scratch();
    let (path, whole) = three_batches(&folder);
    on_core(async {
        let refused = refusal(&folder, GroupId(4)).await;
        assert!(matches!(refused, LogOpenError::Foreign { found: GROUP, .. }), "{refused:?}");
    });
    let mut next = whole.clone();
    next[5] = 2;
    let mut hasher = crc32fast::Hasher::new_with_initial(0);
    hasher.update(&next[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&next[16..32 + record::HEAD_BYTES]);
    next[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    std::fs::write(&path, &next).expect("writable");
    on_core(async {
        let refused = refusal(&folder, GROUP).await;
        assert!(matches!(refused, LogOpenError::Version { found: 2, .. }), "{refused:?}");
    });
    std::fs::write(&path, &whole).expect("writable");
    std::fs::copy(&path, folder.path().join(files::name(3))).expect("writable");
    on_core(async {
        let refused = refusal(&folder, GROUP).await;
        assert!(matches!(refused, LogOpenError::Corrupt { .. }), "{refused:?}");
    });
}

/// It was opened again over files that were still going.
#[test]
fn a_log_that_is_closed_removes_nothing_any_more() {
    let folder = scratch();
    on_core(async {
        let mut log = opened(&folder).await;
        let bytes = LOG_BATCH_BYTES_MAX / 2;
        let count = 3 * LOG_FILE_BYTES / bytes as u64;
        for n in 1..=count {
            log.blocking_append([entry(1, n, bytes)]).await.expect("appended");
        }
        log.purge(point(1, count).log_id().expect("an entry")).await.expect("purged");
        log.close().await.expect("closed");
        let files = std::fs::read_dir(folder.path()).expect("readable").count();
        assert_eq!(files, 1, "the files that were let go are gone");
        opened(&folder).await.close().await.expect("closed");
    });
}

#[test]
fn a_summary_tells_what_is_there_and_changes_nothing() {
    let folder = scratch();
    on_core(async {
        let found = summary(&open(&folder).await, GROUP).await.expect("empty");
        assert_eq!(found, LogSummary::default());
    });
    let (path, _) = three_batches(&folder);
    let before = std::fs::read(&path).expect("readable");
    on_core(async {
        let found = summary(&open(&folder).await, GROUP).await.expect("whole");
        assert_eq!((found.last, found.files), (point(1, 3), 1));
    });
    assert_eq!(std::fs::read(&path).expect("readable"), before);
}
