//! A disk that is full: nothing is lost, nothing advances, and it goes on within seconds when there is room again.
//!
//! Needs root for a loop mount of 64 MiB; elsewhere it says so and passes.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod sink_support;

use portreeve::sink::delivery::Patience;
use portreeve::store::outbox::Outbox;
use portreeve::store::{Store, StoreError};
use sink_support::*;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A small ext4 of its own.
struct SmallDisk {
    at: tempfile::TempDir,
    image: tempfile::NamedTempFile,
}

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let disk =
            SmallDisk { at: tempfile::tempdir().unwrap(), image: tempfile::NamedTempFile::new().unwrap() };
        disk.image.as_file().set_len(64 << 20).unwrap();
        let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        if !ran(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(disk.image.path()))
            || !ran(Command::new("mount").args(["-o", "loop"]).arg(disk.image.path()).arg(disk.at.path()))
        {
            eprintln!("skipped: no loop mount of an ext4 here (needs root)");
            return None;
        }
        // It will be filled to the last byte: it must not be the disk that everything lives on.
        let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
        assert_ne!(device(disk.at.path()), device(&std::env::temp_dir()));
        Some(disk)
    }

    fn path(&self) -> PathBuf {
        self.at.path().join("state")
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        for size in [1 << 20, 4_096, 1] {
            let mut file =
                File::options().append(true).create(true).open(self.at.path().join("ballast")).unwrap();
            while file.write_all(&vec![b'x'; size]).is_ok() && file.sync_all().is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.at.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

fn position(path: &Path) -> Option<String> {
    Store::open_to_read(path).unwrap().position("mail.log").unwrap()
}

#[test]
fn a_full_disk_holds_everything_up_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut store = Store::open(&disk.path()).unwrap();
    let mut engine = engine(store.key);
    let sinks = [config(&format!("type = \"file\"\npath = {:?}", disk.path().join("alerts.ndjson")))];
    let drivers = portreeve::sink::delivery::Delivery::start(
        &disk.path(),
        portreeve::sink::open_all(&sinks).unwrap(),
        Patience { pause_max: Duration::from_secs(2), ..patience() },
    )
    .unwrap();
    let at = |n: i64| vec![("mail.log".to_owned(), n.to_string())];
    let mut next = 0;
    let mut commit = |store: &mut Store, n: i64| {
        feed(&mut engine, 200, n * 60);
        let rows = alert_rows(n * 50, (n + 1) * 50);
        store.commit(&mut engine, &at(n), &rows)
    };
    for _ in 0..5 {
        commit(&mut store, next).unwrap();
        drivers.committed();
        next += 1;
    }
    disk.fill();
    let mut refused = 0;
    // Old log pages may take some commits yet; then there is no room, and it stays that way.
    for _ in 0..60 {
        match commit(&mut store, next) {
            Ok(()) => assert_eq!(refused, 0, "room came from nowhere"),
            Err(error) => {
                assert!(matches!(error, StoreError::Database { .. }), "{error}");
                assert!(error.to_string().contains("nothing was lost"), "{error}");
                refused += 1;
            }
        }
        if refused == 0 {
            drivers.committed();
        }
        next += 1;
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "the disk did not fill");
    let durable = position(&disk.path()).unwrap();
    assert_eq!(durable, (next - 6).to_string(), "the position moved without its commit");

    disk.free();
    let began = Instant::now();
    // What was refused comes along with the next commit, whatever that brings.
    commit(&mut store, next).unwrap();
    drivers.committed();
    next += 1;
    assert_eq!(position(&disk.path()).unwrap(), (next - 1).to_string());
    let rows = Outbox::open(&disk.path()).unwrap().after(0, 100_000).unwrap();
    assert_eq!(rows.len() as i64, next * 50);
    let status = &drivers.finish(Duration::from_secs(20))[0];
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!((status.cursor, status.dead), (next * 50, 0), "{status:?}");
    let format = portreeve::alert::format("ndjson").unwrap();
    let expected: String = (0..next * 50).map(|n| (format.encode)(&alert(n))).collect();
    assert!(std::fs::read_to_string(disk.path().join("alerts.ndjson")).unwrap() == expected);
    drop(store);
    assert!(Store::open(&disk.path()).unwrap().troubles.is_empty());
}

/// The alerts file alone is on a full disk: what is there waits in the outbox, torn records are mended.
#[test]
fn a_sink_on_a_full_disk_waits() {
    let Some(disk) = SmallDisk::mount() else { return };
    let mut world = World::new();
    std::fs::create_dir(disk.path()).unwrap();
    let path = disk.path().join("alerts.ndjson");
    let sinks = [config(&format!("type = \"file\"\npath = {path:?}\nformat = \"ecs\""))];
    world.register(&sinks);
    world.commit(100);
    world.deliver(&sinks, 60);
    disk.fill();
    world.commit(2_000);
    let delivery = world.start(&sinks);
    while delivery.statuses()[0].failures < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(delivery.statuses()[0].trouble.as_ref().unwrap().contains("No space left"));
    disk.free();
    let began = Instant::now();
    let status = &delivery.finish(Duration::from_secs(20))[0];
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!((status.cursor, status.dead), (2_100, 0));
    let format = portreeve::alert::format("ecs").unwrap();
    let expected: String = world.alerts().iter().map(|alert| (format.encode)(alert)).collect();
    assert!(std::fs::read_to_string(&path).unwrap() == expected);
}
