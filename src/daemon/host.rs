//! Who drives a node's cores: threads of Ringway's own, or another executor on a thread for each of them.

use std::fmt;
use std::thread::{self, JoinHandle};

use clap::ValueEnum;
use ringway::engine::{Builder, Engine, GuestCore, OpenError};

/// What a node's cores run on.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Host {
    /// Threads of Ringway's own.
    #[default]
    Pinned,
    /// Guests of tokio-uring's runtime, one on a thread for each core.
    TokioUring,
    /// Guests of glommio's executors, one on a thread for each core.
    Glommio,
}

/// The binary was built without a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotBuilt {
    feature: &'static str,
}

/// Runs a core to its end on this thread.
type Run = fn(GuestCore) -> Result<(), String>;

/// The threads of a node's executors; none of a pinned node.
#[derive(Debug)]
pub(crate) struct Executors(Vec<JoinHandle<Result<(), String>>>);

#[cfg(feature = "tokio-uring")]
const TOKIO_URING: Option<Run> = Some(|core| {
    let runtime = tokio_uring::Runtime::new(&tokio_uring::builder());
    let runtime = runtime.map_err(|error| format!("no runtime of tokio-uring: {error}"))?;
    runtime.block_on(core.run_on_tokio_uring()).map_err(|error| error.to_string())
});
#[cfg(not(feature = "tokio-uring"))]
const TOKIO_URING: Option<Run> = None;

#[cfg(feature = "glommio")]
const GLOMMIO: Option<Run> = Some(|core| {
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound).make();
    let executor = executor.map_err(|error| format!("no executor of glommio: {error}"))?;
    executor.run(core.run_on_glommio()).map_err(|error| error.to_string())
});
#[cfg(not(feature = "glommio"))]
const GLOMMIO: Option<Run> = None;

impl Host {
    /// As the configuration file and `status` name it.
    pub(crate) fn named(text: &str) -> Option<Self> {
        Self::from_str(text, false).ok()
    }

    /// Whether the binary has it.
    pub(crate) fn check(self) -> Result<(), NotBuilt> {
        self.guest().map(|_run| ())
    }

    /// How a guest runs on it; nothing of it for a host that has no guests.
    fn guest(self) -> Result<Option<Run>, NotBuilt> {
        let (run, feature) = match self {
            Self::Pinned => return Ok(None),
            Self::TokioUring => (TOKIO_URING, "tokio-uring"),
            Self::Glommio => (GLOMMIO, "glommio"),
        };
        run.map(Some).ok_or(NotBuilt { feature })
    }

    /// Opens a node on it; the binary has it. The executors end when the engine has been shut down.
    pub(crate) fn open(self, builder: Builder) -> Result<(Engine, Executors), OpenError> {
        let Some(run) = self.guest().expect("it was checked") else {
            return Ok((builder.open()?, Executors(Vec::new())));
        };
        let node = builder.open_guest()?;
        let mut threads = Vec::new();
        for core in node.cores {
            let name = format!("ringway-{}", core.index());
            let started = thread::Builder::new().name(name).spawn(move || run(core));
            threads.push(started.map_err(|error| OpenError::Core { why: error.to_string() })?);
        }
        let executors = Executors(threads);
        match node.engine.wait() {
            Ok(engine) => Ok((engine, executors)),
            // An executor that could not be made tells more than the node, which only misses a core.
            Err(error) => Err(executors.join().map_or_else(|why| OpenError::Core { why }, |()| error)),
        }
    }
}

impl Executors {
    /// One of them has ended, and the node with it.
    pub(crate) fn have_ended(&self) -> bool {
        self.0.iter().any(JoinHandle::is_finished)
    }

    /// Waits for their end.
    ///
    /// # Errors
    /// Why one of them ended before the node was shut down.
    pub(crate) fn join(self) -> Result<(), String> {
        let ended = self.0.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_panic| Err("the executor of a core has panicked".to_owned()))
        });
        // Of all of them, before the first that went wrong is told.
        ended.collect::<Vec<_>>().into_iter().collect()
    }
}

impl fmt::Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let feature = self.feature;
        write!(
            f,
            "this binary has no host {feature}; `cargo build --release --features {feature}` builds it in"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_goes_by_the_name_that_status_tells() {
        assert_eq!(Host::named("pinned"), Some(Host::default()));
        assert_eq!(Host::named("tokio-uring"), Some(Host::TokioUring));
        assert_eq!(Host::named("glommio"), Some(Host::Glommio));
        assert_eq!(Host::named("tokio"), None);
    }

    #[test]
    fn a_host_that_is_not_built_in_is_told_with_its_feature() {
        for (host, feature, built) in [
            (Host::TokioUring, "tokio-uring", cfg!(feature = "tokio-uring")),
            (Host::Glommio, "glommio", cfg!(feature = "glommio")),
        ] {
            assert_eq!(host.check().is_ok(), built);
            assert_eq!(host.check().err(), (!built).then_some(NotBuilt { feature }));
        }
        let text = NotBuilt { feature: "glommio" }.to_string();
        assert!(text.contains("--features glommio"), "{text}");
        assert_eq!(Host::Pinned.check(), Ok(()));
    }
}
