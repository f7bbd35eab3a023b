//! Files of a stopped node that are not as they were written: bytes flipped, ends cut off, versions of another program.
//! Each is recovered from or refused with a clear line; nothing is deleted, nothing panics, and no wrong byte stands
//! under a final name.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::bench::{Place, alone, same_on_every_node, up};
use crate::binary::{Running, content, errors, files, json, pull, secret, serve, write};
use crate::tools::{Logged, finish, node, within};

const SEGMENTS: u64 = 12;

/// A cluster that has stopped, with a snapshot in every group.
pub fn stopped() -> Place {
    let place = alone();
    let Place { source, root, .. } = &place;
    for index in 0..SEGMENTS {
        write(source, &format!("segment {index}"), &content(index, 100_000 + index as usize));
    }
    let import = ["--shards", "1", "--import", source.to_str().expect("utf-8")];
    let first = up(root, &import);
    assert!(first.status.success(), "{}", errors(&first));
    // Few entries make a snapshot, so that there is one to damage.
    for number in 1..=3 {
        let config = root.join(format!("node-{number}/node.toml"));
        let text = fs::read_to_string(&config).expect("there");
        fs::write(&config, text.replace("[raft]\n", "[raft]\nsnapshot_entries = 16\n")).expect("written");
    }
    for round in 0..20 {
        if files(&root.join("node-3/shard-0000/raft")).keys().any(|name| name.starts_with("snapshot-")) {
            break;
        }
        write(source, "changes", &content(500 + round, 3000));
        let again = up(root, &import);
        assert!(again.status.success(), "{}", errors(&again));
    }
    place
}

/// Everything of a node, to be put back in place: the identity knows its inode.
struct Kept(BTreeMap<PathBuf, Vec<u8>>);

impl Kept {
    fn of(root: &Path) -> Self {
        let mut all = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(next) = open.pop() {
            for entry in fs::read_dir(&next).expect("readable").map(|entry| entry.expect("readable")) {
                match entry.file_type().expect("known") {
                    kind if kind.is_dir() => open.push(entry.path()),
                    _ => drop(all.insert(entry.path(), fs::read(entry.path()).expect("readable"))),
                }
            }
        }
        Self(all)
    }

    fn restore(&self, root: &Path) {
        let now = Self::of(root);
        for path in now.0.keys().filter(|path| !self.0.contains_key(*path)) {
            fs::remove_file(path).expect("removed");
        }
        for (path, bytes) in self.0.iter().filter(|(path, bytes)| now.0.get(*path) != Some(bytes)) {
            let mut file =
                fs::File::options().write(true).create(true).truncate(false).open(path).expect("there");
            file.set_len(bytes.len() as u64)
                .and_then(|()| file.rewind())
                .and_then(|()| file.write_all(bytes))
                .expect("written");
        }
    }
}

/// What came of a start.
#[derive(Debug)]
enum End {
    Ran(String),
    Refused(i32, String),
}

impl End {
    /// It went on, or said what is wrong with a code of its own; it did not panic.
    fn is_clear(&self) -> bool {
        let clear =
            ["damaged", "version", "belongs to", "copy of", "of group", "was made for", "begins after"];
        match self {
            Self::Ran(said) => !said.contains("panicked"),
            Self::Refused(code, said) => {
                [1, 3, 7].contains(code)
                    && clear.iter().any(|word| said.contains(word))
                    && !said.contains("panicked")
            }
        }
    }
}

/// Starts the node alone. It runs until it is told to stop, or ends by itself.
fn start(config: &Path, log: &Path) -> End {
    let mut logged = Logged::start(node(config), log);
    let began = Instant::now();
    let line = logged.running.first_line();
    if line.contains("listens") {
        // The rest of its start, and what it does at once.
        thread::sleep(Duration::from_millis(30));
        logged.running.signal(15);
        let status = logged.running.wait();
        assert_eq!(status.code(), Some(0), "{}", logged.log());
        return End::Ran(logged.log());
    }
    let status = logged.running.wait();
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    End::Refused(status.code().unwrap_or(-1), logged.log())
}

/// Ways to damage a file's bytes, each with its name.
fn damages(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut all = Vec::new();
    let places = [0, 4, 5, 8, 12, 20, 40, end / 3, end / 2, end * 3 / 4, end.saturating_sub(1)];
    for at in places.into_iter().filter(|at| *at < end) {
        let mut bad = bytes.to_vec();
        bad[at] ^= 0x41;
        all.push((format!("byte {at} of {end} flipped"), bad));
    }
    for at in [0, 1, 11, end / 2, end.saturating_sub(1)].into_iter().filter(|at| *at < end) {
        all.push((format!("cut to {at} of {end}"), bytes[..at].to_vec()));
    }
    let mut zeroed = bytes.to_vec();
    zeroed[end / 2..end].fill(0);
    all.push((format!("zero from {} to {end}", end / 2), zeroed));
    all
}

#[test]
fn every_file_of_a_node_may_be_damaged_and_it_recovers_or_says_what_is_wrong_and_keeps_everything() {
    let Place { dir, source, root, .. } = &stopped();
    let home = root.join("node-3");
    let config = home.join("node.toml");
    let kept = Kept::of(&home);
    let expected = files(source);
    let log = dir.path().join("log");
    let mut tally: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    let own = |path: &Path| {
        let name = path.strip_prefix(&home).expect("below").to_string_lossy().into_owned();
        (!name.contains("/segments/") && name != "node.toml" && !name.ends_with("lock")).then_some(name)
    };
    let (mut digests, mut bad_ends) = (0, Vec::new());
    for (path, bytes) in kept.0.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        let Some(name) = own(path) else { continue };
        digests += usize::from(name.contains("/digests/"));
        if name.contains("/digests/") && digests > 2 {
            continue;
        }
        for (how, bad) in damages(bytes) {
            // In place: the identity knows its inode.
            fs::write(path, &bad).expect("written");
            let what = format!("{name}, {how}");
            let tally = tally.entry(kind_of(&name)).or_default();
            let end = start(&config, &log);
            let refused = matches!(end, End::Refused(..));
            *(if refused { &mut tally.1 } else { &mut tally.0 }) += 1;
            let wrong = files(&home.join("shard-0000/segments"))
                .into_iter()
                .any(|(segment, bytes)| expected.get(&segment).is_none_or(|good| *good != bytes));
            let changed = refused && fs::read(path).expect("there") != bad;
            if wrong || changed || !end.is_clear() {
                bad_ends.push(format!("{what}: wrong {wrong}, changed {changed}: {end:?}"));
            }
            kept.restore(&home);
        }
    }
    assert!(bad_ends.is_empty(), "{}", bad_ends.join("\n"));
    for (kind, (ran, refused)) in &tally {
        println!("{kind}: {ran} recovered, {refused} refused");
    }
    for kind in ["identity", "log", "snapshot", "inventory"] {
        assert!(tally.contains_key(kind), "{kind} was not there to damage: {tally:?}");
    }
    assert_eq!(tally["inventory"].1, 0, "an index is no authority");
    let again = up(root, &[]);
    assert!(again.status.success(), "{}", errors(&again));
    same_on_every_node(root, 3, 1, source);
}

fn kind_of(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let kind = if name.contains("/digests/") { "chunk lists" } else { last };
    kind.split('-').next().unwrap_or(kind).to_owned()
}

#[test]
fn what_an_index_lost_is_found_again_and_the_cluster_is_whole() {
    let Place { source, root, .. } = &stopped();
    let private = root.join("node-2/shard-0000/.ringway");
    for version in [b"RWINVENT\x09\0\0\0\0\0\0\0".to_vec(), vec![0xff; 700], Vec::new()] {
        fs::write(private.join("inventory"), &version).expect("written");
        for name in files(&private.join("digests")).keys() {
            write(&private.join("digests"), name, b"rubbish");
        }
        let again = up(root, &[]);
        assert!(again.status.success(), "{}", errors(&again));
        assert_eq!(json(&again)["bytes_fetched"], 0, "hashed where they stand");
        same_on_every_node(root, 3, 1, source);
    }
}

#[test]
fn a_middle_of_the_log_that_rots_is_refused_and_a_torn_tail_is_not() {
    let Place { dir, source, root, .. } = &stopped();
    let (config, log) = (root.join("node-3/node.toml"), dir.path().join("log"));
    let raft = root.join("node-3/shard-0000/raft");
    let newest = files(&raft).into_keys().filter(|name| name.starts_with("log-")).max().expect("a log");
    let path = raft.join(newest);
    let good = fs::read(&path).expect("there");
    let blocks = good.len().min(good.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1).div_ceil(4096);
    assert!(blocks > 4, "{blocks} batches");

    let mut rotten = good.clone();
    rotten[4096 * (blocks / 2) + 50] ^= 1;
    fs::write(&path, &rotten).expect("written");
    let End::Refused(code, said) = start(&config, &log) else { panic!("taken for sound") };
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("the log is damaged in log-") && said.contains("ringway rejoin"), "{said}");
    assert!(fs::read(&path).expect("there") == rotten, "nothing was deleted");

    // The version of a program to come, in a record that is otherwise whole.
    let mut newer = good.clone();
    let length = u32::from_le_bytes(newer[..4].try_into().expect("4 bytes")) as usize;
    newer[5] = 9;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&newer[..12]);
    hasher.update(&[0; 4]);
    hasher.update(&newer[16..32 + length]);
    newer[12..16].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&path, &newer).expect("written");
    let End::Refused(_, said) = start(&config, &log) else { panic!("taken for sound") };
    assert!(said.contains("format version 9"), "{said}");

    // Half of the last batch.
    let mut torn = good.clone();
    torn.truncate(4096 * (blocks - 1) + 20);
    fs::write(&path, &torn).expect("written");
    let End::Ran(said) = start(&config, &log) else { panic!("a crash leaves this") };
    assert!(!said.contains("panicked"), "{said}");
    let again = up(root, &[]);
    assert!(again.status.success(), "{}", errors(&again));
    same_on_every_node(root, 3, 1, source);
}

#[test]
fn what_a_killed_pull_has_staged_may_be_damaged_and_the_next_pull_brings_the_right_bytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    for index in 0..3 {
        write(&source, &format!("large {index}"), &content(7 + index, 48 << 20));
    }
    let secret = secret(dir.path(), "secret");
    let cache = dir.path().join("cache");
    let (mut server, mut address) = serve(&source, &secret, &cache);
    let staging = dest.join(".ringway/staging");
    let mut maps_damaged = 0;
    for round in 0..6_usize {
        let _none = fs::remove_dir_all(&dest);
        let mut command = pull(address, &dest, &secret, &["-q"]);
        command.stderr(std::process::Stdio::null());
        let mut running = Running::start(command);
        let has_begun = || fs::read_dir(&staging).is_ok_and(|mut entries| entries.next().is_some());
        within(Duration::from_secs(5), "it has begun", has_begun, String::new);
        // When its source goes away it writes down what it has; killed, it does not.
        if round % 3 == 0 {
            server.kill();
            let code = running.wait().code();
            assert!(matches!(code, Some(0 | 6)), "{code:?}");
            (server, address) = serve(&source, &secret, &cache);
        } else {
            thread::sleep(Duration::from_millis(5 * round as u64));
            running.kill();
        }
        let staged = if staging.exists() { files(&staging) } else { BTreeMap::new() };
        for (number, (name, mut bytes)) in staged.into_iter().enumerate() {
            maps_damaged += usize::from(name.ends_with(".map"));
            match (bytes.len(), (round + number) % 3) {
                (0, _) => {}
                (_, 0) => bytes.truncate(bytes.len() / 2),
                (length, 1) => bytes[length / 2] ^= 0x10,
                (length, _) => bytes[length.min(20) - 1] ^= 0xff,
            }
            fs::write(staging.join(&name), bytes).expect("written");
        }
        for name in ["inventory", "digests"] {
            let path = dest.join(".ringway").join(name);
            if path.is_file() {
                fs::write(path, vec![round as u8; 33]).expect("written");
            }
        }
        if round == 4 {
            // The server's own hint: what it kept between starts.
            server.kill();
            let kept = files(&cache).into_keys().next().expect("a cache");
            let mut bytes = fs::read(cache.join(&kept)).expect("there");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(cache.join(&kept), bytes).expect("written");
            (server, address) = serve(&source, &secret, &cache);
        }
        let output = finish(&mut pull(address, &dest, &secret, &[]), Duration::from_secs(60));
        assert!(output.status.success(), "round {round}: {}", errors(&output));
        crate::binary::same(&source, &dest);
    }
    println!("{maps_damaged} maps of verified chunks were damaged");
    assert!(maps_damaged > 0);
}
