//! `ringway digest`.

use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
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
    /// As the system has it; `path` is for JSON, which has no bytes.
    #[serde(skip)]
    name: PathBuf,
}

/// Prints the digests of all that can be read; what cannot is named at the end, and the command has failed.
pub(crate) fn run(asked: &args::Digest, output: Output) -> Result<(), Failure> {
    let (mut files, mut failures) = (Vec::new(), Vec::new());
    for path in &asked.paths {
        collect(path, &mut files, &mut failures);
    }
    let mut digests = Vec::new();
    for name in files {
        let read = if asked.flat { flat_digest(&name) } else { tree_digest(&name) };
        let kind = if asked.flat { "sha256" } else { "tree" };
        let path = name.display().to_string();
        match read {
            Ok((digest, bytes)) => {
                digests.push(Line { path, digest: digest.to_string(), kind, bytes, name });
            }
            Err(error) => failures.push(Failure::failed(error).at(path)),
        }
    }
    let report = Report { digests };
    output::print(output, &report, |out| {
        report
            .digests
            .iter()
            .try_for_each(|line| write_line(out, &line.digest, line.name.as_os_str().as_bytes()))
    })?;
    let lines: Vec<_> = failures.into_iter().map(|failure| failure.message).collect();
    if lines.is_empty() { Ok(()) } else { Err(Failure::failed(lines.join("\nringway: "))) }
}

/// As sha256sum has it: a name byte for byte, or a backslash before the line of one that would break it, and escapes.
fn write_line(out: &mut dyn Write, digest: &str, name: &[u8]) -> io::Result<()> {
    let escaped = |byte: &u8| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        other => vec![*other],
    };
    let text: Vec<u8> = name.iter().flat_map(escaped).collect();
    let mark = if text == name { "" } else { "\\" };
    write!(out, "{mark}{digest}  ")?;
    out.write_all(&text)?;
    writeln!(out)
}

/// The file, or all regular files below the directory, in order of their names; links are not followed inside it.
fn collect(path: &Path, files: &mut Vec<PathBuf>, failures: &mut Vec<Failure>) {
    match below(path) {
        Ok(None) => files.push(path.to_owned()),
        Ok(Some(inside)) => inside.iter().for_each(|path| collect(path, files, failures)),
        Err(error) => failures.push(Failure::failed(error).at(path.display())),
    }
}

/// What stands in the directory and is a file or a directory itself; none if the path is no directory.
fn below(path: &Path) -> io::Result<Option<Vec<PathBuf>>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(None);
    }
    let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut inside = Vec::new();
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_file() || kind.is_dir() {
            inside.push(entry.path());
        }
    }
    Ok(Some(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_sha256sum_writes_it() {
        let line = |name: &[u8]| {
            let mut out = Vec::new();
            write_line(&mut out, "d1", name).expect("memory");
            out
        };
        assert_eq!(line(b"a b"), b"d1  a b\n");
        assert_eq!(line(b"\xff"), b"d1  \xff\n");
        assert_eq!(line(b"a\nb"), b"\\d1  a\\nb\n");
        assert_eq!(line(b"a\r\\"), b"\\d1  a\\r\\\\\n");
    }
}
