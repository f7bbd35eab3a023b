//! Roots, configurations and arguments that must be refused: each with its exit code and a line that says why.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use crate::bench::{Place, alone, node, setting, up};
use crate::binary::{errors, run, write};

#[track_caller]
fn refused(output: &Output, code: i32, words: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", errors(output));
    assert!(errors(output).contains(words), "{words:?} is not in: {}", errors(output));
}

fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-r").arg(from).arg(to).status();
    assert!(status.expect("cp runs").success());
}

#[test]
fn a_node_refuses_what_is_not_its_own_or_not_whole() {
    let Place { root, .. } = &alone();
    let first = up(root, &["--nodes", "2", "--shards", "1"]);
    assert!(first.status.success(), "{}", errors(&first));
    let config = root.join("node-1/node.toml");
    let text = fs::read_to_string(&config).expect("there");

    copy_tree(&root.join("node-1"), &root.join("copy"));
    refused(&node(&root.join("copy/node.toml")), 3, "copy");

    let other = text.replace("root = \".\"", "root = \"../node-2\"");
    assert_ne!(other, text);
    fs::write(root.join("other.toml"), other.replace("../secret", "secret").replace("../node-2", "node-2"))
        .expect("written");
    refused(&node(&root.join("other.toml")), 3, "belongs to node 2");

    let foreign = text.replace(&setting(root, 1, "cluster"), &"ab".repeat(16));
    fs::write(&config, foreign).expect("written");
    refused(&node(&config), 3, "cluster");
    fs::write(&config, text.replace("shards = 1", "shards = 3")).expect("written");
    refused(&node(&config), 3, "shards");
    fs::write(&config, text.replace("shards", "shard")).expect("written");
    refused(&node(&config), 3, "shard");
    fs::write(&config, &text).expect("written");

    let port = TcpListener::bind(setting(root, 1, "listen")).expect("free");
    refused(&node(&config), 1, "cannot listen");
    drop(port);
    let port = TcpListener::bind(setting(root, 1, "admin")).expect("free");
    refused(&node(&config), 1, "admin");
    drop(port);

    let secret = root.join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o640)).expect("changed");
    refused(&node(&config), 3, "0640");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("changed");
    let good = fs::read(&secret).expect("ours");
    fs::write(&secret, "short\n").expect("written");
    refused(&node(&config), 3, "secret");
    fs::write(&secret, good).expect("written");

    identities(root);
    let again = up(root, &[]);
    assert!(again.status.success(), "all of it did no harm: {}", errors(&again));
}

fn identities(root: &Path) {
    let (identity, config) = (root.join("node-1/identity"), root.join("node-1/node.toml"));
    let good = fs::read(&identity).expect("there");
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] ^= byte;
        fs::write(&identity, bad).expect("written");
    };
    with(20, 1);
    refused(&node(&config), 3, "damaged");
    with(8, 2);
    refused(&node(&config), 3, "version");
    fs::write(&identity, &good[..10]).expect("written");
    refused(&node(&config), 3, "damaged");
    fs::write(&identity, &good).expect("written in place: its inode is in it");
}

#[test]
fn up_refuses_what_does_not_go_together() {
    let Place { dir, source, root, .. } = &alone();
    write(source, "file", b"content");
    let import = source.to_str().expect("utf-8");
    assert!(up(root, &["--nodes", "1", "--shards", "1", "--import", import]).status.success());
    refused(&up(root, &["--nodes", "3"]), 3, "nodes");
    refused(&up(root, &["--shards", "7"]), 3, "shards");
    refused(&up(root, &["--nodes", "0"]), 2, "--nodes");
    refused(&up(&root.join("node-1"), &[]), 3, "one node's root");
    refused(&up(root, &["--import", dir.path().to_str().expect("utf-8")]), 2, "imported");
    refused(&up(root, &["--import", "/nonexistent/source"]), 1, "/nonexistent/source");
    let port = TcpListener::bind(setting(root, 1, "listen")).expect("free");
    refused(&up(root, &[]), 1, &setting(root, 1, "listen"));
    drop(port);
    refused(&run(&["verify", "--root", import]), 3, "root");
    let secret = root.join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).expect("changed");
    refused(&up(root, &[]), 3, "0644");
}
