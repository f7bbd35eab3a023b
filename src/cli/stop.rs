//! How a command hears that it shall stop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::exit::Failure;

/// Set by Ctrl-C and SIGTERM.
pub(crate) fn stop_signal() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second one ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}
