//! Bytes to frames and back: header, kinds, versions, checksums. Pure: no socket, no clock, no file.
//!
//! Promises: a frame that decodes is the only encoding of its value, its sizes are within the limits of its kind, and
//! nothing is allocated for bytes that have not come. Refuses: to panic on any bytes. The layouts are in FORMAT.md,
//! which the tests read. The session tag between body and payload is made and checked by `auth`.

pub mod archive;
mod body;
mod codec;
mod field;
mod frame;
mod header;
mod kind;
#[cfg(test)]
pub mod page;
mod value;
mod word;

pub use body::{
    Announce, Chunk, ChunkList, Close, Credit, Fetch, FetchRefused, Hello, ListPage, ListReply, Open, Ping,
    Pong, Proof, Propose, ProposeReply, RaftRequest, RaftResponse, Ready, Refused, Reset, Welcome,
};
pub use codec::{CodecError, Reader, Writer, field_at};
pub use field::{Cursor, Text};
pub use frame::{EncodeError, Envelope, FrameError};
pub use header::{HEADER_BYTES, Header, HeaderError, MAGIC, TAG_BYTES, VERSION, VERSION_MIN};
pub use kind::{Body, BodyError, FieldForm, Kind};
pub use value::{
    DecodeError, VALUE_ALIGNMENT, ValueBytes, access_value, aligned, decode_value, encode_value,
};
pub use word::{Class, Purpose, Refusal, Role};
