//! A process that is killed while its engine is frozen leaves nothing that the next start does not take away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ringway::engine::{ActiveFile, How};

use super::engine::{Engine, ask, endless, nothing_left};
use crate::nodes::{Nodes, until};

const ROOT: &str = "RINGWAY_CHECKPOINT_ROOT";

/// Does its part as a child of the test below; by itself it has nothing to do.
#[test]
fn child_that_is_killed_while_it_copies() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let mut nodes = Nodes::unfounded(1, 1);
    nodes.open_as(1, |builder| builder.root(root.clone()));
    nodes.engine(1).bootstrap().wait().expect("founded");
    let (memory, active) = endless();
    fs::write(root.join("memory"), memory.path().as_os_str().as_encoded_bytes()).expect("told");
    let small = ActiveFile::new(root.join("identity"), "identity", How::Link);
    let done = ask(&nodes.shard(1), &Engine::of(vec![small, active])).wait();
    panic!("it is killed before: {done:?}");
}

fn captured(root: &Path) -> usize {
    fs::read_dir(root.join("shard-0000/.ringway/checkpoints")).map_or(0, Iterator::count)
}

#[test]
fn s6_what_a_killed_process_had_captured_goes_at_the_next_start() {
    let mut nodes = Nodes::unfounded(1, 1);
    let root = nodes.root(1);
    fs::create_dir(&root).expect("made");
    let mut child = Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "checkpoint::killed::child_that_is_killed_while_it_copies", "--nocapture"])
        .env(ROOT, &root)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary runs");
    until("a link and a copy under way", || captured(&root) == 2);
    child.kill().expect("it runs");
    assert!(!child.wait().expect("killed").success());
    let memory = fs::read_to_string(root.join("memory")).expect("it was told");
    fs::remove_dir_all(memory).expect("the child could not");
    assert_eq!(captured(&root), 2, "they outlast their process");
    nodes.open(1);
    nothing_left(&nodes, 1);
    assert_eq!(captured(&root), 0);
    nodes.leader();
    let file = root.join("active");
    fs::write(&file, b"active").expect("written");
    let engine = Engine::of(vec![ActiveFile::new(file, "active", How::Copy { bytes: 6 })]);
    ask(&nodes.shard(1), &engine).wait().expect("the next one is made");
}
