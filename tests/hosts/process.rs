//! Nodes as processes, by the binary: `ringway node --host`.

use std::fs;
use std::path::Path;

use crate::binary::{Running, errors, json, ringway, run};
use crate::rig::{alone, until};

/// A value of a node's configuration file.
fn setting(root: &Path, node: u64, key: &str) -> String {
    let text = fs::read_to_string(root.join(format!("node-{node}/node.toml"))).expect("there");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).expect("it is set");
    line.trim_matches('"').to_owned()
}

fn node(root: &Path, number: u64) -> std::process::Command {
    let mut command = ringway();
    command.arg("node").arg("--config").arg(root.join(format!("node-{number}/node.toml")));
    command
}

/// A cluster whose nodes were made on pinned threads goes on with a host each, and one of them changes its own.
#[test]
fn each_host_runs_a_whole_node_that_status_tells_and_a_signal_stops() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    let text = root.to_str().expect("utf-8");
    let made = run(&["up", "--root", text, "--exit-when-synced", "-q"]);
    assert!(made.status.success(), "{}", errors(&made));
    let mut hosts = vec!["pinned"];
    hosts.extend(cfg!(feature = "tokio-uring").then_some("tokio-uring"));
    hosts.extend(cfg!(feature = "glommio").then_some("glommio"));
    let hosts: Vec<_> = hosts.into_iter().cycle().take(3).collect();
    let mut nodes: Vec<_> = (1..)
        .zip(&hosts)
        .map(|(number, host)| {
            let mut command = node(&root, number);
            command.args(["--host", host, "-o", "json", "-q"]);
            Running::start(command)
        })
        .collect();
    for (node, host) in (1..).zip(&hosts) {
        let address = setting(&root, node, "admin");
        let mut told = None;
        until("the node is ready on its host", || {
            let status = run(&["status", "--endpoint", &address, "-o", "json"]);
            told = status.status.success().then(|| json(&status));
            told.as_ref().is_some_and(|status| status["ready"] == true)
        });
        let status = told.expect("it was asked");
        assert_eq!(status["cores"][0]["host"], *host);
    }
    for running in &mut nodes {
        running.signal(15);
        assert_eq!(running.wait().code(), Some(0), "a clean end");
    }
    let clean = run(&["verify", "--root", text]);
    assert!(clean.status.success(), "{}", errors(&clean));
}

#[test]
fn a_host_that_is_not_built_in_and_one_that_is_none_are_refused_with_their_names() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    let made = run(&["up", "--root", root.to_str().expect("utf-8"), "--exit-when-synced", "-q"]);
    assert!(made.status.success(), "{}", errors(&made));
    let file = root.join("node-1/node.toml");
    let refused = |args: &[&str], code| {
        let output = node(&root, 1).args(args).output().expect("the binary runs");
        assert_eq!(output.status.code(), Some(code), "{}", errors(&output));
        errors(&output)
    };
    assert!(refused(&["--host", "smol"], 2).contains("tokio-uring"), "clap lists what there is");
    for (host, built) in
        [("tokio-uring", cfg!(feature = "tokio-uring")), ("glommio", cfg!(feature = "glommio"))]
    {
        if !built {
            let feature = format!("--features {host}");
            assert!(refused(&["--host", host], 2).contains(&feature));
            let text = fs::read_to_string(&file).expect("there");
            fs::write(&file, text.replace("[cores]\n", &format!("[cores]\nhost = \"{host}\"\n")))
                .expect("written");
            assert!(refused(&[], 3).contains(&feature));
            fs::write(&file, text).expect("written");
        }
    }
    let text = fs::read_to_string(&file).expect("there");
    fs::write(&file, text.replace("[cores]\n", "[cores]\npin = true\n")).expect("written");
    let host = ["tokio-uring", "glommio"][usize::from(cfg!(feature = "glommio"))];
    if cfg!(any(feature = "tokio-uring", feature = "glommio")) {
        assert!(refused(&["--host", host], 2).contains("cores.pin"));
    }
}
