//! The command line: grammar, commands, output, exit codes. It reaches the engine through the library's public
//! door only.

mod args;
mod digest;
mod exit;
mod log;
mod output;
mod point;
mod run;
mod secret;

pub(crate) use run::main;
