//! `ringway doctor`.

use std::io::{self, Write};

use ringway::engine::{Check, Standing, doctor};
use serde::Serialize;

use super::args::{self, Output};
use super::exit::Failure;
use super::output::{self, count};

#[derive(Serialize)]
struct Report {
    checks: Vec<Check>,
}

/// Prints what this host can do. A host on which no node works is a failure.
pub(crate) fn run(asked: &args::Doctor, output: Output) -> Result<(), Failure> {
    let report = Report { checks: doctor(&asked.dir).map_err(Failure::failed)? };
    output::print(output, &report, |out| report.checks.iter().try_for_each(|check| write_check(out, check)))?;
    let bad: Vec<&str> = report.checks.iter().filter(is_bad).map(|check| check.name.as_str()).collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "no node works here: {} ({})",
        count(bad.len() as u64, "check"),
        bad.join(", ")
    )))
}

fn is_bad(check: &&Check) -> bool {
    check.standing == Standing::Bad
}

fn write_check(out: &mut dyn Write, check: &Check) -> io::Result<()> {
    let standing = match check.standing {
        Standing::Good => "good",
        Standing::Slower => "slower",
        Standing::Bad => "BAD",
        Standing::Unknown => "unknown",
    };
    writeln!(out, "{standing:<8} {}: {}", check.name, check.found)?;
    if check.change.is_empty() { Ok(()) } else { writeln!(out, "         -> {}", check.change) }
}
