//! What comes from outside: every direct dependency has its reason in docs/dependencies.md, every crate its checksum and
//! the public registry as its source. `make deny` and `make sbom` do the rest.

#![allow(clippy::unwrap_used)] // a test fails loudly

use std::collections::BTreeSet;
use std::path::Path;
use toml::Table;

/// Crates in Cargo.lock, tests and other systems included, beyond which somebody has to think.
const LOCKED_MAX: usize = 450;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Crates that the page explains.
fn explained() -> BTreeSet<String> {
    let page = read("docs/dependencies.md");
    let rows = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let name = cells.next()?.trim();
        let reason = cells.next()?.trim_end_matches(" |").trim();
        (name != "crate" && reason.len() > 10).then(|| name.to_owned())
    });
    rows.collect()
}

#[test]
fn every_direct_dependency_has_its_reason() {
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    let explained = explained();
    let mut named = BTreeSet::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(list) = manifest.get(section).and_then(|section| section.as_table()) else { continue };
        let missing: Vec<&String> = list.keys().filter(|name| !explained.contains(*name)).collect();
        assert!(missing.is_empty(), "docs/dependencies.md does not say why {missing:?} are needed");
        named.extend(list.keys().cloned());
    }
    let gone: Vec<_> = explained.difference(&named).collect();
    assert!(gone.is_empty(), "docs/dependencies.md explains {gone:?}, which Cargo.toml does not name");
}

#[test]
fn every_crate_comes_from_the_public_registry_with_a_checksum() {
    let lock: Table = read("Cargo.lock").parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    assert!(packages.len() < LOCKED_MAX, "{} crates are locked", packages.len());
    for package in packages {
        let name = package["name"].as_str().unwrap();
        if name == env!("CARGO_PKG_NAME") {
            continue;
        }
        let source = package.get("source").and_then(|source| source.as_str()).unwrap_or("a folder");
        assert!(
            source.starts_with("registry+https://github.com/rust-lang/crates.io-index"),
            "{name}: {source}"
        );
        assert_eq!(package.get("checksum").and_then(|sum| sum.as_str()).map(str::len), Some(64), "{name}");
    }
}

#[test]
fn every_file_of_the_packages_exists_or_is_built() {
    let manifest: Table = read("Cargo.toml").parse().unwrap();
    let metadata = &manifest["package"]["metadata"];
    let deb = metadata["deb"]["assets"].as_array().unwrap().iter().map(|asset| &asset[0]);
    let rpm = metadata["generate-rpm"]["assets"].as_array().unwrap().iter().map(|asset| &asset["source"]);
    let mut both = [BTreeSet::new(), BTreeSet::new()];
    for (set, list) in both.iter_mut().zip([deb.collect::<Vec<_>>(), rpm.collect()]) {
        for asset in list {
            let name = asset.as_str().unwrap();
            let plain = name.split('*').next().unwrap();
            let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(plain).exists();
            assert!(there || name.starts_with("target/"), "{name} does not exist");
            set.insert(name.replace("target/package/portreeve", "target/release/portreeve"));
        }
    }
    assert_eq!(both[0], both[1], "the .deb and the .rpm carry different files");
}

#[test]
fn the_shipped_configuration_is_accepted() {
    portreeve::config::Config::parse(&read("contrib/portreeve.toml")).unwrap();
}
