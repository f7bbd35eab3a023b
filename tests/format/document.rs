//! FORMAT.md as data: its vectors and its tables.

use std::collections::BTreeMap;

/// One line of a vector.
#[derive(Debug)]
pub struct Line {
    pub name: String,
    pub form: String,
    pub bytes: Vec<u8>,
}

/// A fenced block: a sequence of fields.
#[derive(Debug)]
pub struct Vector {
    pub name: String,
    pub lines: Vec<Line>,
}

impl Vector {
    pub fn bytes(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| line.bytes.iter().copied()).collect()
    }

    pub fn of(&self, name: &str) -> &[u8] {
        let line = self.lines.iter().find(|line| line.name == name);
        &line.unwrap_or_else(|| panic!("`{}` has no line `{name}`", self.name)).bytes
    }
}

pub fn text() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FORMAT.md");
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits = if text == "-" { "" } else { text };
    assert!(digits.is_ascii() && digits.len().is_multiple_of(2), "not hexadecimal: {text}");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The blocks whose fence begins with this word, in order.
pub fn vectors(text: &str, word: &str) -> Vec<Vector> {
    let mut found: Vec<Vector> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            open = !open && fence.split(' ').next() == Some(word);
            if open {
                found.push(Vector { name: fence.to_owned(), lines: Vec::new() });
            }
        } else if open && !line.is_empty() {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let [name, form, hex] = cells[..] else { panic!("not name, form and bytes: {line}") };
            let line = Line { name: name.to_owned(), form: form.to_owned(), bytes: unhex(hex) };
            found.last_mut().unwrap().lines.push(line);
        }
    }
    found
}

/// The rows of the table with this head.
pub fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let rows: Vec<_> = text.lines().skip_while(|line| *line != head).skip(2).collect();
    assert!(!rows.is_empty(), "FORMAT.md has no table {head}");
    let rows = rows.into_iter().take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Size of a form: fixed bytes, and bytes for each item that a count announces.
pub fn forms(text: &str) -> BTreeMap<String, (usize, usize)> {
    let mut found = BTreeMap::new();
    for row in table(text, "| form | bytes | what |") {
        let names: Vec<&str> = row[0].split(' ').collect();
        if names == ["pad"] {
            continue;
        }
        if let Some(item) = row[1].strip_prefix("4 + ") {
            let item = item.strip_suffix('n').unwrap().trim();
            let item = if item.is_empty() { 1 } else { item.parse().unwrap() };
            found.extend(names.iter().map(|name| ((*name).to_owned(), (4, item))));
            continue;
        }
        let sizes: Vec<usize> = row[1].split(' ').map(|size| size.parse().unwrap()).collect();
        for (at, name) in names.into_iter().enumerate() {
            found.insert(name.to_owned(), (sizes.get(at).copied().unwrap_or(sizes[0]), 0));
        }
    }
    found
}
