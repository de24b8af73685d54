//! Data moves one way: a module may use only the rows above its own (docs/architecture.md). This test reads
//! the sources, so that nobody has to remember it.

#![allow(clippy::unwrap_used)] // a test fails loudly

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Rows of the table. A module may use modules of smaller rows, and of its own module tree.
const ROWS: &[(&str, u8)] = &[
    ("time", 1),
    ("limits", 1),
    ("company", 1),
    ("mail", 1),
    ("observation", 2),
    ("capture", 3),
    ("tail", 3),
    ("flow", 4),
    ("mta", 4),
    ("smtp", 5),
    ("engine", 6),
    ("join", 6),
    ("alert", 7),
    ("health", 8),
    ("store", 8),
    ("sink", 9),
    ("respond", 10),
    ("fleet", 10),
    ("web", 10),
    ("config", 11),
    ("simulate", 11),
    ("sandbox", 3),
    ("cli", 12),
];
/// Narrower than the rows: the whole list of what such a module may use.
const ONLY: &[(&str, &[&str])] = &[
    ("engine", &["observation", "mail", "company", "time", "limits"]),
    ("join", &["observation", "mail", "company", "time", "limits"]),
    ("mail", &["limits", "time"]),
    ("company", &["mail", "time", "limits"]),
    ("simulate", &["time", "mail", "company", "limits", "alert", "capture", "engine", "observation"]),
];
/// Modules that do no I/O and read no clock.
const PURE: &[&str] =
    &["time", "limits", "company", "mail", "observation", "flow", "mta", "smtp", "engine", "alert", "health"];
const IMPURE_NAMES: &[&str] = &[
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "tokio::",
];

fn row(module: &str) -> Option<u8> {
    ROWS.iter().find(|(name, _)| *name == module).map(|(_, row)| *row)
}

/// The part of a source before its tests, without comments.
fn code(source: &str) -> String {
    let before_tests = source.split("#[cfg(test)]").next().unwrap_or_default();
    before_tests
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Modules of the crate that a source names: `crate::x`, also inside `use crate::{x, y::z}`.
fn used(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            let mut first = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => first = true,
                    c if first && (c.is_alphanumeric() || c == '_') => name.push(c),
                    c if first && !c.is_whitespace() => first = false,
                    _ => {}
                }
                if !first && !name.is_empty() || c == ',' && !name.is_empty() {
                    modules.push(std::mem::take(&mut name));
                }
            }
            modules.extend((!name.is_empty()).then_some(name));
        } else {
            modules.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    modules
}

/// What is wrong with one source of one module.
fn violations(module: &str, source: &str) -> Vec<String> {
    let code = code(source);
    let Some(own) = row(module) else { return vec![format!("module {module} has no row")] };
    let only = ONLY.iter().find(|(name, _)| *name == module).map(|(_, list)| *list);
    let mut wrong = Vec::new();
    for name in used(&code) {
        let Some(other) = row(&name) else { continue };
        let allowed = name == module || only.map_or(other < own, |list| list.contains(&name.as_str()));
        if !allowed {
            wrong.push(format!("{module} (row {own}) uses {name} (row {other})"));
        }
    }
    if PURE.contains(&module) {
        for name in IMPURE_NAMES.iter().filter(|name| code.contains(*name)) {
            wrong.push(format!("{module} does no I/O and reads no clock, but names {name}"));
        }
    }
    wrong
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_go_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut wrong: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut checked = 0;
    for path in files {
        let inside = path.strip_prefix(&root).unwrap().to_owned();
        let first = inside.iter().next().unwrap().to_str().unwrap();
        let module = first.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        checked += 1;
        let found = violations(module, &std::fs::read_to_string(&path).unwrap());
        if !found.is_empty() {
            wrong.insert(inside, found);
        }
    }
    assert!(checked > 20, "only {checked} sources found");
    assert!(wrong.is_empty(), "the dependency rule is broken:\n{wrong:#?}");
}

#[test]
fn planted_violations_are_found() {
    for (module, source, says) in [
        ("engine", "use crate::capture::Packet;\n", "engine (row 6) uses capture"),
        ("engine", "use crate::mta::DIALECTS;\n", "engine (row 6) uses mta"),
        ("mail", "use crate::{limits, observation::Fact};\n", "mail (row 1) uses observation"),
        ("smtp", "fn f() { crate::engine::x() }\n", "smtp (row 5) uses engine"),
        ("flow", "let now = std::time::SystemTime::now();\n", "names SystemTime"),
        ("nowhere", "", "has no row"),
    ] {
        let found = violations(module, source).join("; ");
        assert!(found.contains(says), "{source}: {found:?}");
    }
    for (module, source) in [
        ("smtp", "use crate::{limits, mail::{Reply, ReversePath}, observation::Fact};\n"),
        ("engine", "// use crate::capture::Packet;\n"),
        ("engine", "#[cfg(test)]\nmod tests { use crate::alert::Alert; }\n"),
    ] {
        assert_eq!(violations(module, source), Vec::<String>::new(), "{source}");
    }
}
