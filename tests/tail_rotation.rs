//! Rotation: whatever is done to a log while it is followed, its lines arrive once and in order.
//!
//! Generated schedules of writing, rotating, polling, stopping and killing. At the end of a schedule every
//! line that exists anywhere in the rotated set must have been handed out exactly once, in order; lines
//! that rotation itself destroyed may or may not have been. `SCHEDULES=2000` runs more of them.

#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use portreeve::tail::Follower;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Naming {
    Numbers,
    Dates,
    Link,
}

/// A log, its writer, and the one who follows it.
struct World {
    directory: PathBuf,
    path: PathBuf,
    naming: Naming,
    rng: StdRng,
    /// The file that the writer has open; it may have been renamed or deleted.
    writer: File,
    next_line: u64,
    rotations: u32,
    follower: Option<Follower>,
    /// What a crash leaves: position and lines, written down together.
    kept: (Option<String>, Vec<u64>),
    lines: Vec<u64>,
    gaps: u64,
    /// Whether all rotations are copytruncate.
    copies_only: bool,
    /// Lines written between the copy and the truncation.
    destroyed: BTreeSet<u64>,
    story: Vec<String>,
}

impl World {
    fn new(directory: &Path, naming: Naming, seed: u64) -> World {
        let path = directory.join("mail.log");
        if naming == Naming::Link {
            File::create(directory.join("app-20260000.log")).unwrap();
            std::os::unix::fs::symlink("app-20260000.log", &path).unwrap();
        }
        let writer = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        World {
            directory: directory.into(),
            follower: Some(Follower::from_start(&path).unwrap()),
            path,
            naming,
            rng: StdRng::seed_from_u64(seed),
            writer,
            next_line: 0,
            rotations: 0,
            kept: (None, Vec::new()),
            lines: Vec::new(),
            gaps: 0,
            copies_only: seed.is_multiple_of(4),
            destroyed: BTreeSet::new(),
            story: Vec::new(),
        }
    }

    fn write(&mut self, lines: u64) {
        for _ in 0..lines {
            let filler = self.rng.random_range(0..200usize);
            writeln!(self.writer, "{:08} {}", self.next_line, "x".repeat(filler)).unwrap();
            self.next_line += 1;
        }
    }

    fn reopen(&mut self) {
        self.writer = OpenOptions::new().create(true).append(true).open(&self.path).unwrap();
    }

    fn rotated_name(&mut self) -> PathBuf {
        self.rotations += 1;
        match self.naming {
            Naming::Dates => self.directory.join(format!("mail.log-2026{:04}", self.rotations)),
            _ => {
                for number in (1..100).rev() {
                    for ending in ["", ".gz"] {
                        let from = self.directory.join(format!("mail.log.{number}{ending}"));
                        if from.exists() {
                            let to = self.directory.join(format!("mail.log.{}{ending}", number + 1));
                            fs::rename(from, to).unwrap();
                        }
                    }
                }
                self.directory.join("mail.log.1")
            }
        }
    }

    fn step(&mut self) {
        let lines = self.rng.random_range(0..40);
        match self.rng.random_range(0..100) {
            0..=34 => self.write(lines),
            35..=59 => self.poll(),
            60..=66 => self.stop(),
            67..=71 => self.kill(),
            _ => self.rotate(lines),
        }
    }

    fn rotate(&mut self, lines: u64) {
        let kind = if self.copies_only { self.rng.random_range(3..5) } else { self.rng.random_range(0..6) };
        self.story.push(format!("rotate {kind} (next line {})", self.next_line));
        if self.naming == Naming::Link {
            self.rotations += 1;
            let target = format!("app-2026{:04}.log", self.rotations);
            File::create(self.directory.join(&target)).unwrap();
            let fresh = self.directory.join("fresh-link");
            std::os::unix::fs::symlink(target, &fresh).unwrap();
            fs::rename(fresh, &self.path).unwrap();
            self.write(lines / 2);
            self.reopen();
            return;
        }
        match kind {
            // Rename; the writer notices late; compressed at once or not.
            0..=2 => {
                let to = self.rotated_name();
                fs::rename(&self.path, &to).unwrap();
                if self.rng.random() {
                    File::create(&self.path).unwrap();
                }
                self.write(lines / 3);
                if self.rng.random() {
                    self.poll();
                }
                self.reopen();
                if kind > 0 {
                    if self.rng.random() {
                        self.write(1);
                    }
                    gzip(&to);
                }
            }
            // Copy and truncate; what is written between is destroyed.
            3 | 4 => {
                let to = self.rotated_name();
                fs::copy(&self.path, &to).unwrap();
                if self.rng.random_range(0..4) == 0 {
                    let first = self.next_line;
                    self.write(lines / 4);
                    self.destroyed.extend(first..self.next_line);
                }
                OpenOptions::new().write(true).open(&self.path).unwrap().set_len(0).unwrap();
                if kind == 4 {
                    gzip(&to);
                }
            }
            // Deleted and made anew.
            _ => {
                fs::remove_file(&self.path).unwrap();
                self.reopen();
            }
        }
    }

    fn poll(&mut self) {
        let follower = self.follower.get_or_insert_with(|| match &self.kept.0 {
            Some(position) => Follower::resume(&self.path, position).unwrap(),
            None => Follower::from_start(&self.path).unwrap(),
        });
        let lines = &mut self.lines;
        // A path that is missing for a moment is told as an error; polling goes on.
        let _ = follower.poll(|line| {
            lines.push(std::str::from_utf8(&line[..8]).unwrap().parse().unwrap());
        });
        self.gaps += follower.counters().possible_gaps;
        self.story.push(format!("poll: {} lines", self.lines.len()));
        if self.rng.random() {
            self.kept = (Some(follower.position()), self.lines.clone());
        }
    }

    fn stop(&mut self) {
        if let Some(follower) = self.follower.take() {
            self.story.push("stop".into());
            // Nothing read yet: the next start begins at the beginning of whatever is then the log.
            self.kept = (Some(follower.position()), self.lines.clone());
        }
    }

    fn kill(&mut self) {
        self.story.push("kill".into());
        // Without a position, a start would be a first one, which does not look for older files.
        if self.kept.0.is_some() {
            self.follower = None;
            self.lines = self.kept.1.clone();
        }
    }

    /// Every line that is in some file now.
    fn existing(&self) -> BTreeSet<u64> {
        let mut lines = BTreeSet::new();
        for entry in fs::read_dir(&self.directory).unwrap() {
            let path = entry.unwrap().path();
            let mut text = String::new();
            if path.as_os_str().as_bytes().ends_with(b".gz") {
                MultiGzDecoder::new(File::open(&path).unwrap()).read_to_string(&mut text).unwrap();
            } else {
                File::open(&path).unwrap().read_to_string(&mut text).unwrap();
            }
            lines.extend(text.lines().map(|line| line[..8].parse::<u64>().unwrap()));
        }
        lines
    }

    fn check(&mut self, seed: u64) {
        for _ in 0..6 {
            self.poll();
        }
        let handed_out: BTreeSet<u64> = self.lines.iter().copied().collect();
        let missing: Vec<u64> = self.existing().difference(&handed_out).copied().collect();
        let story = self.story.join("\n");
        assert!(missing.is_empty(), "seed {seed} {:?}: lost {missing:?}\n{story}", self.naming);
        let duplicated: Vec<&[u64]> = self.lines.windows(2).filter(|pair| pair[0] >= pair[1]).collect();
        assert!(duplicated.is_empty(), "seed {seed} {:?}: twice {duplicated:?}\n{story}", self.naming);
        // Where copies alone are made. Among renamed and compressed files a copy cannot be told.
        let silent = self.copies_only && self.gaps == 0 && !self.destroyed.is_subset(&handed_out);
        assert!(!silent, "seed {seed}: lines destroyed by copytruncate lost in silence\n{story}");
    }
}

fn gzip(path: &Path) {
    let packed = PathBuf::from(format!("{}.gz", path.display()));
    let mut encoder = GzEncoder::new(File::create(&packed).unwrap(), Compression::fast());
    let meta = fs::metadata(path).unwrap();
    std::io::copy(&mut File::open(path).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap().set_modified(meta.modified().unwrap()).unwrap();
    fs::remove_file(path).unwrap();
}

fn run_schedules(root: &Path, schedules: u64) {
    for seed in 0..schedules {
        let directory = tempfile::tempdir_in(root).unwrap();
        let naming = [Naming::Numbers, Naming::Dates, Naming::Link][seed as usize % 3];
        let mut world = World::new(directory.path(), naming, seed);
        world.poll();
        world.kept = (Some(world.follower.as_ref().unwrap().position()), world.lines.clone());
        for _ in 0..60 {
            world.step();
        }
        world.check(seed);
    }
}

fn schedules() -> u64 {
    std::env::var("SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

#[test]
fn schedules_on_disk() {
    run_schedules(Path::new(env!("CARGO_TARGET_TMPDIR")), schedules());
}

#[test]
fn schedules_in_memory() {
    let root = Path::new("/dev/shm");
    if !root.is_dir() {
        eprintln!("skipped: no /dev/shm");
        return;
    }
    run_schedules(root, schedules());
}

/// A file system of its own on a loop device; unmounted when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn ext4() -> Option<Mounted> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(64 << 20).unwrap();
        let point = directory.path().join("point");
        fs::create_dir(&point).unwrap();
        let ran = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let made = ran(Command::new("mkfs.ext4").arg("-q").arg(&image))
            && ran(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&point));
        if !made {
            eprintln!("skipped: cannot make and mount an ext4 image here");
            return None;
        }
        Some(Mounted(directory))
    }

    fn point(&self) -> PathBuf {
        self.0.path().join("point")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.point()).status();
    }
}

#[test]
fn schedules_on_ext4() {
    let Some(mounted) = Mounted::ext4() else { return };
    run_schedules(&mounted.point(), schedules());
}

/// ext4 gives a deleted file's inode to the next one. The old position must not be believed there.
#[test]
fn a_reused_inode_is_another_file() {
    let Some(mounted) = Mounted::ext4() else { return };
    let path = mounted.point().join("mail.log");
    let mut reused = 0;
    for round in 0..200u64 {
        fs::write(&path, format!("{round} old {}\n", "x".repeat(100)).repeat(3)).unwrap();
        let mut follower = Follower::from_start(&path).unwrap();
        assert_eq!(follower.poll(|_| {}).unwrap(), 3);
        let position = follower.position();
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
        let before = inode(&path);
        drop(follower);
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("{round} new {}\n", "y".repeat(100)).repeat(5)).unwrap();
        reused += u64::from(inode(&path) == before);
        let mut follower = Follower::resume(&path, &position).unwrap();
        assert_eq!(follower.poll(|line| assert!(line.windows(3).any(|word| word == b"new"))).unwrap(), 5);
        assert_eq!(follower.counters().possible_gaps, 1);
        fs::remove_file(&path).unwrap();
    }
    assert!(reused > 100, "the inode was reused {reused} times only: the test shows nothing");
}

/// The real logrotate in each of its ways, with the follower running, stopped and killed.
#[test]
fn the_real_logrotate() {
    if Command::new("logrotate").arg("--version").output().is_err() {
        eprintln!("skipped: logrotate is not installed");
        return;
    }
    for (seed, options) in [
        "create",
        "create\ncompress",
        "create\ncompress\ndelaycompress",
        "copytruncate",
        "copytruncate\ncompress",
        "nocreate",
        "create\ndateext\ndateformat -%Y%m%d-%s",
        "create\nextension .log\ncompress",
    ]
    .iter()
    .enumerate()
    {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut world = World::new(directory.path(), Naming::Numbers, seed as u64);
        let state = tempfile::tempdir().unwrap();
        let config = state.path().join("config");
        let text =
            format!("{} {{\n su root root\n rotate 99\n size 1\n{options}\n}}\n", world.path.display());
        fs::write(&config, text).unwrap();
        world.poll();
        world.kept = (Some(world.follower.as_ref().unwrap().position()), world.lines.clone());
        for round in 0..12 {
            world.write(20);
            if round % 3 != 1 {
                world.poll();
            }
            if round % 4 == 2 {
                world.stop();
            }
            if round % 5 == 3 {
                world.kill();
            }
            world.write(5);
            let output = Command::new("logrotate")
                .args(["--force", "--state"])
                .arg(state.path().join("state"))
                .arg(&config)
                .output()
                .unwrap();
            if !output.status.success() {
                eprintln!("skipped {options:?}: {}", String::from_utf8_lossy(&output.stderr));
                break;
            }
            world.story.push(format!("logrotate {options:?}"));
            if !options.contains("copytruncate") {
                world.write(2);
                world.reopen();
            }
        }
        world.check(seed as u64);
    }
}
