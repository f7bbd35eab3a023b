//! Standard output: text for people, or one JSON document with a `version` field.

use std::io::{self, Write};

use serde::Serialize;

use super::args::Output;
use super::exit::Failure;

/// Version of every JSON document that the commands print. A field may be added without a new version; none changes its
/// meaning or goes.
const JSON_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T> {
    version: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// Prints a result in the form asked for.
pub(crate) fn print<T: Serialize>(
    output: Output,
    body: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Failure> {
    write(|out| match output {
        Output::Text => text(out),
        Output::Json => serde_json::to_writer(&mut *out, &Document { version: JSON_VERSION, body })
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
    })
}

/// Writes to standard output. A reader that has gone away is no failure; a disk that is full is one.
pub(crate) fn write(text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match text(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// So many of a thing, whose name has an s behind it unless it is one.
pub(crate) fn count(number: impl Into<u128>, name: &str) -> String {
    let number = number.into();
    format!("{number} {name}{}", if number == 1 { "" } else { "s" })
}

/// Bytes for people, in binary units.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_a_thing_has_no_s() {
        assert_eq!([0_u32, 1, 2].map(|number| count(number, "node")), ["0 nodes", "1 node", "2 nodes"]);
    }
}
