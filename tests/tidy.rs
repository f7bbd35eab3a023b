//! The house rules that a program can hold. It reads the tree as text and knows no crate but std.
//!
//! The room table of ARCHITECTURE.md is the law for imports: whoever changes the picture changes the rule. Every
//! rule is a function from text to findings, and has a test on text that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[path = "tidy/can_fail.rs"]
mod can_fail;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, body_of, close, inline_modules, mentions, name_at, paths_from, words};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// rustfmt breaks code at 110; comments and long strings may go on to here.
const LINE_CHARACTERS_MAX: usize = 120;
const NOTE_LINES_MAX: usize = 80;
/// Of these two rows alone, a room may use those to its left: single files, and the parts of one binary.
const ROW_OF_VALUES: u32 = 0;
const ROW_OF_BINARY: u32 = 8;
const UNSAFE_ROOMS: [&str; 5] = [
    "src/uring/",
    "src/digest/lanes_aarch64.rs",
    "src/digest/lanes_avx2.rs",
    "src/digest/lanes_avx512.rs",
    "src/digest/lanes_sha_ni.rs",
];
const PURE: [&str; 6] =
    ["src/wire/", "src/digest/", "src/manifest/", "src/cluster/", "src/auth/", "src/transfer/plan.rs"];
const IMPURE_WORDS: [&str; 6] =
    ["Instant::now", "SystemTime", "std::fs", "std::net::Tcp", "thread::", "HashMap"];
const ROOM_NAMES_REFUSED: [&str; 4] = ["sync", "util", "common", "manager"];
/// Spelt in parts, so that this file passes its own rule.
const MARKERS: [&str; 5] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("d", "bg!"),
];

/// Rooms and their place in ARCHITECTURE.md's table: row, then column.
type Rooms = BTreeMap<String, (u32, usize)>;

fn rooms(architecture: &str) -> Rooms {
    let mut rooms = Rooms::new();
    let table = architecture.lines().skip_while(|line| !line.starts_with("| row | room |"));
    for line in table.take_while(|line| line.starts_with('|')) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let Some(row) = cells.next().and_then(|cell| cell.parse::<u32>().ok()) else { continue };
        let names = cells.next().unwrap_or_default().split('`').skip(1).step_by(2);
        for name in names {
            let column = rooms.values().filter(|place| place.0 == row).count();
            rooms.insert(name.trim_end_matches('/').trim_end_matches(".rs").to_owned(), (row, column));
        }
    }
    rooms
}

fn imports(rooms: &Rooms, source: &Source) -> Vec<String> {
    if source.path == "src/lib.rs" {
        return Vec::new();
    }
    let own = source.room();
    let Some(&(row, column)) = rooms.get(own) else {
        return vec![source.finding(0, &format!("room `{own}` has no row in ARCHITECTURE.md's table"))];
    };
    let mut found = Vec::new();
    let roots = ["crate::", "ringway::"].into_iter().flat_map(|root| paths_from(&source.code, root));
    for (at, name) in roots {
        let Some(&(other_row, other_column)) = rooms.get(name) else {
            let what = format!("`{name}` is taken from the crate root: name its room");
            found.push(source.finding(at, &what));
            continue;
        };
        let beside =
            matches!(row, ROW_OF_VALUES | ROW_OF_BINARY) && row == other_row && other_column < column;
        let below = other_row < row
            && (row != ROW_OF_BINARY || other_row == ROW_OF_VALUES || other_row == ROW_OF_BINARY - 1);
        if name != own && !beside && !below {
            let what =
                format!("`{own}` (row {row}) uses `{name}` (row {other_row}): imports point down only");
            found.push(source.finding(at, &what));
        }
    }
    found.extend(escapes(source));
    found
}

/// `super::super::…` that climbs out of its room to the crate root.
fn escapes(source: &Source) -> Vec<String> {
    let inside = source.path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let file_depth = inside.split('/').count();
    let mut found = Vec::new();
    let mut passed = 0;
    for at in words(&source.code, "super::") {
        if at < passed {
            continue;
        }
        let climbed =
            source.code[at..].split("super::").skip(1).take_while(|part| part.is_empty()).count() + 1;
        passed = at + climbed * "super::".len();
        if climbed >= file_depth + inline_modules(&source.code, at) {
            found.push(source.finding(at, "`super::` climbs out of the room: write `crate::<room>`"));
        }
    }
    found
}

/// Lines of prose that are too long. Tables, what stands in fences, and one word that is longer are as they are.
fn prose(path: &str, text: &str) -> Vec<String> {
    let (mut found, mut fenced) = (Vec::new(), false);
    for (place, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        let characters = line.chars().count();
        let is_prose = !fenced && !line.trim_start().starts_with(['|', '`']) && line.trim().contains(' ');
        if is_prose && characters > LINE_CHARACTERS_MAX {
            found.push(format!("{path}:{}: {characters} characters, not {LINE_CHARACTERS_MAX}", place + 1));
        }
    }
    found
}

fn sizes(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(source.finding(0, &format!("{lines} lines: a file has at most {FILE_LINES_MAX}")));
    }
    for (place, line) in source.text.lines().enumerate() {
        let characters = line.chars().count();
        if characters > LINE_CHARACTERS_MAX {
            let path = &source.path;
            found.push(format!("{path}:{}: {characters} characters, not {LINE_CHARACTERS_MAX}", place + 1));
        }
    }
    for at in words(&source.code, "fn") {
        let name = name_at(source.code[at + 2..].trim_start());
        let Some(open) = body_of(&source.code, at).filter(|_| !name.is_empty()) else { continue };
        let lines = source.line(close(&source.code, open)) - source.line(at) + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("`{name}` has {lines} lines: a function has at most {FUNCTION_LINES_MAX}");
            found.push(source.finding(at, &what));
        }
    }
    found
}

fn head(source: &Source) -> Vec<String> {
    let first = source.text.lines().next().and_then(|line| line.strip_prefix("//!"));
    if first.is_some_and(|head| !head.trim().is_empty()) {
        return Vec::new();
    }
    vec![source.finding(0, "the file does not open with `//!`: what it owns, promises and refuses")]
}

fn banned(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if source.path.starts_with("src/") && !UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
        let places = words(&source.code, "unsafe");
        found.extend(
            places.map(|at| source.finding(at, "`unsafe` outside uring/ and the lane kernels of digest/")),
        );
    }
    if PURE.iter().any(|room| source.path.starts_with(room)) {
        for word in IMPURE_WORDS {
            let places = words(&source.code, word);
            let what = format!("`{word}` in a pure room: time, chance, order and the outside are arguments");
            found.extend(places.map(|at| source.finding(at, &what)));
        }
    }
    for marker in MARKERS {
        let places = words(&source.text, marker);
        found.extend(
            places.map(|at| source.finding(at, &format!("`{marker}`: do it, or make an issue of it"))),
        );
    }
    found
}

fn names(source: &Source) -> Vec<String> {
    let parts = source.path.strip_prefix("src/").unwrap_or_default().split('/');
    let folders_and_top = parts.clone().count().max(2) - 1;
    let mut rooms = parts.take(folders_and_top).map(|part| part.trim_end_matches(".rs"));
    let refused = rooms.find(|name| ROOM_NAMES_REFUSED.contains(name));
    refused
        .map(|name| source.finding(0, &format!("`{name}` names no room: say what it owns")))
        .into_iter()
        .collect()
}

/// `pages` are the files of kernel-notes/ by name, their table README.md among them.
fn notes(pages: &BTreeMap<String, String>, sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let mut cited = BTreeSet::new();
    for source in sources {
        for page in mentions(&source.text, "kernel-notes/", ".md") {
            if !pages.contains_key(page) {
                found.push(format!("{}: kernel-notes/{page} does not exist", source.path));
            }
            if source.path.starts_with("src/") {
                cited.insert(page);
            }
        }
    }
    let table = pages.get("README.md").map_or("", String::as_str);
    for page in mentions(table, "](", ".md") {
        if !page.contains('/') && !pages.contains_key(page) {
            found.push(format!("kernel-notes/README.md: {page} does not exist"));
        }
    }
    for (page, text) in pages.iter().filter(|(page, _)| *page != "README.md") {
        let lines = text.lines().count();
        if lines > NOTE_LINES_MAX {
            found.push(format!("kernel-notes/{page}: {lines} lines: a page has at most {NOTE_LINES_MAX}"));
        }
        if !cited.contains(page.as_str()) {
            found.push(format!("kernel-notes/{page}: no file under src/ cites it"));
        }
        if !mentions(table, "](", ".md").contains(page.as_str()) {
            found.push(format!("kernel-notes/{page}: no row in kernel-notes/README.md"));
        }
        for path in mentions(text, "src/", ".rs") {
            if !sources.iter().any(|source| source.path.strip_prefix("src/") == Some(path)) {
                found.push(format!("kernel-notes/{page}: src/{path} does not exist"));
            }
        }
    }
    found
}

fn dependencies(manifest: &str) -> Vec<String> {
    let (mut inside, mut reasoned, mut found) = (false, false, Vec::new());
    for (place, line) in manifest.lines().enumerate() {
        let line = line.trim();
        let section = line.strip_prefix('[').map(|rest| rest.trim_end_matches(']'));
        if let Some(section) = section {
            inside = section.ends_with("dependencies");
        }
        let one = section.is_some_and(|section| section.contains("dependencies."));
        let entry = inside && section.is_none() && !line.is_empty() && !line.starts_with('#');
        let entry = entry && line.split('=').next().is_some_and(|name| !name.contains([']', '}', '"']));
        if (entry || one) && !reasoned {
            found.push(format!("Cargo.toml:{}: no comment above gives the reason: {line}", place + 1));
        }
        reasoned = line.starts_with('#');
    }
    found
}

/// What README calls the test command is what CI runs last, so that CI's last lines are the test runner's.
fn test_command(readme: &str, ci: &str) -> Vec<String> {
    let last = ci.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    if last.starts_with("cargo test") && readme.lines().any(|line| line.trim() == last) {
        return Vec::new();
    }
    vec![format!("README.md has no line `{last}`, the last command of .ci/run")]
}

// ---- The tree ----

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages of a folder by name.
fn pages(folder: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder of the tree");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("a readable folder").file_name();
    let names = entries.map(|entry| name(entry).into_string().expect("plain names"));
    names
        .filter(|name| name.ends_with(".md"))
        .map(|name| (name.clone(), read(Path::new(folder).join(&name).to_str().expect("plain names"))))
        .collect()
}

fn collect(folder: &Path, sources: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name =
                path.strip_prefix(root()).ok().and_then(Path::to_str).expect("a plain name below the root");
            sources.push(Source::new(name, &read(name)));
        }
    }
}

fn tree() -> Vec<Source> {
    let mut sources = Vec::new();
    ["src", "tests", "benches", "examples"]
        .iter()
        .for_each(|folder| collect(&root().join(folder), &mut sources));
    assert!(sources.len() > 10, "the tree was found");
    sources
}

fn product() -> Vec<Source> {
    tree().into_iter().filter(|source| source.path.starts_with("src/")).collect()
}

#[track_caller]
fn none(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<_> = findings.into_iter().collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_import_points_down() {
    let rooms = rooms(&read("ARCHITECTURE.md"));
    none(product().iter().flat_map(|source| imports(&rooms, source)));
}

#[test]
fn files_functions_and_lines_fit() {
    none(tree().iter().flat_map(sizes));
}

#[test]
fn lines_of_prose_fit() {
    let pages: Vec<_> = ["", "kernel-notes"].into_iter().flat_map(pages).collect();
    assert!(pages.len() > 10, "the pages were found");
    none(pages.iter().flat_map(|(name, text)| prose(name, text)));
}

#[test]
fn every_file_opens_with_what_it_is() {
    none(tree().iter().flat_map(head));
}

#[test]
fn banned_words_stay_out() {
    none(tree().iter().flat_map(banned));
}

#[test]
fn rooms_are_named_by_what_they_own() {
    none(product().iter().flat_map(names));
}

#[test]
fn code_and_kernel_notes_cite_each_other() {
    let pages = pages("kernel-notes");
    let own = |source: &Source| source.path.starts_with("tests/tidy");
    let sources: Vec<_> = tree().into_iter().filter(|source| !own(source)).collect();
    none(notes(&pages, &sources));
}

#[test]
fn every_dependency_has_its_reason() {
    none(dependencies(&read("Cargo.toml")));
}

#[test]
fn readme_and_ci_agree_on_the_test_command() {
    none(test_command(&read("README.md"), &read(".ci/run")));
}
