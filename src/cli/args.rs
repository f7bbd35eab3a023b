//! The command line's grammar.

use std::num::NonZeroU16;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::daemon::{Address, Host};

/// Replicates the immutable segment files of storage engines: agreed in a Raft manifest, verified by SHA-256 in flight,
/// landed durably.
#[derive(Parser, Debug)]
#[command(name = "ringway", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 configuration, secret or root, 4 authentication, \
5 disk full, 6 no leader or not reachable, 7 damage found, 130 interrupted."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// How results are written to standard output.
    #[arg(short, long, global = true, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// More on standard error: once for information, twice for debugging.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Neither progress nor information on standard error.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// How results are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document with a `version` field.
    Json,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Runs a whole cluster on this machine, each node a process of its own: the main job in one command.
    Up(Up),
    /// Runs one node of a cluster.
    Node(Node),
    /// Looks at a configuration file.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Serves a directory to `ringway pull`: digests it first, then listens.
    Serve(Serve),
    /// Pulls a directory from `ringway serve`: verified, resumable, durable.
    Pull(Pull),
    /// Prints digests of files.
    Digest(Digest),
    /// Tells what this host can do for a node, and what to change where it could do more.
    Doctor(Doctor),
    /// Tells how a running node stands.
    Status(Endpoint),
    /// Lists the members of a running node's cluster, or changes them.
    Members(Members),
    /// Lists the segments of a shard.
    Segments(Segments),
    /// Registers sealed files that stand in a shard's directory on the node asked.
    Register(Register),
    /// Deletes paths from a shard's manifest.
    Delete(Delete),
    /// Waits until a node has everything that is committed when this is asked, shard by shard, and tells how it goes.
    ///
    /// A node does all of it by itself; asking makes it look anew at what it lacks, and says when it lacks nothing.
    /// Writes go on meanwhile. A shard that is late is asked for again, with what is verified kept.
    Sync(Sync),
    /// Makes another member the leader of a group; asked of the one that leads it now.
    TransferLeader(TransferLeader),
    /// Reads every landed segment again and compares it with its digest.
    ///
    /// Exit code 1 and a list say what is damaged; nothing is changed. A node finds damage at its start where a file's
    /// size or time of change betray it, and no other: stop it, remove each file that is named together with what the
    /// node keeps of it (`find NODE_ROOT -samefile FILE -delete`), and start it, so that it fetches them from its
    /// peers. An inventory that is damaged is made anew at the start. What `ringway pull` brought is no node's root:
    /// compare `ringway digest` of both ends.
    Verify {
        /// A node's root, or a directory of roots such as `ringway up` makes.
        #[arg(long)]
        root: PathBuf,
    },
    /// Makes a copied root another node's: that of a volume's clone, or of a backup.
    ///
    /// Logs, votes and membership of the original go; what was committed stays, so that only later entries come from
    /// the peers, and every segment is read and digested before it counts. No node may run on the root. It joins by
    /// `ringway members add`.
    Adopt(Adopt),
    /// Sets a stopped node's damaged groups aside; its next start gets them from its peers.
    ///
    /// The node comes back in another life: its old vote is taken away, it learns, and it votes again when it holds
    /// what the others hold. The groups' files are kept beside their place, and segments that stand here are not
    /// fetched again. A majority of the other members has to be up, and of two members neither can do without the
    /// other.
    Rejoin(Rejoin),
    /// Makes secrets.
    Secret {
        /// What to do.
        #[command(subcommand)]
        command: SecretCommand,
    },
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// `ringway doctor`.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// A directory on the disk that a node would use: a file of 64 MiB is written there, and removed again.
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// `ringway up`.
#[derive(Args, Debug)]
pub(crate) struct Up {
    /// Nodes of the cluster; 3 in a new root, as many as there are in an old one.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes: Option<u16>,
    /// Shards of the cluster; 2 in a new root, as many as there are in an old one.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) shards: Option<u32>,
    /// Directory of the nodes' roots; made if absent, and it stays.
    #[arg(long, default_value = "ringway-data")]
    pub(crate) root: PathBuf,
    /// A directory whose regular files are copied into node 1 and registered; again, what is new there is added, what
    /// changed is updated, and what is gone there is kept. Without it, and in a new root, a sample is made.
    #[arg(long)]
    pub(crate) import: Option<PathBuf>,
    /// Stop when every node has every segment.
    #[arg(long)]
    pub(crate) exit_when_synced: bool,
    /// First port of the nodes on 127.0.0.1 in a new root, for the nodes and then their admin endpoints; 0
    /// finds free ones.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
}

/// `ringway node`.
#[derive(Args, Debug)]
pub(crate) struct Node {
    /// The configuration file (TOML).
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// What drives the node's cores, whatever the configuration says: threads of Ringway's own, or executors in which
    /// they are guests, one on a thread for each core. A host other than `pinned` has to be built in.
    #[arg(long, value_enum)]
    pub(crate) host: Option<Host>,
    /// Found the cluster with the members of the configuration: once, on one node, while all of them are up. Where
    /// there is a cluster already, it does nothing.
    #[arg(long)]
    pub(crate) bootstrap: bool,
    /// Stop when standard input ends: a node that must not outlive the process that started it.
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

/// `ringway config`.
#[derive(Subcommand, Debug)]
pub(crate) enum ConfigCommand {
    /// Reads and checks it as `ringway node` would.
    Check {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
    },
}

/// What `serve` and `pull` prove to each other.
#[derive(Args, Debug)]
pub(crate) struct SecretFile {
    /// The shared secret, in a file that nobody else can read.
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
}

/// `ringway serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Where to listen: a host's number or name, and a port; port 0 finds a free one.
    #[arg(long)]
    pub(crate) listen: Address,
    #[command(flatten)]
    pub(crate) secret: SecretFile,
    /// Where digests are kept between starts; by default in the user's cache directory. The folder must be ours, and
    /// nobody else's to write in.
    #[arg(long)]
    pub(crate) cache: Option<PathBuf>,
}

/// `ringway pull`.
#[derive(Args, Debug)]
pub(crate) struct Pull {
    /// Where `ringway serve` listens.
    pub(crate) address: Address,
    /// The directory to fill; made if absent.
    pub(crate) dest: PathBuf,
    #[command(flatten)]
    pub(crate) secret: SecretFile,
    /// Remove files that an earlier pull brought and the source no longer has.
    #[arg(long)]
    pub(crate) delete: bool,
    /// When the disk is full, wait for room instead of ending.
    #[arg(long)]
    pub(crate) wait_for_space: bool,
    /// Cores to use where there are 64 MiB or more to fetch, 9 at most: all but one bring parts of files of 16 MiB and
    /// more. Unless given as many as this process may use, but no more than 4.
    #[arg(long)]
    pub(crate) cores: Option<NonZeroU16>,
}

/// `ringway digest`.
#[derive(Args, Debug)]
pub(crate) struct Digest {
    /// Files, or directories with all the files in them.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// Plain SHA-256 as sha256sum prints it, instead of the root of the digest tree.
    #[arg(long)]
    pub(crate) flat: bool,
}

/// A running node to ask.
#[derive(Args, Debug)]
pub(crate) struct Endpoint {
    /// Its admin address.
    #[arg(long)]
    pub(crate) endpoint: Address,
}

/// A running node to change.
#[derive(Args, Debug)]
pub(crate) struct Steered {
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
    /// The cluster's secret: it permits changes.
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
}

/// How long to wait.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Within {
    /// Seconds to wait for a leader, and until it counts as done, from when the files have been read.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) timeout: u32,
}

impl Within {
    pub(crate) fn millis(self) -> u64 {
        u64::from(self.timeout) * 1000
    }
}

/// A shard of the node.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct OfShard {
    /// The shard.
    #[arg(long = "shard", value_name = "SHARD", default_value_t = 0)]
    pub(crate) id: u32,
}

/// `ringway members`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Members {
    /// What to change; nothing is changed without it.
    #[command(subcommand)]
    pub(crate) command: Option<MembersCommand>,
    /// The admin address of the node to ask.
    #[arg(long, required = true)]
    pub(crate) endpoint: Option<Address>,
}

/// Changes of the members, asked of any of them.
#[derive(Subcommand, Debug)]
pub(crate) enum MembersCommand {
    /// Adds a node: it runs, with the cluster's secret and id, and its configuration lists the members that there are
    /// and itself. It learns, fetches what there is, and votes when it has installed.
    Add {
        #[command(flatten)]
        change: MemberChange,
        /// Where the other nodes reach it.
        #[arg(long)]
        address: Address,
        /// What it is to be.
        #[arg(long, value_enum, default_value_t)]
        role: MemberRole,
    },
    /// Gives a member another role: a non-voter becomes a voter when it has installed, a voter loses its vote.
    Role {
        #[command(flatten)]
        change: MemberChange,
        /// What it is to be.
        #[arg(long, value_enum)]
        role: MemberRole,
    },
    /// Makes a non-voter a voter, as soon as it has installed.
    Promote(MemberChange),
    /// Removes a node, dead or alive; what it leads is handed over first. Its disk is left as it is.
    Remove(MemberChange),
}

/// What a member is to be.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum MemberRole {
    /// It votes as soon as it has installed.
    #[default]
    Voter,
    /// It has every segment, and never votes.
    NonVoter,
}

/// A change of a member.
#[derive(Args, Debug)]
pub(crate) struct MemberChange {
    #[command(flatten)]
    pub(crate) asked: Steered,
    /// The node.
    #[arg(long)]
    pub(crate) node: u64,
    /// Seconds to wait until every group has followed; with 0 it answers when the change is committed.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) within: u64,
}

/// `ringway segments`.
#[derive(Args, Debug)]
pub(crate) struct Segments {
    #[command(flatten)]
    pub(crate) endpoint: Endpoint,
    #[command(flatten)]
    pub(crate) shard: OfShard,
    /// Begin after this path.
    #[arg(long)]
    pub(crate) after: Option<String>,
    /// At most so many; all of them without it.
    #[arg(long, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) limit: Option<usize>,
}

/// When a change counts as done.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Level {
    /// The entry is committed.
    #[default]
    Committed,
    /// The bytes stand on a majority.
    Quorum,
    /// The bytes stand on every replica.
    All,
}

/// `ringway register`.
#[derive(Args, Debug)]
pub(crate) struct Register {
    #[command(flatten)]
    pub(crate) node: Steered,
    #[command(flatten)]
    pub(crate) shard: OfShard,
    #[command(flatten)]
    pub(crate) within: Within,
    /// When the registration counts as done.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) durability: Level,
    /// The paths have new content.
    #[arg(long)]
    pub(crate) update: bool,
    /// Paths relative to the shard's directory.
    #[arg(required = true)]
    pub(crate) paths: Vec<String>,
}

/// `ringway delete`.
#[derive(Args, Debug)]
pub(crate) struct Delete {
    #[command(flatten)]
    pub(crate) node: Steered,
    #[command(flatten)]
    pub(crate) shard: OfShard,
    #[command(flatten)]
    pub(crate) within: Within,
    /// Why.
    #[arg(long, default_value = "operator")]
    pub(crate) reason: String,
    /// Paths relative to the shard's directory.
    #[arg(required = true)]
    pub(crate) paths: Vec<String>,
}

/// `ringway sync`.
#[derive(Args, Debug)]
pub(crate) struct Sync {
    #[command(flatten)]
    pub(crate) node: Steered,
    /// The shard; all of the node's without it.
    #[arg(long)]
    pub(crate) shard: Option<u32>,
    /// Another member that is to be up to date; it has to tell the node that is asked.
    #[arg(long, value_name = "NODE")]
    pub(crate) to: Option<u64>,
    /// Seconds that each attempt has.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) within: u32,
    /// Attempts for each shard.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) attempts: u32,
}

/// `ringway transfer-leader`.
#[derive(Args, Debug)]
pub(crate) struct TransferLeader {
    #[command(flatten)]
    pub(crate) node: Steered,
    /// The Raft group: 0 is the cluster's, shard s has group s + 1.
    #[arg(long)]
    pub(crate) group: u32,
    /// The member to lead it.
    #[arg(long)]
    pub(crate) to: u64,
}

/// `ringway secret`.
#[derive(Subcommand, Debug)]
pub(crate) enum SecretCommand {
    /// Writes a new random secret to a file that only its owner can read; never over an existing one.
    New {
        /// The file.
        file: PathBuf,
    },
}

/// `ringway adopt`.
#[derive(Args, Debug)]
pub(crate) struct Adopt {
    /// The node's configuration, whose root the copy is.
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// The node that the root is to be, once more.
    #[arg(long)]
    pub(crate) node: u64,
}

/// `ringway rejoin`.
#[derive(Args, Debug)]
pub(crate) struct Rejoin {
    /// The node's configuration.
    #[arg(long)]
    pub(crate) config: PathBuf,
    /// Sets the cluster's group aside, damaged or not.
    #[arg(long)]
    pub(crate) cluster: bool,
    /// Sets this shard's group aside, damaged or not.
    #[arg(long)]
    pub(crate) shard: Vec<u32>,
}
