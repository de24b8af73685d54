//! Wakes whoever waits for logs as soon as something happens to them. A hint and no more: a timer must look as well,
//! since events can be lost and some file systems have none.
//!
//! *In*: directories. *Out*: calls. *Bound*: [`PAUSE`] between two calls. *Spec*: inotify(7).

use inotify::{Inotify, WatchMask};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Least time between two calls: a busy log is read in larger pieces.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `wake` when a log in one of these places changes, for as long as it returns `true`. Says whether it will.
pub fn wake_on_change(logs: &[PathBuf], mut wake: impl FnMut() -> bool + Send + 'static) -> bool {
    let Ok(mut inotify) = Inotify::init() else { return false };
    let directories: BTreeSet<&Path> = logs.iter().map(|log| super::rotated::directory_of(log)).collect();
    let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::ATTRIB;
    let watched = directories.iter().filter(|path| inotify.watches().add(path, mask).is_ok()).count();
    if watched == 0 {
        return false;
    }
    std::thread::spawn(move || {
        let mut room = [0; 4096];
        while inotify.read_events_blocking(&mut room).is_ok() {
            if !wake() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    });
    true
}
