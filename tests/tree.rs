//! A whole tree of everything that goes wrong first, by `ringway pull` and by `ringway up --import`: really ten
//! thousand small files, and one that is larger than all buffers. What arrived is judged by `sha256sum`, which knows
//! nothing of us.
#![cfg(feature = "daemon")]

#[path = "cluster/bench.rs"]
#[allow(dead_code, reason = "the clusters' tests use the rest")]
mod bench;
mod binary;

use std::path::Path;
use std::process::{Command, Output};

use bench::{alone, up};
use binary::{awkward_tree, content, errors, json, ringway, secret, serve, write};

const SMALL_FILES: usize = 10_000;
/// Above the 32 buffers of 1 MiB of a pull and the fewer ones of a node together, and not of whole chunks.
const LARGE_BYTES: usize = (40 << 20) + 4097;
/// Names that a shell, a list or a parser of ours could trip over.
const NAMES: [&str; 9] = [
    "quotes/it's \"quoted\"",
    "quotes/back\\slash",
    " begins and ends with a space ",
    "glob/*?[a-z]",
    "-rf",
    "...",
    "dots/..hidden..",
    "ünïcödé/データ/🗄️",
    "$(reboot);&|<>",
];

/// The tree, and how many files and bytes it has.
fn tree(dir: &Path) -> (u64, u64) {
    awkward_tree(dir, SMALL_FILES);
    for (seed, name) in (7000..).zip(NAMES) {
        write(dir, name, &content(seed, 1234));
    }
    // A name of the greatest length that a file system takes.
    write(dir, &"n".repeat(255), b"long");
    write(dir, "large", &content(9000, LARGE_BYTES));
    let sums = sha256sum(dir);
    let found = Command::new("find").arg(dir).args(["-type", "f", "-printf", "%s\n"]).output().expect("find");
    let sizes = String::from_utf8(found.stdout).expect("numbers");
    let sizes = sizes.lines().map(|line| line.parse::<u64>().expect("a size"));
    (sums.len() as u64, sizes.sum())
}

/// What `sha256sum` says of every regular file below `dir` but our own, by path.
fn sha256sum(dir: &Path) -> Vec<String> {
    let list = "find . -name .ringway -prune -o -type f -print0 | sort -z | xargs -0 sha256sum --";
    let output = Command::new("sh").args(["-c", list]).current_dir(dir).output().expect("a shell");
    assert!(output.status.success(), "{}", errors(&output));
    String::from_utf8(output.stdout).expect("names are UTF-8").lines().map(str::to_owned).collect()
}

#[track_caller]
fn same_sums(source: &Path, found: &[String]) {
    let expected = sha256sum(source);
    let differs = expected.iter().zip(found).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(expected.len(), found.len());
}

fn pull(address: &str, dest: &Path, secret: &Path) -> Output {
    let mut command = ringway();
    command.args(["pull", address]).arg(dest).arg("--secret-file").arg(secret).args(["-o", "json", "-q"]);
    command.output().expect("the binary runs")
}

#[test]
fn p5_ten_thousand_files_of_all_awkward_kinds_are_pulled_and_again_nothing_moves() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
    let (segments, bytes) = tree(&source);
    assert_eq!(segments, (9 + 2 + SMALL_FILES + NAMES.len() + 2) as u64);
    let secret = secret(dir.path(), "secret");
    let (_serve, address) = serve(&source, &secret, &dir.path().join("cache"));
    let first = pull(&address.to_string(), &dest, &secret);
    assert!(first.status.success(), "{}", errors(&first));
    let report = json(&first);
    println!("pulled: {report}");
    assert_eq!((&report["segments"], &report["bytes"]), (&segments.into(), &bytes.into()));
    assert_eq!((&report["bytes_fetched"], &report["skipped"]), (&bytes.into(), &0.into()));
    same_sums(&source, &sha256sum(&dest));
    let again = json(&pull(&address.to_string(), &dest, &secret));
    println!("again: {again}");
    assert_eq!((&again["bytes_fetched"], &again["bytes_reused"]), (&0.into(), &bytes.into()));
}

#[test]
fn p5_ten_thousand_files_of_all_awkward_kinds_are_imported_to_every_node_and_again_nothing_moves() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a directory");
    let (source, root) = (dir.path().join("source"), dir.path().join("root"));
    let (segments, bytes) = tree(&source);
    let import = ["--import", source.to_str().expect("utf-8")];
    let first = up(&root, &import);
    assert!(first.status.success(), "{}", errors(&first));
    let report = json(&first);
    println!("imported: {report}");
    assert_eq!((&report["segments"], &report["bytes"]), (&segments.into(), &bytes.into()));
    assert_eq!((&report["bytes_fetched"], &report["synced"]), (&(2 * bytes).into(), &true.into()));
    for node in 1..=3 {
        let shards = (0..2).map(|shard| root.join(format!("node-{node}/shard-{shard:04}/segments")));
        let mut all: Vec<_> = shards.flat_map(|dir| sha256sum(&dir)).collect();
        all.sort_by(|one, other| path_of(one).cmp(path_of(other)));
        let mut expected = sha256sum(&source);
        expected.sort_by(|one, other| path_of(one).cmp(path_of(other)));
        assert!(all == expected, "node {node}: {} files of {}", all.len(), expected.len());
    }
    let again = json(&up(&root, &import));
    println!("again: {again}");
    assert_eq!((&again["bytes_fetched"], &again["synced"]), (&0.into(), &true.into()));
}

/// Of a line of `sha256sum`: what follows the digest, and the mark of an escaped name before it.
fn path_of(line: &str) -> &str {
    line.split_once("  ").map_or("", |(_, path)| path)
}
