//! The file sink: every alert once, whole, in order, whatever happens between writing and noting it.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod sink_support;

use portreeve::alert::FORMATS;
use portreeve::store::outbox::{Cursor, Outbox};
use portreeve::time::Timestamp;
use sink_support::*;
use std::path::{Path, PathBuf};

fn file_config(path: &Path, format: &str) -> portreeve::sink::SinkConfig {
    config(&format!("type = \"file\"\npath = {path:?}\nformat = {format:?}"))
}

/// What the file must hold.
fn expected(world: &World, format: &str) -> String {
    let format = portreeve::alert::format(format).unwrap();
    world.alerts().iter().map(|alert| (format.encode)(alert)).collect()
}

#[test]
fn alerts_come_once_and_in_order_over_restarts() {
    for format in FORMATS {
        let mut world = World::new();
        let path = world.path().join("alerts.out");
        let sinks = [file_config(&path, format.name)];
        world.register(&sinks);
        for round in 0..4 {
            world.commit(round * 700);
            let status = &world.deliver(&sinks, 60)[0];
            assert_eq!((status.trouble.as_deref(), status.failures), (None, 0));
            assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), expected(&world, format.name));
        }
    }
}

/// A crash after any number of bytes of a batch, before the cursor was saved.
#[test]
fn a_tail_torn_at_any_byte_is_repaired() {
    let mut world = World::new();
    let path = world.path().join("alerts.out");
    let sinks = [file_config(&path, "rfc5424")];
    world.register(&sinks);
    world.commit(2);
    world.deliver(&sinks, 60);
    let name = portreeve::sink::open(&sinks[0]).unwrap().name;
    let mut outbox = Outbox::open(world.path()).unwrap();
    let noted: Cursor = outbox.register(&name).unwrap();
    world.commit(3);
    let whole = expected(&world, "rfc5424");
    let before = std::fs::read(&path).unwrap().len();
    for cut in before..=whole.len() {
        for torn in [&b""[..], b"\0\0\0\0", b"{\"half\":"] {
            if cut == whole.len() && !torn.is_empty() {
                // Behind the last record there is nothing of ours to be torn.
                continue;
            }
            outbox.advance(&name, &noted, &[], Timestamp::default()).unwrap();
            let mut bytes = whole.as_bytes()[..cut].to_vec();
            bytes.extend_from_slice(torn);
            // The same inode: as the crash left it.
            std::fs::write(&path, bytes).unwrap();
            world.deliver(&sinks, 60);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "cut at {cut}, then {torn:?}");
        }
    }
}

#[test]
fn rotation_by_renaming_loses_nothing_and_repeats_nothing() {
    let mut world = World::new();
    let path = world.path().join("alerts.out");
    let sinks = [file_config(&path, "ndjson")];
    world.register(&sinks);
    let delivery = world.start(&sinks);
    let mut parts: Vec<PathBuf> = Vec::new();
    for round in 0..20 {
        world.commit(50);
        delivery.committed();
        let old = world.path().join(format!("alerts.out.{round}"));
        if std::fs::rename(&path, &old).is_ok() {
            parts.push(old);
        }
        delivery.reopen();
    }
    delivery.finish(std::time::Duration::from_secs(60));
    parts.push(path.clone());
    let all: String = parts.iter().map(|part| std::fs::read_to_string(part).unwrap_or_default()).collect();
    assert_eq!(all, expected(&world, "ndjson"));
}

#[test]
fn rotated_between_a_crash_and_the_restart_nothing_comes_twice() {
    let mut world = World::new();
    let path = world.path().join("alerts.out");
    let sinks = [file_config(&path, "ndjson")];
    world.register(&sinks);
    world.commit(2);
    world.deliver(&sinks, 60);
    let name = portreeve::sink::open(&sinks[0]).unwrap().name;
    let mut outbox = Outbox::open(world.path()).unwrap();
    let noted = outbox.register(&name).unwrap();
    world.commit(3);
    world.deliver(&sinks, 60);
    // The crash forgot that the last three were written, and tore the last one; then logrotate came.
    outbox.advance(&name, &noted, &[], Timestamp::default()).unwrap();
    let old = world.path().join("alerts.out.1");
    let torn = std::fs::metadata(&path).unwrap().len() - 100;
    std::fs::File::options().write(true).open(&path).unwrap().set_len(torn).unwrap();
    std::fs::rename(&path, &old).unwrap();
    std::fs::write(&path, "").unwrap();
    world.commit(1);
    world.deliver(&sinks, 60);
    let all = std::fs::read_to_string(&old).unwrap() + &std::fs::read_to_string(&path).unwrap();
    assert_eq!(all, expected(&world, "ndjson"));
}

#[test]
fn a_file_cut_by_a_copying_rotation_goes_on_at_its_end() {
    let mut world = World::new();
    let path = world.path().join("alerts.out");
    let sinks = [file_config(&path, "ndjson")];
    world.register(&sinks);
    world.commit(5);
    world.deliver(&sinks, 60);
    let copy = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    world.commit(2);
    world.deliver(&sinks, 60);
    assert_eq!(copy + &std::fs::read_to_string(&path).unwrap(), expected(&world, "ndjson"));
}

#[test]
fn more_unnoted_records_than_one_batch_are_all_recognised() {
    let mut world = World::new();
    let path = world.path().join("alerts.out");
    let sinks = [file_config(&path, "ndjson")];
    world.register(&sinks);
    let name = portreeve::sink::open(&sinks[0]).unwrap().name;
    let mut outbox = Outbox::open(world.path()).unwrap();
    world.commit(1);
    world.deliver(&sinks, 60);
    let noted = outbox.register(&name).unwrap();
    world.commit(3_500);
    world.deliver(&sinks, 60);
    outbox.advance(&name, &noted, &[], Timestamp::default()).unwrap();
    world.deliver(&sinks, 60);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected(&world, "ndjson"));
}

#[test]
fn a_foreign_file_without_a_last_line_end_is_not_spoilt() {
    let mut world = World::new();
    let path = world.path().join("alerts.out");
    let sinks = [file_config(&path, "ndjson")];
    world.register(&sinks);
    std::fs::write(&path, "somebody's words").unwrap();
    world.commit(1);
    world.deliver(&sinks, 60);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("somebody's words\n{}", expected(&world, "ndjson")));
}

#[test]
fn a_directory_that_is_missing_is_waited_for() {
    let mut world = World::new();
    let path = world.path().join("later/alerts.out");
    let sinks = [file_config(&path, "ndjson")];
    world.register(&sinks);
    world.commit(3);
    let delivery = world.start(&sinks);
    while delivery.statuses()[0].failures == 0 {
        std::thread::yield_now();
    }
    assert!(delivery.statuses()[0].trouble.as_ref().unwrap().contains("alerts.out"));
    std::fs::create_dir(world.path().join("later")).unwrap();
    let status = &delivery.finish(std::time::Duration::from_secs(60))[0];
    assert_eq!((status.delivered, status.trouble.as_deref()), (3, None));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), expected(&world, "ndjson"));
}
