//! From arguments to an exit code.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde::Serialize;

use super::args::{Cli, Command, ConfigCommand, SecretCommand};
use super::exit::{Exit, Failure};
use super::{digest, log, output, point, secret};
use crate::daemon;

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.verbose, cli.quiet, tracing::Level::WARN);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, message }) => {
            eprintln!("ringway: {message}");
            exit.into()
        }
    }
}

/// A configuration that a node would start with.
#[derive(Serialize)]
struct Checked {
    node: u64,
    members: usize,
    shards: u32,
    root: String,
    admin: Option<String>,
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(asked) => point::serve(asked, cli.output, cli.quiet),
        Command::Pull(asked) => point::pull(asked, cli.output, cli.quiet),
        Command::Digest(asked) => digest::run(&asked, cli.output),
        Command::Secret { command: SecretCommand::New { file } } => secret::new(&file),
        Command::Config { command: ConfigCommand::Check { config } } => {
            let loaded = daemon::load(&config).map_err(|error| Failure::new(Exit::Config, error))?;
            secret::read(&loaded.secret_file)?;
            let checked = Checked {
                node: loaded.node.node.0,
                members: loaded.node.members.len(),
                shards: loaded.node.shards,
                root: loaded.node.root.display().to_string(),
                admin: loaded.admin.map(|address| address.to_string()),
            };
            output::print(cli.output, &checked, |out| {
                let Checked { node, members, shards, root, .. } = &checked;
                writeln!(out, "node {node} of {members}, {shards} shards, root {root}")
            });
            Ok(())
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ringway", &mut io::stdout());
            Ok(())
        }
    }
}
