//! Files that are whole or absent: written under a temporary name, forced to disk, renamed, directory forced.
//!
//! *In*: a directory. *Out*: the install's key, the lock, names to set things aside. *Spec*: POSIX fsync and
//! rename; a rename is durable only once its directory was forced to disk.

use super::error::StoreError;
use crate::engine::memory::InstallKey;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// Makes the directory, mode 0700, and makes its name durable.
pub fn make_directory(directory: &Path) -> Result<(), StoreError> {
    if directory.is_dir() {
        return Ok(());
    }
    let failed = StoreError::file(directory);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    sync_parent(directory)
}

/// Forces a file's directory entry to disk.
pub fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(StoreError::file(directory))
}

/// Claims the directory for this process until the returned file is dropped.
pub fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(StoreError::file(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(StoreError::File { path, source }),
    }
}

/// Whether a sensor works with the directory now.
pub fn in_use(directory: &Path) -> bool {
    matches!(lock(directory), Err(StoreError::InUse { .. }))
}

/// Writes a file, mode 0600, that is whole or not there.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let temporary = with_suffix(path, ".new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(StoreError::file(&temporary))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(StoreError::file(&temporary))?;
    std::fs::rename(&temporary, path).map_err(StoreError::file(path))?;
    sync_parent(path)
}

/// Reads or makes the 128-bit key of this install. A key of another length is set aside: it opens nothing.
pub fn install_key(directory: &Path) -> Result<InstallKey, StoreError> {
    let path = directory.join("install.key");
    match std::fs::read(&path) {
        Ok(bytes) => {
            if let Ok(key) = bytes.try_into() {
                return Ok(InstallKey(key));
            }
            std::fs::rename(&path, aside_name(&path, "bad")).map_err(StoreError::file(&path))?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(StoreError::File { path, source }),
    }
    let mut key = [0u8; 16];
    getrandom::fill(&mut key)
        .map_err(|error| StoreError::file(&path)(std::io::Error::other(error.to_string())))?;
    write_whole(&path, &key)?;
    Ok(InstallKey(key))
}

/// A free name beside a file: `state.db.bad-1795000000123`. The number is the file's own last change,
/// milliseconds since the epoch: no clock is asked.
pub fn aside_name(path: &Path, word: &str) -> PathBuf {
    let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let mut number = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_millis());
    loop {
        let name = with_suffix(path, &format!(".{word}-{number}"));
        if !name.exists() {
            return name;
        }
        number += 1;
    }
}

/// The path with something added to its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
