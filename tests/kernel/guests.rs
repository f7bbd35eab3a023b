//! Guests on a host that is nothing but a thread: what kernel-notes/guest-runtimes.md relies on, without any runtime.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::{Command, Output};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use ringway::ids::Nanos;
use ringway::limits::OPERATIONS_IN_FLIGHT_MAX;
use ringway::uring::{
    Buffer, Core, Guest, Hosting, KernelOptions, OpenOptions, Priority, SignalReads, block_on, mailbox, sleep,
};

use super::{core, core_with, open, scratch};

/// Looks at the signal every 100 us, and at nothing else.
struct Plain(File);

impl Hosting for Plain {
    const READS: SignalReads = SignalReads::Return;

    fn new(signal: OwnedFd) -> io::Result<Self> {
        Ok(Self(signal.into()))
    }

    async fn wait(&mut self, longest: Option<Nanos>) -> io::Result<()> {
        let end = longest.map(|longest| Instant::now() + Duration::from(longest));
        let stuck = Instant::now() + Duration::from_secs(60);
        while end.is_none_or(|end| Instant::now() < end) {
            match self.0.read(&mut [0; 8]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(Instant::now() < stuck, "a signal was lost");
                    thread::sleep(Duration::from_micros(100));
                }
                taken => return taken.map(|_count| ()),
            }
        }
        Ok(())
    }

    async fn give_way(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn guest(core: Core) -> Guest {
    Guest::new(core, 0, Nanos::MILLISECOND)
}

#[test]
fn a_guest_hears_other_threads_by_its_signal_alone_with_the_flags_of_every_kernel() {
    for left_out in 0..4 {
        let (to_guest, mut from_me) = mailbox(1);
        let (to_me, mut from_guest) = mailbox(1);
        let thread = thread::spawn(move || {
            let guest = guest(core_with(KernelOptions { left_out, ..KernelOptions::default() }));
            let work = guest.core().spawn(Priority::Urgent, async move {
                while let Some(number) = from_me.receive().await {
                    to_me.send(number + 1_u32).await.expect("somebody listens");
                }
            });
            block_on(guest.drive::<Plain>(work))
        });
        for round in 0..500 {
            block_on(to_guest.send(round)).expect("the guest runs");
            assert_eq!(block_on(from_guest.receive()), Some(round + 1));
        }
        drop(to_guest);
        thread.join().expect("no panic").expect("it is waited for");
    }
}

#[test]
fn a_guest_is_told_of_completions_of_the_helper_and_of_time() {
    let dir = scratch();
    std::fs::write(dir.path().join("file"), [7; 4096]).expect("written");
    let guest = guest(core());
    let began = Instant::now();
    let work = guest.core().spawn(Priority::Urgent, async move {
        for _ in 0..20 {
            let folder = open(&dir).await;
            assert_eq!(folder.list().await.expect("its names").len(), 1, "the helper lists");
            sleep(Nanos::from_millis(5)).await;
        }
    });
    block_on(guest.drive::<Plain>(work)).expect("it is waited for");
    assert!(began.elapsed() >= Duration::from_millis(100));
}

/// What waits for a place is handed to the ring when others have completed: behind the last look of a turn, too.
#[test]
fn a_guest_with_more_operations_than_may_be_in_flight_completes_them_all() {
    const READ: OpenOptions =
        OpenOptions { write: false, create: false, exclusive: false, direct: false, directory: false };
    let dir = scratch();
    std::fs::write(dir.path().join("file"), [7; 4096]).expect("written");
    let guest = guest(core());
    let work = guest.core().spawn(Priority::Urgent, async move {
        let file = Rc::new(open(&dir).await.open("file", READ).await.expect("there"));
        let read = |_| {
            let file = Rc::clone(&file);
            let read = async move { file.read_at(Buffer::heap(16), 0..16, 0).await.0.is_ok() };
            Core::current().spawn(Priority::Bulk, read)
        };
        let tasks: Vec<_> = (0..3 * OPERATIONS_IN_FLIGHT_MAX).map(read).collect();
        for task in tasks {
            assert_eq!(task.await, Some(true));
        }
    });
    block_on(guest.drive::<Plain>(work)).expect("it is waited for");
}

/// A receive that nobody answers is in the kernel's hands, and the host gives up in the middle of its wait.
#[test]
fn a_guest_whose_host_gives_up_leaves_nothing_with_the_kernel() {
    let guest = guest(core());
    let work = guest.core().spawn(Priority::Urgent, async {
        let (one, _two) = super::sockets::pair(&Core::current()).await;
        let _never = one.receive(Buffer::heap(16), 0..16).await;
    });
    struct Stops;
    impl Hosting for Stops {
        const READS: SignalReads = SignalReads::Wait;

        fn new(_signal: OwnedFd) -> io::Result<Self> {
            Ok(Self)
        }

        async fn wait(&mut self, _longest: Option<Nanos>) -> io::Result<()> {
            Err(ErrorKind::Other.into())
        }

        async fn give_way(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let began = Instant::now();
    let driven = block_on(guest.drive::<Stops>(work));
    assert!(driven.is_err() && began.elapsed() < Duration::from_secs(2), "its core was shut down");
}

const CHILD: &str = "RINGWAY_TEST_GUEST";

/// Panics when it is dropped.
struct Burst;

impl Drop for Burst {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

/// A guest with a receive in the kernel's hands, and a task that holds something.
fn busy(held: impl Sized + 'static) -> Guest {
    let guest = guest(core());
    let receive = async {
        let (one, _two) = super::sockets::pair(&Core::current()).await;
        let _never = one.receive(Buffer::heap(16), 0..16).await;
    };
    drop(guest.core().spawn(Priority::Urgent, receive));
    let hold = async move {
        let _held = held;
        std::future::pending::<()>().await;
    };
    drop(guest.core().spawn(Priority::Urgent, hold));
    for _ in 0..10 {
        guest.core().turn();
    }
    guest
}

#[test]
fn child_whose_guest_panics_while_it_is_dropped() {
    match std::env::var(CHILD).as_deref() {
        Ok("guest") => {
            let guest = busy(Burst);
            let _caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(guest)));
            println!("it went on");
        }
        Ok("host") => {
            let guest = busy(());
            let host = move || {
                let _guest = guest;
                panic!("on purpose");
            };
            let caught: Result<(), _> = std::panic::catch_unwind(std::panic::AssertUnwindSafe(host));
            println!("it went on: {}", caught.is_err());
        }
        _ => {}
    }
}

fn child(whose: &str) -> Output {
    Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "guests::child_whose_guest_panics_while_it_is_dropped", "--nocapture"])
        .env(CHILD, whose)
        .output()
        .expect("the binary runs")
}

/// Once the panic was the host's to catch, and what the kernel was still to write to was given back meanwhile.
#[test]
fn a_panic_in_the_shutdown_of_a_dropped_guest_ends_the_process_and_one_of_its_host_does_not() {
    let guest = child("guest");
    let text = String::from_utf8_lossy(&guest.stderr);
    assert!(!guest.status.success(), "{text}");
    assert!(text.contains("on purpose") && text.contains("ringway: core 0 panicked"), "{text}");
    assert!(!String::from_utf8_lossy(&guest.stdout).contains("it went on"));
    let host = child("host");
    let text = String::from_utf8_lossy(&host.stdout);
    assert!(host.status.success() && text.contains("it went on: true"), "{text}");
}
