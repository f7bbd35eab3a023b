//! The fsync of a folder that many put names into: who asks while one is under way shares the next.

use std::cell::RefCell;
use std::rc::Rc;

use crate::uring::{Answer, Core, Dir, Errno, Priority, question};

/// Makes a folder's names durable. Clones are the same.
#[derive(Clone)]
pub(super) struct FolderSync(Rc<Inner>);

struct Inner {
    folder: Dir,
    asked: RefCell<Asked>,
}

#[derive(Default)]
struct Asked {
    waiting: Vec<Answer<Result<(), Errno>>>,
    syncing: bool,
}

impl FolderSync {
    pub(super) fn new(folder: Dir) -> Self {
        Self(Rc::new(Inner { folder, asked: RefCell::default() }))
    }

    /// Returns when an fsync that began after this call has ended.
    ///
    /// # Errors
    /// The kernel's, for everybody who shared it.
    pub(super) async fn sync(&self) -> Result<(), Errno> {
        let (answer, question) = question();
        let is_syncing = {
            let mut asked = self.0.asked.borrow_mut();
            asked.waiting.push(answer);
            std::mem::replace(&mut asked.syncing, true)
        };
        if !is_syncing {
            drop(Core::current().spawn(Priority::Urgent, sync_all(self.clone())));
        }
        question.await.unwrap_or(Err(Errno::CANCELED))
    }
}

/// Syncs until nobody waits. A task of its own: whoever asked may give up.
async fn sync_all(sync: FolderSync) {
    loop {
        let waiting = std::mem::take(&mut sync.0.asked.borrow_mut().waiting);
        if waiting.is_empty() {
            sync.0.asked.borrow_mut().syncing = false;
            return;
        }
        let result = sync.0.folder.sync().await;
        for answer in waiting {
            // Whoever does not wait any more does not care.
            let _gone = answer.give(result);
        }
    }
}
