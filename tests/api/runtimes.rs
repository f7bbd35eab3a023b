//! The same calls from tokio, from another executor, from a thread that has none; and across threads.

use std::time::Duration;

use ringway::engine::{
    Builder, ChangeError, DirectoryAdapter, Durability, Engine, GuestCore, Locator, NoAnswer, Reply, Sealed,
    Segment, Shard, block_on,
};

use crate::nodes::{Nodes, PATIENCE, patient, seal};

/// What an embedder does, in any runtime.
async fn work(engine: Engine, shard: Shard, name: String) {
    let cursor = shard.events_now().await.expect("it runs");
    seal(&shard, &name, name.as_bytes());
    let done = shard.register(Sealed::at(&name), patient(Durability::LandedQuorum)).await.expect("committed");
    shard.wait_installed(done.index, PATIENCE).await.expect("here");
    let segment = shard.open_segment(Locator::Path(name.clone())).await.expect("here");
    assert_eq!((segment.id, segment.bytes), (done.segments[0], name.len() as u64));
    assert!(!shard.events(cursor).await.expect("no gap").is_empty());
    assert!(!engine.status().await.expect("it runs").shards.is_empty());
    assert_eq!(engine.members().await.expect("it runs").len(), 1);
    shard.delete(name, "done", patient(Durability::Committed)).await.expect("committed");
}

#[test]
fn x5_from_tokio_with_opening_and_shutting_down_on_its_blocking_threads() {
    let nodes = Nodes::unfounded(1, 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let builder = nodes.builder(1);
        let opened = tokio::task::spawn_blocking(move || builder.open()).await.expect("no panic");
        let engine = opened.expect("it opens");
        engine.bootstrap().await.expect("founded");
        let shard = engine.shards().next().expect("one");
        let tasks: Vec<_> = (0..8)
            .map(|task| tokio::spawn(work(engine.clone(), shard.clone(), format!("tokio/{task}"))))
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        // A future that is given up in the middle leaves nothing behind that hurts.
        let now = shard.events_now().await.expect("it runs");
        let given_up = tokio::time::timeout(Duration::from_millis(10), shard.events(now)).await;
        assert!(given_up.is_err(), "nothing happened in that time");
        tokio::task::spawn_blocking(move || engine.shut_down()).await.expect("no panic");
        assert_eq!(shard.events_now().await, Err(NoAnswer::Stopped));
    });
}

#[test]
fn x5_from_an_executor_that_knows_nothing_of_ours() {
    let nodes = Nodes::new(1);
    pollster::block_on(work(nodes.engine(1).clone(), nodes.shard(1), "pollster".to_owned()));
}

#[test]
fn x5_from_threads_without_a_runtime() {
    let nodes = Nodes::new(1);
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (engine, shard) = (nodes.engine(1).clone(), nodes.shard(1));
            std::thread::spawn(move || block_on(work(engine, shard, format!("thread-{thread}"))))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
}

#[test]
fn x5_handles_and_replies_go_from_thread_to_thread() {
    fn sent<T: Send + 'static>() {}
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<Engine>();
    shared::<Shard>();
    sent::<Builder>();
    sent::<GuestCore>();
    sent::<Segment>();
    sent::<DirectoryAdapter>();
    sent::<Reply<u64, ChangeError>>();
}
