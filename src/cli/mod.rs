//! The command line: grammar, commands, output, exit codes. It reaches the engine through the library's public
//! door only.

mod adopt;
mod args;
mod ask;
mod bar;
mod cache;
mod digest;
mod doctor;
mod exit;
mod log;
mod members;
mod node;
mod output;
mod point;
mod rejoin;
mod run;
mod secret;
mod stop;
mod sync;
mod up;
mod verify;

pub(crate) use run::main;
