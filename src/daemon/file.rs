//! The node's configuration file: TOML into the library's configuration, every mistake with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringway::config::{
    ConfigError, CoreConfig, DIGEST_KERNELS, DigestConfig, NodeConfig, RaftConfig, Rates, Spread,
    TransferConfig, WorkShares,
};
use ringway::ids::{ClusterId, Nanos, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use super::address::{Address, AddressError};
use super::host::{Host, NotBuilt};

/// The file as it is written. Unknown keys are refused: a misspelt one would be silently ignored otherwise.
#[derive(Deserialize, Serialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeFile {
    /// The cluster's id: 32 hexadecimal digits, the same on every node.
    pub(crate) cluster: String,
    /// This node's number, from 1.
    pub(crate) node: u64,
    /// Directory of the node's own files.
    pub(crate) root: PathBuf,
    /// Where peers connect to.
    pub(crate) listen: String,
    /// Where the admin endpoint listens; none without it.
    pub(crate) admin: Option<SocketAddr>,
    /// The admin endpoint may listen beyond this machine, where its token can be read on the way and used again.
    #[serde(default)]
    pub(crate) admin_beyond_loopback: bool,
    /// The shared secret's file.
    pub(crate) secret_file: PathBuf,
    /// While the cluster changes its secret node by node: the file of the one that others may still have.
    pub(crate) previous_secret_file: Option<PathBuf>,
    /// Shards of the cluster.
    pub(crate) shards: u32,
    /// Node number to address, this node among them.
    pub(crate) members: BTreeMap<String, String>,
    /// Shard number to the directory of its segments, where that is not in the root.
    #[serde(default)]
    pub(crate) segments: BTreeMap<String, PathBuf>,
    /// Threads and memory.
    #[serde(default)]
    pub(crate) cores: Cores,
    /// Consensus.
    #[serde(default)]
    pub(crate) raft: Raft,
    /// Data connections.
    #[serde(default)]
    pub(crate) transfer: Transfer,
    /// How segments are digested.
    #[serde(default)]
    pub(crate) digest: DigestPart,
}

#[derive(Deserialize, Serialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cores {
    pub(crate) count: Option<u16>,
    pub(crate) pin: Option<bool>,
    pub(crate) host: Option<String>,
    pub(crate) slab_buffers: Option<u16>,
}

#[derive(Deserialize, Serialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Raft {
    pub(crate) heartbeat_millis: Option<u64>,
    pub(crate) election_min_millis: Option<u64>,
    pub(crate) election_max_millis: Option<u64>,
    pub(crate) snapshot_entries: Option<u64>,
}

#[derive(Deserialize, Serialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    pub(crate) direct: Option<bool>,
    pub(crate) congestion: Option<String>,
    pub(crate) spread: Option<String>,
    pub(crate) delete_grace_millis: Option<u64>,
    pub(crate) receive_bytes_per_second: Option<u64>,
    pub(crate) serve_bytes_per_second: Option<u64>,
    pub(crate) shard_receive_bytes_per_second: Option<u64>,
    pub(crate) shard_serve_bytes_per_second: Option<u64>,
    pub(crate) live_share: Option<u8>,
    pub(crate) catch_up_share: Option<u8>,
    pub(crate) scrub_share: Option<u8>,
}

#[derive(Deserialize, Serialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct DigestPart {
    pub(crate) kernel: Option<String>,
}

/// All that a node needs to start.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// For the library.
    pub(crate) node: NodeConfig,
    /// Who drives its cores; the binary has it.
    pub(crate) host: Host,
    /// For the admin endpoint.
    pub(crate) admin: Option<SocketAddr>,
    /// For the secret.
    pub(crate) secret_file: PathBuf,
    /// For the one before it.
    pub(crate) previous_secret_file: Option<PathBuf>,
}

/// A file that is no usable configuration.
#[derive(Debug)]
pub(crate) enum FileError {
    /// It cannot be read.
    Read { path: PathBuf, error: std::io::Error },
    /// It is not TOML of this form.
    Parse { path: PathBuf, error: Box<toml::de::Error> },
    /// A value that is not what its key says.
    Value { path: PathBuf, key: &'static str, given: String, wanted: &'static str },
    /// An address that leads nowhere.
    Address { path: PathBuf, key: &'static str, error: AddressError },
    /// A host that the binary does not have.
    Host { path: PathBuf, error: NotBuilt },
    /// Values that do not go together.
    Config { path: PathBuf, error: ConfigError },
}

/// Reads and checks a configuration file. Relative paths in it are relative to its directory.
pub(crate) fn load(path: &Path) -> Result<Loaded, FileError> {
    let read = |error| FileError::Read { path: path.to_owned(), error };
    let text = fs::read_to_string(path).map_err(read)?;
    let file: NodeFile = toml::from_str(&text)
        .map_err(|error| FileError::Parse { path: path.to_owned(), error: Box::new(error) })?;
    let base = fs::canonicalize(path).map_err(read)?.parent().map(Path::to_owned).unwrap_or_default();
    let secret_file = base.join(&file.secret_file);
    let previous_secret_file = file.previous_secret_file.as_ref().map(|file| base.join(file));
    let admin = file.admin;
    if let Some(address) = admin.filter(|address| !address.ip().to_canonical().is_loopback()) {
        if !file.admin_beyond_loopback {
            let wanted = "an address of this machine alone (127.0.0.1 or [::1]); the endpoint's token is not encrypted \
                on its way, so say admin_beyond_loopback = true where the network is trusted";
            let given = address.to_string();
            return Err(FileError::Value { path: path.to_owned(), key: "admin", given, wanted });
        }
        tracing::warn!(%address, "the admin endpoint's token can be read on the way, and then used by others");
    }
    let wrong = |key, given, wanted| FileError::Value { path: path.to_owned(), key, given, wanted };
    if file.root.as_os_str().is_empty() {
        return Err(wrong("root", String::new(), "a directory"));
    }
    let host = match file.cores.host.as_deref() {
        None => Host::default(),
        Some(given) => Host::named(given)
            .ok_or_else(|| wrong("cores.host", given.to_owned(), "pinned, tokio-uring or glommio"))?,
    };
    host.check().map_err(|error| FileError::Host { path: path.to_owned(), error })?;
    let node = file.into_config(path, &base)?;
    if fs::metadata(&node.root).is_ok_and(|facts| !facts.is_dir()) {
        return Err(wrong("root", node.root.display().to_string(), "a directory: a file stands there"));
    }
    if let Some(admin) = admin.filter(|admin| is_one_place(*admin, node.listen)) {
        return Err(wrong("admin", admin.to_string(), "another address than `listen` is"));
    }
    node.check().map_err(|error| FileError::Config { path: path.to_owned(), error })?;
    Ok(Loaded { node, host, admin, secret_file, previous_secret_file })
}

/// Whether two listeners stand in each other's way.
fn is_one_place(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (is_any || one.ip() == other.ip())
}

impl Transfer {
    fn into_config(
        self,
        wrong: impl Fn(&'static str, &str, &'static str) -> FileError,
    ) -> Result<TransferConfig, FileError> {
        let else_ = TransferConfig::default();
        let congestion = match self.congestion.as_deref() {
            None => else_.congestion,
            Some("default") => None,
            Some("cubic") => Some("cubic"),
            Some("bbr") => Some("bbr"),
            Some(other) => return Err(wrong("transfer.congestion", other, "cubic, bbr or default")),
        };
        let spread = match self.spread.as_deref() {
            None => else_.spread,
            Some("auto") => Spread::Auto,
            Some("always") => Spread::Always,
            Some("never") => Spread::Never,
            Some(other) => return Err(wrong("transfer.spread", other, "auto, always or never")),
        };
        let shares = WorkShares {
            live: self.live_share.unwrap_or(else_.rates.shares.live),
            catch_up: self.catch_up_share.unwrap_or(else_.rates.shares.catch_up),
            scrub: self.scrub_share.unwrap_or(else_.rates.shares.scrub),
        };
        let rates = Rates {
            receive: self.receive_bytes_per_second,
            serve: self.serve_bytes_per_second,
            shard_receive: self.shard_receive_bytes_per_second,
            shard_serve: self.shard_serve_bytes_per_second,
            shares,
        };
        Ok(TransferConfig {
            direct: self.direct.unwrap_or(else_.direct),
            congestion,
            spread,
            delete_grace: self.delete_grace_millis.map_or(else_.delete_grace, Nanos::from_millis),
            rates,
        })
    }
}

impl NodeFile {
    fn into_config(self, path: &Path, base: &Path) -> Result<NodeConfig, FileError> {
        let wrong = |key, given: &str, wanted| FileError::Value {
            path: path.to_owned(),
            key,
            given: given.to_owned(),
            wanted,
        };
        let resolve = |key, text: &str| {
            text.parse::<Address>()
                .and_then(|address| address.resolve())
                .map_err(|error| FileError::Address { path: path.to_owned(), key, error })
        };
        let cluster = ClusterId::from_hex(&self.cluster)
            .ok_or_else(|| wrong("cluster", &self.cluster, "32 hexadecimal digits"))?;
        let mut members = BTreeMap::new();
        for (number, address) in &self.members {
            let node = number.parse().map_err(|_| wrong("members", number, "a node number from 1"))?;
            let at = resolve("members", address)?;
            if at.port() == 0 {
                return Err(wrong("members", address, "an address with a port that the others can dial"));
            }
            members.insert(NodeId(node), at);
        }
        let mut segments = BTreeMap::new();
        for (number, dir) in &self.segments {
            let shard = number.parse().map_err(|_| wrong("segments", number, "a shard number from 0"))?;
            segments.insert(ShardId(shard), base.join(dir));
        }
        let kernel = match self.digest.kernel.as_deref() {
            None => None,
            Some(given) => match DIGEST_KERNELS.iter().find(|name| **name == given) {
                Some(name) => Some(*name),
                None => return Err(wrong("digest.kernel", given, "ring, sha-ni, avx2, avx512 or arm-sha2")),
            },
        };
        let (cores, raft) = (CoreConfig::default(), RaftConfig::default());
        let millis = |given: Option<u64>, else_: Nanos| given.map_or(else_, Nanos::from_millis);
        Ok(NodeConfig {
            cluster,
            node: NodeId(self.node),
            root: base.join(&self.root).components().collect(),
            listen: resolve("listen", &self.listen)?,
            members,
            shards: self.shards,
            segments,
            cores: CoreConfig {
                count: self.cores.count.unwrap_or(cores.count),
                pin: self.cores.pin.unwrap_or(cores.pin),
                slab_buffers: self.cores.slab_buffers.unwrap_or(cores.slab_buffers),
            },
            raft: RaftConfig {
                heartbeat: millis(self.raft.heartbeat_millis, raft.heartbeat),
                election_min: millis(self.raft.election_min_millis, raft.election_min),
                election_max: millis(self.raft.election_max_millis, raft.election_max),
                snapshot_entries: self.raft.snapshot_entries.unwrap_or(raft.snapshot_entries),
            },
            transfer: self.transfer.into_config(wrong)?,
            digest: DigestConfig { kernel },
        })
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Parse { path, error } => write!(f, "{}: {}", path.display(), error.to_string().trim_end()),
            Self::Value { path, key, given, wanted } => {
                write!(f, "{}: {key}: {given:?} is not {wanted}", path.display())
            }
            Self::Address { path, key, error } => write!(f, "{}: {key}: {error}", path.display()),
            Self::Host { path, error } => write!(f, "{}: cores.host: {error}", path.display()),
            Self::Config { path, error } => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(change: impl Fn(&str) -> String) -> Result<Loaded, FileError> {
        let dir = tempfile::tempdir().expect("a directory");
        let text = "cluster = \"000102030405060708090a0b0c0d0e0f\"\nnode = 1\nroot = \"data\"\n\
            listen = \"127.0.0.1:7001\"\nsecret_file = \"secret\"\nshards = 2\n\
            [members]\n1 = \"127.0.0.1:7001\"\n2 = \"127.0.0.1:7002\"\n";
        let path = dir.path().join("node.toml");
        fs::write(&path, change(text)).expect("written");
        load(&path)
    }

    #[test]
    fn a_plain_file_loads_and_paths_are_relative_to_it() {
        let loaded = load_text(str::to_owned).expect("it is right");
        assert!(loaded.node.root.is_absolute() && loaded.node.root.ends_with("data"));
        assert_eq!(loaded.node.members.len(), 2);
        assert_eq!(loaded.node.transfer.congestion, Some("cubic"));
    }

    #[test]
    fn an_admin_endpoint_beyond_this_machine_has_to_be_asked_for_by_name() {
        let with = |lines: &str| load_text(|text| format!("{lines}\n{text}"));
        for address in ["127.0.0.1:7500", "[::1]:7500"] {
            with(&format!("admin = \"{address}\"")).expect("loopback");
        }
        for address in ["0.0.0.0:7500", "10.0.0.1:7500", "[::]:7500"] {
            let line = format!("admin = \"{address}\"");
            let error = with(&line).expect_err("beyond this machine");
            assert!(error.to_string().contains("admin_beyond_loopback = true"), "{error}");
            with(&format!("{line}\nadmin_beyond_loopback = true")).expect("asked for");
        }
    }

    #[test]
    fn a4_the_secret_before_may_be_named_beside_the_secret() {
        assert_eq!(load_text(str::to_owned).expect("it is right").previous_secret_file, None);
        let loaded =
            load_text(|text| format!("previous_secret_file = \"old\"\n{text}")).expect("it is right");
        let (now, before) = (loaded.secret_file, loaded.previous_secret_file.expect("it is named"));
        assert_eq!((now.parent(), before.file_name()), (before.parent(), Some("old".as_ref())));
    }

    #[test]
    fn a_digest_kernel_is_forced_by_name() {
        let loaded = load_text(|text| format!("{text}[digest]\nkernel = \"ring\"\n")).expect("it is right");
        assert_eq!(loaded.node.digest.kernel, Some("ring"));
    }

    #[test]
    fn p6_fetching_from_several_nodes_is_chosen_by_name() {
        let with = |word: &str| load_text(|text| format!("{text}[transfer]\nspread = \"{word}\"\n"));
        assert_eq!(with("always").expect("it is right").node.transfer.spread, Spread::Always);
        assert_eq!(with("never").expect("it is right").node.transfer.spread, Spread::Never);
        let error = with("sometimes").expect_err("no such word");
        assert!(error.to_string().contains("auto, always or never"), "{error}");
    }

    #[test]
    fn p7_limits_are_given_in_bytes_a_second_and_what_is_none_is_refused_by_its_key() {
        let with = |line: &str| load_text(|text| format!("{text}[transfer]\n{line}\n"));
        let loaded = with("serve_bytes_per_second = 50_000_000\nlive_share = 60").expect("it is right");
        let rates = loaded.node.transfer.rates;
        assert_eq!((rates.serve, rates.receive, rates.shares.live), (Some(50_000_000), None, 60));
        for (line, word) in [
            ("serve_bytes_per_second = 0", "serve_bytes_per_second"),
            ("shard_receive_bytes_per_second = 1000", "shard_receive_bytes_per_second"),
            ("receive_bytes_per_second = -1", "receive_bytes_per_second"),
            ("catch_up_share = 31", "catch_up_share"),
            ("live_share = 0", "live_share"),
        ] {
            let error = with(line).expect_err(line).to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_misspelt_key_is_refused_by_name() {
        let error = load_text(|text| text.replace("shards", "shard")).expect_err("unknown key");
        assert!(error.to_string().contains("shard"), "{error}");
    }

    #[test]
    fn the_readme_shows_every_key_with_its_default() {
        let readme = include_str!("../../README.md");
        let blocks: Vec<_> =
            readme.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).collect();
        let [(first, _), (more, _)] = blocks[..] else { panic!("{} blocks", blocks.len()) };
        let (plain, members) = first.split_once("[members]").expect("they are named");
        let file: NodeFile =
            toml::from_str(&format!("{plain}{more}[members]{members}")).expect("it is a configuration");
        assert_eq!((file.members.len(), file.admin_beyond_loopback), (3, false));
        assert!(ClusterId::from_hex(&file.cluster).is_some() && file.previous_secret_file.is_some());
        let (cores, raft, transfer) =
            (CoreConfig::default(), RaftConfig::default(), TransferConfig::default());
        let (said, said_of_raft) = (file.cores, file.raft);
        assert_eq!((said.count, said.pin), (Some(cores.count), Some(cores.pin)));
        assert_eq!(said.slab_buffers, Some(cores.slab_buffers));
        assert_eq!(said.host.as_deref().and_then(Host::named), Some(Host::default()));
        let millis = |given: Option<u64>| given.map(Nanos::from_millis);
        assert_eq!(millis(said_of_raft.heartbeat_millis), Some(raft.heartbeat));
        assert_eq!(millis(said_of_raft.election_min_millis), Some(raft.election_min));
        assert_eq!(millis(said_of_raft.election_max_millis), Some(raft.election_max));
        assert_eq!(said_of_raft.snapshot_entries, Some(raft.snapshot_entries));
        assert_eq!(file.transfer.direct, Some(transfer.direct));
        assert_eq!(file.transfer.congestion.as_deref(), transfer.congestion);
        assert_eq!((file.transfer.spread.as_deref(), transfer.spread), (Some("auto"), Spread::Auto));
        let (said, shares) = (&file.transfer, transfer.rates.shares);
        assert_eq!((said.live_share, said.catch_up_share), (Some(shares.live), Some(shares.catch_up)));
        assert_eq!(said.scrub_share, Some(shares.scrub));
        assert!(said.receive_bytes_per_second.is_some() && said.serve_bytes_per_second.is_some());
        assert!(said.shard_receive_bytes_per_second.is_some() && said.shard_serve_bytes_per_second.is_some());
        assert!(DIGEST_KERNELS.contains(&file.digest.kernel.expect("it is said").as_str()));
    }

    /// All of these passed `config check`, and the node ended at its start.
    #[test]
    fn what_no_node_could_start_with_is_refused_by_its_key() {
        let refused = |change: &dyn Fn(&str) -> String, words: &[&str]| {
            let text = load_text(change).expect_err("refused").to_string();
            words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in: {text}"));
        };
        refused(&|text| text.replace("\"data\"", "\"\""), &["root"]);
        refused(&|text| text.replace("\"data\"", "\"node.toml\""), &["root", "a file stands there"]);
        refused(&|text| text.replace("2 = \"127.0.0.1:7002\"", "2 = \"127.0.0.1:0\""), &["members", "port"]);
        refused(&|text| format!("admin = \"127.0.0.1:7001\"\n{text}"), &["admin", "listen"]);
        let nowhere = format!("{}:7002", "x".repeat(64));
        refused(&|text| text.replace("127.0.0.1:7002", &nowhere), &["members", "does not resolve"]);
        load_text(|text| text.replace("127.0.0.1:7002", "localhost:7002")).expect("a name is an address");
    }

    #[test]
    fn values_of_the_wrong_form_name_their_key() {
        let error = load_text(|text| text.replace("000102", "xx0102")).expect_err("not hexadecimal");
        assert!(error.to_string().contains("cluster"), "{error}");
        let error = load_text(|text| format!("{text}[cores]\nhost = \"smol\"\n")).expect_err("no host");
        assert!(error.to_string().contains("cores.host"), "{error}");
        let error = load_text(|text| text.replace("1 = \"127.0.0.1:7001\"", "1 = \"nowhere\""))
            .expect_err("no address");
        assert!(error.to_string().contains("members"), "{error}");
        let error = load_text(|text| format!("{text}[digest]\nkernel = \"sse2\"\n")).expect_err("no kernel");
        assert!(error.to_string().contains("digest.kernel"), "{error}");
        let error = load_text(|text| text.replace("node = 1", "node = 7")).expect_err("not a member");
        assert!(error.to_string().contains("not among the members"), "{error}");
    }
}
