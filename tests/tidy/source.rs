//! Rust read as roughly as the house rules need it: what is code and what is comment or literal, where a word stands,
//! where braces close.

use std::collections::BTreeSet;

/// A file, and its code alone: comments, strings and character literals are blanks of the same length.
pub struct Source {
    pub path: String,
    pub text: String,
    pub code: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: code_of(text) }
    }

    pub fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or_default();
        below.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    pub fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }

    pub fn finding(&self, at: usize, what: &str) -> String {
        format!("{}:{}: {what}", self.path, self.line(at))
    }
}

fn code_of(text: &str) -> String {
    let (bytes, mut code, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end == at {
            code.push(bytes[at]);
            at += 1;
            continue;
        }
        code.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
        at = end;
    }
    String::from_utf8(code).expect("whole literals were replaced by blanks")
}

/// The end of the comment or literal that begins at `at`; `at` itself if none does.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let from = |start: usize, end: &[u8]| {
        let found = rest[start..].windows(end.len()).position(|window| window == end);
        at + found.map_or(rest.len(), |place| start + place + end.len())
    };
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment(rest),
        [b'r', b'#' | b'"', ..] if !in_word(bytes, at) || matches!(bytes[at - 1], b'b' | b'c') => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return at;
            }
            from(2 + hashes, &[b"\"".as_slice(), &b"#".repeat(hashes)].concat())
        }
        [b'"', ..] => at + quoted(rest, b'"'),
        [b'\'', b'\\', ..] => at + quoted(rest, b'\''),
        [b'\'', first, ..] => {
            let width = [0x80, 0xe0, 0xf0].iter().filter(|least| first >= *least).count() + 1;
            if rest.get(1 + width) == Some(&b'\'') { at + width + 2 } else { at }
        }
        _ => at,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

fn quoted(rest: &[u8], end: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != end {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn in_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && is_word(bytes[at - 1])
}

/// Where `word` stands for itself; a word that ends in a letter also ends there.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let open = !word.bytes().next_back().is_some_and(is_word);
    let places = text.match_indices(word).map(|(at, _)| at);
    places.filter(move |at| {
        let after = text.as_bytes().get(at + word.len()).copied();
        !in_word(text.as_bytes(), *at) && (open || !after.is_some_and(is_word))
    })
}

pub fn name_at(text: &str) -> &str {
    let end = text.bytes().position(|byte| !is_word(byte)).unwrap_or(text.len());
    &text[..end]
}

/// The end of the braces that open at `at`.
pub fn close(code: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    for (place, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return place,
            b'}' => depth -= 1,
            _ => (),
        }
    }
    code.len().saturating_sub(1)
}

/// Where the body of the function at `at` opens; `None` if it has none.
pub fn body_of(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (place, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(place),
            b';' if depth == 0 => return None,
            _ => (),
        }
    }
    None
}

/// Names behind `prefix` up to and with `.md` or `.rs`, wherever they stand in a text.
pub fn mentions<'a>(text: &'a str, prefix: &'a str, suffix: &'a str) -> BTreeSet<&'a str> {
    let starts = text.match_indices(prefix).map(|(at, _)| &text[at + prefix.len()..]);
    let name = |rest: &'a str| {
        let end = rest.bytes().position(|byte| !(is_word(byte) || b"-/.".contains(&byte)));
        let name = &rest[..end.unwrap_or(rest.len())];
        name.find(suffix).map(|at| &name[..at + suffix.len()])
    };
    starts.filter_map(name).collect()
}

/// What follows `root::` in each path that begins so: one name, or each of a braced list.
pub fn paths_from<'a>(code: &'a str, root: &'a str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for at in words(code, root) {
        let rest = &code[at + root.len()..];
        if !rest.starts_with('{') {
            found.push((at, name_at(rest)));
            continue;
        }
        let (mut depth, mut fresh) = (0, false);
        for (place, byte) in rest[..=close(rest, 0)].bytes().enumerate() {
            match byte {
                b'{' => (depth, fresh) = (depth + 1, true),
                b'}' => (depth, fresh) = (depth - 1, false),
                b',' => fresh = true,
                _ if byte.is_ascii_whitespace() => (),
                _ => {
                    if fresh && depth == 1 {
                        found.push((at, name_at(&rest[place..])));
                    }
                    fresh = false;
                }
            }
        }
    }
    found
}

/// How many `mod name { … }` of its own file a place stands in.
pub fn inline_modules(code: &str, at: usize) -> usize {
    let opens = words(&code[..at], "mod").filter_map(|place| {
        let rest = code[place + 3..].trim_start();
        let body = rest[name_at(rest).len()..].trim_start();
        body.starts_with('{').then(|| code.len() - body.len())
    });
    opens.filter(|open| *open < at && close(code, *open) > at).count()
}
