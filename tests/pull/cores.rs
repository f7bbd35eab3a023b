//! A pull on several cores.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::binary::{Running, content, errors, json, pull, same, secret, serve, write};
use super::pulled;

/// Of 64 MiB and more other cores are asked to help.
const LARGE: usize = (96 << 20) - 777;

struct Rig {
    dir: tempfile::TempDir,
    source: PathBuf,
    dest: PathBuf,
    secret: PathBuf,
}

impl Rig {
    fn new(large: usize) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (source, dest) = (dir.path().join("source"), dir.path().join("dest"));
        (0..large).for_each(|file| write(&source, &format!("large-{file}"), &content(file as u64, LARGE)));
        (0..40).for_each(|file| write(&source, &format!("folder/{file}"), &content(file, 70_000)));
        let secret = secret(dir.path(), "secret");
        Self { dir, source, dest, secret }
    }

    fn serve(&self) -> (Running, std::net::SocketAddr) {
        serve(&self.source, &self.secret, &self.dir.path().join("cache"))
    }
}

#[test]
fn p6_other_cores_of_a_pull_bring_parts_of_large_files() {
    let rig = Rig::new(3);
    let (_server, address) = rig.serve();
    let done = pulled(address, &rig.dest, &rig.secret, &["--cores", "3"]);
    assert!(done.status.success(), "{}", errors(&done));
    same(&rig.source, &rig.dest);
    let report = json(&done);
    let bytes = |name: &str| report[name].as_u64().expect("a count");
    println!("{} of {} bytes came through other cores", bytes("bytes_lent"), bytes("bytes_fetched"));
    assert!(bytes("bytes_lent") > 0 && bytes("bytes_lent") <= bytes("bytes_fetched"), "{report}");
    assert!(bytes("bytes_fetched") >= bytes("bytes"), "{report}");
    let again = json(&pulled(address, &rig.dest, &rig.secret, &["--cores", "2"]));
    assert_eq!((&again["bytes_fetched"], &again["bytes_lent"]), (&0.into(), &0.into()), "it is believed");
}

#[test]
fn a_pull_of_one_core_asks_no_other_and_more_than_nine_are_as_good_as_nine() {
    let rig = Rig::new(1);
    let (_server, address) = rig.serve();
    let alone = json(&pulled(address, &rig.dest, &rig.secret, &["--cores", "1"]));
    assert_eq!((&alone["bytes_lent"], &alone["bytes_fetched"]), (&0.into(), &alone["bytes"]));
    let dest = rig.dir.path().join("another");
    let many = pulled(address, &dest, &rig.secret, &["--cores", "65535"]);
    assert!(many.status.success(), "{}", errors(&many));
    same(&rig.source, &dest);
    let none = pulled(address, &dest, &rig.secret, &["--cores", "0"]);
    assert_eq!(none.status.code(), Some(2), "{}", errors(&none));
}

/// What another core has written when the pull is interrupted is told to the core that keeps account, or comes again.
#[test]
fn p4_a_pull_of_several_cores_that_was_interrupted_ends_soon_and_goes_on() {
    let rig = Rig::new(2);
    let (_server, address) = rig.serve();
    let mut running = Running::start(pull(address, &rig.dest, &rig.secret, &["-q", "--cores", "3"]));
    thread::sleep(Duration::from_millis(100));
    running.signal(2);
    let begun = Instant::now();
    let status = running.wait();
    assert!(matches!(status.code(), Some(0 | 130)), "{status:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?} to end", begun.elapsed());
    let done = pulled(address, &rig.dest, &rig.secret, &["--cores", "3"]);
    assert!(done.status.success(), "{}", errors(&done));
    same(&rig.source, &rig.dest);
    assert!(status.code() == Some(0) || json(&done)["bytes_fetched"] != 0, "{done:?}");
}
