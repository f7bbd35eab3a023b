//! Lending: of a large segment other cores of the node or of the pull bring pieces from the far end, while its owner
//! works from the front.
//!
//! The owner alone notes what is there, each chunk when the core that has written it says so, and lands. What a core
//! does not bring the owner asks for itself, when that core has said that it writes no more.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select, try_join};
use futures_util::stream::{self, StreamExt};

use crate::config::Work;
use crate::digest::chunk_count;
use crate::ids::NodeId;
use crate::limits::{
    LEND_CHUNKS_MIN, LEND_FAILED_PAUSE, LEND_NEWS_MAX, LEND_PAUSE, LEND_PIECE_CHUNKS_MIN, LEND_PIECES_MAX,
};
use crate::segment::{Landing, Lent, Outline, Want};
use crate::stats::TransferStats;
use crate::uring::{Core, MailReceiver, MailSender, Notify, Place, Priority, mailbox};

use super::failure::Failure;
use super::fetch::{Fetcher, Receiving, WHOLE, lacking, missing};
use super::helper::{Fate, Loan, News};
use super::helpers::{Helpers, Hired};
use super::pieces::{Piece, Pieces, chunks_of, size};
use super::share::wait;
use super::spread::Patience;

/// What the owner and all whom it has asked to help know of one segment.
#[derive(Debug)]
struct Board {
    pieces: RefCell<Pieces>,
    /// Cores that help, or have not said yet that they do not.
    others: Cell<u32>,
    /// Chunks that they have and have not brought.
    out: Cell<u32>,
    changed: Notify,
}

/// How far one loan is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// The core has not answered.
    Offered,
    /// It helps.
    Begun,
    /// It never did, or writes no more.
    Over,
}

/// What one core has.
#[derive(Debug)]
struct Held {
    phase: Cell<Phase>,
    out: Cell<u32>,
    /// It is given no more.
    is_recalled: Cell<bool>,
}

/// The owner's end of one loan. Dropped, it is recalled.
struct Given<'a> {
    board: &'a Board,
    held: Rc<Held>,
    pieces: MailSender<Piece>,
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        self.held.is_recalled.set(true);
        self.board.changed.notify();
    }
}

impl Board {
    fn is_empty(&self) -> bool {
        self.pieces.borrow().left() == 0
    }

    fn put_out(&self, held: &Held, count: u32) {
        held.out.set(held.out.get() + count);
        self.out.set(self.out.get() + count);
    }

    fn put_back(&self, held: &Held, count: u32) {
        let count = count.min(held.out.get());
        held.out.set(held.out.get() - count);
        self.out.set(self.out.get() - count);
    }
}

/// How many chunks a part of a segment has.
fn count_of(want: &Want, part: &Range<u32>) -> u32 {
    part.end.min(chunk_count(want.len).unwrap_or_default()).saturating_sub(part.start)
}

fn others(hired: &[Hired]) -> u32 {
    u32::try_from(hired.len()).expect("no more than LEND_CORES_MAX")
}

impl Fetcher {
    /// Those who help with a segment from its beginning on: of the free ones as many as would have something to do.
    pub(super) fn hire(&self, want: &Want, own: &Range<u32>) -> Vec<Hired> {
        let count = count_of(want, own);
        match self.helpers.as_ref().filter(|_| count >= LEND_CHUNKS_MIN) {
            // The owner has two pieces, and leaves each of the others two.
            Some(helpers) => helpers.hire((count / (2 * LEND_PIECE_CHUNKS_MIN)) as usize - 1),
            None => Vec::new(),
        }
    }

    /// What is asked for first: all of `own`, or of what other cores may help with the first piece.
    pub(super) fn first_piece(&self, want: &Want, own: &Range<u32>, hired: &[Hired]) -> Range<u32> {
        let count = count_of(want, own);
        match &self.helpers {
            Some(_) if count >= LEND_CHUNKS_MIN => {
                // Somebody may be free before it has all come.
                own.start..own.start + size(count, others(hired).max(1))
            }
            _ => own.clone(),
        }
    }

    /// Waits for a segment's turn at its source, which answers one after the other: were all large ones asked for at
    /// once, other cores would help with the first alone, and none would land before nearly all have come.
    pub(super) async fn turn(&self, want: &Want, source: (NodeId, Work)) -> Option<Place> {
        if self.helpers.is_none() || count_of(want, &WHOLE) < LEND_CHUNKS_MIN {
            return None;
        }
        let turns = self.turns.of(source);
        turns.room().await;
        Some(turns.take())
    }

    /// Takes what is missing from the source, with the other cores if it is worth it. `asked` is on its way already.
    pub(super) async fn receive_own(
        &self,
        from: &mut Receiving<'_>,
        within: Range<u32>,
        asked: Range<u32>,
    ) -> Result<(), Failure> {
        let hired = std::mem::take(&mut from.hired);
        let behind = asked.end.max(within.start)..within.end;
        let count = |part| lacking(from.landing, part);
        let is_worth_it = |_: &&Rc<Helpers>| count(&within) >= LEND_CHUNKS_MIN && count(&behind) > 0;
        let Some(helpers) = self.helpers.as_ref().filter(is_worth_it) else {
            drop(hired);
            return self.receive_alone(from, within, asked).await;
        };
        match from.landing.outline().await {
            Ok(outline) => {
                let with = (helpers, hired, &outline);
                Box::pin(self.receive_lending(from, within, (asked, behind), with)).await
            }
            Err(error) => {
                let segment = from.landing.want().id;
                tracing::warn!(%error, %segment, "no other core can help with a segment");
                drop(hired);
                self.receive_alone(from, within, asked).await
            }
        }
    }

    async fn receive_alone(
        &self,
        from: &mut Receiving<'_>,
        within: Range<u32>,
        asked: Range<u32>,
    ) -> Result<(), Failure> {
        if !asked.is_empty() {
            self.receive_missing(from, asked, true).await?;
        }
        self.receive_missing(from, within, false).await
    }

    async fn receive_lending(
        &self,
        from: &mut Receiving<'_>,
        within: Range<u32>,
        (asked, behind): (Range<u32>, Range<u32>),
        (helpers, hired, outline): (&Rc<Helpers>, Vec<Hired>, &Outline),
    ) -> Result<(), Failure> {
        let (landing, source, peer, work) = (from.landing, from.source, from.peer, from.work);
        let board = Rc::new(Board {
            pieces: RefCell::new(Pieces::new(missing(landing, &behind))),
            others: Cell::new(0),
            out: Cell::new(0),
            changed: Notify::default(),
        });
        let loan = |pieces, news| {
            let (group, pacer, outline) = (self.group, self.pacer.clone(), outline.clone());
            Loan { source, peer, group, work, pacer, outline, pieces, news }
        };
        let line = async |hired: Hired| {
            let given = self.give(landing, &board, hired, loan);
            let answered = || Some(given.held.phase.get()).filter(|phase| *phase != Phase::Offered);
            if board.changed.until(answered).await == Phase::Begun {
                given.feed().await;
            }
        };
        let begun = Core::current().now();
        let taken = {
            let is_empty = board.changed.until(|| board.is_empty().then_some(()));
            let more = stream::unfold((), async |()| Some((helpers.next().await, ())));
            let hired = stream::iter(hired).chain(more).take_until(is_empty);
            // The others are asked first, so that the owner leaves them something.
            let lines = pin!(hired.for_each_concurrent(None, line));
            let own = pin!(self.receive_front(from, asked, &board));
            match select(lines, own).await {
                Either::Right((Ok((count, is_damaged)), _lines)) => {
                    let now = Core::current().now();
                    let brought = pin!(board.changed.until(|| (board.out.get() == 0).then_some(())));
                    wait(brought, Patience::new(count, now.since(begun), now), landing).await;
                    Ok(is_damaged)
                }
                Either::Right((Err(failure), _lines)) => Err(failure),
                Either::Left(((), own)) => own.await.map(|(_, is_damaged)| is_damaged),
            }
        };
        // Whoever still has something knows by now that it is not wanted any more.
        landing.returned().await;
        if taken? {
            return Err(Failure::Corrupt);
        }
        self.receive_missing(from, within, false).await
    }

    /// Takes the owner's pieces, the next one asked for while one comes: how many chunks they were, and whether one of
    /// them was damaged.
    async fn receive_front(
        &self,
        from: &mut Receiving<'_>,
        asked: Range<u32>,
        board: &Board,
    ) -> Result<(u32, bool), Failure> {
        let Receiving { asker, ref mut answers, source, landing, .. } = *from;
        let ask = async |piece: &Piece| {
            for range in piece {
                asker.ask(landing.want(), range.clone(), false).await?;
            }
            Ok(())
        };
        let next = || {
            let piece = board.pieces.borrow_mut().take_front(board.others.get().max(1));
            board.changed.notify();
            piece
        };
        let (mut piece, mut unasked): (Piece, _) = (missing(landing, &asked).collect(), Piece::new());
        if piece.is_empty() {
            piece = next();
            unasked.clone_from(&piece);
        }
        let (mut count, mut is_damaged) = (0, false);
        while let (Some(first), Some(last)) = (piece.first(), piece.last()) {
            let (within, expected) = (first.start..last.end, chunks_of(&piece));
            let following = next();
            let ask = async {
                ask(&std::mem::take(&mut unasked)).await?;
                ask(&following).await
            };
            let receive = self.receive_chunks(answers, source, landing, (&within, expected));
            let ((), damaged) = try_join(ask, receive).await?;
            count += expected;
            is_damaged |= damaged;
            piece = following;
        }
        Ok((count, is_damaged))
    }

    /// Another core may write from now on, until it says that it writes no more. Nobody who gives up the fetch ends
    /// that.
    fn give<'a>(
        &self,
        landing: &Landing,
        board: &'a Rc<Board>,
        hired: Hired,
        loan: impl FnOnce(MailReceiver<Piece>, MailSender<News>) -> Loan,
    ) -> Given<'a> {
        let (phase, out) = (Cell::new(Phase::Offered), Cell::new(0));
        let held = Rc::new(Held { phase, out, is_recalled: Cell::default() });
        let (pieces, taken) = mailbox(LEND_PIECES_MAX);
        let (news, told) = mailbox(LEND_NEWS_MAX);
        board.others.set(board.others.get() + 1);
        let heard = (Rc::clone(board), Rc::clone(&held));
        let (lent, loan) = (landing.lend(), loan(taken, news));
        let counted = (loan.source, Rc::clone(&self.stats));
        hired.lend(loan);
        let hears = hear((lent, hired), told, heard, counted);
        drop(Core::current().spawn(Priority::Bulk, hears));
        Given { board, held, pieces }
    }
}

impl Given<'_> {
    /// Gives the core pieces until there are no more; then waits for what it has.
    async fn feed(self) {
        let Self { board, held, pieces } = &self;
        let is_over = || held.phase.get() == Phase::Over;
        while !is_over() {
            let piece = board.pieces.borrow_mut().take_back(board.others.get());
            let count = chunks_of(&piece);
            // What nobody takes is asked for by the owner in the end, as what nobody brings.
            if count == 0 || pieces.try_send(piece).is_err() {
                break;
            }
            board.put_out(held, count);
            board.changed.notify();
            board.changed.until(|| (is_over() || held.out.get() <= count).then_some(())).await;
        }
        board.changed.until(|| (is_over() || held.out.get() == 0).then_some(())).await;
    }
}

/// The first word; none if it was recalled before.
async fn first_word(told: &mut MailReceiver<News>, board: &Board, held: &Held) -> Option<News> {
    let recalled = pin!(board.changed.until(|| held.is_recalled.get().then_some(())));
    if let Either::Left((news, _)) = select(pin!(told.receive()), recalled).await {
        return news;
    }
    // A core that has not begun by now cannot any more.
    if told.close_if_empty() { None } else { told.try_receive() }
}

/// Hears what becomes of one loan, to its end. Nobody else hires the core before.
async fn hear(
    (lent, hired): (Lent, Hired),
    mut told: MailReceiver<News>,
    (board, held): (Rc<Board>, Rc<Held>),
    (source, stats): (NodeId, Rc<TransferStats>),
) {
    let mut is_over = false;
    let mut next = first_word(&mut told, &board, &held).await;
    while let Some(news) = next {
        match news {
            News::Begun => held.phase.set(Phase::Begun),
            News::Came { index, bytes, fate } => {
                came(&stats, source, bytes, fate);
                if fate == Fate::Written {
                    lent.wrote(index);
                }
                board.put_back(&held, 1);
            }
            News::Over(failed) => {
                is_over = true;
                if let Some(failure) = failed {
                    hired.rest(LEND_FAILED_PAUSE);
                    tracing::debug!(%source, failure = failure.word(), "a core does not bring what it was lent");
                }
            }
        }
        board.changed.notify();
        next = if is_over { None } else { told.receive().await };
    }
    let has_begun = held.phase.replace(Phase::Over) == Phase::Begun;
    if !has_begun && !held.is_recalled.get() {
        hired.rest(LEND_PAUSE);
    }
    board.others.set(board.others.get() - 1);
    board.put_back(&held, held.out.get());
    if has_begun && !is_over {
        tracing::error!(
            %source,
            "a core has ended that may be writing to a staging file: it does not land in this process"
        );
        lent.never_returned();
    } else {
        drop(lent);
    }
    board.changed.notify();
}

fn came(stats: &TransferStats, source: NodeId, bytes: u32, fate: Fate) {
    stats.bytes_fetched.add(bytes.into());
    stats.peers.count(source, |peer| peer.bytes_fetched.add(bytes.into()));
    match fate {
        Fate::Written => {
            stats.bytes_lent.add(bytes.into());
            stats.chunks_lent.add(1);
        }
        Fate::Damaged => {
            stats.bytes_refetched.add(bytes.into());
            stats.chunks_refetched.add(1);
            stats.peers.count(source, |peer| peer.chunks_refetched.count());
        }
        Fate::Unwritten => {}
    }
}
