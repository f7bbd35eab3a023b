//! `ringway node`: one node as a process.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ringway::engine::{BootstrapError, Engine, OpenError};
use serde::Serialize;

use super::args::{self, Output};
use super::exit::{Exit, Failure};
use super::output::print;
use super::secret;
use super::stop::stop_signal;
use crate::daemon::{self, Admin, Executors, Host};

/// How often the process looks whether it shall stop.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Serialize)]
struct Ready {
    node: u64,
    listening: String,
    admin: Option<String>,
}

/// Runs the node until it is told to stop.
pub(crate) fn run(asked: &args::Node, output: Output) -> Result<(), Failure> {
    let loaded = daemon::load(&asked.config).map_err(|error| Failure::new(Exit::Config, error))?;
    let host = asked.host.unwrap_or(loaded.host);
    host.check().map_err(|error| Failure::new(Exit::Usage, error))?;
    if host != Host::Pinned && loaded.node.cores.pin {
        return Err(Failure::new(
            Exit::Usage,
            "cores.pin binds threads of the host `pinned`, and no other's",
        ));
    }
    let (text, token) = secret::read_with_token(&loaded.secret_file)?;
    let stop = stop_signal()?;
    if asked.stop_with_stdin {
        stop_with_stdin(Arc::clone(&stop))?;
    }
    let node = loaded.node.node.0;
    let mut builder = Engine::builder().config(loaded.node).secret(&text);
    if let Some(file) = &loaded.previous_secret_file {
        builder = builder.previous_secret(&secret::read(file)?);
    }
    let (engine, executors) = host.open(builder).map_err(open_failure)?;
    let admin = loaded.admin.map(|address| serve_admin(address, &engine, token)).transpose()?;
    let ready = Ready {
        node,
        listening: engine.address().to_string(),
        admin: admin.as_ref().map(|admin| admin.address().to_string()),
    };
    let told = print(output, &ready, |out| {
        let admin = ready.admin.as_ref().map(|admin| format!(", admin on {admin}")).unwrap_or_default();
        writeln!(out, "node {node} listens on {}{admin}", ready.listening)
    });
    let ended = told.and_then(|()| work(&engine, &executors, asked.bootstrap, &stop));
    // The engine first: whoever still waits in the admin endpoint is answered by that.
    engine.shut_down();
    let hosted = executors.join().map_err(Failure::failed);
    drop(admin);
    ended.and(hosted)
}

fn serve_admin(address: SocketAddr, engine: &Engine, token: String) -> Result<Admin, Failure> {
    Admin::start(address, engine.clone(), token).map_err(|error| {
        Failure::failed(format!("cannot listen on {address} for the admin endpoint: {error}"))
    })
}

/// Founds the cluster if asked to, and waits for the end.
fn work(engine: &Engine, executors: &Executors, bootstrap: bool, stop: &AtomicBool) -> Result<(), Failure> {
    let mut founding = bootstrap.then(|| found(engine.clone())).transpose()?;
    while !stop.load(Ordering::Relaxed) && !executors.have_ended() {
        if let Some(done) = founding.take_if(|founding| founding.is_finished()) {
            match done.join() {
                Ok(Ok(())) => tracing::info!("the cluster is founded"),
                Ok(Err(BootstrapError::AlreadyFounded)) => {
                    tracing::info!("the cluster was founded before")
                }
                Ok(Err(error)) => return Err(bootstrap_failure(&error)),
                Err(_) => return Err(Failure::failed("the thread that founds the cluster has ended badly")),
            }
        }
        thread::sleep(STOP_INTERVAL);
    }
    Ok(())
}

/// In a thread of its own, so that a signal is heard while other members are waited for.
fn found(engine: Engine) -> io::Result<JoinHandle<Result<(), BootstrapError>>> {
    thread::Builder::new().name("ringway-found".to_owned()).spawn(move || engine.bootstrap().wait())
}

/// Sets `stop` when standard input ends.
fn stop_with_stdin(stop: Arc<AtomicBool>) -> io::Result<()> {
    let watch = move || {
        let mut sink = [0; 64];
        // An error ends it as the end does: nobody is there any more.
        while io::stdin().read(&mut sink).is_ok_and(|count| count > 0) {}
        stop.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("ringway-stdin".to_owned()).spawn(watch).map(drop)
}

fn open_failure(error: OpenError) -> Failure {
    let exit = match &error {
        OpenError::Config(_) | OpenError::Secret { .. } | OpenError::Root { .. } => Exit::Config,
        OpenError::Damaged { .. } => Exit::Damaged,
        OpenError::DiskFull { .. } => Exit::DiskFull,
        OpenError::Core { .. } | OpenError::Listen { .. } | OpenError::Files { .. } | _ => Exit::Failed,
    };
    Failure::new(exit, error)
}

fn bootstrap_failure(error: &BootstrapError) -> Failure {
    let exit = match error {
        BootstrapError::Unreachable { .. } => Exit::Unreachable,
        BootstrapError::AlreadyFounded | BootstrapError::Refused { .. } | _ => Exit::Failed,
    };
    Failure::new(exit, error)
}
