//! Bytes to frames and back: header, kinds, versions, checksums. Pure: no socket, no clock, no file.

pub mod archive;
