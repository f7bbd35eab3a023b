//! A thousand connections that never speak, and others that speak rubbish, beside real work: memory and descriptors are
//! bounded, and real peers are served.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::bench::{Place, admin, alone, setting, wait_until};
use crate::binary::{content, errors, pull, run, same, secret, serve, write};
use crate::tools::{cluster, finish, terminated};

const CONNECTIONS: usize = 1000;
/// Above what a process has open for itself and its peers; every silent one would add to it.
const DESCRIPTORS_MAX: usize = 250;
/// Both again with as many at the admin port, which has a thread for each of the 64 that it keeps.
const DESCRIPTORS_WITH_ASKERS_MAX: usize = 400;
const THREADS_MAX: u64 = 120;
const GROWTH_KIB_MAX: u64 = 64 << 10;

fn connect(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let one = || TcpStream::connect_timeout(&address, Duration::from_secs(10)).expect("it is accepted");
    (0..count).map(|_| one()).collect()
}

/// Random bytes, and the beginnings of them.
fn rubbish(address: SocketAddr) {
    for seed in 0..100 {
        for mut stream in connect(address, 1) {
            let bytes = content(seed, 1 + (seed as usize * 97) % 5000);
            // The other side may have hung up already: that is what it should do.
            let _refused = stream.write_all(&bytes);
        }
    }
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count()
}

fn status(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("Linux tells it");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a3_a_thousand_silent_connections_neither_stop_a_pull_nor_cost_more_than_their_places() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    for index in 0..64 {
        write(&source, &format!("{index}"), &content(index, 1 << 20));
    }
    let secret = secret(dir.path(), "secret");
    let (server, address) = serve(&source, &secret, &dir.path().join("cache"));
    assert!(finish(&mut pull(address, &dest, &secret, &[]), Duration::from_secs(30)).status.success());
    let before = status(server.id(), "VmRSS");
    let silent = connect(address, CONNECTIONS);
    rubbish(address);
    let again = dir.path().join("again");
    let output = finish(&mut pull(address, &again, &secret, &[]), Duration::from_secs(30));
    assert!(output.status.success(), "{}", errors(&output));
    let (open, now) = (descriptors(server.id()), status(server.id(), "VmRSS"));
    println!(
        "{open} descriptors, {} threads, {before} KiB before and {now} KiB now",
        status(server.id(), "Threads")
    );
    assert!(open < DESCRIPTORS_MAX, "{open} descriptors");
    assert!(now < before + GROWTH_KIB_MAX, "{before} KiB before, {now} KiB now");
    same(&source, &again);
    drop(silent);
    wait_until("all are gone", || descriptors(server.id()) < 40);
}

#[test]
fn a3_a_thousand_silent_connections_to_each_port_of_a_node_do_not_keep_a_cluster_from_its_work() {
    let Place { source, root, .. } = &alone();
    write(source, "first", b"of them");
    let mut cluster = cluster(root, source, &[]);
    cluster.running.first_line();
    let pid = crate::bench::pids_of(&root.join("node-1/node.toml"))[0];
    let before = status(pid, "VmRSS");
    let address = |key: &str| setting(root, 1, key).parse::<SocketAddr>().expect("an address");
    let silent = connect(address("listen"), CONNECTIONS);
    rubbish(address("listen"));
    rubbish(address("admin"));
    let (open, threads) = (descriptors(pid), status(pid, "Threads"));
    println!("{open} descriptors, {threads} threads beside {CONNECTIONS} silent peers");
    assert!(open < DESCRIPTORS_MAX, "{open} descriptors");
    let mut asking = connect(address("admin"), CONNECTIONS);
    for stream in &mut asking {
        // The eldest have been shut down for the others.
        let _shut_already = stream.write_all(b"POST /v1/change HTTP/1.1\r\nHost: 127");
    }
    let (open, threads) = (descriptors(pid), status(pid, "Threads"));
    println!("{open} descriptors, {threads} threads beside {CONNECTIONS} silent askers too");
    assert!(open < DESCRIPTORS_WITH_ASKERS_MAX, "{open} descriptors");
    assert!(threads < THREADS_MAX, "{threads} threads");
    let segments = root.join("node-1/shard-0000/segments");
    let names: Vec<_> = (0..32).map(|index| format!("segment-{index}")).collect();
    for (seed, name) in (50..).zip(&names) {
        write(&segments, name, &content(seed, 1 << 20));
    }
    let output = register(root, 2, &names);
    assert_eq!(output.status.code(), Some(1), "node 2 does not have them: {}", errors(&output));
    let output = register(root, 1, &names);
    assert!(output.status.success(), "{}", errors(&output));
    for name in &names {
        let copy = fs::read(root.join("node-3/shard-0000/segments").join(name));
        assert!(copy.expect("landed") == fs::read(segments.join(name)).expect("there"), "{name}");
    }
    let (open, now, threads) = (descriptors(pid), status(pid, "VmRSS"), status(pid, "Threads"));
    println!("{open} descriptors, {threads} threads, {before} KiB before and {now} KiB now");
    assert!(now < before + GROWTH_KIB_MAX, "{before} KiB before, {now} KiB now");
    assert!(open < DESCRIPTORS_WITH_ASKERS_MAX, "{open} descriptors");
    assert!(threads < THREADS_MAX, "{threads} threads");
    asking.extend(connect(address("admin"), CONNECTIONS));
    terminated(pid, Duration::from_secs(4));
    drop((silent, asking));
    cluster.stop();
}

fn register(root: &Path, node: u64, names: &[String]) -> std::process::Output {
    let (endpoint, secret) = (admin(root, node), root.join("secret"));
    let mut all =
        vec!["register", "--endpoint", &endpoint, "--durability", "all", "-o", "json", "--secret-file"];
    all.push(secret.to_str().expect("utf-8"));
    all.extend(names.iter().map(String::as_str));
    run(&all)
}
