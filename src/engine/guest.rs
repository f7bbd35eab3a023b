//! A node whose cores are guests in executors of the embedder's own: how they are opened one after the other, and how
//! they leave together. See kernel-notes/guest-runtimes.md.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::config::NodeConfig;
use crate::ids::Nanos;
use crate::limits::GUEST_SLICE_DEFAULT;
use crate::uring::{Guest, Hosting, MailReceiver, MailSender, Priority};

use super::builder::{Prepared, core_of};
use super::error::OpenError;
use super::handle::{Engine, Hosts};
use super::node::{self, CoreParts, Opened};
use super::reply::{NoAnswer, Replier, Reply, reply};
use super::request::Request;

/// A node prepared for executors of the embedder's own.
#[derive(Debug)]
#[must_use = "its cores are run by the embedder"]
pub struct GuestNode {
    /// The node's handle, when all cores stand. Needs all of them to be run.
    pub engine: Reply<Engine, OpenError>,
    /// Its cores, in their order: as many as the configuration has.
    pub cores: Vec<GuestCore>,
}

/// A core of a node, on its way to the thread of the executor that is to drive it: `Send`, and a future there. Its ring
/// is made on that thread and never leaves it. Several may be run by one executor; all have to be run for the node to
/// open.
///
/// The future ends when the node has stopped: its engine was shut down, or the last clone of it was dropped. Dropped
/// before that, it ends its core at once: what is in flight is seen to its end, which may block for as long as a flush
/// takes, and the rest is as after a power cut, which the next opening recovers from. A node has all of its cores or
/// none: whichever leaves takes the others with it. A core that panics ends the process, as one on a thread of its own
/// does.
///
/// With the feature `tokio-uring`:
///
/// ```
/// # #[cfg(feature = "tokio-uring")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use ringway::engine::Engine;
/// # use ringway::ids::{ClusterId, NodeId};
/// # let dir = tempfile::tempdir()?;
/// # let builder = Engine::builder()
/// #     .cluster(ClusterId([7; 16]))
/// #     .node(NodeId(1), "127.0.0.1:0".parse()?)
/// #     .root(dir.path())
/// #     .secret("b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9");
/// tokio_uring::start(async {
///     let node = builder.open_guest()?;
///     let cores: Vec<_> =
///         node.cores.into_iter().map(|core| tokio_uring::spawn(core.run_on_tokio_uring())).collect();
///     let engine = node.engine.await?;
///     engine.bootstrap().await?; // and so on, beside the executor's other tasks
///
///     engine.shut_down(); // asks, and blocks nobody
///     for core in cores {
///         core.await??; // has stopped
///     }
///     Ok(())
/// })
/// # }
/// # #[cfg(not(feature = "tokio-uring"))]
/// # fn main() {}
/// ```
#[must_use = "a core does nothing until it is run"]
pub struct GuestCore {
    parts: CoreParts,
    mail: MailReceiver<Request>,
    slice: Nanos,
    sign: Sign,
    /// Comes from the core before, when that stands.
    turn: Reply<Baton>,
    /// Waits for it.
    next: Option<Replier<Result<Baton, NoAnswer>>>,
}

/// A guest's host cannot wait for its core's signal any more. The core was shut down.
#[derive(Debug)]
#[non_exhaustive]
pub struct GuestError {
    /// The core's number, from 0.
    pub core: u16,
    /// The host's answer.
    pub error: io::Error,
}

/// What goes from core to core while a node is opened, one after the other: the first makes the root's identity, the
/// others read it. Dropped on its way, it ends the node.
struct Baton {
    config: Arc<NodeConfig>,
    senders: Vec<MailSender<Request>>,
    leave: Leave,
    first: Option<Opened>,
    engine: Replier<Result<Engine, OpenError>>,
}

/// Asks all guests of a node to leave, when it is dropped.
#[derive(Debug)]
pub(crate) struct Leave(Sign);

/// Says to all guests of a node that they are to leave. Clones are the same sign.
#[derive(Clone, Default)]
struct Sign(Arc<Mutex<Raised>>);

#[derive(Default)]
struct Raised {
    raised: bool,
    /// One for each core at most.
    waiting: Vec<Waker>,
}

/// Gives each core what it needs, and the first one its turn.
pub(super) fn guests(prepared: Prepared) -> GuestNode {
    let Prepared { config, senders, cores } = prepared;
    let sign = Sign::default();
    let (engine, waiting) = reply();
    let (first, mut turn) = reply();
    first.answer(Ok(Baton { config, senders, leave: Leave(sign.clone()), first: None, engine }));
    let last = cores.len() - 1;
    let cores = cores.into_iter().enumerate().map(|(index, (parts, mail))| {
        let (next, after) = reply();
        let turn = std::mem::replace(&mut turn, after);
        let next = (index != last).then_some(next);
        GuestCore { parts, mail, slice: GUEST_SLICE_DEFAULT, sign: sign.clone(), turn, next }
    });
    GuestNode { cores: cores.collect(), engine: waiting }
}

impl GuestCore {
    /// The core's share of its thread: how long it works at a stretch, while it has work, before the executor's other
    /// tasks run. A millisecond if nothing is said; the last step of a stretch may take as long as hashing a chunk.
    pub fn slice(mut self, slice: Duration) -> Self {
        self.slice = slice.into();
        self
    }

    /// Its number in the node, from 0.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.parts.index
    }

    /// Runs the core in a task of tokio-uring's runtime, or of any other of tokio's that takes tasks that are not
    /// `Send` and has its I/O and time enabled.
    ///
    /// # Errors
    /// The runtime cannot wait for the core's signal. What keeps the node from opening is told by `GuestNode::engine`.
    #[cfg(feature = "tokio-uring")]
    pub async fn run_on_tokio_uring(self) -> Result<(), GuestError> {
        self.run::<crate::uring::Tokio>("tokio-uring").await
    }

    /// Runs the core in a task of a glommio executor. The shares of its task queue say how much of the thread it has
    /// beside others, its slice how soon others come to it. An executor of glommio 0.9 that goes drops none of the
    /// tasks that are still waiting, but loses them: let this one end before, or cancel it.
    ///
    /// # Errors
    /// The executor cannot wait for the core's signal. What keeps the node from opening is told by `GuestNode::engine`.
    #[cfg(feature = "glommio")]
    pub async fn run_on_glommio(self) -> Result<(), GuestError> {
        self.run::<crate::uring::Glommio>("glommio").await
    }

    #[cfg_attr(
        not(any(feature = "tokio-uring", feature = "glommio")),
        expect(dead_code, reason = "each of the hosts is a feature")
    )]
    async fn run<H: Hosting>(self, host: &'static str) -> Result<(), GuestError> {
        let Self { mut parts, mail, slice, sign, turn, next } = self;
        // However this core ends, the others do too.
        let _leave = Leave(sign.clone());
        parts.host = host;
        let index = parts.index;
        // The core before has not come to stand, and has told why.
        let Ok(baton) = turn.await else { return Ok(()) };
        let core = match core_of(parts.config.cores) {
            Ok(core) => core,
            Err(error) => {
                baton.engine.answer(Err(OpenError::Core { why: error.to_string() }));
                return Ok(());
            }
        };
        let guest = Guest::new(core, usize::from(index), slice);
        let own = parts.cores[usize::from(index)].clone();
        let (replier, opened) = reply();
        let handing = guest.core().spawn(Priority::Urgent, baton.hand_on(opened, next));
        // The core goes with its work: what has kept the node from opening is told before.
        let work = guest.core().spawn(Priority::Urgent, async move {
            node::run(parts, mail, replier).await;
            handing.await;
        });
        drop(guest.core().spawn(Priority::Urgent, stop(sign, own)));
        guest.drive::<H>(work).await.map_err(|error| GuestError { core: index, error })
    }
}

/// Brings the core's work to its end when the sign is raised.
async fn stop(sign: Sign, own: MailSender<Request>) {
    sign.raised().await;
    let (replier, stopped) = reply::<(), NoAnswer>();
    if own.send(Request::Stop(replier)).await.is_ok() {
        let _stopped_already = stopped.await;
    }
}

impl Baton {
    /// Waits until this core is opened, and lets the next one go, or tells the embedder what has come of it.
    async fn hand_on(
        mut self,
        opened: Reply<Opened, OpenError>,
        next: Option<Replier<Result<Self, NoAnswer>>>,
    ) {
        match opened.await {
            Ok(opened) => self.first.get_or_insert(opened),
            Err(error) => return self.engine.answer(Err(error)),
        };
        match next {
            Some(next) => next.answer(Ok(self)),
            None => self.finish(),
        }
    }

    fn finish(self) {
        let Self { config, senders, leave, first, engine } = self;
        let Opened { identity, address } = first.expect("a core has just been opened");
        let address = address.unwrap_or(config.listen);
        engine.answer(Ok(Engine::new(config, identity, address, senders, Hosts::Guests(leave))));
    }
}

impl Sign {
    fn lock(&self) -> std::sync::MutexGuard<'_, Raised> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self) {
        let mut sign = self.lock();
        sign.raised = true;
        let waiting = std::mem::take(&mut sign.waiting);
        drop(sign);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn raised(&self) -> impl Future<Output = ()> {
        poll_fn(|context| {
            let mut sign = self.lock();
            if sign.raised {
                return Poll::Ready(());
            }
            if !sign.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                sign.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.0.raise();
    }
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sign({})", if self.lock().raised { "raised" } else { "down" })
    }
}

impl fmt::Debug for GuestCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestCore({} of node {})", self.parts.index, self.parts.config.node)
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host of core {} cannot wait for it any more: {}", self.core, self.error)
    }
}

impl std::error::Error for GuestError {}
