//! What fuzzing the log road found worth keeping, through the same laws, on any compiler.

#![allow(clippy::unwrap_used)] // a test fails loudly

#[path = "../fuzz/src/log.rs"]
mod log;

use std::path::Path;

type Target = fn(&[u8]);

#[test]
fn the_corpus_of_the_log_keeps_the_laws() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let targets: [(&str, Target); 3] =
        [("log_dialect", log::dialect), ("log_syslog", log::syslog_head), ("log_table", log::table)];
    for (name, target) in targets {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            target(&std::fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "{name}");
    }
}
