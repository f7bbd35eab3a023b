//! `ringway doctor`, from outside.
#![cfg(feature = "daemon")]

mod binary;

use std::fs;

use binary::{errors, json, ringway};

#[test]
fn a_host_is_looked_at_and_nothing_is_left_in_the_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let done =
        ringway().arg("doctor").arg(dir.path()).args(["-o", "json"]).output().expect("the binary runs");
    assert!(done.status.success(), "{}", errors(&done));
    let report = json(&done);
    assert_eq!(report["version"], 1);
    let checks = report["checks"].as_array().expect("a list");
    for name in
        ["kernel", "sha-256", "disk space", "direct I/O", "durable write", "congestion control", "open files"]
    {
        let check = checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap_or_else(|| panic!("no {name} in {report}"));
        assert!(check["found"].as_str().is_some_and(|found| !found.is_empty()), "{check}");
    }
    for check in checks {
        let is_good = check["standing"] != "slower";
        assert_eq!(
            check["change"].as_str().map(str::is_empty),
            Some(is_good),
            "what to change where something is: {check}"
        );
    }
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0, "the trial is gone");
}

#[test]
fn a_directory_that_is_none_is_an_error_that_names_it() {
    let done = ringway().args(["doctor", "/nowhere/at/all"]).output().expect("the binary runs");
    assert_eq!(done.status.code(), Some(1));
    assert!(errors(&done).contains("/nowhere/at/all: no file can be tried there"), "{}", errors(&done));
}
