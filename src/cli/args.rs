//! The command line's grammar.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Replicates the immutable segment files of storage engines: agreed in a Raft manifest, verified by SHA-256 in flight,
/// landed durably.
#[derive(Parser, Debug)]
#[command(name = "ringway", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 configuration or identity, 4 authentication, \
5 disk full, 6 not reachable, 130 interrupted."
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

/// `ringway serve`.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Where to listen.
    #[arg(long)]
    pub(crate) listen: SocketAddr,
    /// The shared secret, in a file that nobody else can read.
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
    /// Where digests are kept between starts; by default in the user's cache directory.
    #[arg(long)]
    pub(crate) cache: Option<PathBuf>,
}

/// `ringway pull`.
#[derive(Args, Debug)]
pub(crate) struct Pull {
    /// Where `ringway serve` listens.
    pub(crate) address: SocketAddr,
    /// The directory to fill; made if absent.
    pub(crate) dest: PathBuf,
    /// The shared secret, in a file that nobody else can read.
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
    /// Remove files that an earlier pull brought and the source no longer has.
    #[arg(long)]
    pub(crate) delete: bool,
    /// When the disk is full, wait for room instead of ending.
    #[arg(long)]
    pub(crate) wait_for_space: bool,
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

/// `ringway secret`.
#[derive(Subcommand, Debug)]
pub(crate) enum SecretCommand {
    /// Writes a new random secret to a file that only its owner can read; never over an existing one.
    New {
        /// The file.
        file: PathBuf,
    },
}
