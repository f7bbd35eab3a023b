//! The bare pipeline against the product: how much of what this machine can do `ringway pull` reaches.
//!
//! `cargo bench --features sim --bench roofline [-- --dir DIR] [--mib 2048] [--files 32] [--rounds 7]`. Both copy the
//! same files, out of the page cache, over loopback, onto DIR's disk, every chunk compared with its SHA-256 of before,
//! data and folder durable; alternated. The bare pipeline (`bare.rs`) is two threads and one ring, with no protocol, no
//! authentication, no recovery and one fixed plan; the product is the `ringway` binary, its start included, by one core
//! of the pull as the bare one has, and by as many as it takes unless told. Prints
//! medians: seconds, GB/s, CPU seconds of the whole machine per GB, and the product's share of the bare rate.

use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use ringway::digest::{Kernel, chunk_digest};
use ringway::ids::{Digest, Nanos};
use ringway::limits::CHUNK_BYTES;

#[path = "../machine/mod.rs"]
mod machine;

mod bare;

type Failure = Box<dyn Error + Send + Sync>;

struct Options {
    dir: PathBuf,
    mib: usize,
    files: usize,
    rounds: usize,
}

/// A file to copy, and the digests of its chunks.
pub struct Source {
    /// Its name in the source and the target folder.
    pub name: String,
    /// Its bytes: whole chunks.
    pub bytes: usize,
    /// One for each chunk.
    pub digests: Vec<Digest>,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir()?;
    let mut options = Options { dir: temporary.path().to_owned(), mib: 2048, files: 32, rounds: 7 };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--dir" => options.dir = tempfile::tempdir_in(value()?)?.keep(),
            "--mib" => options.mib = value()?.parse()?,
            "--files" => options.files = value()?.parse()?,
            "--rounds" => options.rounds = value()?.parse()?,
            // `cargo bench` adds `--bench`; `cargo test` runs benches without it, to see that they build.
            "--bench" => {}
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    if !std::env::args().any(|argument| argument == "--bench") {
        (options.mib, options.files, options.rounds) = (4, 2, 1);
    }
    machine::print();
    let done = run(&options);
    fs::remove_dir_all(&options.dir)?;
    done
}

fn run(options: &Options) -> Result<(), Failure> {
    let begun = Instant::now();
    let kernel = Kernel::fastest(|| Nanos(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)));
    let (source, target) = (options.dir.join("source"), options.dir.join("target"));
    let files = make(&source, options, kernel)?;
    let bytes = files.iter().map(|file| file.bytes).sum::<usize>() as f64;
    let product = Product::serve(&options.dir, &source)?;
    let (mut bare, mut by_one, mut pull) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        bare.push(timed(&source, &target, || bare::copy(&source, &target, &files, kernel))?);
        by_one.push(timed(&source, &target, || product.pull(&target, &["--cores", "1"]))?);
        pull.push(timed(&source, &target, || product.pull(&target, &[]))?);
    }
    println!(
        "{} files of {} MiB, {kernel}, {} rounds, medians",
        files.len(),
        options.mib / options.files,
        options.rounds
    );
    println!("{:<10} {:>9} {:>8} {:>10}", "", "seconds", "GB/s", "CPU s/GB");
    let row = |name: &str, samples: &mut Vec<(f64, f64)>| {
        let seconds = median(samples.iter().map(|sample| sample.0));
        let cpu = median(samples.iter().map(|sample| sample.1));
        println!("{name:<10} {seconds:>9.3} {:>8.3} {:>10.3}", bytes / 1e9 / seconds, cpu / (bytes / 1e9));
        (seconds, cpu)
    };
    let bare = row("bare", &mut bare);
    for (name, pull) in [("ringway-1", &mut by_one), ("ringway", &mut pull)] {
        let pull = row(name, pull);
        println!(
            "  share of the bare rate {:.1} %, CPU {:.2} of it",
            100.0 * bare.0 / pull.0,
            pull.1 / bare.1
        );
    }
    Ok(())
}

/// Files of noise, and their digests.
fn make(folder: &Path, options: &Options, kernel: Kernel) -> Result<Vec<Source>, Failure> {
    fs::create_dir(folder)?;
    let bytes = (options.mib / options.files) << 20;
    let mut content = vec![0; bytes];
    let mut noise = fs::File::open("/dev/urandom")?;
    (0..options.files)
        .map(|index| {
            noise.read_exact(&mut content)?;
            let name = format!("segment-{index}");
            fs::write(folder.join(&name), &content)?;
            let digests = content.chunks(CHUNK_BYTES).map(|chunk| chunk_digest(kernel, chunk)).collect();
            Ok(Source { name, bytes, digests })
        })
        .collect()
}

/// Seconds, and CPU seconds of the whole machine, of one copy onto an empty target.
fn timed(
    source: &Path,
    target: &Path,
    copy: impl FnOnce() -> Result<(), Failure>,
) -> Result<(f64, f64), Failure> {
    if target.exists() {
        fs::remove_dir_all(target)?;
    }
    for file in fs::read_dir(source)? {
        std::io::copy(&mut fs::File::open(file?.path())?, &mut std::io::sink())?;
    }
    sync_all();
    let (cpu, begun) = (busy()?, Instant::now());
    copy()?;
    Ok((begun.elapsed().as_secs_f64(), busy()? - cpu))
}

/// Everything on every disk, so that a copy does not pay for the one before it.
fn sync_all() {
    let _no_matter = Command::new("sync").status();
}

/// CPU seconds of the whole machine since its start, the kernel's workers included.
fn busy() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .map_while(|n| n.parse().ok())
        .collect();
    let &[user, nice, system, _idle, _waiting, interrupt, soft, ..] = &fields[..] else {
        return Err("/proc/stat has no line for all processors".into());
    };
    // A tick is a hundredth of a second on every Linux that shows it here.
    Ok((user + nice + system + interrupt + soft) / 100.0)
}

fn median(samples: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = samples.collect();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The binary: one end that serves, another started for each copy.
struct Product {
    server: Child,
    address: String,
    secret: PathBuf,
}

impl Product {
    fn serve(dir: &Path, source: &Path) -> Result<Self, Failure> {
        let secret = dir.join("secret");
        let made =
            Command::new(env!("CARGO_BIN_EXE_ringway")).args(["secret", "new"]).arg(&secret).status()?;
        if !made.success() {
            return Err("no secret".into());
        }
        let mut server = Command::new(env!("CARGO_BIN_EXE_ringway"));
        server.arg("serve").arg(source).args([
            "--listen",
            "127.0.0.1:0",
            "-o",
            "json",
            "-q",
            "--secret-file",
        ]);
        server.arg(&secret).arg("--cache").arg(dir.join("cache")).stdout(Stdio::piped());
        let mut server = server.spawn()?;
        let mut said = String::new();
        let out = server.stdout.as_mut().ok_or("a server without a voice")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said)?;
        let said: serde_json::Value = serde_json::from_str(&said)?;
        let address = said["listening"].as_str().ok_or("the server names no address")?.to_owned();
        Ok(Self { server, address, secret })
    }

    fn pull(&self, target: &Path, more: &[&str]) -> Result<(), Failure> {
        let mut pull = Command::new(env!("CARGO_BIN_EXE_ringway"));
        // By one core, as the bare pipeline.
        pull.args(["pull", &self.address, "-q"])
            .args(more)
            .arg(target)
            .arg("--secret-file")
            .arg(&self.secret);
        if pull.stdout(Stdio::null()).status()?.success() { Ok(()) } else { Err("the pull failed".into()) }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let _gone_already = self.server.kill();
        let _gone_already = self.server.wait();
    }
}
