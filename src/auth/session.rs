//! The frames of a session: each carries a tag that binds its direction, its place in the order and all its bytes.
//!
//! A frame that was replayed, reordered, dropped before this one, reflected, cut, changed or carried over from
//! another session is refused, and the first refusal ends the session. That the *last* frames were dropped shows in
//! nothing that comes after them: an end is an end only if a tagged frame says so.

use std::fmt;
use std::hint::black_box;

use ring::hmac;

/// Bytes of a frame's tag: HMAC-SHA256 cut to 128 bits, which a peer that hangs up at the first error can guess once
/// in 2^128.
pub const TAG_BYTES: usize = 16;

/// The keys of one session, seen from one side.
///
/// They live as long as the connection and are worth nothing after it. `ring` keeps them in a form of its own that
/// it does not wipe; the cluster's secret, from which they come, is wiped.
pub struct SessionKeys {
    /// Tags what this side sends.
    pub send: Tagger,
    /// Checks what this side receives.
    pub receive: Checker,
}

impl SessionKeys {
    pub(super) fn new(send: hmac::Key, receive: hmac::Key) -> Self {
        Self {
            send: Tagger { key: send, next: 0 },
            receive: Checker { key: receive, next: 0, refused: false },
        }
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys(redacted; next to send {}, to receive {})", self.send.next, self.receive.next)
    }
}

/// Tags the frames that one side sends.
pub struct Tagger {
    key: hmac::Key,
    next: u64,
}

impl Tagger {
    /// The sequence number of the next frame.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.next
    }

    /// The tag of the next frame, of which `header` holds everything before the tag and `body` everything after it
    /// but the raw payload. Counts the frame as sent.
    pub fn tag(&mut self, header: &[u8], body: &[u8]) -> [u8; TAG_BYTES] {
        let tag = tag(&self.key, self.next, header, body);
        self.next = self.next.checked_add(1).expect("2^64 frames at 10^9 a second last 584 years");
        tag
    }
}

/// Checks the frames that one side receives.
pub struct Checker {
    key: hmac::Key,
    next: u64,
    refused: bool,
}

impl Checker {
    /// Checks the next frame.
    ///
    /// # Errors
    /// The frame is not the peer's next one, as it sent it; then the session is over, and every later call says so.
    pub fn check(
        &mut self,
        sequence: u64,
        header: &[u8],
        body: &[u8],
        given: [u8; TAG_BYTES],
    ) -> Result<(), TagError> {
        if self.refused {
            return Err(TagError::Over);
        }
        self.refused = true;
        if sequence != self.next {
            return Err(TagError::Sequence { expected: self.next, found: sequence });
        }
        if !same(tag(&self.key, sequence, header, body), given) {
            return Err(TagError::Tag { sequence });
        }
        self.next = self.next.checked_add(1).ok_or(TagError::Over)?;
        self.refused = false;
        Ok(())
    }
}

/// The header is written behind its length, so that no byte moves between header and body unseen.
fn tag(key: &hmac::Key, sequence: u64, header: &[u8], body: &[u8]) -> [u8; TAG_BYTES] {
    let mut context = hmac::Context::with_key(key);
    context.update(&sequence.to_le_bytes());
    context.update(&(header.len() as u64).to_le_bytes());
    context.update(header);
    context.update(body);
    let full = context.sign();
    *full.as_ref().first_chunk().expect("an HMAC-SHA256 has 32 bytes")
}

/// In the same time wherever the difference is: one comparison of one number. (`ring` verifies uncut tags only.)
fn same(ours: [u8; TAG_BYTES], theirs: [u8; TAG_BYTES]) -> bool {
    black_box(u128::from_le_bytes(ours) ^ u128::from_le_bytes(theirs)) == 0
}

/// Why a frame was refused. The connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagError {
    /// Not the next frame: one was dropped, repeated or moved.
    Sequence {
        /// The next frame's number.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// The tag is not that of these bytes at this place of this session.
    Tag {
        /// The frame's number.
        sequence: u64,
    },
    /// An earlier frame was refused.
    Over,
}

impl fmt::Display for TagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence { expected, found } => {
                write!(
                    f,
                    "frame {found} came where frame {expected} was due: frames were dropped or replayed"
                )
            }
            Self::Tag { sequence } => {
                write!(f, "the tag of frame {sequence} is wrong: its bytes are not the peer's")
            }
            Self::Over => f.write_str("the session ended at a frame that was refused: dial again"),
        }
    }
}

impl std::error::Error for TagError {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Frame {
        sequence: u64,
        header: Vec<u8>,
        body: Vec<u8>,
        tag: [u8; TAG_BYTES],
    }

    fn key(seed: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[seed; 32])
    }

    /// Both ends of a session by two keys.
    fn pair(seed: u8) -> (SessionKeys, SessionKeys) {
        let (there, back) = (seed, seed + 1);
        (SessionKeys::new(key(there), key(back)), SessionKeys::new(key(back), key(there)))
    }

    fn send(tagger: &mut Tagger, header: &[u8], body: &[u8]) -> Frame {
        let sequence = tagger.sequence();
        let tag = tagger.tag(header, body);
        Frame { sequence, header: header.to_vec(), body: body.to_vec(), tag }
    }

    fn take(checker: &mut Checker, frame: &Frame) -> Result<(), TagError> {
        checker.check(frame.sequence, &frame.header, &frame.body, frame.tag)
    }

    #[test]
    fn frames_pass_in_order_in_both_directions() {
        let (mut a, mut b) = pair(1);
        for number in 0..100_u64 {
            let frame = send(&mut a.send, &number.to_le_bytes(), b"there");
            assert_eq!(take(&mut b.receive, &frame), Ok(()));
            let frame = send(&mut b.send, &[], &[]);
            assert_eq!(take(&mut a.receive, &frame), Ok(()));
        }
    }

    #[test]
    fn a1_weak_25_a_frame_replayed_dropped_or_moved_is_refused() {
        for order in [[0, 0], [1, 0], [0, 2], [2, 1]] {
            let (mut a, mut b) = pair(1);
            let frames: Vec<_> = (0..3).map(|_| send(&mut a.send, b"h", b"same bytes")).collect();
            let results = order.map(|place| take(&mut b.receive, &frames[place]));
            let refused = results.iter().find(|result| result.is_err()).copied();
            assert!(matches!(refused, Some(Err(TagError::Sequence { .. }))), "{order:?}: {results:?}");
        }
    }

    #[test]
    fn a1_a_frame_under_another_number_is_refused() {
        let (mut a, mut b) = pair(1);
        let first = send(&mut a.send, b"h", b"body");
        assert_eq!(take(&mut b.receive, &first), Ok(()));
        let replayed = Frame { sequence: 1, ..first };
        assert_eq!(take(&mut b.receive, &replayed), Err(TagError::Tag { sequence: 1 }));
    }

    #[test]
    fn a1_a_frame_reflected_to_its_sender_is_refused() {
        let (mut a, _) = pair(1);
        let frame = send(&mut a.send, b"h", b"body");
        assert_eq!(take(&mut a.receive, &frame), Err(TagError::Tag { sequence: 0 }));
    }

    #[test]
    fn a1_a_frame_of_another_session_is_refused() {
        let (mut a, _) = pair(1);
        let (_, mut other) = pair(3);
        let frame = send(&mut a.send, b"h", b"body");
        assert_eq!(take(&mut other.receive, &frame), Err(TagError::Tag { sequence: 0 }));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused() {
        let (mut a, _) = pair(1);
        let sent = send(&mut a.send, b"head", b"body");
        let refused = |header: &[u8], body: &[u8], tag: [u8; TAG_BYTES]| {
            let (_, mut b) = pair(1);
            assert_eq!(b.receive.check(0, header, body, tag), Err(TagError::Tag { sequence: 0 }));
        };
        for bit in 0..32 {
            let mut changed = sent.header.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            refused(&changed, &sent.body, sent.tag);
            refused(&sent.header, &changed, sent.tag);
        }
        for bit in 0..TAG_BYTES * 8 {
            let mut changed = sent.tag;
            changed[bit / 8] ^= 1 << (bit % 8);
            refused(&sent.header, &sent.body, changed);
        }
        for cut in 0..4 {
            refused(&sent.header, &sent.body[..cut], sent.tag);
            refused(&sent.header[..cut], &sent.body, sent.tag);
        }
        refused(b"headb", b"ody", sent.tag);
        refused(b"", b"headbody", sent.tag);
        refused(b"head", b"body\0", sent.tag);
    }

    #[test]
    fn the_first_refusal_ends_the_session() {
        let (mut a, mut b) = pair(1);
        let good = send(&mut a.send, b"h", b"body");
        let bad = Frame { tag: [0; TAG_BYTES], header: b"h".to_vec(), body: Vec::new(), sequence: 0 };
        assert_eq!(take(&mut b.receive, &bad), Err(TagError::Tag { sequence: 0 }));
        assert_eq!(take(&mut b.receive, &good), Err(TagError::Over));
    }

    #[test]
    fn a16_no_debug_form_shows_a_key() {
        let (mut a, _) = pair(1);
        send(&mut a.send, b"h", b"body");
        assert_eq!(format!("{a:?}"), "SessionKeys(redacted; next to send 1, to receive 0)");
    }

    #[test]
    fn the_tag_is_part_of_the_wire_format_and_never_changes() {
        let (mut a, _) = pair(1);
        send(&mut a.send, b"", b"");
        let hex: String = a.send.tag(b"head", b"body").iter().map(|byte| format!("{byte:02x}")).collect();
        // Computed apart from this code, with HMAC of another library.
        assert_eq!(hex, "6a89136534d89394aa009a25db65fa37");
    }
}
