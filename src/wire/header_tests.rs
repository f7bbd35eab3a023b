//! The header: what was written is read, and each field is checked on its own.

use super::*;
use crate::limits::FRAME_PAYLOAD_BYTES_MAX;

fn header() -> Header {
    Header {
        kind: Kind::Chunk,
        group: GroupId(3),
        stream: StreamId(5),
        sequence: 7,
        tagged: true,
        body_bytes: 8,
        payload_bytes: FRAME_PAYLOAD_BYTES_MAX,
        checksum: 0x1234_5678,
    }
}

fn changed(at: usize, value: &[u8]) -> Result<Header, HeaderError> {
    let mut bytes = header().encode();
    bytes[at..at + value.len()].copy_from_slice(value);
    Header::decode(&bytes)
}

#[test]
fn a_header_reads_what_it_wrote() {
    assert_eq!(Header::decode(&header().encode()), Ok(header()));
    let plain = Header { tagged: false, payload_bytes: 0, ..header() };
    assert_eq!(Header::decode(&plain.encode()), Ok(plain));
}

#[test]
fn sizes_add_up() {
    assert_eq!(header().control_bytes(), 8 + 16);
    assert_eq!(header().frame_bytes(), 40 + 8 + 16 + FRAME_PAYLOAD_BYTES_MAX);
    assert_eq!(Header { tagged: false, ..header() }.control_bytes(), 8);
}

#[test]
fn each_fixed_field_is_checked() {
    assert_eq!(changed(MAGIC_AT, b"HTTP"), Err(HeaderError::Magic { found: u32::from_le_bytes(*b"HTTP") }));
    assert_eq!(changed(VERSION_AT, &[0]), Err(HeaderError::Version { found: 0 }));
    assert_eq!(changed(VERSION_AT, &[2]), Err(HeaderError::Version { found: 2 }));
    assert_eq!(changed(KIND_AT, &[0]), Err(HeaderError::Kind { found: 0 }));
    assert_eq!(changed(KIND_AT, &[255]), Err(HeaderError::Kind { found: 255 }));
    assert_eq!(changed(FLAGS_AT, &[3]), Err(HeaderError::Flags { found: 3 }));
    assert_eq!(changed(RESERVED_AT, &[0, 0, 0, 1]), Err(HeaderError::Reserved { found: 1 << 24 }));
}

#[test]
fn a_size_one_past_its_limit_is_refused_and_the_limit_is_taken() {
    let kind = Kind::Chunk;
    assert_eq!(changed(BODY_BYTES_AT, &[9]), Err(HeaderError::Body { kind, found: 9, max: 8 }));
    let max = FRAME_PAYLOAD_BYTES_MAX;
    let past = short(max + 1);
    assert_eq!(changed(PAYLOAD_BYTES_AT, &past), Err(HeaderError::Payload { kind, found: max + 1, max }));
    assert!(changed(PAYLOAD_BYTES_AT, &short(max)).is_ok());
    for kind in Kind::ALL {
        let most = Header { kind: *kind, body_bytes: kind.body_bytes_max(), payload_bytes: 0, ..header() };
        assert_eq!(Header::decode(&most.encode()), Ok(most));
        let past = Header { body_bytes: most.body_bytes + 1, ..most };
        assert!(matches!(Header::decode(&past.encode()), Err(HeaderError::Body { .. })), "{kind}");
    }
}

#[test]
fn only_chunks_carry_a_payload() {
    for kind in Kind::ALL {
        let carries = *kind == Kind::Chunk;
        let one = Header { kind: *kind, body_bytes: 0, payload_bytes: 1, ..header() };
        assert_eq!(Header::decode(&one.encode()).is_ok(), carries, "{kind}");
    }
}

#[test]
fn the_checksum_covers_each_field_and_the_body_but_not_itself() {
    let base = header().checksum_over(b"12345678");
    assert_eq!(Header { checksum: 0, ..header() }.checksum_over(b"12345678"), base);
    let others = [
        Header { kind: Kind::Ping, ..header() },
        Header { group: GroupId(4), ..header() },
        Header { stream: StreamId(6), ..header() },
        Header { sequence: 8, ..header() },
        Header { tagged: false, ..header() },
        Header { body_bytes: 7, ..header() },
        Header { payload_bytes: 1, ..header() },
    ];
    for other in others {
        assert_ne!(other.checksum_over(b"12345678"), base, "{other:?}");
    }
    assert_ne!(header().checksum_over(b"12345679"), base);
}
