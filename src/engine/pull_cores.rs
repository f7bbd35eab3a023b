//! The other cores of a pull: threads that bring pieces of large segments for the one that lands them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use crate::auth::SecretSet;
use crate::limits::{FETCHES_MAX, LEND_CORES_MAX, PULL_CORES_BYTES_MIN, PULL_CORES_DEFAULT};
use crate::transfer::{Helper, Helpers, Loan};
use crate::uring::{MailReceiver, MailSender, mailbox};

use super::drive::{core, drive};
use super::fallback;
use super::point;

/// Loans that wait for one core: one of each segment that is being fetched.
const LOANS_MAX: usize = FETCHES_MAX;

/// The other cores, each begun when it is first asked to help: a pull of small files begins none.
pub(super) struct PullCores {
    secrets: SecretSet,
    count: u16,
    /// By number, from 1 on; none where one could not begin.
    begun: RefCell<BTreeMap<u16, Option<Other>>>,
}

/// A core and its thread.
struct Other {
    loans: MailSender<Box<Loan>>,
    thread: JoinHandle<()>,
}

impl PullCores {
    /// So many cores less one, the pull's own; unless told as many as the process may use, but no more than
    /// `PULL_CORES_DEFAULT`.
    pub(super) fn new(cores: Option<NonZeroU16>, secrets: SecretSet) -> Self {
        let usable = || {
            let usable = thread::available_parallelism().map_or(1, |count| count.get());
            u16::try_from(usable).unwrap_or(u16::MAX).min(PULL_CORES_DEFAULT)
        };
        let count = cores.map_or_else(usable, NonZeroU16::get) - 1;
        Self { secrets, count: count.min(LEND_CORES_MAX), begun: RefCell::default() }
    }

    /// How the pull's own core asks them; none if it has no others, or little to fetch.
    pub(super) fn helpers(self: Rc<Self>, bytes: u64) -> Option<Rc<Helpers>> {
        let count = if bytes < PULL_CORES_BYTES_MIN { 0 } else { self.count };
        let ask = move |place: u32, loan| {
            // A helper's place counts from 0; core 0 is the pull's own.
            self.ask(u16::try_from(place + 1).expect("no more than LEND_CORES_MAX"), loan);
        };
        (count > 0).then(|| Rc::new(Helpers::new(count, ask)))
    }

    /// Hands a loan to one of them. One that it does not get is declined.
    fn ask(&self, core: u16, loan: Box<Loan>) {
        let mut begun = self.begun.borrow_mut();
        let other = begun.entry(core).or_insert_with(|| begin(core, self.secrets.clone()));
        if let Some(other) = other
            && other.loans.try_send(loan).is_err()
        {
            tracing::debug!(core, "another core has no time to be asked for help");
        }
    }

    /// Waits until they have ended what they do: nothing of the pull writes then.
    pub(super) fn end(&self) {
        let begun = std::mem::take(&mut *self.begun.borrow_mut());
        // Nobody can ask any of them any more before the first is waited for.
        let threads: Vec<_> = begun.into_values().flatten().map(|Other { thread, .. }| thread).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a core of the pull has panicked");
            }
        }
    }
}

fn begin(number: u16, secrets: SecretSet) -> Option<Other> {
    let (loans, asked) = mailbox(LOANS_MAX);
    let named = thread::Builder::new().name(format!("ringway-pull-{number}"));
    match named.spawn(move || help(number, secrets, asked)) {
        Ok(thread) => Some(Other { loans, thread }),
        Err(error) => {
            tracing::warn!(%error, core = number, "no thread for another core: the pull goes on without it");
            None
        }
    }
}

/// One of them: helps until nobody can ask any more.
fn help(number: u16, secrets: SecretSet, mut asked: MailReceiver<Box<Loan>>) {
    let core = match core() {
        Ok(core) => core,
        Err(error) => {
            tracing::warn!(%error, core = number, "no ring for another core: the pull goes on without it");
            return;
        }
    };
    fallback::tell(&core.probe(), number, Some(point::CONGESTION));
    let helping = async move {
        let (transport, helper) = (point::transport(secrets, None), Rc::new(Helper::default()));
        while let Some(loan) = asked.receive().await {
            Rc::clone(&helper).help(*loan, transport.clone()).await;
        }
        transport.shut_down();
    };
    drive(&core, helping, &AtomicBool::new(false));
}
