//! Pinned threads: cores of their own that talk by mailbox, stop when told, and end the process when they panic.

use std::process::Command;
use std::time::{Duration, Instant};

use ringway::uring::{
    HostError, KernelOptions, KernelRing, MailReceiver, MailSender, Priority, RingError, block_on, mailbox,
    pinned,
};

use super::core;

fn echo(
    mut from: MailReceiver<u32>,
    to: MailSender<u32>,
) -> impl FnOnce() -> Result<ringway::uring::Core, RingError> + Send {
    move || {
        let core = core();
        let _task = core.spawn(Priority::Urgent, async move {
            while let Some(number) = from.receive().await {
                to.send(number + 1).await.expect("somebody listens");
            }
        });
        Ok(core)
    }
}

#[test]
fn two_cores_and_a_plain_thread_pass_messages_and_lose_no_wake() {
    let (to_one, one) = mailbox(1);
    let (to_two, two) = mailbox(1);
    let (to_me, mut me) = mailbox(1);
    let first = pinned(0, Some(0), echo(one, to_two)).expect("there is a CPU");
    let second = pinned(1, None, echo(two, to_me)).expect("a thread");
    for round in 0..5000 {
        block_on(to_one.send(round)).expect("the first core runs");
        assert_eq!(block_on(me.receive()), Some(round + 2));
    }
    assert!(first.is_running() && second.is_running());
    let before = Instant::now();
    first.stop();
    assert_eq!(block_on(to_one.send(0)), Err(0), "its task went with it");
    second.stop();
    assert!(before.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_cpu_that_is_not_there_and_a_core_that_cannot_be_made_are_errors() {
    let made = || Ok(core());
    assert!(matches!(pinned(0, Some(1 << 20), made), Err(HostError::Cpu { cpu: 1_048_576, .. })));
    assert!(matches!(pinned(0, Some(8000), made), Err(HostError::Cpu { cpu: 8000, .. })));
    let missing =
        || KernelRing::open(KernelOptions { entries: 0, ..KernelOptions::default() }).map(|_| core());
    assert!(matches!(pinned(0, None, missing), Err(HostError::Ring(RingError::Call { .. }))));
}

const CHILD: &str = "RINGWAY_TEST_CHILD_PANICS";

/// Not a test by itself: the process that the next test looks at.
#[test]
fn child_whose_core_panics() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let core = || {
        let core = core();
        let _task = core.spawn(Priority::Urgent, async { panic!("on purpose") });
        Ok(core)
    };
    let _core = pinned(3, None, core).expect("a thread");
    std::thread::sleep(Duration::from_secs(30));
}

#[test]
fn a_panic_on_a_core_ends_the_process_and_says_which_core() {
    let child = Command::new(std::env::current_exe().expect("a test binary"))
        .args(["--exact", "hosts::child_whose_core_panics", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .expect("the binary runs");
    let text = String::from_utf8_lossy(&child.stderr);
    assert!(!child.status.success());
    assert!(text.contains("on purpose") && text.contains("ringway: core 3 panicked"), "{text}");
}
