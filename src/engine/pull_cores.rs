//! The other cores of a pull: threads that bring pieces of large segments for the one that lands them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::rc::Rc;
use std::thread;

use crate::auth::SecretSet;
use crate::limits::{PULL_CORES_BYTES_MIN, PULL_CORES_DEFAULT};
use crate::transfer::{Helper, Helpers, Loan};
use crate::uring::{MailReceiver, MailSender, Pinned, Priority, mailbox, pinned};

use super::drive::core;
use super::fallback;
use super::point;

/// Loans that wait for one core: it is asked for one at a time.
const LOANS_MAX: usize = 2;

/// The other cores, each begun when it is first asked to help: a pull of small files begins none.
pub(super) struct PullCores {
    secrets: SecretSet,
    count: u16,
    /// By number, from 1 on; none where one could not begin.
    begun: RefCell<BTreeMap<u16, Option<Other>>>,
}

/// A core on a thread of its own.
struct Other {
    loans: MailSender<Box<Loan>>,
    core: Pinned,
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
        Self { secrets, count, begun: RefCell::default() }
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
    fn ask(&self, number: u16, loan: Box<Loan>) {
        let mut begun = self.begun.borrow_mut();
        if let Some(other) = begun.entry(number).or_insert_with(|| begin(number, self.secrets.clone()))
            && other.loans.try_send(loan).is_err()
        {
            tracing::debug!(core = number, "another core has no time to be asked for help");
        }
    }

    /// Stops them; waits until nothing of theirs is in flight.
    pub(super) fn end(&self) {
        for other in std::mem::take(&mut *self.begun.borrow_mut()).into_values().flatten() {
            other.core.stop();
        }
    }
}

fn begin(number: u16, secrets: SecretSet) -> Option<Other> {
    let (loans, asked) = mailbox(LOANS_MAX);
    let make = move || {
        let core = core()?;
        fallback::tell(&core.probe(), number, Some(point::CONGESTION));
        drop(core.spawn(Priority::Bulk, help(secrets, asked)));
        Ok(core)
    };
    match pinned(number.into(), None, make) {
        Ok(core) => Some(Other { loans, core }),
        Err(error) => {
            tracing::warn!(%error, core = number, "the pull goes on without another core");
            None
        }
    }
}

/// One of them: helps with one segment after the other.
async fn help(secrets: SecretSet, mut asked: MailReceiver<Box<Loan>>) {
    let (transport, helper) = (point::transport(secrets, None), Rc::new(Helper::default()));
    while let Some(loan) = asked.receive().await {
        Rc::clone(&helper).help(*loan, transport.clone()).await;
    }
}
