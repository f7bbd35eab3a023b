//! The format of a queue's file: what reads back, what is cut, what is refused.

use super::*;

const SALT: u64 = 0x1122_3344_5566_7788;
const SESSION: SessionId = SessionId([3; 16]);

fn held(number: u64, bytes: usize) -> Held {
    let byte = u8::try_from(number % 250).expect("small") + 1;
    Held { number, at: UnixNanos(1000 + number), content: vec![byte; bytes].into() }
}

fn refused(number: u64) -> Refused {
    Refused { number, path: format!("p{number}"), why: "größer".to_owned() }
}

/// A file of these batches, with room behind them, and where each begins.
fn file(batches: &[Vec<Line>]) -> (Vec<u8>, Vec<usize>) {
    let (mut out, mut starts) = (put_head(SALT), Vec::new());
    for (number, lines) in (1..).zip(batches) {
        starts.push(out.len());
        put_batch(&mut out, SALT, number, lines);
    }
    out.resize(out.len() + 2 * BLOCK_BYTES, 0);
    (out, starts)
}

fn changes(numbers: std::ops::RangeInclusive<u64>, bytes: usize) -> Vec<Line> {
    numbers.map(|number| Line::Change(held(number, bytes))).collect()
}

fn numbers(kept: &Kept) -> Vec<u64> {
    kept.held.iter().map(|held| held.number).collect()
}

#[test]
fn m5_a_queue_reads_as_it_was_written() {
    let sent = Sent { last: 4, session: SESSION, number: 77 };
    let batches = [
        changes(1..=3, 40),
        Vec::new(),
        vec![Line::Done(1), Line::Change(held(4, 3000)), Line::Refused(refused(3)), Line::Sent(sent)],
    ];
    let kept = replay(&file(&batches).0).expect("sound");
    assert_eq!((kept.done, kept.next(), kept.torn), (1, 5, 0));
    assert_eq!(kept.held, [held(2, 40), held(3, 40), held(4, 3000)]);
    assert_eq!((kept.sent, &kept.refused), (Some(sent), &VecDeque::from([refused(3)])));
    let done = [batches.to_vec(), vec![vec![Line::Done(4)]]].concat();
    let kept = replay(&file(&done).0).expect("sound");
    assert_eq!((kept.done, kept.held.len(), kept.sent), (4, 0, None), "what became of it is known");
    let idle = [batches.to_vec(), vec![vec![Line::Done(1)]]].concat();
    let kept = replay(&file(&idle).0).expect("sound");
    assert_eq!((kept.done, kept.held.len(), kept.sent), (1, 3, None), "nothing happened, and nothing can");
    let anew = file(&[vec![Line::Done(9), Line::Change(held(10, 5)), Line::Refused(refused(2))]]).0;
    assert_eq!(
        numbers(&replay(&anew).expect("sound")),
        [10],
        "numbers go on in a file that was written anew"
    );
}

/// What a power cut leaves of the last write: any of its sectors, the others zeros.
#[test]
fn m5_a_batch_that_lacks_a_sector_is_cut_and_all_before_it_stays() {
    let (whole, starts) = file(&[changes(1..=2, 100), changes(3..=9, 700)]);
    let (start, bytes) = (starts[1], HEADER_BYTES + 7 * (24 + 700) + 1);
    let sectors = bytes.div_ceil(SECTOR_BYTES);
    for lost in 1..1_u32 << sectors {
        let mut cut = whole.clone();
        for sector in (0..sectors).filter(|sector| lost >> sector & 1 == 1) {
            cut[start + sector * SECTOR_BYTES..][..SECTOR_BYTES].fill(0);
        }
        let kept = replay(&cut).unwrap_or_else(|error| panic!("{lost:b}: {error}"));
        assert_eq!(numbers(&kept), [1, 2], "{lost:b}");
        assert!(kept.torn > 0 || lost == (1 << sectors) - 1, "{lost:b}");
    }
    for length in start..start + bytes {
        let kept = replay(&whole[..length]).unwrap_or_else(|error| panic!("cut to {length}: {error}"));
        assert_eq!(numbers(&kept), [1, 2], "cut to {length}");
    }
}

#[test]
fn m5_every_flipped_bit_is_found_and_nothing_is_cut_for_it() {
    let (whole, starts) = file(&[changes(1..=2, 30), changes(3..=4, 30)]);
    let bytes = HEADER_BYTES + 2 * (24 + 30) + 1;
    let places = starts.iter().flat_map(|start| *start..start + bytes).chain(0..HEAD_BYTES);
    for at in places {
        for bit in 0..8 {
            let mut bad = whole.clone();
            bad[at] ^= 1 << bit;
            let error = replay(&bad).expect_err("one bit is another");
            assert!(matches!(error, QueueFileError::Corrupt { .. }), "{at}.{bit}: {error}");
        }
    }
}

/// Rot that looks like a write that never came, where a later batch says that it had come.
#[test]
fn m5_a_lost_sector_before_a_later_batch_is_damage() {
    let (whole, starts) = file(&[changes(1..=9, 700), Vec::new()]);
    for sector in 0..9 {
        let mut rotten = whole.clone();
        rotten[starts[0] + sector * SECTOR_BYTES..][..SECTOR_BYTES].fill(0);
        let error = replay(&rotten).expect_err("a batch follows");
        assert!(matches!(error, QueueFileError::Corrupt { .. }), "{sector}: {error}");
    }
}

#[test]
fn m5_what_stands_behind_a_batch_that_does_not_read_is_damage() {
    let (mut whole, starts) = file(&[changes(1..=1, 10)]);
    whole[starts[0] + HEADER_BYTES + 30] = 0;
    whole[starts[0] + 2 * SECTOR_BYTES] = 1;
    let fault = QueueFault::Trailing;
    assert_eq!(replay(&whole), Err(QueueFileError::Corrupt { offset: starts[0] as u64, fault }));
}

#[test]
fn m5_numbers_that_cannot_be_are_refused() {
    let sent = |last| Line::Sent(Sent { last, session: SESSION, number: 1 });
    let wrong = [
        vec![Line::Change(held(2, 1))],
        vec![Line::Change(held(1, 1)), Line::Change(held(1, 1))],
        vec![Line::Change(held(1, 1)), Line::Done(2)],
        vec![Line::Done(5), Line::Done(4)],
        vec![Line::Change(held(1, 1)), sent(2)],
        vec![Line::Done(3), sent(3)],
        vec![Line::Refused(refused(1))],
    ];
    for lines in wrong {
        let found = replay(&file(std::slice::from_ref(&lines)).0);
        let is_number =
            matches!(found, Err(QueueFileError::Corrupt { fault: QueueFault::Number { .. }, .. }));
        assert!(is_number, "{lines:?}: {found:?}");
    }
}

#[test]
fn m5_a_later_version_and_another_file_are_told_apart() {
    let mut later = put_head(SALT);
    later[AT_VERSION] = 2;
    let checksum = crc32fast::hash(&later[..AT_HEAD_CHECKSUM]);
    later[AT_HEAD_CHECKSUM..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(replay(&later), Err(QueueFileError::Version { found: 2 }));
    let head_is_bad = Err(QueueFileError::Corrupt { offset: 0, fault: QueueFault::Head });
    assert_eq!(replay(b""), head_is_bad);
    assert_eq!(replay(&[0; 2 * BLOCK_BYTES]), head_is_bad);
}

/// A batch of another file, in a block that this one has got from it, is none of this one's.
#[test]
fn m5_a_batch_of_another_file_is_no_batch_of_this_one() {
    let mut bytes = put_head(SALT);
    put_batch(&mut bytes, SALT + 1, 1, &changes(1..=1, 10));
    let fault = QueueFault::Header;
    assert_eq!(replay(&bytes), Err(QueueFileError::Corrupt { offset: BLOCK_BYTES as u64, fault }));
}

#[test]
fn m5_of_refusals_the_latest_stay_and_those_that_still_wait() {
    let mut kept = Kept::default();
    let most = REFUSALS_KEPT_MAX as u64;
    for number in 1..=most + 10 {
        kept.held.push_back(held(number, 1));
        kept.refuse(refused(number));
    }
    assert_eq!(kept.refused.len() as u64, most + 10, "they are not to be tried again");
    kept.settle(most + 10);
    kept.held.push_back(held(most + 11, 1));
    kept.refuse(refused(most + 11));
    assert_eq!(kept.refused.len() as u64, most);
    assert_eq!(kept.refused.back(), Some(&refused(most + 11)));
}
