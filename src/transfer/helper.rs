//! The other end of lending: a core that is free brings pieces of a segment whose owner is another core, of its node or
//! of its pull.
//!
//! It has a connection to the source and a handle of the staging file of its own, verifies each chunk and writes it
//! through the node's gate. It keeps nothing: of each chunk it tells the owner, who alone knows what is there. Its last
//! word is that it writes no more.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select};

use crate::config::Work;
use crate::ids::{GroupId, NodeId, SegmentId};
use crate::limits::{LEND_OUT_CHUNKS_MAX, WRITES_MAX};
use crate::segment::{
    ChunkSink, ChunkWriter, LentFile, Outline, VerifiedChunk, Want, WithBuffer, WriteError,
};
use crate::stats::Seldom;
use crate::transport::{Peer, Transport};
use crate::uring::{Core, MailReceiver, MailSender, Notify};
use crate::wire::Body;

use super::failure::Failure;
use super::fetch::{unless_refused, unwritten};
use super::pace::Pacer;
use super::pieces::Piece;
use super::session::{Answers, Asker, Lane, Request, Sessions};

/// A segment of which another core is asked to bring pieces. Dropped before it was begun, it is declined.
pub struct Loan {
    pub(super) source: NodeId,
    pub(super) peer: Peer,
    pub(super) group: GroupId,
    pub(super) work: Work,
    /// The owner's limits hold for what others bring.
    pub(super) pacer: Pacer,
    pub(super) outline: Outline,
    /// What it is to bring. When its other end is gone, no more is wanted.
    pub(super) pieces: MailReceiver<Piece>,
    pub(super) news: MailSender<News>,
}

/// What a core that helps tells the owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// From now on it may write.
    Begun,
    /// A chunk has come, so many bytes.
    Came { index: u32, bytes: u32, fate: Fate },
    /// It writes no more; why, if it could not go on.
    Over(Option<Failure>),
}

/// What became of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It was verified, and all of it is written.
    Written,
    /// It has not the digest that it should have.
    Damaged,
    /// The disk has refused it, or one before it.
    Unwritten,
}

/// What a core does for the others of its node: one thing at a time, and only while it has nothing to fetch itself.
#[derive(Default)]
pub struct Helper {
    is_busy: Option<Box<dyn Fn() -> bool>>,
    helps: Cell<bool>,
    stopped: Cell<bool>,
    changed: Notify,
}

/// While it lives, the core helps.
struct Helping<'a>(&'a Helper);

impl Drop for Helping<'_> {
    fn drop(&mut self) {
        self.0.helps.set(false);
        self.0.changed.notify();
    }
}

impl Helper {
    /// One that helps nobody while its core has work of its own.
    #[must_use]
    pub fn unless(is_busy: impl Fn() -> bool + 'static) -> Self {
        Self { is_busy: Some(Box::new(is_busy)), ..Self::default() }
    }

    /// Whether it would help now.
    #[must_use]
    pub fn is_free(&self) -> bool {
        !self.helps.get() && !self.stopped.get() && !self.is_busy()
    }

    fn is_busy(&self) -> bool {
        self.is_busy.as_ref().is_some_and(|is_busy| is_busy())
    }

    /// Helps until the owner wants no more, if it is free.
    pub async fn help(self: Rc<Self>, loan: Loan, transport: Transport) {
        if !self.is_free() || loan.news.try_send(News::Begun).is_err() {
            return;
        }
        self.helps.set(true);
        let _helping = Helping(&self);
        let news = loan.news.clone();
        let failed = self.bring(loan, transport).await.err();
        let _the_owner_has_gone = news.send(News::Over(failed)).await;
    }

    /// From now on it helps nobody; waits until what it has begun is written.
    pub async fn stop(&self) {
        self.stopped.set(true);
        self.changed.notify();
        self.changed.until(|| (!self.helps.get()).then_some(())).await;
    }

    async fn bring(&self, loan: Loan, transport: Transport) -> Result<(), Failure> {
        let Loan { source, peer, group, work, pacer, outline, mut pieces, news } = loan;
        tracing::debug!(segment = %outline, %source, "brings pieces for another core");
        let want = outline.want();
        let file = LentFile::open(outline).await.map_err(|error| {
            let segment = want.id;
            tracing::warn!(%error, %segment, "a core could not open the staging file that it was to help with");
            Failure::Disk
        })?;
        let lending = Rc::new(Lending { file, news, damage_told: Seldom::default() });
        let mut writer = ChunkWriter::new(Rc::clone(&lending), WRITES_MAX);
        let asked = Asked::default();
        let received = {
            // Nobody reads these counts: the owner hears by `news` how it ends.
            let sessions = Sessions::new(transport, group, pacer, Rc::default());
            let receive = async {
                let Request { asker, mut answers } =
                    sessions.request((source, Lane::Whole, work), peer).await?;
                // What is still on its way when no more is wanted is nobody's.
                let _middle = asker.or_hang_up();
                let ask = pin!(ask(&asker, &want, &asked));
                let of = (want.id, source);
                let take = pin!(take(of, &mut answers, &asked, (&lending, &mut writer)));
                select(ask, take).await.factor_first().0
            };
            let listen = pin!(async {
                while let Some(piece) = pieces.receive().await {
                    if self.is_busy() {
                        asked.is_all.set(true);
                    }
                    asked.put(piece);
                }
                Ok(())
            });
            let stop = pin!(async {
                self.changed.until(|| self.stopped.get().then_some(())).await;
                Ok(())
            });
            match select(pin!(receive), select(listen, stop)).await {
                Either::Left((failed, _)) => failed,
                Either::Right((ended, _)) => ended.factor_first().0,
            }
        };
        let finished = writer.finish().await;
        received.and_then(|()| finished.map_err(|error| unwritten(want.id, &error)))
    }
}

/// What a core is to bring: ranges that are to be asked for, and those that were.
#[derive(Default)]
struct Asked {
    next: RefCell<VecDeque<Range<u32>>>,
    due: RefCell<VecDeque<Range<u32>>>,
    /// The core has something else to do then.
    is_all: Cell<bool>,
    changed: Notify,
}

impl Asked {
    /// Takes a piece, unless it has all that it will bring.
    fn put(&self, piece: Piece) {
        self.changed.notify();
        if self.is_all.get() {
            return;
        }
        self.next.borrow_mut().extend(piece);
        let (next, due) = (self.next.borrow(), self.due.borrow());
        let chunks: u32 = next.iter().chain(&*due).map(|range| range.end - range.start).sum();
        assert!(chunks <= LEND_OUT_CHUNKS_MAX, "{chunks} chunks at a time: the owner gives fewer");
    }

    /// The next range to ask for; from now on it is due.
    fn ask(&self) -> Option<Range<u32>> {
        let range = self.next.borrow_mut().pop_front()?;
        self.due.borrow_mut().push_back(range.clone());
        self.changed.notify();
        Some(range)
    }

    /// The chunk that comes next, when one is due; none if it has brought all.
    fn first_due(&self) -> Option<Option<u32>> {
        let first = self.due.borrow().front().map(|range| range.start);
        let is_over = self.is_all.get() && self.next.borrow().is_empty();
        (first.is_some() || is_over).then_some(first)
    }

    /// The first that was due has come.
    fn came(&self) {
        let mut due = self.due.borrow_mut();
        if let Some(first) = due.front_mut() {
            first.start += 1;
        }
        due.pop_front_if(|first| first.start >= first.end);
    }
}

/// Asks for what the core is to bring, while other chunks come.
async fn ask(asker: &Asker, want: &Want, asked: &Asked) -> Result<(), Failure> {
    loop {
        let range = asked.changed.until(|| asked.ask()).await;
        asker.ask(want, range, false).await?;
    }
}

/// Takes the chunks as they come, in the order in which they were asked for.
async fn take(
    (segment, source): (SegmentId, NodeId),
    answers: &mut Answers,
    asked: &Asked,
    (lending, writer): (&Lending, &mut ChunkWriter<Lending>),
) -> Result<(), Failure> {
    // Nothing is late before it was asked for.
    while let Some(index) = asked.changed.until(|| asked.first_due()).await {
        let message = unless_refused(segment, writer, answers.receive()).await?;
        let Ok(Body::Chunk(chunk)) = message.decode() else { return Err(Failure::Corrupt) };
        let found = chunk.chunk;
        let Some(payload) = message.payload.filter(|_| found == index) else {
            tracing::warn!(%segment, %source, expected = index, found, "a chunk came that was not asked for");
            return Err(Failure::Corrupt);
        };
        asked.came();
        let bytes = payload.filled().len();
        match lending.file.verify(index, payload) {
            Ok(chunk) => {
                if let Err(error) = writer.write(chunk).await {
                    lending.tell(index, bytes, Fate::Unwritten).await;
                    return Err(unwritten(segment, &error));
                }
            }
            Err((error, _)) => {
                if lending.damage_told.is_due(Core::current().now()) {
                    tracing::warn!(%error, %segment, %source, "a chunk arrived damaged");
                }
                lending.tell(index, bytes, Fate::Damaged).await;
            }
        }
    }
    Ok(())
}

/// The staging file of a loan: tells the owner of each chunk what became of it.
#[derive(Debug)]
struct Lending {
    file: LentFile,
    news: MailSender<News>,
    damage_told: Seldom,
}

impl ChunkSink for Lending {
    fn accept(&self, _: &VerifiedChunk) -> Result<bool, WriteError> {
        Ok(true)
    }

    async fn put(self: Rc<Self>, chunk: VerifiedChunk) -> WithBuffer<WriteError> {
        let index = chunk.index();
        let (written, buffer) = self.file.write(chunk).await;
        let fate = if written.is_ok() { Fate::Written } else { Fate::Unwritten };
        self.tell(index, buffer.filled().len(), fate).await;
        (written, buffer)
    }
}

impl Lending {
    async fn tell(&self, index: u32, bytes: usize, fate: Fate) {
        let bytes = u32::try_from(bytes).expect("a chunk's size fits");
        let _the_owner_has_gone = self.news.send(News::Came { index, bytes, fate }).await;
    }
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Helper(helps: {}, stopped: {})", self.helps.get(), self.stopped.get())
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loan({} from {})", self.outline, self.source)
    }
}

/// A loan passes between threads.
const _: fn() = || {
    fn passes_threads<T: Send>() {}
    passes_threads::<Loan>();
};
