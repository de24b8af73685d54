//! The files of one log: the one that is written and those that rotation put aside.
//!
//! *In*: the path of a log. *Out*: its files, oldest first. *Bound*: `limits::ROTATED_FILES_MAX` files,
//! the newest. *Spec*: logrotate(8): numbers, `dateext`, `extension`; links that are swapped.

use super::mark::{Identity, modified};
use crate::limits;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// One file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    pub path: PathBuf,
    pub identity: Identity,
    pub modified: i64,
    pub size: u64,
    pub packed: bool,
    /// Whether it is the one that is written now.
    pub active: bool,
    order: Order,
}

/// What a name tells of age.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    /// `mail.log.3`: the larger the older.
    Number(u32),
    /// `mail.log-20261124`: digits, the larger the newer.
    Date(Vec<u8>),
    /// The file that is written.
    Active,
}

/// Opens a regular file without waiting and without following a link.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file; give the path of a log"));
    }
    Ok(file)
}

/// Where a path leads: itself, or through links, as long as they stay in its directory or below.
pub fn resolve(path: &Path) -> io::Result<PathBuf> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !meta.is_symlink() {
        return Ok(path.to_path_buf());
    }
    let target = fs::canonicalize(path)?;
    let directory = fs::canonicalize(directory_of(path))?;
    if !target.starts_with(&directory) {
        return Err(io::Error::other("is a link that leads out of its directory; give the path it leads to"));
    }
    Ok(target)
}

/// The directory that a path is in.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// All files of a log, oldest first. Two listings in a row must agree: while files are renamed, one alone
/// may miss some.
pub fn list(path: &Path) -> io::Result<Vec<Rotated>> {
    let mut before = list_once(path)?;
    for _ in 0..8 {
        let now = list_once(path)?;
        let same = |a: &Rotated, b: &Rotated| a.path == b.path && a.identity == b.identity;
        if now.len() == before.len() && now.iter().zip(&before).all(|(a, b)| same(a, b)) {
            return Ok(now);
        }
        before = now;
    }
    Ok(before)
}

fn list_once(path: &Path) -> io::Result<Vec<Rotated>> {
    let target = match resolve(path) {
        Ok(target) => Some(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let base = path.file_name().unwrap_or_default().as_bytes();
    let target_name = target.as_deref().and_then(Path::file_name).unwrap_or_default().as_bytes();
    let mut files = Vec::new();
    for entry in fs::read_dir(directory_of(target.as_deref().unwrap_or(path)))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.as_bytes();
        let (stem, packed) = packing(name);
        let active = name == target_name;
        let order = match order_of(stem, base).or_else(|| same_shape(stem, target_name)) {
            _ if active => Order::Active,
            Some(order) => order,
            None => continue,
        };
        // A file may be gone by now.
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        if !meta.is_file() {
            continue;
        }
        files.push(Rotated {
            path: entry.path(),
            identity: Identity::of(&meta),
            modified: modified(&meta),
            size: meta.len(),
            packed: packed && !active,
            active,
            order,
        });
    }
    drop_copies_being_packed(&mut files);
    sort_oldest_first(&mut files);
    let excess = files.len().saturating_sub(limits::ROTATED_FILES_MAX);
    files.drain(..excess);
    Ok(files)
}

/// While a file is compressed, both forms are there: the plain one counts.
fn drop_copies_being_packed(files: &mut Vec<Rotated>) {
    let plain: Vec<Vec<u8>> = files
        .iter()
        .filter(|file| !file.packed)
        .map(|file| file.path.as_os_str().as_bytes().to_vec())
        .collect();
    files.retain(|file| {
        !file.packed || !plain.iter().any(|plain| packing(file.path.as_os_str().as_bytes()).0 == &plain[..])
    });
}

/// A name without the ending of a compressed file, and whether it had one.
fn packing(name: &[u8]) -> (&[u8], bool) {
    for ending in [&b".gz"[..], b".zst", b".bz2", b".xz", b".lz4", b".Z"] {
        if let Some(stem) = name.strip_suffix(ending) {
            return (stem, true);
        }
    }
    (name, false)
}

/// Reads `base` + sign + digits, or the digits between a base's stem and its extension.
fn order_of(name: &[u8], base: &[u8]) -> Option<Order> {
    if let Some(rest) = name.strip_prefix(base) {
        return order_of_middle(rest);
    }
    let extension = Path::new(OsStr::from_bytes(base)).extension()?.as_bytes();
    let stem = base.get(..base.len() - extension.len() - 1)?;
    order_of_middle(name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix(b".")?)
}

fn order_of_middle(middle: &[u8]) -> Option<Order> {
    let digits = middle.get(1..)?;
    let sign = matches!(middle.first(), Some(b'.' | b'-' | b'_'));
    let fits = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b'T' | b':');
    if !sign || !digits.first()?.is_ascii_digit() || !digits.iter().all(fits) {
        return None;
    }
    Some(order_of_digits(digits))
}

fn order_of_digits(text: &[u8]) -> Order {
    if text.len() <= 4
        && let Ok(number) = std::str::from_utf8(text).unwrap_or_default().parse()
    {
        return Order::Number(number);
    }
    Order::Date(text.iter().copied().filter(u8::is_ascii_digit).collect())
}

/// Whether a name equals another but for its digits: the files that a swapped link led to.
fn same_shape(name: &[u8], other: &[u8]) -> Option<Order> {
    let shape = |name: &[u8]| -> Vec<u8> {
        name.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect()
    };
    let digits: Vec<u8> = name.iter().copied().filter(u8::is_ascii_digit).collect();
    (digits.len() >= 4 && shape(name) == shape(other)).then_some(Order::Date(digits))
}

/// By what the names tell, where all tell the same kind of thing; else by time of writing. The file that
/// is written comes last.
fn sort_oldest_first(files: &mut [Rotated]) {
    let rotated = || files.iter().filter(|file| !file.active);
    let digits = |file: &Rotated| match &file.order {
        Order::Date(digits) => digits.len(),
        Order::Number(_) | Order::Active => 0,
    };
    let numbers = rotated().all(|file| matches!(file.order, Order::Number(_)));
    let first = rotated().next().map_or(0, digits);
    let dates = first > 0 && rotated().all(|file| digits(file) == first);
    let by_name = |a: &Rotated, b: &Rotated| match (&a.order, &b.order) {
        (Order::Number(a), Order::Number(b)) if numbers => b.cmp(a),
        (Order::Date(a), Order::Date(b)) if dates => a.cmp(b),
        _ => Ordering::Equal,
    };
    files.sort_by(|a, b| {
        a.active
            .cmp(&b.active)
            .then_with(|| by_name(a, b))
            .then_with(|| a.modified.cmp(&b.modified))
            .then_with(|| a.path.cmp(&b.path))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_first_under_every_naming() {
        let directory = tempfile::tempdir().unwrap();
        let names = |files: Vec<Rotated>| -> Vec<String> {
            files.iter().map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        for name in [
            "mail.log",
            "mail.log.1",
            "mail.log.2.gz",
            "mail.log.10.gz",
            "mail.err",
            "mail.log.bak",
            "mail.log.1.gz",
        ] {
            fs::write(directory.path().join(name), b"x\n").unwrap();
        }
        let path = directory.path().join("mail.log");
        assert_eq!(
            names(list(&path).unwrap()),
            ["mail.log.10.gz", "mail.log.2.gz", "mail.log.1", "mail.log"]
        );
        for name in ["app.log", "app.log-20261124", "app.log-20261123.gz", "app-20261122.log"] {
            fs::write(directory.path().join(name), b"x\n").unwrap();
        }
        let path = directory.path().join("app.log");
        assert_eq!(
            names(list(&path).unwrap()),
            ["app-20261122.log", "app.log-20261123.gz", "app.log-20261124", "app.log"]
        );
        for name in ["x-2026-11-23.log", "x-2026-11-24.log"] {
            fs::write(directory.path().join(name), b"x\n").unwrap();
        }
        let path = directory.path().join("current");
        std::os::unix::fs::symlink("x-2026-11-24.log", &path).unwrap();
        assert_eq!(names(list(&path).unwrap()), ["x-2026-11-23.log", "x-2026-11-24.log"]);
    }

    #[test]
    fn only_regular_files_inside_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("mail.log");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(resolve(&link).unwrap_err().to_string().contains("leads out"));
        assert!(open_regular(&link).is_err());
        assert!(open_regular(Path::new("/dev/null")).is_err());
        assert!(open_regular(directory.path()).is_err());
    }
}
