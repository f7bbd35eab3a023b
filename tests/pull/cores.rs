//! A pull on several cores.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use super::binary::{Running, content, errors, json, pull, same, secret, serve, write};
use super::pulled;

/// All in all more than the 64 MiB from which on a pull uses several cores.
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
    // A core that this machine keeps waiting for seconds is not waited for, and its part may come twice.
    assert!(bytes("bytes_fetched") >= bytes("bytes"), "{report}");
    let again = json(&pulled(address, &rig.dest, &rig.secret, &["--cores", "2"]));
    assert_eq!((&again["bytes_fetched"], &again["bytes_lent"]), (&0.into(), &0.into()), "it is believed");
}

#[test]
fn a_pull_of_one_core_or_of_little_asks_no_other() {
    let rig = Rig::new(1);
    let (_server, address) = rig.serve();
    let lent = |dest: &str, cores: &str| {
        let dest = rig.dir.path().join(dest);
        let done = pulled(address, &dest, &rig.secret, &["--cores", cores]);
        assert!(done.status.success(), "{}", errors(&done));
        same(&rig.source, &dest);
        json(&done)["bytes_lent"].as_u64().expect("a count")
    };
    assert_eq!(lent("one", "1"), 0);
    assert!(lent("many", "65535") > 0);
    fs::remove_file(rig.source.join("large-0")).expect("it was there");
    write(&rig.source, "not large", &content(7, 40 << 20));
    let (_server, address) = rig.serve();
    let dest = rig.dir.path().join("little");
    let little = json(&pulled(address, &dest, &rig.secret, &["--cores", "3"]));
    assert_eq!((&little["bytes_lent"], &little["bytes_fetched"]), (&0.into(), &little["bytes"]));
    let none = pulled(address, &dest, &rig.secret, &["--cores", "0"]);
    assert_eq!(none.status.code(), Some(2), "{}", errors(&none));
}

/// Whatever core has written it, what was whole when the pull was interrupted is found where it lies.
#[test]
fn p4_a_pull_of_several_cores_that_was_interrupted_ends_soon_and_goes_on() {
    let rig = Rig::new(2);
    let (_server, address) = rig.serve();
    let in_the_middle = (1..=12).find(|try_number| {
        let dest = rig.dir.path().join(format!("dest-{try_number}"));
        let mut running = Running::start(pull(address, &dest, &rig.secret, &["-q", "--cores", "3"]));
        thread::sleep(Duration::from_millis(30 * try_number));
        running.signal(2);
        let begun = Instant::now();
        let status = running.wait();
        assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?} to end", begun.elapsed());
        let done = pulled(address, &dest, &rig.secret, &["--cores", "3"]);
        assert!(done.status.success(), "{}", errors(&done));
        same(&rig.source, &dest);
        status.code() == Some(130) && json(&done)["bytes_reused"] != 0
    });
    assert!(in_the_middle.is_some(), "none of them was in the middle");
}
