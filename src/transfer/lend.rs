//! Lending: of a large segment other cores of the node bring pieces from the far end, while its owner works from the
//! front.
//!
//! The owner alone notes what is there, each chunk when the core that has written it says so, and lands. What a core
//! does not bring the owner asks for itself, when that core has said that it writes no more.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, select, try_join};
use futures_util::stream::{self, StreamExt};

use crate::digest::chunk_count;
use crate::limits::{LEND_CHUNKS_MIN, LEND_CORES_MAX, LEND_NEWS_MAX, LEND_PAUSE, LEND_PIECES_MAX};
use crate::segment::{Landing, Lent, Outline, Want};
use crate::stats::TransferStats;
use crate::uring::{Core, MailReceiver, MailSender, Notify, Priority, mailbox, sleep};

use super::failure::Failure;
use super::fetch::{Fetcher, Receiving, missing};
use super::helper::{Fate, Loan, News};
use super::pieces::{Piece, Pieces, chunks_of, size};
use super::share::wait;
use super::spread::Patience;

/// The other cores of a node: how many, and how one of them is asked to help.
pub struct Helpers {
    count: u32,
    ask: Box<dyn Fn(u32, Box<Loan>)>,
}

impl Helpers {
    /// So many; `ask` hands a loan to one of them, or drops it.
    #[must_use]
    pub fn new(count: u16, ask: impl Fn(u32, Box<Loan>) + 'static) -> Self {
        Self { count: u32::from(count.min(LEND_CORES_MAX)), ask: Box::new(ask) }
    }
}

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
    /// It could not go on.
    has_failed: Cell<bool>,
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

impl Fetcher {
    /// What is asked for first: all of `own`, or of what other cores may help with the first piece.
    pub(super) fn first_piece(&self, want: &Want, own: &Range<u32>) -> Range<u32> {
        let end = own.end.min(chunk_count(want.len).unwrap_or_default());
        let count = end.saturating_sub(own.start);
        match &self.helpers {
            Some(helpers) if count >= LEND_CHUNKS_MIN => own.start..own.start + size(count, helpers.count),
            _ => own.clone(),
        }
    }

    /// Takes what is missing from the source, with the other cores of the node if it is worth it. `asked` is on its way
    /// already.
    pub(super) async fn receive_own(
        &self,
        from: &mut Receiving<'_>,
        within: Range<u32>,
        asked: Range<u32>,
    ) -> Result<(), Failure> {
        let lacking: u32 = missing(from.landing, &within).map(|range| range.end - range.start).sum();
        let Some(helpers) = self.helpers.as_ref().filter(|_| lacking >= LEND_CHUNKS_MIN) else {
            return self.receive_alone(from, within, asked).await;
        };
        match from.landing.outline().await {
            Ok(outline) => Box::pin(self.receive_lending(from, within, asked, (helpers, &outline))).await,
            Err(error) => {
                tracing::warn!(%error, "no other core can help with a segment");
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
        asked: Range<u32>,
        (helpers, outline): (&Helpers, &Outline),
    ) -> Result<(), Failure> {
        let (landing, source, peer) = (from.landing, from.source, from.peer);
        let behind = asked.end.max(within.start)..within.end;
        let board = Rc::new(Board {
            pieces: RefCell::new(Pieces::new(missing(landing, &behind))),
            others: Cell::new(0),
            out: Cell::new(0),
            changed: Notify::default(),
        });
        let loan = |pieces, news| {
            let (group, outline) = (self.group, outline.clone());
            Box::new(Loan { source, peer, group, outline, pieces, news })
        };
        let line = async |place: u32| loop {
            let (given, (pieces, news)) = self.give(landing, &board);
            (helpers.ask)(place, loan(pieces, news));
            let answered = || Some(given.held.phase.get()).filter(|phase| *phase != Phase::Offered);
            if board.changed.until(answered).await == Phase::Over {
                drop(given);
            } else {
                let held = Rc::clone(&given.held);
                given.feed().await;
                if held.has_failed.get() {
                    return;
                }
            }
            let is_empty = board.changed.until(|| board.is_empty().then_some(()));
            if let Either::Right(_) = select(pin!(sleep(LEND_PAUSE)), pin!(is_empty)).await {
                return;
            }
        };
        let begun = Core::current().now();
        let taken = {
            // The others are asked first, so that the owner leaves them something.
            let lines = pin!(stream::iter(0..helpers.count).for_each_concurrent(None, line));
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
            let piece = board.pieces.borrow_mut().take_front(board.others.get());
            board.changed.notify();
            piece
        };
        let mut piece: Piece = missing(landing, &asked).collect();
        if piece.is_empty() {
            piece = next();
            ask(&piece).await?;
        }
        let (mut count, mut is_damaged) = (0, false);
        while let (Some(first), Some(last)) = (piece.first(), piece.last()) {
            let (within, expected) = (first.start..last.end, chunks_of(&piece));
            let following = next();
            let receive = self.receive_chunks(answers, source, landing, (&within, expected));
            let ((), damaged) = try_join(ask(&following), receive).await?;
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
    ) -> (Given<'a>, (MailReceiver<Piece>, MailSender<News>)) {
        let (phase, out) = (Cell::new(Phase::Offered), Cell::new(0));
        let held = Rc::new(Held { phase, out, is_recalled: Cell::default(), has_failed: Cell::default() });
        let (pieces, taken) = mailbox(LEND_PIECES_MAX);
        let (news, told) = mailbox(LEND_NEWS_MAX);
        board.others.set(board.others.get() + 1);
        let heard = (Rc::clone(board), Rc::clone(&held));
        let hears = hear(landing.lend(), told, heard, Rc::clone(&self.stats));
        drop(Core::current().spawn(Priority::Bulk, hears));
        (Given { board, held, pieces }, (taken, news))
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

/// Hears what becomes of one loan, to its end.
async fn hear(
    lent: Lent,
    mut told: MailReceiver<News>,
    (board, held): (Rc<Board>, Rc<Held>),
    stats: Rc<TransferStats>,
) {
    let mut is_over = false;
    let mut next = first_word(&mut told, &board, &held).await;
    while let Some(news) = next {
        match news {
            News::Begun => held.phase.set(Phase::Begun),
            News::Came { index, bytes, fate } => {
                came(&stats, bytes, fate);
                if fate == Fate::Written {
                    lent.wrote(index);
                }
                board.put_back(&held, 1);
            }
            News::Over(failed) => {
                is_over = true;
                if let Some(failure) = failed {
                    held.has_failed.set(true);
                    tracing::debug!(failure = failure.word(), "a core does not bring what it was lent");
                }
            }
        }
        board.changed.notify();
        next = if is_over { None } else { told.receive().await };
    }
    let has_begun = held.phase.replace(Phase::Over) == Phase::Begun;
    board.others.set(board.others.get() - 1);
    board.put_back(&held, held.out.get());
    if has_begun && !is_over {
        tracing::error!(
            "a core has ended that may be writing to a staging file: it does not land in this process"
        );
        lent.never_returned();
    } else {
        drop(lent);
    }
    board.changed.notify();
}

fn came(stats: &TransferStats, bytes: u32, fate: Fate) {
    stats.bytes_fetched.add(bytes.into());
    match fate {
        Fate::Written => {
            stats.bytes_lent.add(bytes.into());
            stats.chunks_lent.add(1);
        }
        Fate::Damaged => {
            stats.bytes_refetched.add(bytes.into());
            stats.chunks_refetched.add(1);
        }
        Fate::Unwritten => {}
    }
}

impl fmt::Debug for Helpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Helpers({} cores)", self.count)
    }
}
