//! From arguments to an exit code.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use super::args::{Cli, Command, ConfigCommand, SecretCommand};
use super::exit::{Exit, Failure};
use super::{ask, digest, log, node, point, rejoin, secret, up, verify};
use crate::daemon;

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
        Command::Config { command: ConfigCommand::Check { config } } => {
            let loaded = daemon::load(&config).map_err(|error| Failure::new(Exit::Config, error))?;
            let mut files = std::iter::once(loaded.secret_file).chain(loaded.previous_secret_file);
            files.try_for_each(|file| secret::read(&file).map(drop))
        }
        Command::Serve(asked) => point::serve(asked, output, quiet),
        Command::Pull(asked) => point::pull(asked, output, quiet),
        Command::Digest(asked) => digest::run(&asked, output),
        Command::Status(asked) => ask::status(&asked, output),
        Command::Members(asked) => ask::members(&asked, output),
        Command::Segments(asked) => ask::segments(&asked, output),
        Command::Register(asked) => ask::register(&asked, output),
        Command::Delete(asked) => ask::delete(&asked, output),
        Command::TransferLeader(asked) => ask::transfer_leader(&asked, output),
        Command::Verify { root } => verify::run(&root, output, quiet),
        Command::Rejoin(asked) => rejoin::run(&asked, output),
        Command::Secret { command: SecretCommand::New { file } } => secret::new(&file),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ringway", &mut io::stdout());
            Ok(())
        }
    }
}
