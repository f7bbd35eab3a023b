//! `ringway secret new`, and reading secrets for the other commands.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::exit::{Exit, Failure};

/// Writes a new secret; never over an existing file.
pub(crate) fn new(path: &Path) -> Result<(), Failure> {
    let mut random = [0; 32];
    read_random(&mut random)?;
    let mut text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Failure::from(error).at(path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| Failure::from(error).at(path.display()))
}

/// Reads a secret's file; refuses one that others can read.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    let bad =
        |why: &dyn std::fmt::Display| Failure::new(Exit::Config, format!("secret {}: {why}", path.display()));
    let file = File::open(path).map_err(|error| bad(&error))?;
    let facts = file.metadata().map_err(|error| bad(&error))?;
    if !facts.is_file() {
        return Err(bad(&"not a regular file"));
    }
    if facts.mode() & 0o077 != 0 {
        let mode = facts.mode() & 0o777;
        return Err(bad(&format!("others may read or write it (mode {mode:04o}); chmod 600 it")));
    }
    let mut text = String::new();
    (&file).take(4096).read_to_string(&mut text).map_err(|error| bad(&error))?;
    Ok(text)
}

/// Fills with random bytes.
pub(super) fn read_random(out: &mut [u8]) -> io::Result<()> {
    File::open("/dev/urandom")?.read_exact(out)
}
