//! FORMAT.md against the code: every vector is decoded, encoded and compared, every table is that of the code.

#![expect(clippy::unwrap_used, reason = "what panics in a test has failed")]

use ringway::digest::{
    ChunkList, Kernel, TreeAndFlat, VerifiedChunks, chunk_digest, root_digest, sidecar_decode, sidecar_encode,
};
use ringway::ids::{Digest, LogIndex, NodeId, SegmentId, SessionId, UnixNanos};
use ringway::journal::{
    Asked, EventBatch, EventsHead, Held, Line, Refused, Sent, SessionRecord, put_batch, put_events_batch,
    put_events_head, put_head, read_events, replay,
};
use ringway::limits::CHUNK_BYTES;
use ringway::raft::GroupRole;
use ringway::segment::{Identity, Ownership, records_in};
use ringway::shard::{Event, Happening, Place};
use ringway::wire::archive::{ArchiveHeader, ArchiveKind, archive_buffer, open_archive, seal_archive};
use ringway::wire::{Class, HEADER_BYTES, Header, Kind, Purpose, Refusal, Role};

#[path = "format/document.rs"]
mod document;
#[path = "format/samples.rs"]
mod samples;

use document::{Vector, forms, table, text, unhex, vectors};
use samples::Sample;

const HEADER_FIELDS: usize = 11;

/// Each kind with its vector and its sample.
fn frames() -> Vec<(Kind, Vector, Sample)> {
    let vectors = vectors(&text(), "frame");
    let samples = samples::all();
    assert_eq!(vectors.len(), Kind::ALL.len(), "one vector for each kind");
    assert_eq!(samples.len(), Kind::ALL.len(), "one sample for each kind");
    let both = vectors.into_iter().zip(samples);
    Kind::ALL.iter().zip(both).map(|(kind, (vector, sample))| (*kind, vector, sample)).collect()
}

/// The frame as it goes over the wire.
fn whole(sample: &Sample) -> Vec<u8> {
    let mut out = Vec::new();
    let header = sample.envelope.encode(&sample.body, sample.payload.len(), &mut out).unwrap();
    if sample.envelope.tagged {
        out.extend_from_slice(&samples::tag());
    }
    out.extend_from_slice(sample.payload);
    assert_eq!(out.len(), header.frame_bytes());
    out
}

#[test]
fn every_frame_is_written_as_its_vector() {
    for (kind, vector, sample) in frames() {
        assert_eq!(sample.body.kind(), kind);
        assert_eq!(vector.name, format!("frame {kind}"));
        let (found, expected) = (whole(&sample), vector.bytes());
        assert_eq!(found, expected, "{kind}: {found:02x?}");
    }
}

#[test]
fn every_vector_is_read_as_its_frame() {
    for (kind, vector, sample) in frames() {
        let bytes = vector.bytes();
        let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        let header = Header::decode(head).unwrap();
        assert_eq!((header.kind, header.group), (kind, sample.envelope.group));
        assert_eq!((header.stream, header.sequence), (sample.envelope.stream, sample.envelope.sequence));
        assert_eq!((header.tagged, header.payload_bytes), (sample.envelope.tagged, sample.payload.len()));
        assert_eq!(header.frame_bytes(), bytes.len());
        let (body, behind) = rest.split_at(header.body_bytes);
        assert_eq!(header.decode_body(body), Ok(sample.body), "{kind}");
        assert_eq!(&behind[header.tag_bytes()..], sample.payload);
    }
}

#[test]
fn the_lines_of_a_vector_are_the_fields_of_the_body() {
    let forms = forms(&text());
    for (kind, vector, _) in frames() {
        let mut lines = vector.lines[HEADER_FIELDS..].iter();
        for field in kind.forms() {
            let line = lines.next().unwrap();
            assert_eq!((line.name.as_str(), line.form.as_str()), (field.name, field.form), "{kind}");
            let (fixed, item) = forms[field.form];
            let items = if item == 0 { 0 } else { u32::from_le_bytes(line.bytes[..4].try_into().unwrap()) };
            assert_eq!(line.bytes.len(), fixed + item * items as usize, "{kind}: {}", field.name);
            if field.padding > 0 {
                let line = lines.next().unwrap();
                assert_eq!((line.form.as_str(), line.bytes.len()), ("pad", field.padding), "{kind}");
            }
        }
        assert!(lines.all(|line| ["(tag)", "(payload)"].contains(&line.name.as_str())), "{kind}");
    }
}

#[test]
fn the_header_is_as_its_table_says() {
    let rows = table(&text(), "| offset | field | form | meaning |");
    assert_eq!(rows.len(), HEADER_FIELDS);
    for (kind, vector, _) in frames() {
        let mut offset = 0;
        for (row, line) in rows.iter().zip(&vector.lines) {
            assert_eq!(row[..3], [offset.to_string(), line.name.clone(), line.form.clone()], "{kind}");
            offset += line.bytes.len();
        }
        assert_eq!(offset, HEADER_BYTES);
        assert_eq!(vector.of("kind"), [kind.code()]);
    }
}

#[test]
fn the_table_of_kinds_is_that_of_the_code() {
    let rows = table(&text(), "| code | kind | body, bytes at most | payload, bytes at most |");
    let row = |kind: &Kind| {
        let sizes = [kind.body_bytes_max(), kind.payload_bytes_max()];
        vec![kind.code().to_string(), kind.to_string(), sizes[0].to_string(), sizes[1].to_string()]
    };
    assert_eq!(rows, Kind::ALL.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn the_table_of_words_is_that_of_the_code() {
    let row = |what: &str, code: u16, name: &str| vec![what.to_owned(), code.to_string(), name.to_owned()];
    let mut expected = Vec::new();
    expected.extend(Role::ALL.iter().map(|word| row("role", word.code().into(), word.name())));
    expected.extend(Class::ALL.iter().map(|word| row("class", word.code().into(), word.name())));
    expected.extend(Purpose::ALL.iter().map(|word| row("purpose", word.code().into(), word.name())));
    expected.extend(Refusal::ALL.iter().map(|word| row("refusal", word.code(), word.name())));
    assert_eq!(table(&text(), "| word | code | name |"), expected);
}

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn digest(hex: &str) -> Digest {
    Digest(unhex(hex).try_into().unwrap())
}

fn verified(len: usize) -> VerifiedChunks {
    let mut hasher = TreeAndFlat::new(Kernel::Ring);
    hasher.update(&content(len));
    let tree = hasher.finish().0;
    let root = tree.root;
    ChunkList::from(tree).verify(root).unwrap()
}

#[test]
fn every_kernel_gives_the_digests_of_the_page() {
    let rows = table(&text(), "| length | root | flat SHA-256 |");
    assert!(rows.len() >= 10);
    for row in rows {
        let bytes = content(row[0].parse().unwrap());
        for kernel in Kernel::present() {
            let mut hasher = TreeAndFlat::new(kernel);
            hasher.update(&bytes);
            let (tree, flat) = hasher.finish();
            assert_eq!((tree.root, flat), (digest(&row[1]), digest(&row[2])), "{kernel}, {} bytes", row[0]);
        }
    }
}

#[test]
fn the_chunks_of_the_page_make_its_last_root() {
    let text = text();
    let roots = table(&text, "| length | root | flat SHA-256 |");
    let last = roots.last().unwrap();
    let bytes = content(last[0].parse().unwrap());
    let chunks: Vec<Digest> = table(&text, "| chunk | digest |").iter().map(|row| digest(&row[1])).collect();
    let found: Vec<Digest> =
        bytes.chunks(CHUNK_BYTES).map(|chunk| chunk_digest(Kernel::Ring, chunk)).collect();
    assert_eq!(found, chunks);
    assert_eq!(root_digest(bytes.len() as u64, &chunks), digest(&last[1]));
}

#[test]
fn the_sidecar_is_written_and_read_as_its_vector() {
    let vectors = vectors(&text(), "sidecar");
    let [vector] = &vectors[..] else { panic!("one sidecar") };
    let chunks = verified(CHUNK_BYTES + 1);
    assert_eq!(sidecar_encode(&chunks), vector.bytes());
    assert_eq!(sidecar_decode(&vector.bytes(), chunks.root()), Ok(chunks.clone()));
    assert_eq!(vector.of("root"), chunks.root().0);
    assert_eq!(vector.of("chunk_1"), chunks.digest(1).unwrap().0);
}

#[test]
fn the_archive_is_written_and_read_as_its_vector() {
    let vectors = vectors(&text(), "archive");
    let [vector] = &vectors[..] else { panic!("one archive") };
    let header = ArchiveHeader { kind: ArchiveKind::Manifest, version: 1, ordinal: 2, index: 99, last: true };
    let payload = vector.of("(payload)");
    let mut bytes = archive_buffer(payload.len());
    bytes.extend_from_slice(payload);
    seal_archive(&mut bytes, &header);
    assert_eq!(bytes.as_slice(), vector.bytes());
    let found = open_archive(&vector.bytes(), ArchiveKind::Manifest, 1, 100)
        .map(|(head, bytes)| (head, bytes.to_vec()));
    assert_eq!(found, Ok((header, payload.to_vec())));
}

#[test]
fn the_inventory_is_read_as_its_vector() {
    let vectors = vectors(&text(), "inventory");
    let [vector] = &vectors[..] else { panic!("one inventory") };
    let (records, cut) = records_in(&vector.bytes());
    let found: Vec<_> = records.iter().map(|record| (record.id.index.0, record.path.as_str())).collect();
    // The first is dropped, the third only intended.
    assert_eq!((found, cut), (vec![(2, "ü")], None));
    let identity = Identity { device: 4, inode: 5, bytes: 77, modified: UnixNanos(u64::MAX) };
    let (record, root) = (&records[0], Digest([9; 32]));
    assert_eq!(
        (record.owner, record.len, record.root, record.identity),
        (Ownership::Engine, 77, root, identity)
    );
}

#[test]
fn m5_the_queue_of_a_registrar_is_written_and_read_as_its_vectors() {
    let (heads, batches) = (vectors(&text(), "queue"), vectors(&text(), "batch"));
    let ([head], [batch]) = (&heads[..], &batches[..]) else { panic!("one head, one batch") };
    let update = Asked::Sealed {
        update: true,
        path: "db/a".to_owned(),
        flat: Some(Digest([7; 32])),
        tier: 1,
        labels: vec![("k".to_owned(), "v".to_owned())],
        facts: Some((9, 10, 11)),
    };
    let delete = Asked::Delete { path: "old".to_owned(), reason: "gc".to_owned() };
    let held = |number, asked: &Asked| {
        let content = asked.encode().unwrap().into();
        Held { number, at: UnixNanos(999 + number), content }
    };
    let sent = Sent { last: 2, session: SessionId([3; 16]), number: 77 };
    let refused = Refused { number: 1, path: "db/a".to_owned(), why: "gone".to_owned() };
    let lines = [
        Line::Change(held(1, &update)),
        Line::Change(held(2, &delete)),
        Line::Refused(refused.clone()),
        Line::Done(1),
        Line::Sent(sent),
    ];
    let salt = u64::from_le_bytes(head.of("salt").try_into().unwrap());
    let mut bytes = put_head(salt);
    assert_eq!(bytes[..28], head.bytes());
    put_batch(&mut bytes, salt, 1, &lines);
    let expected = batch.bytes();
    assert_eq!(bytes[4096..4096 + expected.len()], expected);
    assert!(bytes[4096 + expected.len()..].iter().chain(&bytes[28..4096]).all(|byte| *byte == 0));
    let kept = replay(&bytes).unwrap();
    assert_eq!((kept.done, kept.sent, &kept.refused[0]), (1, Some(sent), &refused));
    assert_eq!(Asked::decode(&kept.held[0].content), Ok(delete));
}

#[test]
fn m6_events_are_written_and_read_as_their_vectors() {
    let vectors = vectors(&text(), "events");
    let [head, batch] = &vectors[..] else { panic!("one head, one batch") };
    let salt = u64::from_le_bytes(head.of("salt").try_into().unwrap());
    let opened = EventsHead { salt, life: 9, after: 41, installed: LogIndex(7) };
    let mut bytes = put_events_head(&opened);
    assert_eq!(bytes, head.bytes(), "{bytes:02x?}");
    let (place, applied) = (Place { life: 9, number: 42 }, LogIndex(11));
    let segment = Some((SegmentId { index: LogIndex(5), ordinal: 1 }, "db/a".to_owned()));
    let deleted = Happening::Deleted { reason: "gc".to_owned() };
    let role = Happening::Role { role: GroupRole::Follower, leader: Some(NodeId(2)) };
    let told =
        [(segment, deleted), (None, role)].map(|(segment, what)| Event { place, applied, segment, what });
    let events = told.iter().map(Event::encode).collect();
    let written = EventBatch { applied, installed: LogIndex(10), closed: true, events };
    put_events_batch(&mut bytes, salt, &written).unwrap();
    let found = &bytes[head.bytes().len()..];
    assert_eq!(found, batch.bytes(), "{found:02x?}");
    assert_eq!(read_events(&bytes), Ok((opened, vec![written.clone()])));
    for (bytes, event) in written.events.iter().zip(told) {
        assert_eq!(Event::decode(bytes, place), Ok(event));
    }
}

#[test]
fn the_record_of_a_session_is_written_and_read_as_its_vector() {
    let vectors = vectors(&text(), "session");
    let [vector] = &vectors[..] else { panic!("one record") };
    let session = SessionId::of(NodeId(3), std::array::from_fn(|at| 0x10 + at as u8));
    let record = SessionRecord { session, reserved: 8192 };
    assert_eq!(record.encode().as_slice(), vector.bytes());
    assert_eq!(SessionRecord::decode(&vector.bytes()), Ok(record));
    assert_eq!((vector.of("session"), session.node()), (&session.0[..], NodeId(3)));
}
