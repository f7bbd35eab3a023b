//! Nodes that are not who they would have to be: another secret, another cluster, a root that somebody has already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::{Place, admin, alone, ask, pids_of, same_on_every_node, wait_until};
use crate::binary::{content, errors, json, ringway, run, secret, write};
use crate::tools::{Logged, cluster, finish, node, refused};

const SOON: Duration = Duration::from_secs(30);

/// A cluster that has a segment everywhere, and the configuration of its third node, with its text.
fn of_three(source: &Path, root: &Path) -> (Logged, PathBuf, String) {
    write(source, "segment", &content(1, 100_000));
    let mut cluster = cluster(root, source, &[]);
    cluster.running.first_line();
    let config = root.join("node-3/node.toml");
    let text = fs::read_to_string(&config).expect("there");
    (cluster, config, text)
}

fn kill(config: &Path) {
    let pids = pids_of(config);
    assert_eq!(pids.len(), 1, "one process");
    assert!(Command::new("kill").args(["-9", &pids[0].to_string()]).status().expect("kill").success());
    wait_until("it is gone", || pids_of(config).is_empty());
}

#[test]
fn a1_a_node_with_another_secret_or_of_another_cluster_is_told_so_and_stays_outside() {
    let Place { dir, source, root, .. } = &alone();
    let (mut cluster, config, text) = of_three(source, root);
    kill(&config);

    let other = secret(dir.path(), "other");
    let line = text.lines().find(|line| line.starts_with("secret_file")).expect("it is set");
    let bad = root.join("node-3/bad.toml");
    fs::write(&bad, text.replace(line, &format!("secret_file = {other:?}"))).expect("written");
    let stranger = Logged::start(node(&bad), &dir.path().join("stranger"));
    stranger.says("authentication failed");
    cluster.says("a connection was refused");
    let word = fs::read_to_string(&other).expect("ours");
    assert!(
        !stranger.log().contains(word.trim()) && !cluster.log().contains(word.trim()),
        "no secret in any log"
    );
    let status = ask(&["status", "--endpoint", &admin(root, 3)]);
    assert_eq!(status["ready"], false, "{status}");
    drop(stranger);

    // A root of its own, as that of this one is of the cluster; same node, same place, same secret.
    let foreign = dir.path().join("foreign");
    fs::create_dir_all(&foreign).expect("made");
    let id = text.lines().find_map(|line| line.strip_prefix("cluster = ")).expect("it is set");
    let text = text.replace(id, &format!("{:?}", "ab".repeat(16)));
    let text = text.replace("../secret", root.join("secret").to_str().expect("utf-8"));
    fs::write(foreign.join("node.toml"), text).expect("written");
    let stranger = Logged::start(node(&foreign.join("node.toml")), &dir.path().join("stranger-2"));
    stranger.says("cluster");
    wait_until("it is told", || stranger.log().contains("another cluster"));
    drop(stranger);

    let back = Logged::start(node(&config), &dir.path().join("back"));
    wait_until("the right one is ready", || {
        let output = run(&["status", "--endpoint", &admin(root, 3), "-o", "json"]);
        output.status.success() && json(&output)["ready"] == true
    });
    drop(back);
    cluster.running.signal(2);
    cluster.running.wait();
    same_on_every_node(root, 3, 1, source);
}

#[test]
fn a_root_in_use_and_a_copy_of_it_are_refused_while_its_node_runs_and_the_node_goes_on() {
    let Place { source, root, .. } = &alone();
    let (mut cluster, _, text) = of_three(source, root);
    let free = |text: &str| {
        let keep = |line: &&str| !line.starts_with("listen") && !line.starts_with("admin");
        let lines: Vec<_> = text.lines().filter(keep).collect();
        // The members' table is last: top-level keys go before it.
        format!("listen = \"127.0.0.1:0\"\n{}\n", lines.join("\n"))
    };
    // The same root under another address: the node that has it keeps it.
    let second = root.join("node-3/second.toml");
    fs::write(&second, free(&text)).expect("written");
    refused(&finish(&mut node(&second), SOON), 1, "another process uses");
    // A copy, with all that a copy can keep.
    let copy = root.join("copy");
    assert!(Command::new("cp").arg("-a").arg(root.join("node-3")).arg(&copy).status().expect("cp").success());
    refused(&finish(&mut node(&copy.join("second.toml")), SOON), 3, "is a copy of node 3's");
    let adopt = |config: &Path, node| {
        let mut command = ringway();
        finish(command.args(["adopt", "--node", node, "-o", "json", "--config"]).arg(config), SOON)
    };
    refused(&adopt(&copy.join("second.toml"), "4"), 3, "of node 3, not of node 4");
    refused(&adopt(&second, "3"), 3, "is node 3's own");
    let status = ask(&["status", "--endpoint", &admin(root, 3)]);
    assert_eq!(status["ready"], true, "{status}");
    let adopted = json(&adopt(&copy.join("second.toml"), "3"));
    assert_eq!((&adopted["from"], &adopted["node"]), (&3.into(), &3.into()), "{adopted}");
    assert!(adopted["shards"][0]["applied"].as_u64() > Some(0), "{adopted}");
    assert_ne!(adopted["incarnation"], status["incarnation"]);
    cluster.stop();
    same_on_every_node(root, 3, 1, source);
}

#[test]
fn a_port_in_use_is_named_by_serve() {
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "source/file", b"content");
    let secret = secret(dir.path(), "secret");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound").to_string();
    let mut command = ringway();
    command.arg("serve").arg(dir.path().join("source")).args(["--listen", &address, "--secret-file"]);
    command.arg(&secret).arg("--cache").arg(dir.path().join("cache"));
    let output = finish(&mut command, SOON);
    refused(&output, 1, &format!("cannot listen on {address}"));
    assert!(errors(&output).contains("ddress"), "{}", errors(&output));
}
