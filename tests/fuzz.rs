//! Random and mutated bytes against every decoder of the wire and the digests.
//!
//! Nothing panics; whatever decodes encodes to the same bytes; a cut or a flipped bit never passes for the original.
//! Each run draws from one seed: `SEED=n cargo test --features sim --test fuzz` replays it, `ROUNDS=n` lengthens it.

#![expect(clippy::unwrap_used, reason = "what panics in a test has failed")]

#[path = "fuzz/bodies.rs"]
mod bodies;
#[path = "fuzz/chance.rs"]
mod chance;

use ringway::digest::{ChunkList, Kernel, TreeHasher, VerifiedChunks, sidecar_decode, sidecar_encode};
use ringway::ids::{Digest, GroupId, StreamId};
use ringway::wire::{Body, CodecError, Envelope, FrameError, HEADER_BYTES, Header, Kind, Reader};

use bodies::Bodies;
use chance::{Chance, run};

/// A body that decodes is written as the bytes that it was read from.
fn assert_canonical(kind: Kind, bytes: &[u8]) -> bool {
    let Ok(body) = Body::decode(kind, bytes) else { return false };
    let mut out = Vec::new();
    body.encode(&mut out).unwrap();
    assert_eq!(out, bytes, "{kind} decodes to a value that is written otherwise");
    true
}

fn frame(chance: &mut Chance, body: &Body<'_>) -> (Header, Vec<u8>) {
    let envelope = Envelope {
        group: GroupId(chance.u32()),
        stream: StreamId(chance.u32()),
        sequence: chance.u64(),
        tagged: chance.below(2) == 1,
    };
    let payload_bytes = chance.below(body.kind().payload_bytes_max() + 1);
    let mut out = Vec::new();
    let header = envelope.encode(body, payload_bytes, &mut out).unwrap();
    (header, out)
}

/// Header and body as a receiver reads them.
fn receive(bytes: &[u8]) -> Option<(Header, Result<Body<'_>, FrameError>)> {
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let header = Header::decode(head).ok()?;
    let body = rest.get(..header.body_bytes)?;
    Some((header, header.decode_body(body)))
}

#[test]
fn random_bodies_are_read_as_they_were_written() {
    run(400, |chance| {
        let pool = Bodies::new(chance);
        for kind in Kind::ALL {
            let body = pool.draw(chance, *kind);
            let (header, bytes) = frame(chance, &body);
            assert_eq!(receive(&bytes), Some((header, Ok(body))));
        }
    });
}

#[test]
fn random_bytes_decode_to_nothing_or_to_themselves() {
    run(300, |chance| {
        for kind in Kind::ALL {
            let len = chance.below(160);
            let mut bytes = chance.bytes(len);
            if chance.below(2) == 1 {
                // Small numbers reach deeper than random ones: most are lengths, codes and padding.
                bytes.iter_mut().for_each(|byte| *byte &= 1);
            }
            assert_canonical(*kind, &bytes);
        }
    });
}

#[test]
fn random_bytes_of_every_length_do_decode_where_the_kind_allows_it() {
    // So that the test above is known to reach the far side.
    run(40, |chance| {
        let id = chance.bytes(8);
        assert!(assert_canonical(Kind::Ping, &id));
        let mac = chance.bytes(32);
        assert!(assert_canonical(Kind::Proof, &mac));
    });
}

#[test]
fn a_frame_cut_at_any_length_is_refused() {
    run(30, |chance| {
        let pool = Bodies::new(chance);
        for kind in Kind::ALL {
            let body = pool.draw(chance, *kind);
            let (header, bytes) = frame(chance, &body);
            for len in 0..bytes.len() {
                assert_eq!(receive(&bytes[..len]), None, "{kind} cut to {len} of {}", bytes.len());
            }
            for len in 0..header.body_bytes {
                let cut = &bytes[HEADER_BYTES..HEADER_BYTES + len];
                assert!(!assert_canonical(*kind, cut), "{kind}'s body cut to {len} of {}", header.body_bytes);
            }
        }
    });
}

#[test]
fn a_body_with_bytes_behind_it_is_refused() {
    run(60, |chance| {
        let pool = Bodies::new(chance);
        for kind in Kind::ALL {
            let mut out = Vec::new();
            pool.draw(chance, *kind).encode(&mut out).unwrap();
            out.push(chance.byte());
            let found = Body::decode(*kind, &out).map(drop).unwrap_err();
            assert_eq!(found.error, CodecError::Trailing { bytes: 1 }, "{kind}");
        }
    });
}

#[test]
fn any_flipped_bit_of_a_frame_is_caught() {
    run(8, |chance| {
        let pool = Bodies::new(chance);
        for kind in Kind::ALL {
            let body = pool.draw(chance, *kind);
            let (_, mut bytes) = frame(chance, &body);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let caught = receive(&bytes).is_none_or(|(_, body)| body.is_err());
                assert!(caught, "{kind}: bit {bit} of {}", bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    });
}

#[test]
fn a_mutated_body_decodes_to_nothing_or_to_itself() {
    run(60, |chance| {
        let pool = Bodies::new(chance);
        for kind in Kind::ALL {
            let mut out = Vec::new();
            pool.draw(chance, *kind).encode(&mut out).unwrap();
            for _ in 0..40 {
                let mut bytes = out.clone();
                chance.mutate(&mut bytes);
                assert_canonical(*kind, &bytes);
            }
        }
    });
}

#[test]
fn a_mutated_header_decodes_to_nothing_or_to_itself() {
    run(200, |chance| {
        let pool = Bodies::new(chance);
        let kind = chance.one_of(Kind::ALL);
        let body = pool.draw(chance, kind);
        let (_, bytes) = frame(chance, &body);
        for _ in 0..50 {
            let mut head: [u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().unwrap();
            for _ in 0..=chance.below(3) {
                head[chance.below(HEADER_BYTES)] = chance.byte();
            }
            if let Ok(header) = Header::decode(&head) {
                assert_eq!(header.encode(), head);
                assert!(header.body_bytes <= header.kind.body_bytes_max());
                assert!(header.payload_bytes <= header.kind.payload_bytes_max());
            }
        }
    });
}

#[test]
fn random_headers_are_refused() {
    run(2000, |chance| {
        let head: [u8; HEADER_BYTES] = chance.bytes(HEADER_BYTES).try_into().unwrap();
        assert!(Header::decode(&head).is_err());
    });
}

#[test]
fn a_reader_asked_for_anything_never_reads_past_the_end() {
    run(2000, |chance| {
        let len = chance.below(40);
        let bytes = chance.bytes(len);
        let mut reader = Reader::new(&bytes);
        for _ in 0..20 {
            let (left, bound) = (reader.left(), chance.below(48));
            let taken = match chance.below(4) {
                0 => reader.u8().map(|_| 1),
                1 => reader.u64().map(|_| 8),
                2 => reader.take(bound).map(<[u8]>::len),
                _ => reader.bytes(bound).map(|bytes| 4 + bytes.len()),
            };
            match taken {
                Ok(taken) => assert_eq!(reader.left(), left - taken),
                Err(CodecError::Truncated { needed, left }) => assert!(needed > left),
                Err(CodecError::TooLong { max, found }) => assert!(found > max && max == bound),
                Err(other) => panic!("{other}"),
            }
        }
    });
}

fn verified(chance: &mut Chance) -> VerifiedChunks {
    let mut hasher = TreeHasher::new(Kernel::Ring);
    let len = chance.below(3 << 20);
    hasher.update(&vec![chance.byte(); len]);
    let tree = hasher.finish();
    let root = tree.root;
    ChunkList::from(tree).verify(root).unwrap()
}

#[test]
fn a_sidecar_that_is_mutated_cut_or_made_up_is_refused() {
    run(20, |chance| {
        let chunks = verified(chance);
        let good = sidecar_encode(&chunks);
        assert_eq!(sidecar_decode(&good, chunks.root()).as_ref(), Ok(&chunks));
        for _ in 0..200 {
            let mut bytes = good.clone();
            chance.mutate(&mut bytes);
            let found = sidecar_decode(&bytes, chunks.root());
            assert!(bytes == good || found.is_err());
        }
        for len in 0..good.len() {
            assert!(sidecar_decode(&good[..len], chunks.root()).is_err());
        }
        let len = chance.below(200);
        assert!(sidecar_decode(&chance.bytes(len), Digest::default()).is_err());
    });
}
