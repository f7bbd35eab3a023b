//! Operations on disks: when they complete, and what they do then.

use ringway::ids::{Nanos, UnixNanos};
use ringway::limits::IO_ALIGNMENT;
use ringway::uring::{Errno, Mapping, OpenOptions, Outcome, Taken};

use super::disk::{BLOCK_BYTES, Disk};
use super::faults::Fault;
use super::job::{Ask, Job, OpKind};
use super::node::{Node, Target};
use super::rng::Rng;
use super::world::{Event, World};

/// What running one operation needs.
struct Run<'a> {
    node: &'a mut Node,
    rng: &'a mut Rng,
    now: UnixNanos,
}

impl World {
    pub(super) fn ask_disk(&mut self, id: u64, mut job: Job, fault: Option<Fault>) {
        let Self { nodes, rng, .. } = self;
        let Some(node) = nodes.get_mut(&job.key.node) else { unreachable!("a core has a node") };
        if let Ask::Sync { file, promise } = &mut job.ask {
            *promise = node.inode(*file).ok().and_then(|inode| node.disk.promise(inode));
        }
        let options = node.disk.options();
        let inline = rng.happens(options.inline) && !node.frozen && node.slowness == 1 && fault.is_none();
        let range = match job.kind {
            OpKind::Sync => options.sync_time,
            OpKind::Read | OpKind::Write | OpKind::Map => options.data_time,
            _ => options.name_time,
        };
        let mut delay = rng.time(range).plus(Nanos(job.span.len() as u64 * 1000 / options.rate.max(1)));
        delay = Nanos(delay.0.saturating_mul(node.slowness));
        if let Some(Fault::Slow(more)) = fault {
            delay = delay.plus(more);
        }
        // A close happens in the call; a sync never does: it would hide what is asked for while it runs.
        if job.kind == OpKind::Close || (inline && job.kind != OpKind::Sync) {
            let result = self.run_disk(&mut job, fault);
            self.finish(job, result);
            return;
        }
        self.jobs.insert(id, job);
        self.after(delay, Event::Disk(id, fault));
    }

    pub(super) fn disk_due(&mut self, id: u64, fault: Option<Fault>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let node = job.key.node;
        let host = self.node(node);
        if host.doomed {
            return;
        }
        if host.frozen || fault == Some(Fault::Hang) {
            host.stuck.push(id);
            return;
        }
        let Some(mut job) = self.jobs.remove(&id) else { return };
        let result = self.run_disk(&mut job, fault);
        if let Some(Fault::Crash(crash)) = fault {
            job.swallowed = true;
            self.jobs.insert(id, job);
            self.doom(node, crash.how);
            return;
        }
        self.finish(job, result);
    }

    /// Does what an operation asks for.
    pub(super) fn run_disk(&mut self, job: &mut Job, fault: Option<Fault>) -> Result<Outcome, Errno> {
        let now = self.wall(job.key.node);
        let Self { nodes, rng, .. } = self;
        let Some(node) = nodes.get_mut(&job.key.node) else { unreachable!("a core has a node") };
        if let Some(Fault::Fail(errno)) = fault {
            if let Ask::Sync { file, promise } = &mut job.ask {
                let inode = node.inode(*file)?;
                node.disk.break_promise(inode, promise.take(), rng);
            }
            return Err(errno);
        }
        let mut run = Run { node, rng, now };
        match job.kind {
            OpKind::Read => run.read(job, fault == Some(Fault::Short)).map(Outcome::Count),
            OpKind::Write => run.write(job, fault).map(Outcome::Count),
            OpKind::Close => Ok(self.close(job)),
            _ => run.other(job),
        }
    }

    fn close(&mut self, job: &Job) -> Outcome {
        let Ask::Close { raw } = job.ask else { unreachable!("a close") };
        let (id, life) = (job.key.node, job.key.life);
        match self.node(id).descriptors.remove(&raw) {
            Some(descriptor) => self.drop_descriptor(id, life, raw, &descriptor),
            None => panic!("node {id} closes descriptor {raw}, which is not open"),
        }
        Outcome::Done
    }
}

impl Run<'_> {
    fn disk(&mut self) -> &mut Disk {
        &mut self.node.disk
    }

    fn open(&self, file: i32) -> Result<(u64, bool, bool), Errno> {
        match self.node.target(file)? {
            Target::Inode { inode, write, direct } => Ok((inode, write, direct)),
            Target::Listener(_) | Target::Socket(..) => Err(Errno::INVALID),
        }
    }

    /// How much of a transfer is done: all of it, or by chance or plan a part, never nothing.
    fn part(&mut self, len: usize, direct: bool, short: bool) -> usize {
        let unit = if direct { IO_ALIGNMENT } else { 1 };
        let units = len / unit;
        let chance = self.node.disk.options().short;
        if units < 2 || !(short || self.rng.happens(chance)) {
            return len;
        }
        self.rng.within(1..=units as u64 - 1) as usize * unit
    }

    fn check_alignment(job: &Job, offset: u64) -> Result<(), Errno> {
        // Buffers begin on a page, so that the span's start tells the memory's alignment.
        let aligned = [offset, job.span.start as u64, job.span.len() as u64];
        if aligned.iter().any(|number| !number.is_multiple_of(IO_ALIGNMENT as u64)) {
            return Err(Errno::INVALID);
        }
        Ok(())
    }

    fn read(&mut self, job: &mut Job, short: bool) -> Result<usize, Errno> {
        let Ask::Read { file, offset } = job.ask else { unreachable!("a read") };
        let (inode, _, direct) = self.open(file)?;
        if direct && offset < self.disk().content(inode)?.bytes() {
            Self::check_alignment(job, offset)?;
        }
        let len = self.part(job.span.len(), direct, short);
        self.disk().content(inode)?.read(offset, &mut job.space()[..len], direct)
    }

    fn write(&mut self, job: &Job, fault: Option<Fault>) -> Result<usize, Errno> {
        let Ask::Write { file, mut offset } = job.ask else { unreachable!("a write") };
        let (inode, write, direct) = self.open(file)?;
        if !write {
            return Err(Errno::BAD_DESCRIPTOR);
        }
        if direct {
            Self::check_alignment(job, offset)?;
        }
        let mut len = self.part(job.span.len(), direct, fault == Some(Fault::Short));
        if fault == Some(Fault::Misdirect) {
            let blocks = self.disk().content(inode)?.bytes() / BLOCK_BYTES as u64;
            offset = self.rng.below(blocks + 2) * BLOCK_BYTES as u64 + offset % BLOCK_BYTES as u64;
        }
        let device = self.disk().meta(inode).device;
        let available = self.disk().available(device);
        while self.disk().content(inode)?.more_room(offset, len) > available {
            len = len
                .saturating_sub(len % IO_ALIGNMENT)
                .saturating_sub(if len.is_multiple_of(IO_ALIGNMENT) { IO_ALIGNMENT } else { 0 });
            if len == 0 {
                return Err(Errno::NO_SPACE);
            }
        }
        let (now, data) = (self.now, &job.data()[..len]);
        let Self { node, rng, .. } = self;
        node.disk.alter(inode, now, |content| {
            content.write(offset, data, direct, rng);
            if fault == Some(Fault::Lose) {
                content.lose(offset, data.len());
            }
        })?;
        Ok(len)
    }

    fn other(&mut self, job: &mut Job) -> Result<Outcome, Errno> {
        match job.kind {
            OpKind::OpenRoot | OpKind::Open => self.opening(job),
            OpKind::Sync | OpKind::Allocate | OpKind::Truncate | OpKind::Reflink | OpKind::Lock => {
                self.content(job).map(|()| Outcome::Done)
            }
            OpKind::Rename | OpKind::Link | OpKind::Unlink | OpKind::RemoveDir | OpKind::MakeDir => {
                self.names(&job.ask).map(|()| Outcome::Done)
            }
            _ => self.question(&job.ask),
        }
    }

    fn opening(&mut self, job: &Job) -> Result<Outcome, Errno> {
        let (inode, options, path) = match &job.ask {
            Ask::OpenRoot { path } => {
                let inode = self.disk().absolute(path)?;
                self.disk().names(inode)?;
                (inode, OpenOptions::default(), String::from_utf8_lossy(path).into_owned())
            }
            Ask::Open { dir, path, options, room } => {
                let at = self.node.inode(*dir)?;
                let Self { node, rng, now } = self;
                let inode = node.disk.open(at, path, *options, *now, rng)?;
                if let Err(errno) = self.take_room(inode, *room) {
                    let Self { node, rng, .. } = self;
                    node.disk.unlink(at, path, rng)?;
                    return Err(errno);
                }
                (inode, *options, self.node.path_of(job))
            }
            other => unreachable!("an open: {other:?}"),
        };
        let target = Target::Inode { inode, write: options.write, direct: options.direct };
        Ok(Outcome::Opened(self.node.open(job.key.core, target, path)))
    }

    fn content(&mut self, job: &mut Job) -> Result<(), Errno> {
        let now = self.now;
        match &mut job.ask {
            Ask::Sync { file, promise } => {
                let inode = self.node.inode(*file)?;
                self.disk().keep(inode, promise.take())
            }
            Ask::Allocate { file, offset, bytes } => {
                let (inode, write, _) = self.open(*file)?;
                if !write {
                    return Err(Errno::BAD_DESCRIPTOR);
                }
                let end = *offset + *bytes;
                self.take_room(inode, end)
            }
            Ask::Truncate { file, bytes } => {
                let (inode, write, _) = self.open(*file)?;
                if !write {
                    return Err(Errno::INVALID);
                }
                self.disk().alter(inode, now, |content| content.truncate(*bytes))
            }
            Ask::Reflink { from, to } => {
                let (from, to) = (self.node.inode(*from)?, self.node.inode(*to)?);
                self.reflink(from, to)
            }
            Ask::Lock { file } => {
                let inode = self.node.inode(*file)?;
                let mine = (job.key.life, *file);
                let meta = self.disk().meta_mut(inode);
                if meta.lock.is_some_and(|holder| holder != mine) {
                    return Err(Errno::AGAIN);
                }
                meta.lock = Some(mine);
                Ok(())
            }
            other => unreachable!("an operation on content: {other:?}"),
        }
    }

    /// Allocates up to `end`, or as far as there is room.
    fn take_room(&mut self, inode: u64, end: u64) -> Result<(), Errno> {
        if end == 0 {
            return Ok(());
        }
        let device = self.disk().meta(inode).device;
        let available = self.disk().available(device);
        let reached = self.disk().content(inode)?.reach(end, available);
        let now = self.now;
        self.disk().alter(inode, now, |content| content.allocate(reached))?;
        if reached < end { Err(Errno::NO_SPACE) } else { Ok(()) }
    }

    fn reflink(&mut self, from: u64, to: u64) -> Result<(), Errno> {
        if !self.disk().options().reflink {
            return Err(Errno::NOT_SUPPORTED);
        }
        if self.disk().meta(from).device != self.disk().meta(to).device {
            return Err(Errno::CROSSES);
        }
        let source = self.disk().content(from)?.clone();
        let now = self.now;
        self.disk().alter(to, now, |content| content.share(&source))
    }

    fn names(&mut self, ask: &Ask) -> Result<(), Errno> {
        let Self { node, rng, now } = self;
        let at = |raw: i32| node.inode(raw);
        match ask {
            Ask::Rename { from_dir, from, to_dir, to, taken } => {
                let (from, to) = ((at(*from_dir)?, &from[..]), (at(*to_dir)?, &to[..]));
                match taken {
                    Taken::Replaced => node.disk.rename(from, to, rng),
                    Taken::Kept => node.disk.rename_new(from, to, rng),
                    Taken::Exchanged => node.disk.exchange(from, to, rng),
                }
            }
            Ask::Link { from_dir, from, to_dir, to } => {
                let (from, to) = ((at(*from_dir)?, &from[..]), (at(*to_dir)?, &to[..]));
                node.disk.link(from, to, rng)
            }
            Ask::Unlink { dir, name } => {
                let dir = at(*dir)?;
                node.disk.unlink(dir, name, rng)
            }
            Ask::RemoveDir { dir, name } => {
                let dir = at(*dir)?;
                node.disk.remove_dir(dir, name, rng)
            }
            Ask::MakeDir { dir, name } => {
                let dir = at(*dir)?;
                node.disk.make_dir(dir, name, *now, rng).map(|_| ())
            }
            other => unreachable!("an operation on names: {other:?}"),
        }
    }

    fn question(&mut self, ask: &Ask) -> Result<Outcome, Errno> {
        match ask {
            Ask::Stat { file } => {
                let inode = self.node.inode(*file)?;
                Ok(Outcome::Stat(self.disk().stat(inode)))
            }
            Ask::StatName { dir, name } => {
                let dir = self.node.inode(*dir)?;
                let inode = self.disk().named(dir, name)?;
                Ok(Outcome::Stat(self.disk().stat(inode)))
            }
            Ask::StatNames { dir, names } => {
                let dir = self.node.inode(*dir)?;
                let stat_of =
                    |name: &Vec<u8>| self.disk().named(dir, name).map(|inode| self.disk().stat(inode));
                Ok(Outcome::Stats(names.iter().map(stat_of).collect()))
            }
            Ask::List { dir } => {
                let inode = self.node.inode(*dir)?;
                self.disk().list(inode).map(Outcome::Names)
            }
            Ask::Space { dir } => {
                let inode = self.node.inode(*dir)?;
                Ok(Outcome::Space(self.disk().space(inode)))
            }
            Ask::Resident { .. } if !self.disk().options().cachestat => Err(Errno::NOT_SUPPORTED),
            Ask::Resident { file, offset, bytes } => {
                let inode = self.node.inode(*file)?;
                let resident = self.disk().content(inode)?.resident(*offset, *bytes);
                Ok(Outcome::Count(resident as usize))
            }
            Ask::Map { file, bytes } => {
                let inode = self.node.inode(*file)?;
                let mut memory = vec![0; *bytes as usize].into_boxed_slice();
                self.disk().content(inode)?.read(0, &mut memory, false)?;
                Ok(Outcome::Mapped(Mapping::owned(memory)))
            }
            other => unreachable!("a question to a disk: {other:?}"),
        }
    }
}
