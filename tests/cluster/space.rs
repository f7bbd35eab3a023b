//! Network namespaces: nodes that reach each other over a bridge, and whose links can be cut. All of it lies in
//! namespaces of the test's own, which go with it.

#![expect(unsafe_code, reason = "only the kernel can move a thread to another network")]

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::fleet::PORT;

/// Begins every namespace's name; the process id follows, and the number of the network.
const NAME: &str = "ringway-test";
/// Nobody's hardware address: what is sent there, the bridge takes nowhere.
const NOBODY: &str = "02:00:00:00:00:99";

/// `ip` with these words, and what it prints.
fn ip(words: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("ip: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let why = || format!("ip {}: {}", words.join(" "), text(&output.stderr));
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(why()) }
}

/// A network namespace; it goes when this is dropped, and its links with it.
pub struct Space(String);

impl Space {
    fn new(name: String) -> Result<Self, String> {
        ip(&["netns", "add", &name])?;
        let space = Self(name);
        space.ip(&["link", "set", "lo", "up"])?;
        Ok(space)
    }

    fn ip(&self, words: &[&str]) -> Result<(), String> {
        ip(&[&["-n", self.0.as_str()], words].concat()).map(drop)
    }

    /// The same program, in here.
    pub fn command(&self, program: &Command) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.0.as_str()]).arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or(OsStr::new("")));
        }
        command
    }

    /// Does something on a thread that is in here.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let there = fs::File::open(Path::new("/run/netns").join(&self.0)).expect("it was made");
        let enter = move || {
            // SAFETY: the descriptor is open during the call, and the thread ends with its work.
            let entered = unsafe { libc::setns(there.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join()).expect("it ends well")
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Err(why) = ip(&["netns", "del", &self.0]) {
            println!("a namespace is left behind: {why}");
        }
    }
}

/// The bridge between the spaces of a cluster's nodes.
pub struct Net {
    hub: Space,
    prefix: String,
    count: u8,
}

fn address(node: u64) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(node).expect("few"))
}

impl Net {
    /// As many spaces as there are to be nodes, each with a link to the bridge.
    ///
    /// # Errors
    /// What the machine refuses.
    pub fn new(count: u8) -> Result<(Self, Vec<Space>), String> {
        static NETS: AtomicU64 = AtomicU64::new(0);
        clear_away()?;
        let prefix = format!("{NAME}-{}-{}", process::id(), NETS.fetch_add(1, Ordering::Relaxed));
        let net = Self { hub: Space::new(format!("{prefix}-hub"))?, prefix, count };
        net.hub.ip(&["link", "add", "bridge", "type", "bridge"])?;
        net.hub.ip(&["link", "set", "bridge", "up"])?;
        let linked = |node: u64| {
            let space = Space::new(format!("{}-{node}", net.prefix))?;
            let (port, at) = (format!("node-{node}"), format!("{}/24", address(node)));
            let there = ["peer", "name", "eth0", "netns", &space.0];
            net.hub.ip(&[&["link", "add", &port, "type", "veth"][..], &there].concat())?;
            net.hub.ip(&["link", "set", &port, "master", "bridge", "up"])?;
            space.ip(&["address", "add", &at, "dev", "eth0"])?;
            space.ip(&["link", "set", "eth0", "up"])?;
            Ok(space)
        };
        let spaces = (1..=u64::from(count)).map(linked).collect::<Result<_, String>>()?;
        Ok((net, spaces))
    }

    /// Where the nodes listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (1..=u64::from(self.count)).map(|node| SocketAddr::from((address(node), PORT))).collect()
    }

    /// Takes a node's link away.
    pub fn cut(&self, node: u64) {
        self.hub.ip(&["link", "set", &format!("node-{node}"), "down"]).expect("a link of ours");
    }

    /// Gives it back.
    pub fn heal(&self, node: u64) {
        self.hub.ip(&["link", "set", &format!("node-{node}"), "up"]).expect("a link of ours");
    }

    /// From here on nothing that one node sends reaches the other; what the other sends to it does.
    pub fn lose(&self, from: u64, to: u64) {
        let at = address(to).to_string();
        let entry = ["neigh", "replace", &at, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent"];
        self.of(from, &entry).expect("an address of ours");
    }

    /// It does again.
    pub fn lose_no_more(&self, from: u64, to: u64) {
        self.of(from, &["neigh", "del", &address(to).to_string(), "dev", "eth0"]).expect("it was lost");
    }

    /// `ip` in a node's space.
    fn of(&self, node: u64, words: &[&str]) -> Result<(), String> {
        ip(&[&["-n", &format!("{}-{node}", self.prefix)], words].concat()).map(drop)
    }
}

/// Namespaces of tests that were killed.
fn clear_away() -> Result<(), String> {
    for line in ip(&["netns", "list"])?.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let owner = name.strip_prefix(NAME).and_then(|rest| rest.split('-').nth(1));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            ip(&["netns", "del", name])?;
        }
    }
    Ok(())
}
