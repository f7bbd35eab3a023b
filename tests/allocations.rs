//! The data path allocates for a connection and for a segment, and not for a chunk: a counting allocator, on the real
//! kernel. What a pull of many chunks allocates beyond one of few is what its chunks cost. Over loopback, where they
//! leave the page cache by reference; a zero-copy send has a task of its own for its notification.
#![expect(unsafe_code, reason = "an allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use ringway::engine::{PullOptions, ServeOptions, pull, serve};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const CHUNK_BYTES: usize = 1 << 20;
const FEW: usize = 16;
const MANY: usize = 112;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
    /// What it was when the source listened.
    static READY: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of this thread so far.
fn count() -> u64 {
    COUNT.with(Cell::get)
}

fn one_more() {
    // A thread that ends has no counter any more.
    let _ended = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is the system allocator's; beside it a number of this thread is changed, without allocating.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        one_more();
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        one_more();
        // SAFETY: the caller's promises are passed on as they are.
        unsafe { System.realloc(place, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of the target and of the source while one segment of so many chunks is pulled.
fn allocations(dir: &Path, chunks: usize) -> (u64, u64) {
    let source = dir.join(format!("source-{chunks}"));
    std::fs::create_dir(&source).expect("a folder");
    let content: Vec<u8> = (0..chunks * CHUNK_BYTES).map(|place| ((place * 31) >> 9) as u8).collect();
    std::fs::write(source.join("segment"), content).expect("a file");
    static STOP: AtomicBool = AtomicBool::new(false);
    STOP.store(false, Ordering::Relaxed);
    let (tell, told) = mpsc::channel::<SocketAddr>();
    let serving = thread::spawn(move || {
        let options =
            ServeOptions { dir: source, listen: "127.0.0.1:0".parse().expect("an address"), cache: None };
        let ready = move |address| {
            READY.with(|at| at.set(count()));
            tell.send(address).expect("somebody waits");
        };
        serve(&options, SECRET, &STOP, &|_| {}, ready).expect("served");
        count() - READY.with(Cell::get)
    });
    let address = told.recv().expect("it serves");
    let options = PullOptions {
        address,
        dest: dir.join(format!("target-{chunks}")),
        delete: false,
        wait_for_space: false,
        cores: NonZeroU16::new(1),
    };
    let pulling = thread::spawn(move || {
        let never = AtomicBool::new(false);
        pull(options, SECRET, &never, |_| {}).expect("pulled");
        count()
    });
    let target = pulling.join().expect("the pull ends");
    STOP.store(true, Ordering::Relaxed);
    (target, serving.join().expect("the server ends"))
}

#[test]
fn a_chunk_is_received_verified_written_and_sent_without_an_allocation() {
    let dir = tempfile::tempdir().expect("a directory");
    let (few, many) = (allocations(dir.path(), FEW), allocations(dir.path(), MANY));
    let chunk = |few: u64, many: u64| (many as f64 - few as f64) / (MANY - FEW) as f64;
    let (target, source) = (chunk(few.0, many.0), chunk(few.1, many.1));
    println!("allocations a chunk: target {target:.2}, source {source:.2}; of a pull of few {few:?}");
    assert!(target < 0.25 && source < 0.25, "target {target:.2}, source {source:.2}");
}
