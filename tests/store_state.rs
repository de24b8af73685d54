//! The store gives back what was committed, brings old files forward, refuses what it must, and keeps bounds.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod store_support;

use portreeve::engine::memory::InstallKey;
use portreeve::store::keep::Retention;
use portreeve::store::outbox::{Cursor, DeadLetter, Outbox};
use portreeve::store::{HistoryRow, Moment, Store, StoreError, Trouble};
use portreeve::time::Timestamp;
use rusqlite::Connection;
use store_support::*;

fn position(text: &str) -> Vec<(String, String)> {
    vec![("mail.log".into(), text.into())]
}

#[test]
fn what_was_committed_comes_back() {
    let directory = quick_directory();
    let exported = {
        let mut store = Store::open(directory.path()).unwrap();
        let mut engine = engine(store.key);
        feed(&mut engine, 30, 0);
        store.commit(&mut engine, &position("17"), &alert_rows(0, 3)).unwrap();
        let history = [HistoryRow { series: "10.0.0.1".into(), at: 5, value: 2.0 }];
        let notes = [("budget".to_owned(), b"full".to_vec())];
        let moment = Moment { history: &history, notes: &notes, ..Moment::default() };
        store.commit_moment(&mut engine, &moment).unwrap();
        store.export().unwrap()
    };
    assert!(exported.senders.len() >= 30 && exported.shared.is_some());
    let store = Store::open(directory.path()).unwrap();
    assert!(store.troubles.is_empty());
    assert_eq!(store.position("mail.log").unwrap().as_deref(), Some("17"));
    assert_eq!(store.position("other.log").unwrap(), None);
    assert_eq!(store.history("10.0.0.1", 0, 6).unwrap(), [(5, 2.0)]);
    assert_eq!(store.note("budget").unwrap().as_deref(), Some(&b"full"[..]));
    assert_eq!(store.note("other").unwrap(), None);
    let mut again = engine(store.key);
    assert!(store.load(&mut again).unwrap().is_empty());
    assert_eq!(again.senders().len(), exported.senders.len());
    assert_eq!(store.export().unwrap(), exported);
}

#[test]
fn a_second_sensor_is_kept_out_and_a_reader_is_not() {
    let directory = quick_directory();
    let store = Store::open(directory.path()).unwrap();
    assert!(matches!(Store::open(directory.path()), Err(StoreError::InUse { .. })));
    assert!(Store::open_to_read(directory.path()).unwrap().export().unwrap().senders.is_empty());
    drop(store);
    Store::open(directory.path()).unwrap();
}

#[test]
fn a_newer_file_is_refused_and_left_alone() {
    let directory = quick_directory();
    drop(Store::open(directory.path()).unwrap());
    let path = directory.path().join("state.db");
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch(
            "PRAGMA user_version = 99; UPDATE meta SET value = CAST('99' AS BLOB) WHERE name = 'tables_version';",
        )
        .unwrap();
    drop(database);
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(directory.path()).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("written by a newer portreeve"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_of_version_1_is_brought_forward() {
    let directory = quick_directory();
    drop(Store::open(directory.path()).unwrap());
    let path = directory.path().join("state.db");
    std::fs::remove_file(&path).unwrap();
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
             CREATE TABLE sender (key BLOB PRIMARY KEY, state BLOB NOT NULL) STRICT, WITHOUT ROWID;
             CREATE TABLE position (input TEXT PRIMARY KEY, position TEXT NOT NULL) STRICT;
             CREATE TABLE alert (id TEXT PRIMARY KEY, event_at INTEGER NOT NULL, incident TEXT NOT NULL,
             record TEXT NOT NULL) STRICT;
             INSERT INTO position VALUES ('mail.log', '42');
             INSERT INTO alert VALUES ('b-0', 2, 'b', '{}'), ('a-0', 1, 'a', '{}');
             PRAGMA user_version = 1; PRAGMA journal_mode = WAL;",
        )
        .unwrap();
    drop(database);
    let store = Store::open(directory.path()).unwrap();
    assert!(store.troubles.is_empty(), "{:?}", store.troubles);
    assert_eq!(store.position("mail.log").unwrap().as_deref(), Some("42"));
    let rows = Outbox::open(directory.path()).unwrap().after(0, 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["a-0", "b-0"]);
    assert!(rows.iter().all(|row| row.record.is_some()));
    drop(store);
    assert!(Store::open(directory.path()).unwrap().troubles.is_empty());
}

#[test]
fn state_of_another_form_is_set_aside_and_the_rest_goes_on() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine_of_old = engine(store.key);
    feed(&mut engine_of_old, 5, 0);
    store.commit(&mut engine_of_old, &position("9"), &alert_rows(0, 2)).unwrap();
    let key: InstallKey = store.key;
    drop(store);
    let mut form = b"77".to_vec();
    form.extend_from_slice(&key.digest(&[b"state_form", b"77"]).to_le_bytes());
    Connection::open(directory.path().join("state.db"))
        .unwrap()
        .execute("UPDATE meta SET value = ?1 WHERE name = 'state_form'", [form])
        .unwrap();
    let store = Store::open(directory.path()).unwrap();
    let [Trouble::Unreadable { aside, found: 77, .. }] = store.troubles.as_slice() else {
        panic!("{:?}", store.troubles)
    };
    assert!(aside.exists());
    let alert = store.troubles[0].alert(Timestamp::from_seconds(7));
    assert_eq!(
        (alert.sender.kind.as_str(), alert.test.template.as_str()),
        ("sensor", "baselines_unreadable")
    );
    assert_eq!(store.position("mail.log").unwrap().as_deref(), Some("9"));
    assert_eq!(Outbox::open(directory.path()).unwrap().after(0, 9).unwrap().len(), 2);
    let mut empty = engine(store.key);
    assert!(store.load(&mut empty).unwrap().is_empty() && empty.senders().is_empty());
    drop(store);
    assert!(Store::open(directory.path()).unwrap().troubles.is_empty(), "told once");
}

#[test]
fn a_sender_that_cannot_be_read_is_set_aside_alone() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut full = engine(store.key);
    feed(&mut full, 5, 0);
    store.commit(&mut full, &[], &[]).unwrap();
    let senders = store.export().unwrap().senders.len();
    let key = store.key;
    drop(store);
    let database = Connection::open(directory.path().join("state.db")).unwrap();
    let name: Vec<u8> = database.query_row("SELECT key FROM sender LIMIT 1", [], |row| row.get(0)).unwrap();
    let seal = key.digest(&[&name, b""]).to_le_bytes().to_vec();
    database.execute("UPDATE sender SET state = ?2 WHERE key = ?1", (name, seal)).unwrap();
    drop(database);
    let store = Store::open(directory.path()).unwrap();
    let mut again = engine(store.key);
    let troubles = store.load(&mut again).unwrap();
    assert!(matches!(troubles.as_slice(), [Trouble::Unreadable { .. }]), "{troubles:?}");
    assert_eq!(again.senders().len(), senders - 1);
    assert!(store.load(&mut engine(store.key)).unwrap().is_empty(), "told once");
}

#[test]
fn baselines_travel_as_json_beside_their_key() {
    let (from, to) = (quick_directory(), quick_directory());
    let mut store = Store::open(from.path()).unwrap();
    let mut learned = engine(store.key);
    feed(&mut learned, 20, 0);
    store.commit(&mut learned, &[], &[]).unwrap();
    let text = serde_json::to_string_pretty(&store.export().unwrap()).unwrap();
    let document = serde_json::from_str(&text).unwrap();

    let stranger = Store::open(to.path()).unwrap();
    let mut other = engine(stranger.key);
    drop(stranger);
    let refused = Store::open(to.path()).unwrap().import(&document, &mut other).err().unwrap().to_string();
    assert!(refused.contains("another install") && other.senders().is_empty(), "{refused}");

    std::fs::copy(from.path().join("install.key"), to.path().join("install.key")).unwrap();
    std::fs::remove_file(to.path().join("state.db")).unwrap();
    let mut copy = Store::open(to.path()).unwrap();
    let mut engine_there = engine(copy.key);
    copy.import(&document, &mut engine_there).unwrap();
    assert_eq!(engine_there.senders().len(), document.senders.len());
    assert_eq!(copy.export().unwrap(), document);

    let one = portreeve::store::transfer::sender_named("10.0.0.1");
    assert!(copy.forget(&one).unwrap() && !copy.forget(&one).unwrap());
}

#[test]
fn a_backup_is_whole_while_commits_go_on() {
    let (directory, backups) = (quick_directory(), quick_directory());
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine_live = engine(store.key);
    let reader = Store::open_to_read(directory.path()).unwrap();
    let copies = std::thread::spawn({
        let to = backups.path().to_owned();
        move || (0..10).for_each(|n| reader.backup(&to.join(format!("{n}.db"))).unwrap())
    });
    for round in 0..40 {
        feed(&mut engine_live, 20, round * 60);
        store.commit(&mut engine_live, &position(&round.to_string()), &alert_rows(round, round + 1)).unwrap();
    }
    copies.join().unwrap();
    for n in 0..10 {
        let place = quick_directory();
        std::fs::copy(backups.path().join(format!("{n}.db")), place.path().join("state.db")).unwrap();
        std::fs::copy(directory.path().join("install.key"), place.path().join("install.key")).unwrap();
        let copy = Store::open(place.path()).unwrap();
        assert!(copy.troubles.is_empty(), "{:?}", copy.troubles);
        // One moment, not a mixture: as many alerts as the position says.
        let rounds = copy.position("mail.log").unwrap().map_or(0, |text| text.parse::<usize>().unwrap() + 1);
        assert_eq!(Outbox::open(place.path()).unwrap().after(0, 100).unwrap().len(), rounds);
    }
}

#[test]
fn a_sink_gets_each_alert_behind_its_cursor_and_dead_letters_are_kept() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    store.commit(&mut engine, &[], &alert_rows(0, 2)).unwrap();
    let mut outbox = Outbox::open(directory.path()).unwrap();
    let cursor = outbox.register("file a").unwrap();
    assert_eq!(cursor.seq, 2, "a new sink gets what comes, not what was");
    // The same alert committed twice is one row.
    store.commit(&mut engine, &[], &alert_rows(1, 5)).unwrap();
    let rows = outbox.after(cursor.seq, 10).unwrap();
    assert_eq!(rows.len(), 3);
    let dead = DeadLetter { seq: rows[0].seq, id: rows[0].id.clone(), reason: "refused: 400".into() };
    let now = Timestamp::from_seconds(1);
    let next = Cursor { seq: rows[1].seq, place: "{\"bytes\":7}".into() };
    outbox.advance("file a", &next, std::slice::from_ref(&dead), now).unwrap();
    drop((store, outbox));

    let _store = Store::open(directory.path()).unwrap();
    let mut outbox = Outbox::open(directory.path()).unwrap();
    assert_eq!(outbox.register("file a").unwrap(), next);
    assert_eq!(outbox.after(next.seq, 10).unwrap().len(), 1);
    assert_eq!(outbox.waiting(next.seq).unwrap(), 1);
    assert_eq!(outbox.dead_letters("file a").unwrap(), [dead]);
    outbox.forget_all_but(&[]).unwrap();
    assert_eq!(outbox.register("file a").unwrap().place, "");
}

#[test]
fn what_is_too_old_goes_and_leaves_no_trace_on_disk() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    let mut rows = alert_rows(0, 200);
    for row in &mut rows[..100] {
        row.record = row.record.replace("Alert number", "CANARY-7f3a");
    }
    let history: Vec<HistoryRow> =
        (0..100).map(|n| HistoryRow { series: "CANARY-7f3b".into(), at: n, value: 1.0 }).collect();
    store
        .commit_moment(&mut engine, &Moment { alerts: &rows, history: &history, ..Moment::default() })
        .unwrap();
    assert!(on_disk(directory.path(), "CANARY-7f3a") && on_disk(directory.path(), "CANARY-7f3b"));
    let now = Timestamp::from_seconds(1_795_392_000 + 100 + 10 * 86_400);
    let retention = Retention { days_max: 10.0, ..Retention::default() };
    let cleared = store.clear_old(&retention, now).unwrap();
    assert_eq!((cleared.alerts, cleared.undelivered, cleared.history), (100, 0, 100));
    assert!(!on_disk(directory.path(), "CANARY-7f3a") && !on_disk(directory.path(), "CANARY-7f3b"));
    assert_eq!(Outbox::open(directory.path()).unwrap().after(0, 999).unwrap().len(), 100);
}

fn on_disk(directory: &std::path::Path, text: &str) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        memchr::memmem::find(&bytes, text.as_bytes()).is_some()
    })
}

#[test]
fn a_full_store_drops_delivered_alerts_first_then_the_mildest_and_counts_them() {
    let directory = quick_directory();
    let mut store = Store::open(directory.path()).unwrap();
    let mut engine = engine(store.key);
    let mut outbox = Outbox::open(directory.path()).unwrap();
    outbox.register("slow").unwrap();
    let mut rows = alert_rows(0, 6_000);
    for row in rows.iter_mut().filter(|row| row.event_at % 3_000_000 == 0) {
        row.record = row.record.replace("\"score\":73", "\"score\":99");
    }
    store.commit(&mut engine, &[], &rows).unwrap();
    outbox.advance("slow", &Cursor { seq: 2_000, place: String::new() }, &[], Timestamp::default()).unwrap();
    let roomy = Retention { bytes_max: 1 << 40, ..Retention::default() };
    let now = Timestamp::from_seconds(1_795_392_000);
    assert_eq!(store.clear_old(&roomy, now).unwrap().alerts, 0);
    let tight = Retention { bytes_max: 4 << 20, ..Retention::default() };
    let cleared = store.clear_old(&tight, now).unwrap();
    assert_eq!(cleared.alerts, 2_000);
    assert!(cleared.undelivered > 0 && cleared.undelivered < 3_000, "{cleared:?}");
    assert_eq!(store.counter("alerts_dropped_undelivered").unwrap(), cleared.undelivered);
    let left = outbox.after(2_000, 9_999).unwrap();
    assert_eq!(left.len() as u64 + cleared.undelivered, 4_000);
    let severe = left.iter().filter(|row| row.record.as_ref().unwrap().contains("\"score\":99")).count();
    assert!(severe >= 1_333, "the severe ones stay: {severe}");
}
