//! Nodes that a test starts, ends and asks one by one: processes of their own, at addresses that the test chose.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Deref;
use std::path::Path;
use std::process;
use std::sync::Arc;

use crate::asked::Asked;
use crate::binary::{Running, secret, write};
use crate::space::Space;

/// A node's port on its own address; its admin endpoint's is the next.
pub const PORT: u16 = 7400;

/// The nodes of one cluster with one shard, numbered from 1; roots and names are those that `ringway up` makes.
pub struct Fleet {
    asked: Arc<Asked>,
    processes: Vec<Option<Running>>,
}

impl Deref for Fleet {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

/// Addresses of loopback, one a node: nobody who dials gets a port of theirs while the node is down.
pub fn loopback(count: u8) -> Vec<SocketAddr> {
    let [.., high, low] = process::id().to_be_bytes();
    let at = |node| SocketAddr::from((Ipv4Addr::new(127, high | 0x80, low, node), PORT));
    let all: Vec<_> = (1..=count).map(at).collect();
    let bound: io::Result<Vec<_>> = all.iter().map(TcpListener::bind).collect();
    drop(bound.expect("nobody else has them"));
    all
}

impl Fleet {
    /// Nodes that listen there.
    pub fn new(root: &Path, listen: &[SocketAddr]) -> Self {
        Self::known_as(root, listen, listen, Vec::new())
    }

    /// Nodes that listen there and know each other under other addresses, each in its own space if there are spaces.
    pub fn known_as(root: &Path, listen: &[SocketAddr], known: &[SocketAddr], spaces: Vec<Space>) -> Self {
        fs::create_dir_all(root).expect("made");
        let secret_file = secret(root, "secret");
        let members: String =
            (1..).zip(known).map(|(node, at): (u64, _)| format!("{node} = \"{at}\"\n")).collect();
        let mut admin = Vec::new();
        for (number, listen) in (1..).zip(listen) {
            let own = if spaces.is_empty() { listen.ip() } else { Ipv4Addr::LOCALHOST.into() };
            let at = SocketAddr::from((own, PORT + 1));
            let text = format!(
                "cluster = \"{:032x}\"\nnode = {number}\nroot = \".\"\nlisten = \"{listen}\"\nadmin = \"{at}\"\n\
                 secret_file = \"../secret\"\nshards = 1\n[members]\n{members}[cores]\nslab_buffers = 16\n",
                0xa5
            );
            write(root, &format!("node-{number}/node.toml"), text.as_bytes());
            admin.push(at);
        }
        let asked = Asked::new(root, secret_file, admin, spaces);
        Self { asked: Arc::new(asked), processes: listen.iter().map(|_| None).collect() }
    }

    /// For who asks from another thread.
    pub fn asked(&self) -> Arc<Asked> {
        Arc::clone(&self.asked)
    }

    /// Starts all, founds the cluster, and waits until they are ready.
    #[track_caller]
    pub fn found(&mut self) {
        for number in self.numbers() {
            self.launch(number, &["--bootstrap"][..usize::from(number == 1)]);
        }
        self.all_ready();
    }

    /// Starts a node.
    pub fn start(&mut self, number: u64) {
        self.launch(number, &[]);
    }

    fn launch(&mut self, number: u64, more: &[&str]) {
        let home = self.root.join(format!("node-{number}"));
        let log = fs::File::options().create(true).append(true).open(home.join("log")).expect("made");
        let mut command = self.command(number);
        command.args(["node", "-v", "--config"]).arg(home.join("node.toml")).args(more).stderr(log);
        let before = self.process(number).replace(Running::start(command));
        assert!(before.is_none(), "node {number} runs already");
    }

    fn process(&mut self, number: u64) -> &mut Option<Running> {
        &mut self.processes[usize::try_from(number).expect("few") - 1]
    }

    /// SIGKILL.
    pub fn kill(&mut self, number: u64) {
        self.process(number).take().expect("it runs").kill();
    }

    /// SIGTERM, and a clean end.
    #[track_caller]
    pub fn stop(&mut self, number: u64) {
        let mut process = self.process(number).take().expect("it runs");
        process.signal(15);
        assert_eq!(process.wait().code(), Some(0), "{}", self.log(number));
    }

    /// SIGSTOP (19) or SIGCONT (18).
    pub fn signal(&mut self, number: u64, signal: i32) {
        self.process(number).as_ref().expect("it runs").signal(signal);
    }
}
