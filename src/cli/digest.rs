//! `ringway digest`.

use std::fs;
use std::path::{Path, PathBuf};

use ringway::engine::{flat_digest, tree_digest};
use serde::Serialize;

use super::args::{self, Output};
use super::exit::Failure;
use super::output;

#[derive(Serialize)]
struct Report {
    digests: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    path: String,
    digest: String,
    kind: &'static str,
    bytes: u64,
}

pub(crate) fn run(asked: &args::Digest, output: Output) -> Result<(), Failure> {
    let mut files = Vec::new();
    for path in &asked.paths {
        collect(path, &mut files)?;
    }
    let mut digests = Vec::new();
    for path in files {
        let read = if asked.flat { flat_digest(&path) } else { tree_digest(&path) };
        let (digest, bytes) = read.map_err(|error| Failure::from(error).at(path.display()))?;
        let kind = if asked.flat { "sha256" } else { "tree" };
        digests.push(Line { path: path.display().to_string(), digest: digest.to_string(), kind, bytes });
    }
    let report = Report { digests };
    output::print(output, &report, |out| {
        report.digests.iter().try_for_each(|line| writeln!(out, "{}  {}", line.digest, line.path))
    });
    Ok(())
}

/// The file, or all regular files below the directory, in order of their names; links are not followed inside it.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let at = |error| Failure::from(error).at(path.display());
    if !fs::metadata(path).map_err(at)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(at)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().map_err(at)?;
        if kind.is_file() || kind.is_dir() {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}
