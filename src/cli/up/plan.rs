//! The cluster of a root: made once, with its secret, its ports and one configuration file a node, and read
//! back on every later start.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use ringway::ids::ClusterId;

use super::root::write_durably;
use crate::cli::args::Up;
use crate::cli::exit::{Exit, Failure};
use crate::cli::secret::{self, read_random};
use crate::daemon::{self, NodeFile};

/// A node's configuration, in its root.
pub(crate) const CONFIG: &str = "node.toml";
/// Ports looked at for free ones: below those that the system gives to outgoing connections, which could take a
/// port while its node is not running.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
const NODES: u16 = 3;
const SHARDS: u32 = 2;
/// Buffers of each node's slab: several nodes share this machine's memory.
const SLAB_BUFFERS: u16 = 16;

/// The cluster of a root.
pub(super) struct Plan {
    /// The root, absolute.
    pub(super) root: PathBuf,
    /// The cluster's secret.
    pub(super) secret_file: PathBuf,
    /// Its nodes, from 1.
    pub(super) seats: Vec<Seat>,
    /// Its shards.
    pub(super) shards: u32,
    /// Made by this start.
    pub(super) is_new: bool,
}

/// One node.
pub(super) struct Seat {
    /// Its number.
    pub(super) node: u64,
    /// Its root.
    pub(super) dir: PathBuf,
    /// Its configuration file.
    pub(super) config: PathBuf,
    /// Where its peers reach it.
    pub(super) listen: SocketAddr,
    /// Where its admin endpoint listens.
    pub(super) admin: SocketAddr,
}

impl Plan {
    /// Reads the root's cluster; makes one if there is none.
    pub(super) fn prepare(asked: &Up, root: &Path) -> Result<Self, Failure> {
        let secret_file = root.join("secret");
        if !secret_file.exists() {
            secret::new(&secret_file)?;
        }
        secret::read(&secret_file)?;
        let is_new = !root.join("node-1").join(CONFIG).exists();
        if is_new {
            make(asked, root)?;
        }
        let plan = Self { is_new, ..read(root, secret_file)? };
        let wanted = |name: &str, asked: Option<u64>, found: u64| match asked {
            Some(asked) if asked != found => {
                let why = format!("{}: the cluster there has {found} {name}, not {asked}", root.display());
                Err(Failure::new(Exit::Config, why))
            }
            _ => Ok(()),
        };
        wanted("nodes", asked.nodes.map(u64::from), plan.seats.len() as u64)?;
        wanted("shards", asked.shards.map(u64::from), u64::from(plan.shards))?;
        Ok(plan)
    }

    /// Directory of a shard's segments on node 1.
    pub(super) fn segments(&self, shard: u32) -> PathBuf {
        self.seats[0].dir.join(ringway::ids::ShardId(shard).group().folder()).join("segments")
    }
}

fn seat_dir(root: &Path, node: u64) -> PathBuf {
    root.join(format!("node-{node}"))
}

fn read(root: &Path, secret_file: PathBuf) -> Result<Plan, Failure> {
    let load = |node: u64| -> Result<_, Failure> {
        let dir = seat_dir(root, node);
        let config = dir.join(CONFIG);
        let loaded = daemon::load(&config).map_err(|error| Failure::new(Exit::Config, error))?;
        let none = || Failure::new(Exit::Config, format!("{}: there is no admin address", config.display()));
        let admin = loaded.admin.ok_or_else(none)?;
        let seat = Seat { node, dir, config, listen: loaded.node.listen, admin };
        Ok((seat, loaded.node.members.len(), loaded.node.shards))
    };
    let (first, count, shards) = load(1)?;
    let mut seats = vec![first];
    for node in 2..=count as u64 {
        seats.push(load(node)?.0);
    }
    Ok(Plan { root: root.to_owned(), secret_file, seats, shards, is_new: false })
}

/// Writes the nodes' files. Node 1's is the last: until it stands there is no cluster, and the next start makes
/// all anew.
fn make(asked: &Up, root: &Path) -> Result<(), Failure> {
    let (nodes, shards) = (asked.nodes.unwrap_or(NODES), asked.shards.unwrap_or(SHARDS));
    let mut id = [0; ClusterId::BYTES];
    read_random(&mut id)?;
    let ports = ports(asked.port, usize::from(nodes) * 2)?;
    let (listen, admin) = ports.split_at(usize::from(nodes));
    let members = (1..).zip(listen).map(|(node, address): (u64, _)| (node.to_string(), address.to_string()));
    for node in (1..=nodes).rev() {
        let dir = seat_dir(root, u64::from(node));
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|error| Failure::from(error).at(dir.display()))?;
        let file = NodeFile {
            cluster: ClusterId(id).to_string(),
            node: u64::from(node),
            root: PathBuf::from("."),
            listen: listen[usize::from(node) - 1].to_string(),
            admin: Some(admin[usize::from(node) - 1]),
            admin_beyond_loopback: false,
            secret_file: PathBuf::from("../secret"),
            previous_secret_file: None,
            shards,
            members: members.clone().collect(),
            segments: BTreeMap::new(),
            cores: daemon::Cores { slab_buffers: Some(SLAB_BUFFERS), ..daemon::Cores::default() },
            raft: daemon::Raft::default(),
            transfer: daemon::Transfer::default(),
            digest: daemon::DigestPart::default(),
        };
        let text = toml::to_string(&file).map_err(Failure::failed)?;
        write_durably(&dir.join(CONFIG), text.as_bytes())?;
    }
    Ok(())
}

/// Addresses of loopback that nobody listens on now: from `first` on, or free ones from a random place.
fn ports(first: u16, count: usize) -> Result<Vec<SocketAddr>, Failure> {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    if first != 0 {
        let last = usize::from(first) + count - 1;
        if last > usize::from(u16::MAX) {
            return Err(Failure::new(
                Exit::Usage,
                format!("--port {first}: {count} ports are needed from there"),
            ));
        }
        return Ok((first..).take(count).map(address).collect());
    }
    let mut random = [0; 2];
    read_random(&mut random)?;
    let start = u16::from_le_bytes(random) % (PORTS.end - PORTS.start);
    let candidates = PORTS.skip(usize::from(start)).chain(PORTS).take(PORTS.len()).map(address);
    // All of them stay bound until the last is found.
    let bound: Vec<_> = candidates.filter_map(|at| TcpListener::bind(at).ok()).take(count).collect();
    let found = bound.iter().map(TcpListener::local_addr).collect::<std::io::Result<Vec<_>>>()?;
    if found.len() < count {
        return Err(Failure::failed(format!("{} of {count} ports of 127.0.0.1 are free", found.len())));
    }
    Ok(found)
}
