//! Small segments of one source fetched together: asked for in one go, digested in the lanes of one call of the digest
//! kernel, staged and landed at once.
//!
//! A segment of one chunk needs no chunk list: its root follows from the digest of its content. What is staged already
//! is fetched by itself, as is what is larger than half of a chunk and fills enough lanes alone.

use std::collections::BTreeMap;

use futures_util::future::{join_all, try_join};

use crate::broken::{self, Broken};
use crate::config::Work;
use crate::digest::{ChunkList, VerifiedChunks, chunk_digests};
use crate::ids::{Digest, NodeId, SegmentId};
use crate::limits::{CHUNK_BYTES, CHUNK_LEAVES, LEAF_BYTES};
use crate::segment::{self, Landing, VerifiedChunk};
use crate::transport::Peer;
use crate::uring::Buffer;
use crate::wire::Body;

use super::failure::{Failure, Fetched};
use super::fetch::{Fetcher, unstaged, unwritten};
use super::plan::Want;
use super::session::{Answers, Lane, Request};

/// Up to this size a segment is fetched together with others.
const SMALL_BYTES_MAX: u64 = CHUNK_BYTES as u64 / 2;

/// Small segments that can begin, by what they are fetched for and the source that each is asked of.
#[derive(Default)]
pub(super) struct Batches(BTreeMap<(Work, NodeId), Vec<Want>>);

impl Batches {
    /// Takes a segment. A batch that has no lane left for it begins now.
    pub(super) fn add(&mut self, source: NodeId, want: Want) -> Option<((Work, NodeId), Vec<Want>)> {
        let of = (want.work, source);
        let batch = self.0.entry(of).or_default();
        let leaves = |want: &Want| want.bytes.div_ceil(LEAF_BYTES as u64);
        let taken: u64 = batch.iter().map(leaves).sum();
        let is_full = taken + leaves(&want) > CHUNK_LEAVES as u64;
        let full = is_full.then(|| (of, std::mem::take(batch)));
        batch.push(want);
        full
    }
}

impl IntoIterator for Batches {
    type Item = ((Work, NodeId), Vec<Want>);
    type IntoIter = std::collections::btree_map::IntoIter<(Work, NodeId), Vec<Want>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// What came of each segment.
pub(super) type Outcomes = Vec<(SegmentId, Result<Fetched, Failure>)>;

/// A segment whose content has arrived and is the one that the manifest means.
struct Verified {
    want: segment::Want,
    chunks: VerifiedChunks,
    digest: Digest,
    content: Buffer,
}

impl Fetcher {
    /// Whether a segment is fetched together with others.
    pub(super) fn is_small(&self, want: &Want) -> bool {
        (1..=SMALL_BYTES_MAX).contains(&want.bytes)
            && !self.store.is_staged(want.id, want.root)
            // What a broken build leaves out is left out of `Landing::verify` alone.
            && !broken::is(Broken::ChunksUnverified)
    }

    /// Fetches, verifies and lands small segments of one source. One that is no longer wanted when its content has come
    /// is dropped, and has no answer.
    pub(super) async fn fetch_together(
        &self,
        wants: Vec<segment::Want>,
        from: (NodeId, Peer, Work),
        is_wanted: &dyn Fn(SegmentId) -> bool,
    ) -> Outcomes {
        let mut done = Outcomes::with_capacity(wants.len());
        let mut missing = Vec::with_capacity(wants.len());
        for want in wants {
            match self.stands(&want).await {
                Ok(false) => missing.push(want),
                stands => done.push((want.id, stands.map(|_| Fetched::Held))),
            }
        }
        let came = self.receive_together(&missing, from).await;
        let mut verified = Vec::with_capacity(missing.len());
        for (id, came) in self.verify_together(missing, came, from.0) {
            match came {
                Ok(one) if is_wanted(id) => verified.push(one),
                Ok(_) => {} // forgotten meanwhile: nobody waits for an answer
                Err(failure) => done.push((id, Err(failure))),
            }
        }
        self.land_together(verified, &mut done).await;
        done
    }

    /// What came of each, in their order. With the stream all fail that have not come yet.
    async fn receive_together(
        &self,
        wants: &[segment::Want],
        from: (NodeId, Peer, Work),
    ) -> Vec<Result<Buffer, Failure>> {
        let mut came = Vec::with_capacity(wants.len());
        if !wants.is_empty()
            && let Err(failure) = self.receive_all(wants, from, &mut came).await
        {
            came.resize_with(wants.len(), || Err(failure));
        }
        came
    }

    async fn receive_all(
        &self,
        wants: &[segment::Want],
        (source, peer, work): (NodeId, Peer, Work),
        came: &mut Vec<Result<Buffer, Failure>>,
    ) -> Result<(), Failure> {
        let Request { asker, mut answers } = self.sessions.request((source, Lane::Whole, work), peer).await?;
        let ask = async {
            for want in wants {
                asker.ask(want, 0..1, false).await?;
            }
            Ok(())
        };
        let take = async {
            for want in wants {
                came.push(self.take_whole(want, source, &mut answers).await?);
            }
            Ok(())
        };
        try_join(ask, take).await.map(drop)
    }

    /// The content of the next segment, or why the source does not give it. The outer error ends all of them.
    async fn take_whole(
        &self,
        want: &segment::Want,
        source: NodeId,
        answers: &mut Answers,
    ) -> Result<Result<Buffer, Failure>, Failure> {
        let message = match answers.next().await? {
            Ok(message) => message,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Ok(Body::Chunk(chunk)) = message.decode() else { return Err(Failure::Corrupt) };
        let bytes = message.payload.as_ref().map_or(0, |payload| payload.filled().len() as u64);
        self.count_bytes(source, bytes);
        // What has another length is not kept until it is digested.
        match message.payload.filter(|_| chunk.chunk == 0 && bytes == want.len) {
            Some(payload) => Ok(Ok(payload)),
            None => {
                self.stats.bytes_refetched.add(bytes);
                tracing::warn!(segment = %want.id, %source, bytes, "a segment came with another length");
                Ok(Err(Failure::Corrupt))
            }
        }
    }

    /// Digests all that came, and compares.
    fn verify_together(
        &self,
        wants: Vec<segment::Want>,
        came: Vec<Result<Buffer, Failure>>,
        source: NodeId,
    ) -> Vec<(SegmentId, Result<Verified, Failure>)> {
        let contents: Vec<&[u8]> = came.iter().flatten().map(Buffer::filled).collect();
        let mut digests = vec![Digest::default(); contents.len()];
        chunk_digests(self.store.kernel(), &contents, &mut digests);
        if contents.len() > 1 {
            self.stats.chunks_together.add(contents.len() as u64);
        }
        let mut digests = digests.into_iter();
        let verify = |(want, came): (segment::Want, Result<Buffer, Failure>)| {
            let id = want.id;
            let proven = came.and_then(|content| {
                let digest = digests.next().expect("one for each that came");
                self.verify(want, digest, content, source)
            });
            (id, proven)
        };
        wants.into_iter().zip(came).map(verify).collect()
    }

    fn verify(
        &self,
        want: segment::Want,
        digest: Digest,
        content: Buffer,
        source: NodeId,
    ) -> Result<Verified, Failure> {
        let list = ChunkList { len: want.len, chunks: vec![digest] };
        match list.verify(want.root) {
            Ok(chunks) => Ok(Verified { want, chunks, digest, content }),
            Err(error) => {
                self.stats.bytes_refetched.add(want.len);
                self.count_damaged((want.id, source), &error);
                Err(Failure::Corrupt)
            }
        }
    }

    /// Stages what has come, writes it and lands it.
    async fn land_together(&self, verified: Vec<Verified>, done: &mut Outcomes) {
        let begin = async |one: Verified| (one.want.id, self.begin(one).await);
        let (mut landings, mut chunks) = (Vec::new(), Vec::new());
        for (id, begun) in join_all(verified.into_iter().map(begin)).await {
            match begun {
                Ok(Some((landing, chunk))) => {
                    landings.push(landing);
                    chunks.push(chunk);
                }
                other => done.push((id, other.map(|_| Fetched::Held))),
            }
        }
        if landings.is_empty() {
            return;
        }
        let written = self.store.write_together(landings.iter().zip(chunks).collect()).await;
        let mut complete = Vec::with_capacity(landings.len());
        for (landing, written) in landings.into_iter().zip(written) {
            match written {
                Ok(()) => complete.push(landing),
                Err(error) => {
                    let id = landing.want().id;
                    done.push((id, Err(unwritten(id, &error))));
                }
            }
        }
        if !complete.is_empty() {
            let ids: Vec<SegmentId> = complete.iter().map(|landing| landing.want().id).collect();
            done.extend(ids.into_iter().zip(self.lander.land(complete).await));
        }
    }

    /// Begins to stage a segment. `None` if it is held by now.
    async fn begin(&self, verified: Verified) -> Result<Option<(Landing, VerifiedChunk)>, Failure> {
        let Verified { want, chunks, digest, content } = verified;
        let id = want.id;
        let landing = match self.store.begin(want, chunks).await {
            Ok(landing) => landing,
            Err(segment::BeginError::Held) => return Ok(None),
            Err(error) => return Err(unstaged(id, &error)),
        };
        let chunk = landing.prove(0, digest, content).map_err(|(error, _)| unwritten(id, &error))?;
        Ok(Some((landing, chunk)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(ordinal: u32, bytes: u64) -> Want {
        let id = SegmentId { ordinal, ..SegmentId::default() };
        Want { id, path: "a".into(), bytes, root: Digest::default(), origin: NodeId(1), work: Work::Live }
    }

    /// What begins, by source and size, of segments that are added in turn.
    fn batches(added: &[(u64, u64)]) -> Vec<(u64, Vec<u64>)> {
        let mut batches = Batches::default();
        let sizes = |((_, source), wants): ((Work, NodeId), Vec<Want>)| {
            (source.0, wants.into_iter().map(|want| want.bytes).collect::<Vec<_>>())
        };
        let mut begun = Vec::new();
        for (ordinal, (source, bytes)) in (0..).zip(added) {
            begun.extend(batches.add(NodeId(*source), want(ordinal, *bytes)).map(sizes));
        }
        begun.extend(batches.into_iter().map(sizes));
        begun
    }

    #[test]
    fn a_batch_has_a_lane_for_each_leaf_and_one_source() {
        let leaf = LEAF_BYTES as u64;
        let added: Vec<_> = (0..20).map(|index| (1 + index % 2, leaf)).collect();
        assert_eq!(batches(&added), [(1, vec![leaf; 10]), (2, vec![leaf; 10])], "each source has its own");
        let found = batches(&[(1, leaf); 40]);
        assert_eq!(found.iter().map(|(_, sizes)| sizes.len()).collect::<Vec<_>>(), [16, 16, 8]);
        let mixed = [(1, 8 * leaf), (1, leaf + 1), (1, 1), (1, 5 * leaf), (1, 1)];
        let expected = [(1, vec![8 * leaf, leaf + 1, 1, 5 * leaf]), (1, vec![1])];
        assert_eq!(batches(&mixed), expected, "8 + 2 + 1 + 5 leaves fill it");
        assert_eq!(batches(&[]), []);
    }
}
