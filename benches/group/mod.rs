//! A Raft group of one on a core of the calling thread.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use ringway::auth::{Secret, SecretSet};
use ringway::ids::{ClusterId, GroupId, Incarnation, NodeId};
use ringway::manifest::State;
use ringway::raft::{Group, GroupConfig, GroupOptions, Member};
use ringway::transport::{Transport, TransportOptions};
use ringway::uring::{Core, Dir, Priority, Turn};

const NODE: NodeId = NodeId(1);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Runs a future on a core of this thread; each turn of the core by `turn`.
pub fn on<T: 'static>(
    core: &Core,
    work: impl Future<Output = T> + 'static,
    turn: impl Fn(&Core) -> Turn,
) -> T {
    let output = Rc::new(RefCell::new(None));
    let theirs = Rc::clone(&output);
    let task = core.spawn(Priority::Urgent, async move {
        let done = work.await;
        theirs.replace(Some(done));
    });
    while !task.is_ended() {
        // A task that has just ended leaves nothing to wait for.
        if let Turn::Park(deadline) = turn(core)
            && !task.is_ended()
        {
            core.park(deadline);
        }
    }
    output.take().expect("the task has ended")
}

/// The group in a folder, founded if it was not.
pub async fn open(folder: &Path, config: GroupConfig) -> Group<State> {
    let dir = Dir::open_root(folder.to_str().expect("a plain path")).await.expect("it is there");
    let secrets = SecretSet::new(Secret::parse(SECRET).expect("64 digits"), None);
    let incarnation = Incarnation([1; 16]);
    let options = TransportOptions::new(Some(ClusterId([1; 16])), Some(NODE), incarnation, secrets);
    let options = GroupOptions {
        group: GroupId(1),
        node: NODE,
        dir,
        gate: None,
        transport: Transport::new(options),
        resolve: None,
        hook: None,
        config,
    };
    let group: Group<State> = Group::open(options).await.expect("our own files");
    let member = Member { address: "127.0.0.1:1".to_owned(), incarnation };
    let _done_at_a_restart = group.bootstrap(BTreeMap::from([(NODE, member)])).await;
    group
}
