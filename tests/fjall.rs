//! A real storage engine: cuts of a fjall database under load are whole, here and on replicas.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

#[path = "../examples/fjall_replica/cut.rs"]
mod cut;
#[path = "../examples/fjall_replica/load.rs"]
mod load;

use cut::{copy_closed, take_cut};
use load::{Load, Model, difference, read_all};

const CUTS: usize = 20;

/// Lets the writer write so many batches more.
fn wait_for_batches(load: &Load, more: u64) {
    let goal = load.batches() + more;
    while load.batches() < goal {
        thread::sleep(Duration::from_millis(1));
    }
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
    let mut models: Vec<Model> = Vec::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| load.write());
        for number in 0..CUTS {
            wait_for_batches(&load, 100);
            let model = load.paused(|model| {
                let taken = take_cut(load.db(), load.keyspaces(), &live, &at(number)).expect("a cut");
                assert!(taken.linked > 0 && taken.copied > 0, "{taken:?}");
                model.clone()
            });
            models.push(model);
        }
        load.stop();
        writer.join().expect("no panic").expect("it wrote");
    });
    assert!(load.db().compactions_completed() > CUTS, "the load made compactions");
    drop(load);
    let last = tables(&at(CUTS - 1));
    let gone = tables(&at(0)).into_iter().filter(|table| !last.contains(table)).count();
    assert!(gone > 0, "compactions removed tables of the first cut, which its links keep");
    for (number, model) in models.iter().enumerate() {
        let copy = dir.path().join(format!("copies/{number}"));
        copy_closed(&at(number), &copy).expect("copied");
        let found = read_all(&copy).expect("fjall opens it");
        assert_eq!(difference(model, &found), None, "cut {number}");
    }
}

#[test]
fn a_cut_that_lost_a_table_does_not_pass_for_the_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let (live, cut) = (dir.path().join("live"), dir.path().join("cut"));
    let load = Load::new(&live).expect("a database");
    thread::scope(|scope| {
        let writer = scope.spawn(|| load.write());
        wait_for_batches(&load, 50);
        load.paused(|_| take_cut(load.db(), load.keyspaces(), &live, &cut)).expect("a cut");
        wait_for_batches(&load, 1);
        load.stop();
        writer.join().expect("no panic").expect("it wrote");
    });
    let copy = |name: &str| {
        let to = dir.path().join(name);
        copy_closed(&cut, &to).expect("copied");
        to
    };
    let found = read_all(&copy("whole")).expect("fjall opens it");
    let later = load.paused(|model| difference(model, &found));
    assert!(later.is_some(), "what was written after the cut is not in it");
    let lossy = copy("lossy");
    fs::remove_file(lossy.join("keyspaces").join(&tables(&lossy)[0])).expect("removed");
    assert!(read_all(&lossy).is_err(), "fjall misses the table");
}
