//! FORMAT.md, for the tests of those who write what it shows.

/// The bytes of the vector with this name, in hexadecimal.
#[must_use]
pub fn vector(name: &str) -> String {
    let fence = format!("```{name}");
    let lines = include_str!("../../FORMAT.md").lines().skip_while(|line| *line != fence).skip(1);
    let bytes = lines.take_while(|line| *line != "```").filter_map(|line| line.split_whitespace().nth(2));
    bytes.collect()
}

/// Bytes in hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
