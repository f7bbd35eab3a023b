//! Each rule of the house on text that breaks it, and on text that looks as if it did: a rule that cannot fail holds
//! nothing.

use super::source::Source;
use super::*;

const TABLE: &str = "\
| 9 | `not-the-table` |

| row | room | owns |
|---|---|---|
| 0 | `ids` `limits` | values |
| 1 | `wire/` | frames |
| 1 | `uring/` | the outside |
| 2 | `segment/` | files |
| 7 | `engine/` | the door |
| 8 | `cli/` `main.rs` | commands |
";

fn source(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

#[track_caller]
fn import(path: &str, text: &str, expected: usize) {
    let found = imports(&rooms(TABLE), &source(path, text));
    assert_eq!(found.len(), expected, "{path}: {text}: {found:?}");
}

#[test]
fn the_table_gives_each_room_its_row_and_column() {
    let rooms = rooms(TABLE);
    assert_eq!(rooms.len(), 8);
    assert_eq!((rooms["limits"], rooms["uring"], rooms["main"]), ((0, 1), (1, 1), (8, 1)));
}

#[test]
fn an_import_upwards_sideways_or_from_the_root_is_found() {
    import("src/segment/a.rs", "use crate::wire::Frame;\nuse crate::segment::b;\nuse crate::ids::X;", 0);
    import("src/wire/mod.rs", "use crate::segment::A;", 1);
    import("src/wire/mod.rs", "use crate::uring::A;", 1);
    import("src/wire/mod.rs", "use crate::{ids::{A, segment}, uring::B, limits::C, segment::D};", 2);
    import("src/wire/mod.rs", "use crate::NodeId;", 1);
    import("src/wire/mod.rs", "use crate::*;", 1);
    import("src/wire/mod.rs", "fn f() { crate::segment::g() }", 1);
    import("src/wire/mod.rs", "#[cfg(test)] mod tests { use crate::segment::A; }", 1);
    import("src/wire/mod.rs", "// use crate::segment::A;\nconst S: &str = \"crate::segment::A\";", 0);
    import("src/limits.rs", "use crate::ids::X;", 0);
    import("src/ids.rs", "use crate::limits::X;", 1);
    import("src/cellar/mod.rs", "", 1);
    import("src/lib.rs", "pub use crate::engine::Node;", 0);
}

#[test]
fn the_binary_sees_the_engine_and_plain_values_only() {
    import("src/main.rs", "use crate::cli::A; use ringway::engine::Node; use ringway::ids::NodeId;", 0);
    import("src/cli/mod.rs", "use ringway::segment::A;", 1);
    import("src/cli/mod.rs", "use ringway::Node;", 1);
    import("src/cli/mod.rs", "use crate::main::A;", 1);
    import("src/engine/mod.rs", "use crate::cli::A;", 1);
}

#[test]
fn a_climb_out_of_the_room_is_found() {
    import("src/wire/a.rs", "use super::b::C; mod tests { use super::super::b; }", 0);
    import("src/wire/a/b.rs", "use super::super::c;", 0);
    import("src/wire/a.rs", "use super::super::segment::A;", 1);
    import("src/wire/mod.rs", "use super::segment::A;", 1);
    import("src/wire/mod.rs", "mod tests { use super::super::segment::A; } use self::a::B;", 1);
    import("src/ids.rs", "mod tests { use super::*; } pub(super) fn f() {}", 0);
}

#[test]
fn what_is_too_long_is_found() {
    let found = |text: &str| sizes(&source("src/wire/a.rs", text)).len();
    assert_eq!(found(&"//! x\n".repeat(500)), 0);
    assert_eq!(found(&"//! x\n".repeat(501)), 1);
    assert_eq!(found(&format!("//{}", "é".repeat(118))), 0);
    assert_eq!(found(&format!("//{}", "é".repeat(119))), 1);
    let function =
        |lines: usize| format!("fn f(a: [u8; 4]) {{\n{}}}\n", "g('{', \"}\"); // {\n".repeat(lines));
    assert_eq!(found(&function(68)), 0);
    assert_eq!(found(&function(69)), 1);
    assert_eq!(found(&format!("trait T {{ fn f(&self) -> [u8; 4];\n{} }}", "\n".repeat(90))), 0);
}

#[test]
fn a_file_without_a_head_is_found() {
    assert_eq!(head(&source("src/a.rs", "//! What it is.\n")).len(), 0);
    for text in ["", "//!\n//! later", "use std::fs;\n//! x", "/// x"] {
        assert_eq!(head(&source("src/a.rs", text)).len(), 1, "{text}");
    }
}

#[test]
fn a_banned_word_is_found_where_it_is_banned() {
    let found = |path: &str, text: &str| banned(&source(path, text)).len();
    assert_eq!(found("src/wire/a.rs", "fn f() { unsafe { g() } }"), 1);
    assert_eq!(found("src/uring/a.rs", "fn f() { unsafe { g() } }"), 0);
    assert_eq!(found("src/digest/lanes.rs", "fn f() { unsafe { g() } }"), 1);
    assert_eq!(found("src/digest/lanes_avx512.rs", "fn f() { unsafe { g() } }"), 0);
    assert_eq!(
        found("src/wire/a.rs", "#![deny(unsafe_code)] // unsafe\nconst A: &str = r#\"unsafe \" \"#;"),
        0
    );
    for word in IMPURE_WORDS {
        assert_eq!(found("src/manifest/a.rs", &format!("use {word}x::y;")), usize::from(word.ends_with(':')));
        assert_eq!(found("src/manifest/a.rs", &format!("use {word} as y;")), 1, "{word}");
        assert_eq!(found("src/transfer/plan.rs", &format!("use {word} as y;")), 1, "{word}");
        assert_eq!(found("src/engine/a.rs", &format!("use {word} as y;")), 0, "{word}");
        assert_eq!(found("src/manifest/a.rs", &format!("// no {word} here")), 0, "{word}");
    }
    for marker in MARKERS {
        assert_eq!(found("benches/a.rs", &format!("// {marker} later")), 1, "{marker}");
        assert_eq!(found("benches/a.rs", &format!("x{marker}")), 0, "{marker}");
    }
}

#[test]
fn a_room_that_is_named_by_nothing_it_owns_is_found() {
    for (path, expected) in [
        ("src/util/a.rs", 1),
        ("src/common.rs", 1),
        ("src/wire/manager/a.rs", 1),
        ("src/sync/mod.rs", 1),
        ("src/wire/sync.rs", 0),
        ("src/utility/a.rs", 0),
    ] {
        assert_eq!(names(&source(path, "")).len(), expected, "{path}");
    }
}

#[test]
fn a_dead_link_or_an_orphaned_or_long_page_is_found() {
    let citing = |text: &str| vec![source("src/uring/op.rs", text)];
    let table = |link: &str| ("README.md".to_owned(), format!("| a | [a]({link}) |"));
    let page = |text: &str| ("a.md".to_owned(), text.to_owned());
    let pages = BTreeMap::from([page("See src/uring/op.rs."), table("a.md")]);
    let cited = citing("// See kernel-notes/a.md.");
    assert_eq!(notes(&pages, &cited), Vec::<String>::new());
    assert_eq!(notes(&pages, &citing("// See kernel-notes/b.md.")).len(), 2, "a dead link and an orphan");
    assert_eq!(notes(&BTreeMap::from([page("x"), table("b.md")]), &cited).len(), 2, "a dead row and no row");
    assert_eq!(notes(&BTreeMap::from([page(&"x\n".repeat(81)), table("a.md")]), &cited).len(), 1);
    assert_eq!(notes(&BTreeMap::from([page("src/uring/gone.rs"), table("a.md")]), &cited).len(), 1);
}

#[test]
fn a_dependency_without_its_own_reason_is_found() {
    let found = |text: &str| dependencies(text).len();
    assert_eq!(
        found(
            "[dependencies]\n# Why.\na = \"1\"\n# Why.\nb = { version = \"1\", features = [\n \"x\",\n] }\n"
        ),
        0
    );
    assert_eq!(found("[dependencies]\n# Why.\na = \"1\"\nb = \"1\"\n"), 1);
    assert_eq!(found("[dev-dependencies]\n# Why.\n\na = \"1\"\n"), 1);
    assert_eq!(found("[target.'cfg(unix)'.dependencies]\na = \"1\"\n[features]\nb = []\n"), 1);
    assert_eq!(found("# Why.\n[dependencies.a]\nversion = \"1\"\n"), 0);
    assert_eq!(found("[dependencies.a]\nversion = \"1\"\n"), 1);
}

#[test]
fn a_readme_that_names_another_test_command_is_found() {
    assert_eq!(test_command("```\ncargo test --all\n```", "set -e\ncargo test --all\n\n").len(), 0);
    assert_eq!(test_command("cargo test", "cargo test --all\n").len(), 1);
    assert_eq!(test_command("true", "cargo test\ntrue\n").len(), 1);
}

#[test]
fn code_is_told_from_comments_and_literals() {
    let text = "a /* b /* c */ d */ e \"f\\\"g\" h 'i' '\\'' 'j: b'k' r#\"l\"m\"# br\"n\\\" r#o 'é' // p\nq";
    let source = source("src/a.rs", text);
    assert_eq!(source.code.len(), text.len());
    let left: Vec<_> = source.code.split_whitespace().collect();
    assert_eq!(left, ["a", "e", "h", "'j:", "b", "b", "r#o", "q"], "{}", source.code);
    assert_eq!(source.line(text.len() - 1), 2);
}

#[test]
fn a_long_line_of_prose_is_found_and_a_table_is_none() {
    let long = "word ".repeat(25);
    assert_eq!(prose("A.md", &format!("short\n{long}\n")), ["A.md:2: 125 characters, not 120"]);
    let word = "w".repeat(130);
    for fine in [format!("| {long} |"), format!("```\n{long}\n```"), word] {
        assert!(prose("A.md", &fine).is_empty(), "{fine}");
    }
}
