//! A load, one writer a node, and what was acknowledged of it: all of that has to stand on every node in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::asked::Asked;
use crate::bench::{segments_of, wait_until};
use crate::binary::{content, errors, run, write};

/// For one registration: longer than a silent connection lasts.
pub const WITHIN: Duration = Duration::from_secs(30);
/// Less than `limits::IDLE_TIMEOUT`.
const SILENCE: Duration = Duration::from_secs(12);
/// Before the next attempt at a node that refused.
const REST: Duration = Duration::from_millis(10);
const BYTES_MAX: u64 = 30_000;

/// One thread for each of some nodes, which registers files there without a pause, whether the node runs or not.
pub struct Writers {
    asked: Arc<Asked>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Written>>>,
    /// By node: registrations acknowledged.
    acknowledged: BTreeMap<u64, Arc<AtomicU64>>,
}

/// An acknowledged file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    path: String,
    seed: u64,
}

impl Written {
    /// No two have the same content, and a name is used once.
    fn new(node: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let seed = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { path: format!("load/{node}-{seed}"), seed }
    }

    fn content(&self) -> Vec<u8> {
        content(self.seed, usize::try_from(self.seed.wrapping_mul(7919) % BYTES_MAX).expect("small"))
    }
}

impl Writers {
    /// Writers at all nodes.
    pub fn start(asked: &Arc<Asked>) -> Self {
        Self::at(asked.numbers(), asked)
    }

    /// Writers at these nodes. What is registered at a node that then cannot be reached is fetched when the nodes have
    /// rested from trying, which takes half a minute.
    pub fn at(nodes: impl IntoIterator<Item = u64>, asked: &Arc<Asked>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged: BTreeMap<_, _> = nodes.into_iter().map(|node| (node, Arc::default())).collect();
        let threads = acknowledged.iter().map(|(&node, acknowledged)| {
            let (asked, stop, acknowledged) =
                (Arc::clone(asked), Arc::clone(&stop), Arc::clone(acknowledged));
            thread::spawn(move || load(&asked, node, &stop, &acknowledged))
        });
        Self { asked: Arc::clone(asked), threads: threads.collect(), stop, acknowledged }
    }

    /// Waits until so many registrations more are acknowledged at each of these nodes.
    #[track_caller]
    pub fn wait_for(&self, more: u64, nodes: impl IntoIterator<Item = u64>) {
        let nodes = nodes.into_iter().map(|node| &self.acknowledged[&node]);
        let goals: Vec<_> = nodes.map(|count| (count, count.load(Ordering::Relaxed) + more)).collect();
        self.asked.wait("the load goes on", |_| {
            goals.iter().all(|(count, goal)| count.load(Ordering::Relaxed) >= *goal)
        });
    }

    /// The same, in less time than a connection to a silent node takes to end: what was asked of that one is asked of
    /// its successor.
    #[track_caller]
    pub fn wait_for_soon(&self, more: u64, nodes: impl IntoIterator<Item = u64>) {
        let since = Instant::now();
        self.wait_for(more, nodes);
        assert!(since.elapsed() < SILENCE, "{:?}", since.elapsed());
    }

    /// Ends the load, waits until the nodes have come to rest, and looks for every acknowledged file on each of them.
    #[track_caller]
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.threads.drain(..).map(|thread| thread.join().expect("it ends well"));
        let all: BTreeSet<Written> = ended.flatten().collect();
        self.asked.at_rest();
        let root = &self.asked.root;
        for node in self.asked.numbers() {
            let found = segments_of(root, node, 1);
            for written in &all {
                let bytes = found.get(&written.path);
                assert!(bytes.is_some(), "{}, which was acknowledged, is not on node {node}", written.path);
                assert!(bytes == Some(&written.content()), "{} differs on node {node}", written.path);
            }
        }
        verified(root);
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Asserts that `ringway verify` finds nothing.
#[track_caller]
pub fn verified(root: &Path) {
    let output = run(&["verify", "--root", root.to_str().expect("utf-8")]);
    assert!(output.status.success(), "{}", errors(&output));
}

fn load(asked: &Asked, node: u64, stop: &AtomicBool, acknowledged: &AtomicU64) -> Vec<Written> {
    let mut all = Vec::new();
    let segments = asked.segments(node);
    wait_until("the node has made its folders", || segments.is_dir());
    while !stop.load(Ordering::Relaxed) {
        let written = Written::new(node);
        write(&segments, &written.path, &written.content());
        match asked.register(node, &written.path, WITHIN) {
            Ok(()) => {
                all.push(written);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => thread::sleep(REST),
        }
    }
    all
}
