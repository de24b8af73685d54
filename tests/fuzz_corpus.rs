//! Everything that a fuzzer once found worth keeping, through the same laws, on any compiler: fuzz/corpus holds one
//! directory a target. A finding becomes a file there, so that it stays mended.

#![allow(clippy::unwrap_used)] // a test fails loudly

#[path = "../fuzz/src/wire.rs"]
mod wire;

use std::path::Path;

#[test]
fn the_corpus_keeps_the_laws() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, target) in wire::TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")) {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&std::fs::read(&path).unwrap());
            inputs += 1;
        }
        assert!(inputs >= 5, "{name}: only {inputs} inputs");
    }
}
