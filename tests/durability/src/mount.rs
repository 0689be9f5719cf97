//! A file system that forgets: whole programs run on it unchanged, and when its power fails, the
//! bytes nobody synced are lost or torn and the names whose directory nobody synced are gone.
//!
//! In memory, behind the kernel's FUSE. Reads are always served, so that a mapped page never
//! faults; after the cut every change is refused with an I/O error, which ends the program under
//! proof. The index of the engine's log (`-shm`) is outside the count of changes: it is memory
//! shared between connections, written back by the kernel whenever it likes, and never synced.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use fuser::consts::FOPEN_KEEP_CACHE;
use fuser::{
    BackgroundSession, FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request,
    TimeOrNow,
};
use offline_cache::Options;
use rustix::io::Errno;
use tempfile::TempDir;

use crate::disk::{Content, Current, Names, Power, Survival};
use crate::power_loss::{LossyDisk, Weakness};
use kiosk_tests::random::Random;

/// The kernel's door to file systems in programs.
const DOOR: &str = "/dev/fuse";
/// Name of the directory the program under proof gets; it exists before, as the one that an
/// installation makes.
const STORE: &str = "store";
/// Only the kernel changes anything, so it may keep what it was told as long as it likes.
const REMEMBERED: Duration = Duration::from_hours(1);
/// Block size told to callers, in bytes.
const BLOCK_BYTES: u32 = 4096;
/// Blocks told to be free: 16 GiB, more than any proof writes.
const FREE_BLOCKS: u64 = 4 * 1024 * 1024;
/// Longest name in bytes.
const NAME_BYTES_MAX: u32 = 255;
/// Number of the root, fixed by FUSE.
const ROOT: u64 = 1;

/// Longest wait for the process that serves the disk: it unmounts and mounts in milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Orders the serving process takes at most.
const ORDERS_MAX: usize = 10_000_000;

/// Whether a file system can be mounted here at all.
pub fn can_mount() -> bool {
    Path::new(DOOR).exists()
}

/// A mounted file system that forgets, served by another process: a page fault on a mapped file
/// holds the memory of its process until the server answers, so that a server in the same
/// process could wait for itself.
#[derive(Debug)]
pub(crate) struct LossyMount {
    server: Child,
    orders: Option<ChildStdin>,
    answers: Receiver<String>,
    place: TempDir,
    store: PathBuf,
}

impl LossyMount {
    /// Mounts an empty one at a place of its own. The program serves it when its first argument
    /// is `disk`.
    pub(crate) fn new(program: &Path, weakness: Weakness) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let mut server = Command::new(program)
            .arg("disk")
            .arg("--place")
            .arg(place.path())
            .args(["--weakness", weakness.word()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the disk cannot be started")?;
        let orders = server.stdin.take();
        let out = server.stdout.take().context("the disk has no pipe")?;
        let (said, answers) = sync_channel(1);
        std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || {
                for line in BufReader::new(out).lines().take(ORDERS_MAX) {
                    let Ok(line) = line else { return };
                    if said.send(line).is_err() {
                        return;
                    }
                }
            })?;
        let mut mount = Self {
            server,
            orders,
            answers,
            store: place.path().join(STORE),
            place,
        };
        mount.answer("mounted")?;
        Ok(mount)
    }

    /// Gives an order and waits for its answer.
    fn order(&mut self, order: &str) -> anyhow::Result<String> {
        let orders = self.orders.as_mut().context("the disk has ended")?;
        writeln!(orders, "{order}")?;
        let answer = self.answers.recv_timeout(ANSWER_MAX);
        answer.with_context(|| format!("the disk does not answer to `{order}`"))
    }

    fn answer(&mut self, expected: &str) -> anyhow::Result<()> {
        let answer = self.answers.recv_timeout(ANSWER_MAX);
        let answer = answer.context("the disk does not answer")?;
        anyhow::ensure!(answer == expected, "the disk says {answer}");
        Ok(())
    }
}

impl Drop for LossyMount {
    fn drop(&mut self) {
        // The end of the orders: it unmounts and ends, and its pipe with it.
        self.orders = None;
        let is_over = self.answers.recv_timeout(ANSWER_MAX) == Err(RecvTimeoutError::Disconnected);
        if !is_over {
            // Its death cuts the connection; the place is then let go by name.
            let _is_killed = self.server.kill().is_ok();
            let _is_free = Command::new("fusermount3")
                .args(["-u", "-z"])
                .arg(self.place.path())
                .status()
                .is_ok();
        }
        let _is_gone = self.server.wait().is_ok();
    }
}

impl LossyDisk for LossyMount {
    fn directory(&self) -> &Path {
        &self.store
    }

    fn options(&self) -> Options {
        Options::default()
    }

    fn arm(&mut self, at_change: Option<u64>) -> anyhow::Result<()> {
        let at = at_change.unwrap_or(0);
        let answer = self.order(&format!("arm {at}"))?;
        anyhow::ensure!(answer == "armed", "the disk says {answer}");
        Ok(())
    }

    fn is_off(&mut self) -> anyhow::Result<bool> {
        match self.order("power")?.as_str() {
            "on" => Ok(false),
            "off" => Ok(true),
            answer => anyhow::bail!("the disk says {answer}"),
        }
    }

    fn cut(&mut self, random: &mut Random) -> anyhow::Result<()> {
        let answer = self.order(&format!("cut {}", random.bits()))?;
        anyhow::ensure!(answer == "cut", "the disk says {answer}");
        Ok(())
    }
}

/// Serves a disk at a place until the orders end: `arm N` (0: never), `power`, `cut SEED`.
///
/// # Errors
/// When it cannot be mounted, or an order is not understood.
pub fn serve(place: &Path, weakness: Weakness) -> anyhow::Result<()> {
    let mut served = Served::new(place, weakness)?;
    let mut out = io::stdout().lock();
    writeln!(out, "mounted")?;
    for line in io::stdin().lock().lines().take(ORDERS_MAX) {
        let line = line?;
        let (order, number) = line.split_once(' ').unwrap_or((&line, "0"));
        let number: u64 = number.parse()?;
        let answer = match order {
            "arm" => {
                served.tree().power.arm((number > 0).then_some(number));
                "armed"
            }
            "power" if served.tree().power.is_off() => "off",
            "power" => "on",
            "cut" => {
                served.cut(&mut Random::new(number))?;
                "cut"
            }
            _ => anyhow::bail!("an order that is not understood"),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

/// The serving side.
#[derive(Debug)]
struct Served {
    tree: Arc<Mutex<Tree>>,
    session: Option<BackgroundSession>,
    place: PathBuf,
}

impl Served {
    fn new(place: &Path, weakness: Weakness) -> io::Result<Self> {
        let mut served = Self {
            tree: Arc::new(Mutex::new(Tree::new(weakness))),
            session: None,
            place: place.to_owned(),
        };
        served.mount()?;
        Ok(served)
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        unpoisoned(&self.tree)
    }

    fn mount(&mut self) -> io::Result<()> {
        let options = [MountOption::FSName("lossy".to_owned())];
        let files = LossyFiles(Arc::clone(&self.tree));
        self.session = Some(fuser::spawn_mount2(files, &self.place, &options)?);
        Ok(())
    }

    fn unmount(&mut self) {
        if let Some(session) = self.session.take() {
            session.join();
        }
    }

    fn cut(&mut self, random: &mut Random) -> io::Result<()> {
        // Unmounting takes the kernel's cache with it, as the end of the power does.
        self.unmount();
        self.tree().cut(random);
        self.mount()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.unmount();
    }
}

fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
enum Body {
    File(Content),
    Directory(Names<u64>),
}

#[derive(Debug)]
struct Node {
    body: Body,
    permissions: u16,
    /// Name it was made under, and that of its directory: what a weakness goes by.
    name: String,
    directory: String,
}

/// All files, as a reader sees them and as the platter holds them.
#[derive(Debug)]
struct Tree {
    power: Power,
    nodes: BTreeMap<u64, Node>,
    next: u64,
    weakness: Weakness,
}

impl Tree {
    fn new(weakness: Weakness) -> Self {
        let directory = |name: &str, names| Node {
            body: Body::Directory(names),
            permissions: 0o700,
            name: name.to_owned(),
            directory: String::new(),
        };
        let mut names = Names::default();
        names.find(STORE, ROOT + 1);
        Self {
            power: Power::default(),
            nodes: BTreeMap::from([
                (ROOT, directory("", names)),
                (ROOT + 1, directory(STORE, Names::default())),
            ]),
            next: ROOT + 2,
            weakness,
        }
    }

    fn node(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::NOENT)
    }

    fn names(&mut self, number: u64) -> Result<&mut Names<u64>, Errno> {
        match &mut self.node(number)?.body {
            Body::Directory(names) => Ok(names),
            Body::File(_) => Err(Errno::NOTDIR),
        }
    }

    fn content(&mut self, number: u64) -> Result<&mut Content, Errno> {
        match &mut self.node(number)?.body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(Errno::ISDIR),
        }
    }

    fn find(&mut self, directory: u64, name: &str) -> Result<u64, Errno> {
        let names = self.names(directory)?;
        names.seen().get(name).copied().ok_or(Errno::NOENT)
    }

    fn attributes(&self, number: u64) -> Result<FileAttr, Errno> {
        let node = self.nodes.get(&number).ok_or(Errno::NOENT)?;
        let (kind, size) = match &node.body {
            Body::File(content) => (FileType::RegularFile, content.len() as u64),
            Body::Directory(_) => (FileType::Directory, 0),
        };
        Ok(FileAttr {
            ino: number,
            size,
            blocks: size.div_ceil(512),
            atime: SystemTime::UNIX_EPOCH,
            mtime: SystemTime::UNIX_EPOCH,
            ctime: SystemTime::UNIX_EPOCH,
            crtime: SystemTime::UNIX_EPOCH,
            kind,
            perm: node.permissions,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }

    /// Counts one change of a file or a name and does it while there is power.
    fn change(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut Self) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        if name.ends_with("-shm") {
            return change(self);
        }
        match self.power.draw() {
            Current::On => change(self),
            Current::Failing => {
                change(self)?;
                Err(Errno::IO)
            }
            Current::Off => Err(Errno::IO),
        }
    }

    fn make(
        &mut self,
        directory: u64,
        name: &str,
        mode: u32,
        body: Body,
    ) -> Result<FileAttr, Errno> {
        if self.names(directory)?.seen().contains_key(name) {
            return Err(Errno::EXIST);
        }
        let number = self.next;
        let parent = self.node(directory)?.name.clone();
        let node = Node {
            body,
            permissions: u16::try_from(mode & 0o777).unwrap_or(0o600),
            name: name.to_owned(),
            directory: parent,
        };
        self.change(name, |tree| {
            tree.next += 1;
            tree.nodes.insert(number, node);
            tree.names(directory)?.link(name, number);
            Ok(())
        })?;
        self.attributes(number)
    }

    fn remove(&mut self, directory: u64, name: &str) -> Result<(), Errno> {
        let number = self.find(directory, name)?;
        if let Body::Directory(names) = &self.node(number)?.body
            && !names.seen().is_empty()
        {
            return Err(Errno::NOTEMPTY);
        }
        self.change(name, |tree| {
            tree.names(directory)?.unlink(name);
            Ok(())
        })
    }

    fn rename(
        &mut self,
        directory: u64,
        from: &str,
        to_directory: u64,
        to: &str,
    ) -> Result<(), Errno> {
        if directory != to_directory {
            // What is atomic across directories differs between file systems; nobody here may
            // rely on it.
            return Err(Errno::XDEV);
        }
        self.find(directory, from)?;
        self.change(from, |tree| {
            tree.names(directory)?.rename(from, to);
            Ok(())
        })
    }

    fn write(&mut self, number: u64, offset: i64, bytes: &[u8]) -> Result<(), Errno> {
        let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
        let name = self.node(number)?.name.clone();
        self.change(&name, |tree| {
            let content = tree.content(number)?;
            content.write(offset, bytes).map_err(|_| Errno::NOSPC)
        })
    }

    fn set_length(&mut self, number: u64, length: u64) -> Result<(), Errno> {
        let length = usize::try_from(length).map_err(|_| Errno::FBIG)?;
        let name = self.node(number)?.name.clone();
        self.change(&name, |tree| {
            let content = tree.content(number)?;
            content.set_length(length).map_err(|_| Errno::NOSPC)
        })
    }

    fn sync_file(&mut self, number: u64) -> Result<(), Errno> {
        let node = self.node(number)?;
        let (name, directory) = (node.name.clone(), node.directory.clone());
        let is_lost = match self.weakness {
            Weakness::LogSyncLost => name.ends_with("-wal"),
            Weakness::AttachmentSyncLost => directory == "attachments",
            Weakness::None | Weakness::DirectorySyncLost => false,
        };
        if is_lost {
            return Ok(());
        }
        if name.ends_with("-shm") || self.power.draw() == Current::On {
            self.content(number)?.sync();
            return Ok(());
        }
        Err(Errno::IO)
    }

    fn sync_directory(&mut self, number: u64) -> Result<(), Errno> {
        let is_attachments = self.node(number)?.name == "attachments";
        if is_attachments && self.weakness == Weakness::DirectorySyncLost {
            return Ok(());
        }
        if self.power.draw() != Current::On {
            return Err(Errno::IO);
        }
        self.names(number)?.sync();
        Ok(())
    }

    fn list(&mut self, directory: u64) -> Result<Vec<(u64, FileType, String)>, Errno> {
        let named: Vec<(String, u64)> = self
            .names(directory)?
            .seen()
            .iter()
            .map(|(name, number)| (name.clone(), *number))
            .collect();
        let mut listed = vec![
            (directory, FileType::Directory, ".".to_owned()),
            (ROOT, FileType::Directory, "..".to_owned()),
        ];
        for (name, number) in named {
            listed.push((number, self.attributes(number)?.kind, name));
        }
        Ok(listed)
    }

    /// What is left after the power failed, reachable from the root; the power is back.
    fn cut(&mut self, random: &mut Random) {
        let survival = Survival::draw(random);
        let mut left = BTreeMap::new();
        let mut open = vec![ROOT];
        let mut met = BTreeSet::new();
        // Bounded by the number of files: none is met twice.
        while let Some(number) = open.pop() {
            let Some(node) = self.nodes.get(&number).filter(|_| met.insert(number)) else {
                continue;
            };
            let body = match &node.body {
                Body::File(content) => {
                    Body::File(Content::synced(content.after_cut(survival, random)))
                }
                Body::Directory(names) => {
                    let mut kept = Names::default();
                    for (name, number) in names.after_cut(survival, random) {
                        kept.find(&name, number);
                        open.push(number);
                    }
                    Body::Directory(kept)
                }
            };
            let node = Node {
                body,
                permissions: node.permissions,
                name: node.name.clone(),
                directory: node.directory.clone(),
            };
            left.insert(number, node);
        }
        self.nodes = left;
        self.power.arm(None);
    }
}

/// The kernel's questions, answered from the tree.
struct LossyFiles(Arc<Mutex<Tree>>);

fn text(name: &OsStr) -> Result<&str, Errno> {
    name.to_str().ok_or(Errno::INVAL)
}

fn empty(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

fn attributes(reply: ReplyAttr, outcome: Result<FileAttr, Errno>) {
    match outcome {
        Ok(found) => reply.attr(&REMEMBERED, &found),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

fn entry(reply: ReplyEntry, outcome: Result<FileAttr, Errno>) {
    match outcome {
        Ok(found) => reply.entry(&REMEMBERED, &found, 0),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

impl Filesystem for LossyFiles {
    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let mut tree = unpoisoned(&self.0);
        let outcome = text(name)
            .and_then(|name| tree.find(parent, name))
            .and_then(|number| tree.attributes(number));
        entry(reply, outcome);
    }

    fn getattr(&mut self, _: &Request<'_>, number: u64, _: Option<u64>, reply: ReplyAttr) {
        attributes(reply, unpoisoned(&self.0).attributes(number));
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        number: u64,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<u64>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<u32>,
        reply: ReplyAttr,
    ) {
        let mut tree = unpoisoned(&self.0);
        let mut outcome = size.map_or(Ok(()), |size| tree.set_length(number, size));
        if let (Ok(()), Some(mode)) = (outcome, mode) {
            outcome = tree.node(number).map(|node| {
                node.permissions = u16::try_from(mode & 0o777).unwrap_or(0o600);
            });
        }
        attributes(reply, outcome.and_then(|()| tree.attributes(number)));
    }

    fn mkdir(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let body = Body::Directory(Names::default());
        let outcome =
            text(name).and_then(|name| unpoisoned(&self.0).make(parent, name, mode, body));
        entry(reply, outcome);
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let body = Body::File(Content::default());
        let outcome =
            text(name).and_then(|name| unpoisoned(&self.0).make(parent, name, mode, body));
        match outcome {
            Ok(found) => reply.created(&REMEMBERED, &found, 0, 0, FOPEN_KEEP_CACHE),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let outcome = text(name).and_then(|name| unpoisoned(&self.0).remove(parent, name));
        empty(reply, outcome);
    }

    fn rmdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let outcome = text(name).and_then(|name| unpoisoned(&self.0).remove(parent, name));
        empty(reply, outcome);
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        flags: u32,
        reply: ReplyEmpty,
    ) {
        let names = text(name).and_then(|from| Ok((from, text(new_name)?)));
        let outcome = names.and_then(|(from, to)| {
            if flags != 0 {
                return Err(Errno::INVAL);
            }
            unpoisoned(&self.0).rename(parent, from, new_parent, to)
        });
        empty(reply, outcome);
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        reply.opened(0, FOPEN_KEEP_CACHE);
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let mut tree = unpoisoned(&self.0);
        match (usize::try_from(offset), tree.content(number)) {
            (Ok(offset), Ok(content)) => reply.data(content.read(offset, size as usize)),
            (Err(_), _) => reply.error(Errno::INVAL.raw_os_error()),
            (_, Err(errno)) => reply.error(errno.raw_os_error()),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _: u64,
        offset: i64,
        bytes: &[u8],
        _: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyWrite,
    ) {
        match unpoisoned(&self.0).write(number, offset, bytes) {
            // A request of the kernel is bounded far below 4 GiB.
            Ok(()) => reply.written(u32::try_from(bytes.len()).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&mut self, _: &Request<'_>, number: u64, _: u64, _: bool, reply: ReplyEmpty) {
        empty(reply, unpoisoned(&self.0).sync_file(number));
    }

    fn readdir(
        &mut self,
        _: &Request<'_>,
        number: u64,
        _: u64,
        offset: i64,
        mut reply: ReplyDirectory,
    ) {
        match unpoisoned(&self.0).list(number) {
            Ok(listed) => {
                let skipped = usize::try_from(offset).unwrap_or(0);
                for ((number, kind, name), next) in listed.into_iter().zip(1..).skip(skipped) {
                    if reply.add(number, next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn fsyncdir(&mut self, _: &Request<'_>, number: u64, _: u64, _: bool, reply: ReplyEmpty) {
        empty(reply, unpoisoned(&self.0).sync_directory(number));
    }

    fn statfs(&mut self, _: &Request<'_>, _: u64, reply: ReplyStatfs) {
        let free = FREE_BLOCKS;
        reply.statfs(
            free,
            free,
            free,
            free,
            free,
            BLOCK_BYTES,
            NAME_BYTES_MAX,
            BLOCK_BYTES,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    /// Files made durable in the usual way, with one step of it left to a weakness.
    fn files_after_a_cut(weakness: Weakness, seed: u64) -> usize {
        let place = tempfile::tempdir().unwrap();
        let mut disk = Served::new(place.path(), weakness).unwrap();
        let store = place.path().join(STORE);
        let directory = store.join("attachments");
        fs::create_dir(&directory).unwrap();
        File::open(&store).unwrap().sync_all().unwrap();
        for number in 0..5 {
            let part = directory.join(format!("{number}.part"));
            let mut file = File::create(&part).unwrap();
            file.write_all(&[7; 5000]).unwrap();
            file.sync_all().unwrap();
            fs::rename(&part, directory.join(number.to_string())).unwrap();
            File::open(&directory).unwrap().sync_all().unwrap();
        }
        disk.tree().power.arm(Some(1));
        assert!(fs::write(directory.join("more"), b"x").is_err());
        assert!(disk.tree().power.is_off());
        disk.cut(&mut Random::new(seed)).unwrap();
        (0..5)
            .filter(|number| {
                fs::read(directory.join(number.to_string())).is_ok_and(|left| left == [7; 5000])
            })
            .count()
    }

    #[test]
    fn what_was_synced_and_named_stays_and_each_missing_step_loses_files() {
        if !can_mount() {
            return;
        }
        let least = |weakness| {
            (0..8)
                .map(|seed| files_after_a_cut(weakness, seed))
                .min()
                .unwrap()
        };
        assert_eq!(least(Weakness::None), 5);
        assert!(least(Weakness::DirectorySyncLost) < 5);
        assert!(least(Weakness::AttachmentSyncLost) < 5);
    }
}
