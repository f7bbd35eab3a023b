//! The pipeline of the roofline: one thread sends files by sendfile(2), one receives with one ring, hashes what has
//! just come, and writes it past the page cache from the same registered buffer while the next chunk comes.

#![expect(unsafe_code, reason = "a bare ring, without what makes one safe, is what is measured")]
#![expect(
    clippy::as_conversions,
    reason = "sizes of at most a chunk, numbers of at most a few thousand files"
)]

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr;

use io_uring::{IoUring, opcode, squeue, types};
use ringway::digest::{Kernel, chunk_digest};
use ringway::limits::CHUNK_BYTES;

use super::{Failure, Source};

/// Buffers of a chunk each. One is received into, one is hashed, the rest are being written.
const BUFFERS: usize = 8;
/// The kind of an operation, above the buffer's or the file's number in its user data.
const RECEIVED: u64 = 1 << 32;
const WRITTEN: u64 = 2 << 32;
const SYNCED: u64 = 3 << 32;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn cubic(socket: &TcpStream) -> io::Result<()> {
    let name = b"cubic";
    // SAFETY: the name lives through the call and is as long as is said.
    checked(unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_CONGESTION, name.as_ptr().cast(), 5)
    })?;
    Ok(())
}

/// Copies all files and makes them durable.
pub fn copy(source: &Path, target: &Path, files: &[Source], kernel: Kernel) -> Result<(), Failure> {
    fs::create_dir(target)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let to = listener.local_addr()?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || send(source, files, &listener));
        let socket = TcpStream::connect(to)?;
        Receiver::new(target, files, kernel, &socket)?.run()?;
        sender.join().map_err(|_| "the sender panicked")?
    })
}

fn send(source: &Path, files: &[Source], listener: &TcpListener) -> Result<(), Failure> {
    let (socket, _) = listener.accept()?;
    cubic(&socket)?;
    for file in files {
        let open = File::open(source.join(&file.name))?;
        let mut left = file.bytes;
        while left > 0 {
            // SAFETY: both descriptors are open, and the file's own offset is used.
            let sent = unsafe { libc::sendfile(socket.as_raw_fd(), open.as_raw_fd(), ptr::null_mut(), left) };
            left -= usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        }
    }
    Ok(())
}

/// Page-aligned memory of all buffers, on huge pages where they are to be had.
struct Slab(*mut u8);

impl Slab {
    fn new() -> io::Result<Self> {
        let bytes = BUFFERS * CHUNK_BYTES;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping touches no memory that there is.
        let memory = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: advice on a mapping of our own; a refusal changes nothing.
        unsafe { libc::madvise(memory, bytes, libc::MADV_HUGEPAGE) };
        Ok(Self(memory.cast()))
    }

    fn buffer(&self, index: usize) -> *mut u8 {
        assert!(index < BUFFERS);
        // SAFETY: the index is within the mapping.
        unsafe { self.0.add(index * CHUNK_BYTES) }
    }

    /// The content of a buffer that no operation has.
    fn content(&self, index: usize, bytes: usize) -> &[u8] {
        assert!(bytes <= CHUNK_BYTES);
        // SAFETY: within the mapping, and the kernel does not write there now.
        unsafe { std::slice::from_raw_parts(self.buffer(index), bytes) }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; the ring, which had it registered, is dropped before.
        unsafe { libc::munmap(self.0.cast(), BUFFERS * CHUNK_BYTES) };
    }
}

/// The chunk that a buffer is for.
#[derive(Clone, Copy, Default)]
struct Place {
    file: usize,
    chunk: usize,
    bytes: usize,
}

struct Receiver<'a> {
    ring: IoUring,
    slab: Slab,
    target: &'a Path,
    folder: File,
    files: &'a [Source],
    kernel: Kernel,
    socket: i32,
    /// Of each file that is begun: the open file, and the chunks that are not written yet.
    open: Vec<(File, usize)>,
    free: VecDeque<usize>,
    places: [Place; BUFFERS],
    next: Place,
    landed: usize,
}

impl<'a> Receiver<'a> {
    fn new(
        target: &'a Path,
        files: &'a [Source],
        kernel: Kernel,
        socket: &TcpStream,
    ) -> Result<Self, Failure> {
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(64)?;
        let slab = Slab::new()?;
        let buffers: Vec<libc::iovec> = (0..BUFFERS)
            .map(|index| libc::iovec { iov_base: slab.buffer(index).cast(), iov_len: CHUNK_BYTES })
            .collect();
        // SAFETY: the slab lives as long as the ring, in the same structure, and is dropped after it.
        unsafe { ring.submitter().register_buffers(&buffers)? };
        Ok(Self {
            ring,
            slab,
            target,
            folder: File::open(target)?,
            files,
            kernel,
            socket: socket.as_raw_fd(),
            open: Vec::with_capacity(files.len()),
            free: (0..BUFFERS).collect(),
            places: [Place::default(); BUFFERS],
            next: Place::default(),
            landed: 0,
        })
    }

    fn push(&mut self, entry: squeue::Entry, kind: u64, index: usize) -> Result<(), Failure> {
        let entry = entry.user_data(kind | index as u64);
        // SAFETY: buffers and files of every entry live as long as the ring.
        unsafe { self.ring.submission().push(&entry)? };
        Ok(())
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut receiving = false;
        while self.landed < self.files.len() {
            receiving = receiving || self.receive()?;
            self.ring.submit_and_wait(1)?;
            let done: Vec<(u64, i32)> =
                self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
            for (data, result) in done {
                let count = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))?;
                let index = (data & u64::from(u32::MAX)) as usize;
                match data - index as u64 {
                    RECEIVED => {
                        receiving = self.receive()?;
                        self.ring.submit()?;
                        self.write(index, count)?;
                    }
                    WRITTEN => self.written(index, count)?,
                    _ => self.land(index)?,
                }
            }
        }
        self.folder.sync_all()?;
        Ok(())
    }

    /// Begins the next chunk, if there is one and a buffer for it.
    fn receive(&mut self) -> Result<bool, Failure> {
        let Some(file) = self.files.get(self.next.file) else { return Ok(false) };
        let Some(index) = self.free.pop_front() else { return Ok(false) };
        if self.next.chunk == 0 {
            self.create(file)?;
        }
        let bytes = CHUNK_BYTES.min(file.bytes - self.next.chunk * CHUNK_BYTES);
        self.places[index] = Place { bytes, ..self.next };
        self.next.chunk += 1;
        if self.next.chunk == file.digests.len() {
            self.next = Place { file: self.next.file + 1, chunk: 0, bytes: 0 };
        }
        let receive = opcode::Recv::new(types::Fd(self.socket), self.slab.buffer(index), bytes as u32)
            .flags(libc::MSG_WAITALL)
            .build();
        self.push(receive, RECEIVED, index)?;
        Ok(true)
    }

    fn create(&mut self, file: &Source) -> Result<(), Failure> {
        let path = self.target.join(format!("{}.staged", file.name));
        let open = OpenOptions::new().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(path)?;
        // SAFETY: takes no memory.
        checked(unsafe { libc::fallocate(open.as_raw_fd(), 0, 0, i64::try_from(file.bytes)?) })?;
        self.open.push((open, file.digests.len()));
        Ok(())
    }

    fn write(&mut self, index: usize, count: usize) -> Result<(), Failure> {
        let place = self.places[index];
        if count != place.bytes {
            return Err(format!("{count} bytes received of {}", place.bytes).into());
        }
        let found = chunk_digest(self.kernel, self.slab.content(index, count));
        if found != self.files[place.file].digests[place.chunk] {
            return Err("another digest".into());
        }
        let file = types::Fd(self.open[place.file].0.as_raw_fd());
        let write =
            opcode::WriteFixed::new(file, self.slab.buffer(index), count as u32, u16::try_from(index)?)
                .offset((place.chunk * CHUNK_BYTES) as u64)
                .build();
        self.push(write, WRITTEN, index)?;
        self.ring.submit()?;
        Ok(())
    }

    fn written(&mut self, index: usize, count: usize) -> Result<(), Failure> {
        let place = self.places[index];
        if count != place.bytes {
            return Err(format!("{count} bytes written of {}", place.bytes).into());
        }
        self.free.push_back(index);
        let (file, left) = &mut self.open[place.file];
        *left -= 1;
        if *left == 0 {
            let sync =
                opcode::Fsync::new(types::Fd(file.as_raw_fd())).flags(types::FsyncFlags::DATASYNC).build();
            self.push(sync, SYNCED, place.file)?;
        }
        Ok(())
    }

    fn land(&mut self, index: usize) -> Result<(), Failure> {
        let name = &self.files[index].name;
        fs::rename(self.target.join(format!("{name}.staged")), self.target.join(name))?;
        self.landed += 1;
        Ok(())
    }
}
