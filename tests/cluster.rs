//! `ringway up` and the commands that ask a running cluster, from outside: nodes that are processes, roots on a disk.
#![cfg(feature = "daemon")]

#[path = "cluster/asked.rs"]
mod asked;
#[path = "cluster/bad_input.rs"]
mod bad_input;
#[path = "cluster/bench.rs"]
mod bench;
mod binary;
#[path = "cluster/commands.rs"]
mod commands;
#[cfg(feature = "sim")]
#[path = "cluster/corruption.rs"]
mod corruption;
#[cfg(feature = "sim")]
#[path = "cluster/corruptor.rs"]
mod corruptor;
#[path = "cluster/fleet.rs"]
mod fleet;
#[path = "cluster/members.rs"]
mod members;
#[path = "cluster/metrics.rs"]
mod metrics;
#[path = "cluster/outages.rs"]
mod outages;
#[path = "cluster/partitions.rs"]
mod partitions;
#[path = "cluster/space.rs"]
mod space;
#[path = "cluster/writers.rs"]
mod writers;

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use bench::{Cluster, Place, alone, pids_of, same_on_every_node, up, wait_until};
use binary::{awkward_tree, content, errors, json, run, write};

#[test]
fn an_imported_tree_stands_on_every_node_and_a_second_start_moves_nothing() {
    let Place { source, root, .. } = &alone();
    awkward_tree(source, 200);
    symlink("/etc/passwd", source.join("link")).expect("made");
    let import = ["--import", source.to_str().expect("utf-8")];
    let first = up(root, &import);
    assert!(first.status.success(), "{}", errors(&first));
    let report = json(&first);
    assert_eq!((&report["version"], &report["nodes"], &report["shards"]), (&1.into(), &3.into(), &2.into()));
    assert_eq!(
        (&report["segments"], &report["skipped"], &report["synced"]),
        (&211.into(), &1.into(), &true.into())
    );
    assert_eq!(report["bytes_fetched"].as_u64(), report["bytes"].as_u64().map(|bytes| 2 * bytes));
    fs::remove_file(source.join("link")).expect("removed");
    same_on_every_node(root, 3, 2, source);
    let ours = fs::metadata(source.join("size-1")).expect("there").ino();
    for shard in ["shard-0000", "shard-0001"] {
        let copy = fs::metadata(root.join("node-1").join(shard).join("segments/size-1"));
        assert!(copy.is_err() || copy.expect("there").ino() != ours, "never a link");
    }
    for more in [&[][..], &import[..]] {
        let again = json(&up(root, more));
        assert_eq!((&again["bytes_fetched"], &again["synced"]), (&0.into(), &true.into()));
        assert_eq!(again["segments"], 211);
    }
    let clean = run(&["verify", "--root", root.to_str().expect("utf-8"), "-o", "json"]);
    assert!(clean.status.success(), "{}", errors(&clean));
    assert_eq!((&json(&clean)["nodes"], &json(&clean)["segments"]), (&3.into(), &(3 * 211).into()));
}

#[test]
fn without_an_import_there_is_a_sample_and_verify_finds_a_flipped_bit() {
    let Place { root, .. } = &alone();
    let report = json(&up(root, &[]));
    assert_eq!((&report["segments"], &report["bytes"]), (&32.into(), &(64 << 20).into()));
    let all = binary::files(&root.join("node-2/shard-0000/segments"));
    let name = all.keys().next().expect("both shards have some");
    let path = root.join("node-2/shard-0000/segments").join(name);
    let mut bytes = all[name].clone();
    bytes[77_777] ^= 4;
    fs::write(&path, bytes).expect("written");
    let found = run(&["verify", "--root", root.to_str().expect("utf-8"), "-o", "json"]);
    assert_eq!(found.status.code(), Some(1), "{}", errors(&found));
    let report = json(&found);
    assert_eq!(report["damaged"].as_array().map(Vec::len), Some(1));
    assert_eq!(report["damaged"][0]["path"], name.as_str());
    let clean = run(&["verify", "--root", root.join("node-1").to_str().expect("utf-8")]);
    assert!(clean.status.success(), "{}", errors(&clean));
    fs::rename(root.join("node-1/shard-0000"), root.join("elsewhere")).expect("moved");
    let gone = run(&["verify", "--root", root.join("node-1").to_str().expect("utf-8"), "-o", "json"]);
    assert_eq!(gone.status.code(), Some(1), "{}", errors(&gone));
    assert_eq!(json(&gone)["damaged"][0]["path"], ".ringway/inventory");
}

/// What rots keeps its size and its time: no start looks at its bytes, but `verify` does. The origin keeps a link to
/// what it has registered, which goes with the file.
#[test]
fn a_segment_that_rots_is_told_by_verify_and_fetched_again_where_it_is_removed() {
    let Place { root, .. } = &alone();
    let text = root.to_str().expect("utf-8");
    assert!(up(root, &[]).status.success());
    for node in ["node-1", "node-2"] {
        let shard = root.join(node).join("shard-0000");
        let all = binary::files(&shard.join("segments"));
        let (name, sound) = all.first_key_value().expect("both shards have some");
        let path = shard.join("segments").join(name);
        let facts = fs::metadata(&path).expect("there");
        let mut rotten = sound.clone();
        rotten[77_777] ^= 4;
        fs::write(&path, &rotten).expect("written");
        let file = fs::File::options().write(true).open(&path).expect("there");
        file.set_modified(facts.modified().expect("a time")).expect("ours");
        assert!(up(root, &[]).status.success());
        assert_eq!(run(&["verify", "--root", text]).status.code(), Some(1), "size and time are as they were");
        let links = fs::read_dir(shard.join(".ringway/pins")).expect("there");
        let links = links.map(|entry| entry.expect("read").path());
        for link in links.filter(|link| fs::metadata(link).expect("there").ino() == facts.ino()) {
            fs::remove_file(link).expect("removed");
        }
        fs::remove_file(&path).expect("removed");
        assert!(up(root, &[]).status.success());
        let healed = run(&["verify", "--root", text]);
        assert!(healed.status.success(), "{node}: {}", errors(&healed));
        assert!(fs::read(&path).expect("there") == *sound, "it was fetched again");
    }
}

#[test]
fn what_has_changed_in_the_source_is_changed_on_every_node() {
    let Place { source, root, .. } = &alone();
    for index in 0..20 {
        write(source, &format!("dir/{index}"), &content(index, 100_000));
    }
    let import = ["--import", source.to_str().expect("utf-8")];
    assert!(up(root, &import).status.success());
    // The same size, so that size alone tells nothing.
    write(source, "dir/7", &content(77, 100_000));
    write(source, "dir/new", &content(78, 5));
    let second = up(root, &import);
    assert!(second.status.success(), "{}", errors(&second));
    assert_eq!(json(&second)["bytes_fetched"], 2 * 100_005);
    same_on_every_node(root, 3, 2, source);
}

#[test]
fn a_node_killed_in_the_middle_and_started_by_hand_catches_up() {
    let Place { source, root, .. } = &alone();
    for index in 0..24 {
        write(source, &format!("segment-{index}"), &content(index, 8 << 20));
    }
    let mut cluster = Cluster::start(root, &["--import", source.to_str().expect("utf-8")]);
    wait_until("node 3 is receiving", || {
        root.join("node-3/node.toml").exists() && cluster.fetched_by(root, 3).is_some_and(|bytes| bytes > 0)
    });
    let third = pids_of(&root.join("node-3/node.toml"));
    assert_eq!(third.len(), 1, "one process");
    let status = std::process::Command::new("kill").args(["-9", &third[0].to_string()]).status();
    assert!(status.expect("kill runs").success());
    let mut command = binary::ringway();
    command.arg("node").arg("--config").arg(root.join("node-3/node.toml"));
    let mut by_hand = binary::Running::start(command);
    assert_eq!(cluster.report()["synced"], true);
    by_hand.signal(15);
    assert_eq!(by_hand.wait().code(), Some(0), "SIGTERM is a clean end");
    assert_eq!(cluster.stop().code(), Some(0), "Ctrl-C is a clean end");
    same_on_every_node(root, 3, 2, source);
}

#[test]
fn the_nodes_end_with_the_process_that_started_them_however_it_ends() {
    let Place { root, .. } = &alone();
    let mut cluster = Cluster::start(root, &[]);
    assert_eq!(cluster.report()["synced"], true);
    assert_eq!(pids_of(root).len(), 4);
    let second = up(root, &[]);
    assert_eq!(second.status.code(), Some(1), "{}", errors(&second));
    assert!(errors(&second).contains("another `ringway up`"), "{}", errors(&second));
    cluster.kill();
    wait_until("the nodes have gone", || pids_of(root).is_empty());
    let again = json(&up(root, &[]));
    assert_eq!((&again["synced"], &again["bytes_fetched"]), (&true.into(), &0.into()));
}
