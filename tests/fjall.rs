//! A real storage engine: cuts of a fjall database under load are whole, here and where they are pulled to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

mod binary;
#[path = "../examples/fjall_replica/cut.rs"]
mod cut;
#[path = "../examples/fjall_replica/load.rs"]
mod load;

use binary::{Running, errors, json, ringway, secret, serve};
use cut::{copy_to_open, cut_closed, remove, take_cut};
use load::{Load, Model, difference, read_all};

const CUTS: usize = 20;
/// Far above what anything here takes.
const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Lets the writer write so many batches more.
fn wait_for_batches(load: &Load, more: u64) {
    let goal = load.batches() + more;
    wait_until("the writer writes", || load.batches() >= goal);
}

/// Table and blob files of the cut.
fn tables(cut: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for kind in ["1/tables", "2/tables", "2/blobs"] {
        for entry in fs::read_dir(cut.join("keyspaces").join(kind)).expect("the cut has it") {
            let name = entry.expect("readable").file_name();
            found.push(format!("{kind}/{}", name.to_string_lossy()));
        }
    }
    found
}

#[test]
fn each_of_twenty_cuts_under_load_opens_and_is_the_database_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let live = dir.path().join("live");
    let load = Load::new(&live).expect("a database");
    let at = |number: usize| dir.path().join(format!("cuts/cut-{number:04}"));
    let take = |number| {
        wait_for_batches(&load, 100);
        load.paused(|model| {
            let taken = take_cut(load.db(), load.keyspaces(), &live, &at(number)).expect("a cut");
            assert!(taken.linked > 0 && taken.copied > 0, "{taken:?}");
            model.clone()
        })
    };
    let models: Vec<Model> = load.while_writing(|| (0..CUTS).map(take).collect()).expect("it wrote");
    assert!(load.db().compactions_completed() > CUTS, "the load made compactions");
    load.close();
    let last = tables(&at(CUTS - 1));
    let gone = tables(&at(0)).into_iter().filter(|table| !last.contains(table)).count();
    assert!(gone > 0, "compactions removed tables of the first cut, which its links keep");
    for (number, model) in models.iter().enumerate() {
        let copy = dir.path().join(format!("copies/{number}"));
        assert!(same(&at(number), model, &copy) > 500);
    }
}

#[test]
fn a_cut_that_lost_a_table_does_not_pass_for_the_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let (live, cut) = (dir.path().join("live"), dir.path().join("cut"));
    let load = Load::new(&live).expect("a database");
    load.while_writing(|| {
        wait_for_batches(&load, 50);
        load.paused(|_| take_cut(load.db(), load.keyspaces(), &live, &cut)).expect("a cut");
        wait_for_batches(&load, 1);
    })
    .expect("it wrote");
    let copy = |name: &str| {
        let to = dir.path().join(name);
        copy_to_open(&cut, &to).expect("copied");
        to
    };
    let found = read_all(&copy("whole")).expect("fjall opens it");
    assert!(difference(&load.close(), &found).is_some(), "what was written after the cut is not in it");
    let lossy = copy("lossy");
    fs::remove_file(lossy.join("keyspaces").join(&tables(&lossy)[0])).expect("removed");
    assert!(read_all(&lossy).is_err(), "fjall misses the table");
}

/// Compares a copy of a cut with what the database held. Answers with the number of keys.
fn same(copy: &Path, model: &Model, scratch: &Path) -> usize {
    copy_to_open(copy, scratch).expect("copied");
    let found = read_all(scratch).expect("fjall opens it");
    assert_eq!(difference(model, &found), None, "{}", copy.display());
    found.values().map(BTreeMap::len).sum()
}

/// Serves a directory and pulls it, to the end at last. Answers with the pull's report.
fn pull_with_kills(source: &Path, dest: &Path, secret: &Path) -> serde_json::Value {
    let (_server, address) = serve(source, secret, &dest.with_extension("cache"));
    let pull = || {
        let mut command = ringway();
        command.arg("pull").arg(address.to_string()).arg(dest).arg("--secret-file").arg(secret);
        command.args(["--delete", "-o", "json", "-q"]);
        command
    };
    for millis in [5, 20, 40, 80] {
        let mut running = Running::start(pull());
        thread::sleep(Duration::from_millis(millis));
        running.kill();
    }
    let output = pull().output().expect("it runs");
    assert!(output.status.success(), "{}", errors(&output));
    json(&output)
}

#[test]
fn cuts_pulled_with_kills_open_and_are_the_database_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str| dir.path().join(name);
    let (live, cuts, replica) = (at("live"), at("cuts"), at("replica"));
    let secret = secret(dir.path(), "secret");
    let load = Load::new(&live).expect("a database");
    load.while_writing(|| {
        for number in 0..4 {
            wait_for_batches(&load, 150);
            let name = format!("cut-{number}");
            let take = |model: &mut Model| {
                take_cut(load.db(), load.keyspaces(), &live, &cuts.join(&name)).expect("a cut");
                model.clone()
            };
            let model = load.paused(take);
            // The database compacts and unlinks on while the cut is on its way: its links keep the tables.
            let report = pull_with_kills(&cuts, &replica, &secret);
            assert_eq!(report["chunks_refetched"], 0, "{report}");
            assert!(same(&replica.join(&name), &model, &at(&format!("scratch-{number}"))) > 500);
            if number > 0 {
                let old = format!("cut-{}/version", number - 1);
                assert!(!replica.join(old).exists(), "a cut that the source removed is gone");
            }
            remove(&cuts.join(&name)).expect("removed");
        }
    })
    .expect("it wrote");
    let model = load.close();
    cut_closed(&live, &cuts.join("closed")).expect("a cut");
    pull_with_kills(&cuts, &replica, &secret);
    assert!(same(&replica.join("closed"), &model, &at("scratch-closed")) > 500);
}
