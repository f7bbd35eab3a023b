//! A fourth process is added to a running cluster, brought up to date and removed again, by the command line.

use std::fs;
use std::path::Path;

use crate::bench::{Cluster, Place, admin, alone, ask, segments_of, setting, wait_until};
use crate::binary::{Running, errors, ringway, run};

/// A root for node 4, its configuration the third one's with its own number and addresses; its address.
fn fourth(root: &Path) -> String {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let (listen, endpoint) = (free().expect("loopback").to_string(), free().expect("loopback").to_string());
    let text = fs::read_to_string(root.join("node-3/node.toml")).expect("there");
    let text = text
        .replace(&format!("listen = \"{}\"", setting(root, 3, "listen")), &format!("listen = \"{listen}\""));
    let text = text.replace(&admin(root, 3), &endpoint).replace("node = 3", "node = 4");
    let text = text.replace("[members]\n", &format!("[members]\n4 = \"{listen}\"\n"));
    fs::create_dir(root.join("node-4")).expect("made");
    fs::write(root.join("node-4/node.toml"), text).expect("written");
    listen
}

#[test]
fn r2_a_fourth_process_joins_is_synced_and_leaves_by_command_line() {
    let Place { root, .. } = &alone();
    let mut cluster = Cluster::start(root, &[]);
    assert_eq!(cluster.report()["synced"], true);
    let address = fourth(root);
    let secret = root.join("secret");
    let of = |node: u64| {
        let secret = secret.to_str().expect("utf-8").to_owned();
        ["--endpoint".to_owned(), admin(root, node), "--secret-file".to_owned(), secret]
    };
    let change = |node: u64, args: &[&str]| {
        let of = of(node);
        let all = [args, &of.iter().map(String::as_str).collect::<Vec<_>>()].concat();
        run(&all)
    };
    let add = ["members", "add", "--node", "4", "--address", &address];
    let early = change(1, &add);
    assert_eq!(early.status.code(), Some(1), "nobody is there: {}", errors(&early));
    assert!(errors(&early).contains("node 4 cannot be added"), "{}", errors(&early));
    let mut command = ringway();
    command.arg("node").arg("-q").arg("--config").arg(root.join("node-4/node.toml"));
    let mut fourth = Running::start(command);
    let added = change(2, &add);
    assert!(added.status.success(), "{}", errors(&added));
    assert_eq!(String::from_utf8_lossy(&added.stdout), "node 4: votes in every group\n");
    let synced = change(4, &["sync", "-o", "json"]);
    assert!(synced.status.success(), "{}", errors(&synced));
    let shards = crate::binary::json(&synced);
    assert_eq!(shards["shards"].as_array().map(Vec::len), Some(2), "{shards}");
    assert!(segments_of(root, 4, 2) == segments_of(root, 1, 2), "it has what the others have");
    let told = change(1, &["sync", "--to", "4"]);
    assert!(told.status.success(), "{}", errors(&told));
    let lines = String::from_utf8_lossy(&told.stdout);
    assert!(lines.lines().count() == 2 && lines.contains("shard 1: has all to"), "{lines}");
    let nobody = change(1, &["sync", "--to", "9", "--shard", "0"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", errors(&nobody));
    assert!(errors(&nobody).contains("node 9 is no member"), "{}", errors(&nobody));
    wait_until("its record says so too", || {
        let members = ask(&["members", "--endpoint", &admin(root, 3)]);
        let member = &members["members"][3];
        assert_eq!(member["node"], 4, "{members}");
        member["role"] == "voter" && member["seats"].as_array().map(Vec::len) == Some(3)
    });

    let gone = change(4, &["members", "remove", "--node", "4"]);
    assert!(gone.status.success(), "{}", errors(&gone));
    wait_until("three are left", || {
        let members = ask(&["members", "--endpoint", &admin(root, 1)]);
        members["members"].as_array().map(Vec::len) == Some(3)
    });
    let again = change(3, &["members", "remove", "--node", "4"]);
    assert!(again.status.success(), "it is gone already: {}", errors(&again));
    let unknown = change(3, &["members", "promote", "--node", "4"]);
    assert_eq!(unknown.status.code(), Some(1), "{}", errors(&unknown));
    assert!(errors(&unknown).contains("node 4 is no member"), "{}", errors(&unknown));
    let bare = run(&["members"]);
    assert_eq!(bare.status.code(), Some(2), "{}", errors(&bare));
    fourth.signal(15);
    assert_eq!(fourth.wait().code(), Some(0));
    assert_eq!(cluster.stop().code(), Some(0));
}
