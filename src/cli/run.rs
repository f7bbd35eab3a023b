//! From arguments to an exit code.

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde::Serialize;

use super::args::{Cli, Command, ConfigCommand, Output, SecretCommand};
use super::exit::{Exit, Failure};
use super::output::{count, print, write};
use super::{adopt, ask, digest, doctor, log, members, node, point, rejoin, secret, sync, up, verify};
use crate::daemon;

#[derive(Serialize)]
struct Made {
    secret_file: String,
}

#[derive(Serialize)]
struct Checked {
    config: String,
    node: u64,
    members: usize,
    shards: u32,
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.verbose, cli.quiet);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, message }) => {
            eprintln!("ringway: {message}");
            exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { command, output, verbose, quiet } = cli;
    match command {
        Command::Up(asked) => up::run(&asked, output, up::Voice { verbose, quiet }),
        Command::Node(asked) => node::run(&asked, output),
        Command::Config { command: ConfigCommand::Check { config } } => check(&config, output),
        Command::Serve(asked) => point::serve(asked, output, quiet),
        Command::Pull(asked) => point::pull(asked, output, quiet),
        Command::Digest(asked) => digest::run(&asked, output),
        Command::Doctor(asked) => doctor::run(&asked, output),
        Command::Status(asked) => ask::status(&asked, output),
        Command::Members(asked) => members::run(asked, output),
        Command::Segments(asked) => ask::segments(&asked, output),
        Command::Register(asked) => ask::register(&asked, output),
        Command::Delete(asked) => ask::delete(&asked, output),
        Command::Sync(asked) => sync::run(&asked, output, quiet),
        Command::TransferLeader(asked) => ask::transfer_leader(&asked, output),
        Command::Verify { root } => verify::run(&root, output, quiet),
        Command::Adopt(asked) => adopt::run(&asked, output),
        Command::Rejoin(asked) => rejoin::run(&asked, output),
        Command::Secret { command: SecretCommand::New { file } } => {
            secret::new(&file)?;
            let made = Made { secret_file: file.display().to_string() };
            print(output, &made, |out| writeln!(out, "a new secret stands in {}", made.secret_file))
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "ringway", &mut script);
            write(|out| out.write_all(&script))
        }
    }
}

/// Says that a node could start with the configuration.
fn check(config: &Path, output: Output) -> Result<(), Failure> {
    let loaded = daemon::load(config).map_err(|error| Failure::new(Exit::Config, error))?;
    for file in std::iter::once(loaded.secret_file).chain(loaded.previous_secret_file) {
        secret::read(&file)?;
    }
    let (node, members, shards) = (loaded.node.node.0, loaded.node.members.len(), loaded.node.shards);
    let checked = Checked { config: config.display().to_string(), node, members, shards };
    print(output, &checked, |out| {
        let (members, shards) = (count(members as u64, "member"), count(shards, "shard"));
        writeln!(out, "{}: node {node} of {members}, {shards}; it can be used", checked.config)
    })
}
