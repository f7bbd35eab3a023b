//! A node whose log or snapshot is damaged: it refuses to start and names the command; the command sets the group
//! aside; the node comes back in another life, learns what the others know, votes again, and fetches no segment.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bench::{Place, admin, ask, same_on_every_node, up, wait_or_tell};
use crate::binary::{errors, files, json, ringway, run};
use crate::damage::stopped;
use crate::tools::{Logged, finish, node, refused};

const SOON: Duration = Duration::from_secs(30);

fn config(root: &Path, number: u64) -> PathBuf {
    root.join(format!("node-{number}/node.toml"))
}

fn start(root: &Path, number: u64) -> Logged {
    let mut command = node(&config(root, number));
    if number == 1 {
        command.arg("--bootstrap");
    }
    Logged::start(command, &root.join(format!("log-{number}")))
}

fn rejoin(root: &Path, number: u64, more: &[&str]) -> std::process::Output {
    let mut command = ringway();
    command.args(["rejoin", "-o", "json", "--config"]).arg(config(root, number)).args(more);
    finish(&mut command, SOON)
}

/// Flips a bit in the middle of the newest file of a kind; gives its folder.
fn damage(root: &Path, number: u64, kind: &str) -> PathBuf {
    let raft = root.join(format!("node-{number}/shard-0000/raft"));
    let newest = files(&raft).into_keys().filter(|name| name.starts_with(kind)).max().expect("there is one");
    let path = raft.join(newest);
    let mut bytes = fs::read(&path).expect("there");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("it is used");
    // In a log: the first record of a batch in the middle.
    let at = if kind == "log-" { used / 2 / 4096 * 4096 + 34 } else { used / 2 };
    bytes[at] ^= 1;
    fs::write(&path, bytes).expect("written");
    raft
}

/// What the nodes say of themselves, and the ends of their logs.
fn told(root: &Path) -> String {
    let of = |number| {
        let status = run(&["status", "--endpoint", &admin(root, number), "-o", "json"]);
        let log = fs::read_to_string(root.join(format!("log-{number}"))).unwrap_or_default();
        let last = log.lines().rev().take(30).collect::<Vec<_>>();
        let lines: Vec<_> = last.into_iter().rev().collect();
        format!("node {number}: {}\n{}", String::from_utf8_lossy(&status.stdout), lines.join("\n"))
    };
    (1..=3).map(of).collect::<Vec<_>>().join("\n")
}

/// Whether a node is ready, votes in both groups, and its peers know it in this life.
fn is_back(root: &Path, number: u64, life: &str) -> bool {
    let output = run(&["status", "--endpoint", &admin(root, number), "-o", "json"]);
    if !output.status.success() {
        return false;
    }
    let status = json(&output);
    let votes = |group: &serde_json::Value| {
        group["voters"].as_array().is_some_and(|voters| voters.len() == 3 && voters.contains(&number.into()))
    };
    let groups = status["groups"].as_array().cloned().unwrap_or_default();
    let other = ask(&["members", "--endpoint", &admin(root, number % 3 + 1)]);
    status["ready"] == true
        && status["incarnation"] == life
        && groups.len() == 2
        && groups.iter().all(|group| votes(group) && group["role"] != "learner")
        && other.to_string().contains(life)
}

#[test]
fn s8_a_damaged_group_is_set_aside_and_the_node_comes_back_as_a_learner_that_fetches_nothing() {
    let Place { source, root, .. } = &stopped();
    // The first node founded the cluster: it must not found another one.
    for (number, kind) in [(3, "log-"), (3, "snapshot-"), (1, "log-")] {
        let raft = damage(root, number, kind);
        let others: Vec<Logged> = (1..=3).filter(|one| *one != number).map(|one| start(root, one)).collect();
        refused(&finish(&mut node(&config(root, number)), SOON), 7, "ringway rejoin");
        let before = files(&raft);
        let report = rejoin(root, number, &[]);
        assert!(report.status.success(), "{}", errors(&report));
        let report = json(&report);
        let aside = report["aside"][0]["path"].as_str().expect("one is set aside");
        assert_eq!(report["aside"].as_array().map(Vec::len), Some(1), "{report}");
        assert!(files(Path::new(aside)) == before, "it is kept as it was");
        assert_ne!(
            report["before"], report["incarnation"],
            "an empty log under the old life would break promises"
        );
        let life = report["incarnation"].as_str().expect("it has one").to_owned();
        refused(&rejoin(root, number, &[]), 1, "read as they should");

        let back = start(root, number);
        let what = format!("node {number} is back after {kind}");
        wait_or_tell(&what, || is_back(root, number, &life), || told(root));
        let status = ask(&["status", "--endpoint", &admin(root, number)]);
        assert_eq!(status["shards"][0]["bytes_fetched"], 0, "{status}");
        refused(&rejoin(root, number, &["--shard", "0"]), 1, "a node runs on it");
        for mut one in others.into_iter().chain([back]) {
            one.stop();
        }
        let verified =
            run(&["verify", "--root", root.join(format!("node-{number}")).to_str().expect("utf-8")]);
        assert!(verified.status.success(), "{}", errors(&verified));
    }
    crate::binary::write(source, "after all of it", b"and the cluster goes on");
    let again = up(root, &["--shards", "1", "--import", source.to_str().expect("utf-8")]);
    assert!(again.status.success(), "{}", errors(&again));
    same_on_every_node(root, 3, 1, source);
}
