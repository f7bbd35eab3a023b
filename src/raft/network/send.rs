//! Moving a snapshot to a follower: announced, sent piece by piece from where the follower is, taken in at the end.

use crate::limits::{SNAPSHOT_INSTALL_TIMEOUT, SNAPSHOT_PIECE_BYTES_MAX, SNAPSHOT_PIECE_TIMEOUT};
use crate::raft::plausible::believed;
use crate::raft::rpc::{
    Call, OfferReply, SnapshotOffer, read_number, read_offer_reply, read_one_vote, write_offer, write_piece,
};
use crate::raft::snapshot::SnapshotFile;
use crate::raft::types::{Member, Vote};
use crate::uring::Buffer;
use crate::wire::CodecError;

use super::error::CallError;
use super::lines::{LineUse, Lines};

/// Moves a snapshot; gives the vote that the follower knows then.
pub(super) async fn send_snapshot(
    lines: &Lines,
    target: (u64, &Member),
    vote: Vote,
    snapshot: &SnapshotFile,
) -> Result<Vote, CallError> {
    let call = |call, bytes, length| lines.call(target, LineUse::Snapshots, (call, bytes), length);
    let offer = SnapshotOffer { vote, head: snapshot.head.clone(), bytes: snapshot.bytes };
    let reply = call(Call::SnapshotBegin, write_offer(&offer), SNAPSHOT_PIECE_TIMEOUT).await?;
    let mut offset = match read_offer_reply(&reply).map_err(CallError::Answer)? {
        OfferReply::From(offset) => offset,
        OfferReply::HigherVote(higher) => return Ok(believed(higher, vote)),
    };
    let mut buffer = Buffer::heap(SNAPSHOT_PIECE_BYTES_MAX);
    while offset < snapshot.bytes {
        let (count, back) = snapshot.file.read_at(buffer, 0..SNAPSHOT_PIECE_BYTES_MAX, offset).await;
        buffer = back;
        let unreadable = |text: String| CallError::Refused { text };
        let count = count.map_err(|errno| unreadable(format!("our snapshot cannot be read: {errno}")))?;
        if count == 0 {
            return Err(unreadable("our snapshot is shorter than it was".to_owned()));
        }
        let piece = write_piece(snapshot.head.point, offset, &buffer.memory()[..count]);
        let reply = call(Call::SnapshotPiece, piece, SNAPSHOT_PIECE_TIMEOUT).await?;
        let due = offset + count as u64;
        offset = read_number(&reply).map_err(CallError::Answer)?;
        if offset != due {
            // It has taken something else, or would have the same piece again and again.
            return Err(CallError::Answer(CodecError::Unknown { of: "piece of a snapshot", found: 0 }));
        }
    }
    let reply = call(Call::SnapshotEnd, write_offer(&offer), SNAPSHOT_INSTALL_TIMEOUT).await?;
    Ok(believed(read_one_vote(&reply).map_err(CallError::Answer)?, vote))
}
