//! Status, members, segments, register, delete and transfer-leader, asked of a running cluster.

use std::fs;
use std::path::Path;

use crate::bench::{Cluster, Place, admin, alone, ask, wait_until};
use crate::binary::{content, errors, run, secret, write};

fn paths(segments: &serde_json::Value) -> Vec<String> {
    let all = segments["segments"].as_array().expect("a list");
    all.iter().map(|segment| segment["path"].as_str().expect("a path").to_owned()).collect()
}

struct Nodes {
    admin: Vec<String>,
    secret: String,
}

impl Nodes {
    fn of(root: &Path) -> Self {
        let admin = (1..=3).map(|node| admin(root, node)).collect();
        Self { admin, secret: root.join("secret").to_str().expect("utf-8").to_owned() }
    }

    fn segments(&self, node: usize) -> serde_json::Value {
        ask(&["segments", "--endpoint", &self.admin[node - 1], "--shard", "0"])
    }

    fn change(&self, kind: &[&str], node: usize, rest: &[&str]) -> serde_json::Value {
        let place = ["--endpoint", &self.admin[node - 1], "--secret-file", &self.secret];
        ask(&[kind, &place, rest].concat())
    }
}

#[test]
fn a_running_cluster_is_asked_and_changed_by_command_line() {
    let Place { dir, root, .. } = &alone();
    let mut cluster = Cluster::start(root, &[]);
    assert_eq!(cluster.report()["segments"], 32);
    let nodes = Nodes::of(root);
    let status = ask(&["status", "--endpoint", &nodes.admin[1]]);
    assert_eq!((&status["node"], &status["ready"]), (&2.into(), &true.into()));
    assert_eq!(status["groups"].as_array().map(Vec::len), Some(3));
    let members = ask(&["members", "--endpoint", &nodes.admin[0]]);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(3));

    // Any node may be the origin.
    let before = paths(&nodes.segments(1)).len();
    write(&root.join("node-2/shard-0000/segments"), "by/hand", &content(5, 3_000_000));
    let done = nodes.change(&["register"], 2, &["--durability", "all", "by/hand"]);
    assert_eq!((&done["landed"], &done["replicas"]), (&3.into(), &3.into()));
    let copy = fs::read(root.join("node-3/shard-0000/segments/by/hand")).expect("it landed");
    assert_eq!(copy, content(5, 3_000_000));
    let again = nodes.change(&["register"], 2, &["by/hand"]);
    assert_eq!(again["segments"], done["segments"], "a repeated registration is the one that it repeats");
    assert_eq!(paths(&nodes.segments(3)).len(), before + 1);

    // A page at a time gives the same as all at once.
    let one = ask(&["segments", "--endpoint", &nodes.admin[0], "--limit", "1"]);
    let first = paths(&one);
    let rest = ask(&["segments", "--endpoint", &nodes.admin[0], "--after", &first[0]]);
    assert_eq!([first, paths(&rest)].concat(), paths(&nodes.segments(1)));

    write(&root.join("node-2/shard-0000/segments"), "new", &content(6, 10));
    fs::rename(root.join("node-2/shard-0000/segments/new"), root.join("node-2/shard-0000/segments/by/hand"))
        .expect("renamed");
    nodes.change(&["register", "--update"], 2, &["--durability", "all", "by/hand"]);
    assert_eq!(fs::read(root.join("node-1/shard-0000/segments/by/hand")).expect("there"), content(6, 10));
    nodes.change(&["delete"], 3, &["by/hand"]);
    wait_until("the deleted path is gone everywhere", || {
        (1..=3).all(|node| paths(&nodes.segments(node)).len() == before)
            && !root.join("node-1/shard-0000/segments/by/hand").exists()
    });
    refused(root, &nodes, dir.path());
    assert_eq!(cluster.stop().code(), Some(0));
}

/// What does not go says so, with its exit code.
fn refused(root: &Path, nodes: &Nodes, dir: &Path) {
    let other = secret(dir, "other");
    let other = other.to_str().expect("utf-8");
    let to = |node: usize| ["--endpoint", nodes.admin[node - 1].as_str()];
    let good = ["--secret-file", nodes.secret.as_str()];
    let cases: [(Vec<&str>, i32, &str); 6] = [
        ([&["register"][..], &to(1), &["--secret-file", other, "x"]].concat(), 4, "secret"),
        ([&["register"][..], &to(1), &good, &["not-there"]].concat(), 1, "not-there"),
        ([&["register"][..], &to(1), &good, &["../../identity"]].concat(), 1, "identity"),
        ([&["register"][..], &to(1), &good, &["--shard", "9", "x"]].concat(), 2, "no shard 9"),
        (vec!["status", "--endpoint", "127.0.0.1:1"], 6, "127.0.0.1:1"),
        ([&["transfer-leader"][..], &to(1), &good, &["--group", "1", "--to", "9"]].concat(), 1, ""),
    ];
    for (args, code, word) in cases {
        let output = run(&args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", errors(&output));
        assert!(errors(&output).contains(word), "{args:?}: {}", errors(&output));
        let text = fs::read_to_string(root.join("secret")).expect("ours");
        assert!(!errors(&output).contains(text.trim()), "no secret in any message");
    }
}

#[test]
fn d10_status_tells_each_connection_and_what_has_left_by_which_way() {
    let Place { root, .. } = &alone();
    let mut cluster = Cluster::start(root, &[]);
    let fetched = cluster.report()["bytes_fetched"].as_u64().expect("a number");
    let nodes = Nodes::of(root);
    let all: Vec<_> = nodes.admin.iter().map(|admin| ask(&["status", "--endpoint", admin])).collect();
    let ways = ["bytes_by_reference", "bytes_zero_copy", "bytes_copied_by_kernel", "bytes_copied"];
    let total = |sent: &serde_json::Value| -> u64 {
        ways.iter().map(|way| sent[way].as_u64().unwrap_or_else(|| panic!("no {way}: {sent}"))).sum()
    };
    let of_cores: u64 = all.iter().map(|status| total(&status["cores"][0]["sent"])).sum();
    assert!(fetched > 0 && of_cores >= fetched, "{of_cores} of {fetched}");
    for status in &all {
        let connections = status["connections"].as_array().expect("a list");
        let nodes: Vec<_> = connections.iter().map(|connection| &connection["node"]).collect();
        assert!((1..=3).all(|node| nodes.contains(&&node.into()) == (status["node"] != node)), "{nodes:?}");
        let sum: u64 = connections.iter().map(|connection| total(&connection["sent"])).sum();
        assert_eq!(sum, total(&status["cores"][0]["sent"]), "no connection has ended: {status}");
        for connection in connections {
            assert_eq!(connection["send_path"], "copy", "{connection}");
            assert!(connection["congestion"].is_string(), "{connection}");
        }
    }
    let text = run(&["status", "--endpoint", &nodes.admin[0]]);
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(text.contains("buffers by copy (the kernel copies on loopback)"), "{text}");
    assert!(text.contains("by reference, 0 B by zero-copy"), "{text}");
    assert_eq!(cluster.stop().code(), Some(0));
}

#[test]
fn leadership_goes_to_the_member_that_was_asked_for() {
    let Place { root, .. } = &alone();
    let mut cluster = Cluster::start(root, &[]);
    assert_eq!(cluster.report()["synced"], true);
    let nodes = Nodes::of(root);
    let leader = |node: usize| {
        let status = ask(&["status", "--endpoint", &nodes.admin[node - 1]]);
        let found = status["groups"].as_array().expect("a list").iter().find(|group| group["group"] == 1);
        found.expect("the shard's group")["leader"].as_u64()
    };
    let mut now = None;
    wait_until("there is one", || {
        now = leader(1);
        now.is_some()
    });
    let now = now.expect("it was waited for");
    let next = now % 3 + 1;
    let number = usize::try_from(now).expect("small");
    nodes.change(&["transfer-leader"], number, &["--group", "1", "--to", &next.to_string()]);
    wait_until("all know the new leader", || (1..=3).all(|node| leader(node) == Some(next)));
    assert_eq!(cluster.stop().code(), Some(0));
}
