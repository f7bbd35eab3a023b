//! Standard output: text for people, or one JSON document with a `version` field.

use std::io::{self, Write};

use serde::Serialize;

use super::args::Output;

/// Version of every JSON document that the commands print. A field may be added without a new version; none changes its
/// meaning or goes.
const JSON_VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a, T> {
    version: u32,
    #[serde(flatten)]
    body: &'a T,
}

/// Prints a result in the form asked for. A reader that has gone away is no error.
pub(crate) fn print<T: Serialize>(
    output: Output,
    body: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) {
    let mut out = io::stdout().lock();
    let written = match output {
        Output::Text => text(&mut out),
        Output::Json => serde_json::to_writer(&mut out, &Document { version: JSON_VERSION, body })
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => tracing::error!(%error, "standard output"),
        Ok(()) | Err(_) => {}
    }
}

/// Bytes for people, in binary units.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}
