//! From arguments to an exit code.

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use super::args::{Cli, Command, ConfigCommand, SecretCommand};
use super::exit::{Exit, Failure};
use super::{digest, log, secret};
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

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Digest(asked) => digest::run(&asked, cli.output),
        Command::Secret { command: SecretCommand::New { file } } => secret::new(&file),
        Command::Config { command: ConfigCommand::Check { config } } => {
            let loaded = daemon::load(&config).map_err(|error| Failure::new(Exit::Config, error))?;
            secret::read(&loaded.secret_file).map(|_| ())
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "ringway", &mut io::stdout());
            Ok(())
        }
        _ => Err(Failure::new(Exit::Usage, "not here yet")),
    }
}
