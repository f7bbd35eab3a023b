//! The small closed vocabularies of the frames: each word has one code and one name.

use std::fmt;

use crate::wire::codec::{CodecError, Reader, Writer};
use crate::wire::field::Field;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $int:ident, $what:literal {
        $($(#[$word_doc:meta])* $word:ident = $code:literal, $text:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum $name {
            $($(#[$word_doc])* $word,)+
        }

        impl $name {
            /// Every word, by code.
            pub const ALL: &[Self] = &[$(Self::$word),+];

            /// Its code on the wire.
            #[must_use]
            pub const fn code(self) -> $int {
                match self {
                    $(Self::$word => $code,)+
                }
            }

            /// Its name in status and logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl<'a> Field<'a> for $name {
            const FORM: &'static str = $what;
            const BYTES_MAX: usize = size_of::<$int>();

            fn read(reader: &mut Reader<'a>) -> Result<Self, CodecError> {
                match reader.$int()? {
                    $($code => Ok(Self::$word),)+
                    other => Err(CodecError::Unknown { of: $what, found: other.into() }),
                }
            }

            fn write(&self, writer: &mut Writer<'_>) -> Result<(), CodecError> {
                writer.$int(self.code());
                Ok(())
            }
        }
    };
}

words! {
    /// What the side that dials is.
    Role: u8, "role" {
        /// A member of the cluster.
        Node = 1, "node";
        /// A reader of segments that is no member.
        Puller = 2, "puller";
    }
}

words! {
    /// What a connection is for, so that bulk never stands before control.
    Class: u8, "class" {
        /// Consensus, proposals, soft state, cluster operations.
        Control = 1, "control";
        /// Segments and snapshots.
        Bulk = 2, "bulk";
    }
}

words! {
    /// What a stream is for.
    Purpose: u8, "purpose" {
        /// Consensus of one group, its snapshots among it.
        Raft = 1, "raft";
        /// Proposals on their way to the leader.
        Manifest = 2, "manifest";
        /// Segments of one shard, or of a served directory and its list.
        Transfer = 3, "transfer";
        /// What nodes tell each other about a shard.
        Soft = 4, "soft";
        /// Segments of one shard for a node that is behind: what others need just now goes before.
        CatchUp = 5, "catch_up";
    }
}

words! {
    /// Why a source does not serve what was asked for.
    Refusal: u16, "refusal" {
        /// It does not have it.
        NotHere = 1, "not_here";
        /// It knows the id with another root: the manifest has moved on, on one side.
        Superseded = 2, "superseded";
        /// It serves as much as it may; ask later or elsewhere.
        Busy = 3, "busy";
        /// The range is not of the thing asked for.
        BadRange = 4, "bad_range";
        /// It has it, and knows that it is damaged.
        Damaged = 5, "damaged";
        /// It is about to stop.
        ShuttingDown = 6, "shutting_down";
        /// The asker may not have it.
        NotAllowed = 7, "not_allowed";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_reads_as_its_own_word_and_no_other() {
        for refusal in Refusal::ALL {
            let code = refusal.code().to_le_bytes();
            assert_eq!(Refusal::read(&mut Reader::new(&code)), Ok(*refusal));
        }
        let found = Refusal::read(&mut Reader::new(&[0, 0]));
        assert_eq!(found, Err(CodecError::Unknown { of: "refusal", found: 0 }));
        assert_eq!(Role::read(&mut Reader::new(&[3])), Err(CodecError::Unknown { of: "role", found: 3 }));
    }
}
