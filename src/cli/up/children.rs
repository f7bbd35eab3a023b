//! The nodes' processes. They end with this one, however it ends: each watches its standard input, a pipe from here.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::plan::{Plan, Seat};
use super::run::Voice;
use crate::cli::exit::{Exit, Failure};

/// How long a node may take to stop before it is killed.
const STOP_TIME: Duration = Duration::from_secs(20);
/// How long the nodes of a start before this one may keep their ports.
const PORT_TIME: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The processes.
pub(super) struct Children(Vec<Running>);

struct Running {
    node: u64,
    child: Child,
    ended: Option<ExitStatus>,
}

/// A node's process that is not there any more.
pub(super) struct Ended {
    pub(super) node: u64,
    pub(super) status: ExitStatus,
}

impl Children {
    /// Starts a process for every node; node 1 founds the cluster if nobody has.
    pub(super) fn start(plan: &Plan, voice: Voice, stop: &AtomicBool) -> Result<Self, Failure> {
        wait_for_ports(plan, stop)?;
        let mut children = Self(Vec::new());
        for seat in &plan.seats {
            // If one cannot be started, the others end with `children`.
            children.0.push(Running { node: seat.node, child: spawn(seat, voice)?, ended: None });
        }
        Ok(children)
    }

    /// Processes that have ended since this was last asked.
    pub(super) fn ended(&mut self) -> Vec<Ended> {
        let running = self.0.iter_mut().filter(|running| running.ended.is_none());
        running
            .filter_map(|running| {
                running.ended = running.child.try_wait().ok().flatten();
                running.ended.map(|status| Ended { node: running.node, status })
            })
            .collect()
    }

    /// Asks all to stop and waits until they have.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        self.0.iter_mut().for_each(|running| drop(running.child.stdin.take()));
        let until = Instant::now() + STOP_TIME;
        let mut failed = Ok(());
        while self.0.iter().any(|running| running.ended.is_none()) {
            for ended in self.ended() {
                if !ended.status.success() {
                    failed = Err(ended.failure());
                }
            }
            if Instant::now() >= until {
                let stuck: Vec<_> = self
                    .0
                    .iter()
                    .filter(|running| running.ended.is_none())
                    .map(|running| running.node)
                    .collect();
                // They are killed by `drop`.
                return Err(Failure::failed(format!("nodes {stuck:?} did not stop in time and are killed")));
            }
            thread::sleep(PAUSE);
        }
        failed
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for running in self.0.iter_mut().filter(|running| running.ended.is_none()) {
            let _ended_already = running.child.kill();
            let _reaped = running.child.wait();
        }
    }
}

impl Ended {
    /// As the end of this command: the node has said why on standard error.
    pub(super) fn failure(&self) -> Failure {
        let exit = match self.status.code() {
            Some(3) => Exit::Config,
            Some(4) => Exit::Auth,
            Some(5) => Exit::DiskFull,
            Some(6) => Exit::Unreachable,
            Some(7) => Exit::Damaged,
            _ => Exit::Failed,
        };
        Failure::new(exit, format!("node {} has ended ({})", self.node, self.status))
    }
}

fn spawn(seat: &Seat, voice: Voice) -> Result<Child, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["node", "--stop-with-stdin", "--config"]).arg(&seat.config);
    if seat.node == 1 {
        command.arg("--bootstrap");
    }
    if voice.quiet {
        command.arg("--quiet");
    }
    command.args(std::iter::repeat_n("--verbose", usize::from(voice.verbose)));
    // A group of its own: Ctrl-C on the terminal reaches this process, which stops the nodes.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0);
    command.spawn().map_err(|error| Failure::from(error).at(format_args!("node {}", seat.node)))
}

/// Nodes of a start that was killed take a moment to go; whoever else has a port is named.
fn wait_for_ports(plan: &Plan, stop: &AtomicBool) -> Result<(), Failure> {
    let until = Instant::now() + PORT_TIME;
    for address in plan.seats.iter().flat_map(|seat| [seat.listen, seat.admin]) {
        while let Err(error) = TcpListener::bind(address) {
            if Instant::now() >= until || stop.load(Ordering::Relaxed) {
                return Err(Failure::failed(format!("cannot listen on {address}: {error}")));
            }
            thread::sleep(PAUSE);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A node that refused its damaged log ended with 7, and the command that had started it with 1.
    #[test]
    fn the_command_ends_with_the_code_of_the_node_that_ended() {
        let exits = [Exit::Config, Exit::Auth, Exit::DiskFull, Exit::Unreachable, Exit::Damaged];
        for (code, exit) in (3..).zip(exits) {
            let ended = Ended { node: 2, status: ExitStatus::from_raw(code << 8) };
            assert_eq!(ended.failure().exit, exit);
        }
        let killed = Ended { node: 2, status: ExitStatus::from_raw(9) };
        assert_eq!(killed.failure().exit, Exit::Failed);
    }
}
