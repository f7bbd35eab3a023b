//! An event's bytes (FORMAT.md, section 14). Its place is the file's affair.

use crate::ids::{LogIndex, NodeId, SegmentId};
use crate::limits::{PATH_BYTES_MAX, REASON_BYTES_MAX};
use crate::raft::GroupRole;
use crate::wire::{CodecError, Reader, Writer};

use super::event::{Event, Happening};
use super::line::Place;

const REGISTERED: u8 = 1;
const UPDATED: u8 = 2;
const DELETED: u8 = 3;
const INSTALLED: u8 = 4;
const DAMAGED: u8 = 5;
const REPAIRED: u8 = 6;
const UNAVAILABLE: u8 = 7;
const ROLE: u8 = 8;

const ROLES: [GroupRole; 5] =
    [GroupRole::Learner, GroupRole::Follower, GroupRole::Candidate, GroupRole::Leader, GroupRole::Stopped];

impl Event {
    /// The bytes of an event.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, role, leader, text) = match &self.what {
            Happening::Registered => (REGISTERED, 0, None, ""),
            Happening::Updated => (UPDATED, 0, None, ""),
            Happening::Deleted { reason } => (DELETED, 0, None, reason.as_str()),
            Happening::Installed => (INSTALLED, 0, None, ""),
            Happening::Damaged => (DAMAGED, 0, None, ""),
            Happening::Repaired => (REPAIRED, 0, None, ""),
            Happening::Unavailable { why } => (UNAVAILABLE, 0, None, why.as_str()),
            Happening::Role { role, leader } => {
                let at = ROLES.iter().position(|known| known == role).expect("all roles are listed");
                (ROLE, u8::try_from(at).expect("there are few"), *leader, "")
            }
        };
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.u8(kind);
        writer.u8(role);
        writer.zeros(2);
        writer.u64(self.applied.0);
        writer.u64(leader.map_or(0, |node| node.0));
        let none = (SegmentId { index: LogIndex(0), ordinal: 0 }, String::new());
        let (id, path) = self.segment.as_ref().unwrap_or(&none);
        writer.u64(id.index.0);
        writer.u32(id.ordinal);
        let within = "the manifest has bounded it";
        writer.bytes(path.as_bytes(), PATH_BYTES_MAX).expect(within);
        writer.bytes(text.as_bytes(), REASON_BYTES_MAX).expect(within);
        out
    }

    /// An event out of its bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn decode(bytes: &[u8], place: Place) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let (kind, role) = (reader.u8()?, reader.u8()?);
        reader.zeros(2)?;
        let applied = LogIndex(reader.u64()?);
        let leader = Some(NodeId(reader.u64()?)).filter(|node| node.0 != 0);
        let id = SegmentId { index: LogIndex(reader.u64()?), ordinal: reader.u32()? };
        let path = text(&mut reader, PATH_BYTES_MAX)?;
        let text = text(&mut reader, REASON_BYTES_MAX)?;
        reader.finish()?;
        let what = match kind {
            REGISTERED => Happening::Registered,
            UPDATED => Happening::Updated,
            DELETED => Happening::Deleted { reason: text },
            INSTALLED => Happening::Installed,
            DAMAGED => Happening::Damaged,
            REPAIRED => Happening::Repaired,
            UNAVAILABLE => Happening::Unavailable { why: text },
            ROLE => {
                let role = *ROLES
                    .get(usize::from(role))
                    .ok_or(CodecError::Unknown { of: "role", found: u16::from(role) })?;
                Happening::Role { role, leader }
            }
            found => return Err(CodecError::Unknown { of: "event", found: u16::from(found) }),
        };
        let segment = (kind != ROLE).then_some((id, path));
        Ok(Self { place, applied, segment, what })
    }
}

fn text(reader: &mut Reader<'_>, most: usize) -> Result<String, CodecError> {
    let bytes = reader.bytes(most)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| CodecError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn m6_every_event_is_read_as_it_was_written_and_no_cut_of_it_is() {
        let place = Place { life: 3, number: 4 };
        let segment = Some((SegmentId { index: LogIndex(5), ordinal: 6 }, "a/b".to_owned()));
        let mut all: Vec<Happening> = ROLES
            .into_iter()
            .zip([None, Some(NodeId(1)), Some(NodeId(2)), None, None])
            .map(|(role, leader)| Happening::Role { role, leader })
            .collect();
        all.extend([
            Happening::Registered,
            Happening::Updated,
            Happening::Deleted { reason: "why".to_owned() },
            Happening::Installed,
            Happening::Damaged,
            Happening::Repaired,
            Happening::Unavailable { why: "corrupt".to_owned() },
        ]);
        for what in all {
            let segment = segment.clone().filter(|_| !matches!(what, Happening::Role { .. }));
            let event = Event { place, applied: LogIndex(9), segment, what };
            let bytes = event.encode();
            assert_eq!(Event::decode(&bytes, place), Ok(event));
            (0..bytes.len()).for_each(|cut| assert!(Event::decode(&bytes[..cut], place).is_err(), "{cut}"));
            let [mut kind, mut role] = [bytes.clone(), bytes];
            kind[0] = ROLE + 1;
            assert_eq!(Event::decode(&kind, place), Err(CodecError::Unknown { of: "event", found: 9 }));
            role[0] = ROLE;
            role[1] = 5;
            assert_eq!(Event::decode(&role, place), Err(CodecError::Unknown { of: "role", found: 5 }));
        }
    }
}
