//! A second source, whose answers a test chooses and which notes what it was asked for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use ringway::digest::{ChunkList as Digests, VerifiedChunks};
use ringway::ids::NodeId;
use ringway::limits::CHUNK_BYTES;
use ringway::transport::{Peer, Stream};
use ringway::uring::Buffer;
use ringway::wire::{Body, Chunk, ChunkList, Fetch, FetchRefused, Refusal};

use super::{Rig, start_source, tree};

pub const TELLER: NodeId = NodeId(9);

/// What it says of a segment.
#[derive(Clone, Copy)]
pub enum Says {
    /// What is asked for.
    Right,
    /// The same, with a byte of this chunk changed.
    Wrong(u32),
    /// From this chunk on it refuses.
    Refuses(u32, Refusal),
}

/// The source.
#[derive(Clone)]
pub struct Teller {
    pub peer: Peer,
    pub says: Rc<Cell<Says>>,
    /// Numbers of the samples, in the order in which it was asked for them.
    pub asked: Rc<RefCell<Vec<usize>>>,
}

impl Teller {
    /// Begins its process: it has all samples.
    pub fn start(rig: &mut Rig, says: Says) -> Self {
        let (says, asked) = (Rc::new(Cell::new(says)), Rc::<RefCell<Vec<usize>>>::default());
        let samples: Rc<Vec<Vec<u8>>> = Rc::new(rig.samples.iter().map(|one| one.bytes.clone()).collect());
        let (told, noted) = (Rc::clone(&says), Rc::clone(&asked));
        let serve = move |stream| answer(stream, Rc::clone(&samples), Rc::clone(&told), Rc::clone(&noted));
        let address = start_source(rig, TELLER, serve);
        Self { peer: Peer { node: Some(TELLER), address }, says, asked }
    }
}

async fn answer(
    mut stream: Stream,
    samples: Rc<Vec<Vec<u8>>>,
    says: Rc<Cell<Says>>,
    asked: Rc<RefCell<Vec<usize>>>,
) {
    while let Ok(message) = stream.receive().await {
        let Ok(Body::Fetch(fetch)) = message.decode() else { return };
        let index = usize::try_from(fetch.segment.index.0).expect("a sample's") - 1;
        asked.borrow_mut().push(index);
        if tell(&mut stream, &fetch, &samples[index], says.get()).await.is_none() {
            return;
        }
    }
}

async fn tell(stream: &mut Stream, fetch: &Fetch, bytes: &[u8], says: Says) -> Option<()> {
    let (request, tree) = (fetch.request, tree(bytes));
    let (root, chunks) = (tree.root, Digests::from(tree));
    let chunks: VerifiedChunks = chunks.verify(root).expect("its own");
    if fetch.want_list {
        let (len, digests) = (bytes.len() as u64, chunks.digests().to_vec().into());
        stream.send(ChunkList { request, len, first: 0, digests }).await.ok()?;
    }
    let end = fetch.first_chunk.saturating_add(fetch.chunk_count).min(chunks.chunk_count());
    for chunk in fetch.first_chunk..end {
        let mut part: Vec<u8> = bytes.chunks(CHUNK_BYTES).nth(chunk as usize)?.to_vec();
        match says {
            Says::Refuses(from, code) if chunk >= from => {
                return stream.send(FetchRefused { request, code }).await.ok();
            }
            Says::Wrong(wrong) if chunk == wrong => part[0] ^= 1,
            Says::Right | Says::Wrong(_) | Says::Refuses(..) => {}
        }
        let (span, buffer) = (0..part.len(), Buffer::from_bytes(&part));
        stream.send_payload(Chunk { request, chunk }, buffer, span).await.0.ok()?;
    }
    Some(())
}
