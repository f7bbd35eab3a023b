//! A fjall database that is written to all the time, and a consistent copy of it elsewhere.
//!
//! ```text
//! cargo run --example fjall_replica
//! ```
//!
//! Not all of fjall's files are immutable: its tables are, its journal and a few small files are not (`cut.rs` says
//! which, and why). So the example pauses its writer for a fraction of a second and takes a *cut* of the database's
//! directory: hard links of the tables, copies of the rest. The cut is served and pulled while the writer goes on; what
//! fjall compacts away meanwhile lives on in the cut's links. The pulled copy opens in fjall like the original, and
//! every key and value is compared. At the end the same is done with the database closed.

mod cut;
mod load;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::{PullOptions, PullReport, ServeOptions, pull, serve};

use cut::{copy_to_open, cut_closed, remove, take_cut};
use load::{Load, Model, difference, read_all};

type Failure = Box<dyn Error + Send + Sync>;

/// Cuts taken while the database is written to.
const CUTS: usize = 5;
/// How long the writer goes on between two cuts.
const WRITING: Duration = Duration::from_millis(500);

fn main() -> Result<(), Failure> {
    let base = tempfile::tempdir()?;
    let secret = secret()?;
    let live = base.path().join("live");
    let load = Load::new(&live)?;
    load.while_writing(|| {
        (0..CUTS).try_for_each(|number| {
            thread::sleep(WRITING);
            let name = format!("cut-{number}");
            let to = base.path().join("cuts").join(&name);
            let began = Instant::now();
            let taken = load.paused(|model| {
                let taken = take_cut(load.db(), load.keyspaces(), &live, &to);
                taken.map(|taken| (taken, model.clone(), began.elapsed()))
            });
            let (taken, model, paused) = taken?;
            println!(
                "{name}: {} files linked, {} copied, the writer paused for {paused:?}",
                taken.linked, taken.copied
            );
            replicate(base.path(), &name, &model, &secret)?;
            Ok::<_, Failure>(remove(&to)?)
        })
    })??;
    println!("{} batches written; the database is closed", load.batches());
    let model = load.close();
    cut_closed(&live, &base.path().join("cuts/closed"))?;
    replicate(base.path(), "closed", &model, &secret)
}

/// Brings the cuts to the replica's directory, opens a copy of the newest there, and compares.
fn replicate(base: &Path, name: &str, model: &Model, secret: &str) -> Result<(), Failure> {
    let report = transfer(base, secret)?;
    // fjall writes to what it opens, and the replica's files are not its own.
    let scratch = base.join("scratch");
    remove(&scratch)?;
    copy_to_open(&base.join("replica").join(name), &scratch)?;
    let found = read_all(&scratch)?;
    if let Some(what) = difference(model, &found) {
        return Err(format!("{name} differs: {what}").into());
    }
    let keys: usize = found.values().map(BTreeMap::len).sum();
    println!(
        "{name}: {} files, {} bytes fetched in {:.3} s; it opens, and its {keys} keys and values are the source's",
        report.segments, report.bytes_fetched, report.seconds
    );
    Ok(())
}

/// Serves the cuts from one thread of this process and pulls them from another: what `ringway serve` and `ringway
/// pull --delete` do on two machines.
fn transfer(base: &Path, secret: &str) -> Result<PullReport, Failure> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = ServeOptions { dir: base.join("cuts"), listen, cache: Some(base.join("cache/digests")) };
    let stop = AtomicBool::new(false);
    let (tell, ready) = mpsc::channel();
    thread::scope(|scope| {
        let ready_at = move |address| tell.send(address).expect("the other thread waits for it");
        let server = scope.spawn(|| serve(&serving, secret, &stop, &|_| {}, ready_at));
        // Without an address the server has ended, and says why.
        let pulled = ready.recv().map(|address| {
            let dest = base.join("replica");
            let options = PullOptions { address, dest, delete: true, wait_for_space: false, cores: None };
            pull(options, secret, &AtomicBool::new(false), |_| {})
        });
        stop.store(true, Ordering::Relaxed);
        server.join().map_err(|_| "the server panicked")??;
        Ok(pulled??)
    })
}

/// A new secret: the text of a secret file.
fn secret() -> Result<String, Failure> {
    let mut random = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
