//! What other io_uring programs stumbled over (kernel-notes/cancellation.md), each as a test.

use std::future::Future;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use ringway::ids::Nanos;
use ringway::uring::{
    Buffer, Core, Errno, KernelOptions, Listener, OpenOptions, Priority, Socket, SocketOptions, deadline,
    sleep, timeout,
};

use super::sockets::pair;
use super::{core, core_with, drive, on_core, open, scratch};

const NEW: OpenOptions =
    OpenOptions { write: true, create: true, exclusive: false, direct: false, directory: false };

/// Polls a future once, so that its operation is with the kernel, and gives it up.
fn start_and_give_up(future: impl Future) {
    let ready = pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(!ready, "it had nothing to wait for");
}

#[test]
fn a_receive_that_was_given_up_takes_no_bytes_of_the_next_connection() {
    on_core(|core| async move {
        for round in 0..100_u8 {
            let (one, two) = pair(&core).await;
            let buffer = core.slab().take().await;
            start_and_give_up(two.receive(buffer, 0..65536));
            drop((one, two));
            // The numbers of the closed descriptors are the next to be given out.
            let (one, two) = pair(&core).await;
            let bytes = [round; 3000];
            let (sent, _) = one.send_all(Buffer::from_bytes(&bytes), 0..3000, false).await;
            sent.expect("connected");
            let limit = core.now().plus(Nanos::from_secs(5));
            let (count, got) = deadline(limit, two.receive_all(Buffer::heap(3000), 0..3000))
                .await
                .expect("no byte was eaten");
            assert_eq!(count, Ok(3000));
            assert_eq!(got.memory()[..3000], bytes);
        }
        sleep(Nanos::from_millis(10)).await;
        assert_eq!(core.slab().free(), 8, "every buffer of a given-up receive came home");
    });
}

#[test]
fn a_descriptor_stays_open_while_an_operation_uses_it() {
    on_core(|core| async move {
        let (one, two) = pair(&core).await;
        let theirs = two.clone();
        let receiving =
            core.spawn(Priority::Urgent, async move { theirs.receive(Buffer::heap(1), 0..1).await.0 });
        sleep(Nanos::from_millis(5)).await;
        drop(two);
        let limit = Nanos::from_millis(30);
        let early = timeout(limit, one.receive(Buffer::heap(1), 0..1)).await;
        assert!(early.is_err(), "the last handle is the receive's");
        receiving.abort();
        let (end, _) =
            timeout(Nanos::from_secs(5), one.receive(Buffer::heap(1), 0..1)).await.expect("closed now");
        assert_eq!(end, Ok(0));
    });
}

#[test]
fn a_file_that_is_closed_aside_is_closed() {
    let folder = scratch();
    let path = folder.path().to_owned();
    let is_open = move || {
        let all = std::fs::read_dir("/proc/self/fd").expect("it is there").flatten();
        let to = all.filter_map(|fd| std::fs::read_link(fd.path()).ok());
        to.filter(|to| to.starts_with(&path) && to.to_string_lossy().ends_with("large (deleted)")).count()
    };
    on_core(|_core| async move {
        let dir = open(&folder).await;
        let file = dir.open("large", NEW).await.expect("room");
        let (done, _) = file.write_at(Buffer::from_bytes(&[1; 1 << 20]), 0..1 << 20, 0).await;
        done.expect("written");
        file.close_aside();
        let second = file.clone();
        dir.remove("large").await.expect("removed");
        drop(file);
        sleep(Nanos::from_millis(20)).await;
        assert_eq!(is_open(), 1, "another has it still");
        drop(second);
        let closed = async {
            while is_open() > 0 {
                sleep(Nanos::from_millis(1)).await;
            }
        };
        timeout(Nanos::from_secs(5), closed).await.expect("closed");
    });
}

#[test]
fn writes_that_are_given_up_with_their_file_still_land() {
    let folder = scratch();
    let folder = on_core(|core| async move {
        let dir = open(&folder).await;
        for index in 0..50 {
            let file = dir.open(&format!("f{index}"), NEW).await.expect("room");
            let mut buffer = core.slab().take().await;
            buffer.memory_mut().fill(index);
            let mut writing = Box::pin(file.write_at(buffer, 0..65536, 0));
            let _started = writing.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            drop(writing);
            drop(file);
        }
        folder
    });
    for index in 0..50_u8 {
        let bytes = std::fs::read(folder.path().join(format!("f{index}"))).expect("it was made");
        assert!(bytes.len() == 65536 && bytes.iter().all(|byte| *byte == index), "f{index}");
    }
}

#[test]
fn a_ring_that_is_dropped_with_operations_in_flight_waits_for_them_and_closes_what_it_opened() {
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a dial comes");
            let mut byte = [0];
            std::io::Read::read(&mut stream, &mut byte).map_err(|error| error.kind())
        });
        let core = core();
        let socket = drive(&core, Socket::connect(address, SocketOptions::default())).expect("it listens");
        for _ in 0..4 {
            let (socket, buffer) = (socket.clone(), core.slab().try_take().expect("eight are free"));
            let _task = core.spawn(Priority::Bulk, async move { socket.receive_all(buffer, 0..65536).await });
        }
        drive(&core, async { sleep(Nanos::from_millis(10)).await });
        let before = Instant::now();
        drop(socket);
        // No `shut_down`: the ring itself has to see to it.
        drop(core);
        assert!(before.elapsed() < Duration::from_secs(2));
        let seen = peer.join().expect("it ends");
        assert!(matches!(seen, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{seen:?}");
        address
    };
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_zero_copy_buffer_that_was_given_back_can_be_written_over() {
    on_core(|core| async move {
        if !core.probe().uses("zero-copy send") {
            return super::skip("zero-copy send");
        }
        let (one, two) = pair(&core).await;
        for round in 0..8_u8 {
            let mut buffer = core.slab().take().await;
            buffer.memory_mut().fill(round);
            let (sent, mut buffer) = one.send_zero_copy(buffer, 0..8192).await;
            sent.expect("connected");
            buffer.memory_mut().fill(0xEE);
        }
        for round in 0..8_u8 {
            let (count, got) = two.receive_all(Buffer::heap(8192), 0..8192).await;
            assert_eq!(count, Ok(8192));
            assert!(got.memory()[..8192].iter().all(|byte| *byte == round), "round {round}");
        }
    });
}

#[test]
fn more_operations_than_both_queues_hold_all_complete() {
    let folder = scratch();
    let core = core_with(KernelOptions { entries: 8, completions: 8, ..KernelOptions::default() });
    let inner = core.clone();
    drive(&core, async move {
        let dir = open(&folder).await;
        let file = dir.open("f", NEW).await.expect("room");
        let (written, _) = file.write_at(Buffer::heap(4096), 0..4096, 0).await;
        written.expect("room");
        let mut tasks = Vec::new();
        for _ in 0..2000 {
            let file = file.clone();
            tasks.push(inner.spawn(Priority::Bulk, async move {
                let (count, _) = file.read_at(Buffer::heap(64), 0..64, 0).await;
                assert_eq!(count, Ok(64));
                file.stat().await.expect("open");
            }));
        }
        for task in tasks {
            task.await.expect("it ran to its end");
        }
        folder
    });
    core.shut_down();
}

/// (sets of flags left out, deferred task work, submission without an array)
const LESSER_RINGS: [(usize, bool, bool); 4] =
    [(0, true, true), (1, true, false), (2, false, false), (3, false, false)];

#[test]
fn rings_of_older_kernels_do_the_same_and_the_probe_says_which_they_are() {
    for (left_out, deferred, no_array) in LESSER_RINGS {
        let core = core_with(KernelOptions { left_out, ..KernelOptions::default() });
        let probe = core.probe().clone();
        if left_out > 0 {
            assert_eq!(probe.uses("deferred task work"), deferred, "{probe}");
            assert_eq!(probe.uses("submission without an array"), no_array, "{probe}");
        }
        let inner = core.clone();
        drive(&core, async move {
            let (one, two) = pair(&inner).await;
            let receiving =
                inner.spawn(Priority::Urgent, async move { two.receive_all(Buffer::heap(9), 0..9).await.0 });
            sleep(Nanos::from_millis(5)).await;
            let (sent, _) = one.send_all(Buffer::from_bytes(b"nine long"), 0..9, false).await;
            sent.expect("connected");
            assert_eq!(receiving.await, Some(Ok(9)), "{left_out} left out");
        });
        core.shut_down();
    }
}

const CHILD: &str = "RINGWAY_TEST_CHILD_HOLDS";

/// Not a test by itself: the process that the next test kills.
#[test]
fn child_that_holds_a_lock_and_a_port() {
    let Ok(folder) = std::env::var(CHILD) else { return };
    let core = core();
    drive(&core, async move {
        let dir = ringway::uring::Dir::open_root(&folder).await.expect("the parent made it");
        let file = dir.open("lock", NEW).await.expect("the parent made it");
        file.lock().await.expect("nobody else is here");
        let listener = Listener::bind(([127, 0, 0, 1], 0).into(), 4).await.expect("loopback");
        let port = listener.address().port().to_string();
        let (written, _) = file.write_at(Buffer::from_bytes(port.as_bytes()), 0..port.len(), 0).await;
        written.expect("room");
        let (_, _) = listener.accept().await.expect("never");
    });
}

async fn lock_again(folder: &tempfile::TempDir, core: &Core) -> u32 {
    let dir = open(folder).await;
    let file = dir.open("lock", NEW).await.expect("it is there");
    let limit = core.now().plus(Nanos::from_secs(1));
    let mut attempts = 1;
    while let Err(errno) = file.lock().await {
        assert_eq!(errno, Errno::AGAIN);
        assert!(core.now() < limit, "the lock of a killed process is free within a second");
        attempts += 1;
        sleep(Nanos::from_millis(1)).await;
    }
    attempts
}

#[test]
fn lock_and_port_of_a_killed_process_are_taken_again_within_a_second() {
    let folder = scratch();
    let child = Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "hazards::child_that_holds_a_lock_and_a_port"])
        .env(CHILD, folder.path())
        .stdout(Stdio::null())
        .spawn();
    let mut child = child.expect("the binary runs");
    let lock = folder.path().join("lock");
    let begun = Instant::now();
    let port = loop {
        match std::fs::read_to_string(&lock).ok().and_then(|text| text.parse::<u16>().ok()) {
            Some(port) => break port,
            None if begun.elapsed() < Duration::from_secs(20) => std::thread::sleep(Duration::from_millis(5)),
            None => panic!("the child did not come up"),
        }
    };
    on_core(|core| async move {
        let file = open(&folder).await.open("lock", NEW).await.expect("it is there");
        assert_eq!(file.lock().await, Err(Errno::AGAIN), "the child has it");
        child.kill().expect("ours");
        child.wait().expect("ours");
        drop(file);
        let attempts = lock_again(&folder, &core).await;
        println!("the lock was free at attempt {attempts}");
        let limit = core.now().plus(Nanos::from_secs(1));
        while let Err(errno) = Listener::bind(([127, 0, 0, 1], port).into(), 4).await {
            assert_eq!(errno, Errno::ADDRESS_IN_USE);
            assert!(core.now() < limit, "the port of a killed process is free within a second");
            sleep(Nanos::from_millis(1)).await;
        }
    });
}
