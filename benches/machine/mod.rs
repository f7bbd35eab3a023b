//! The first line of a benchmark's output: where and on what it ran.

/// Processor, cores, kernel and build, in one line.
pub fn print() {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| cpu.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    let model = field("model name").rsplit(": ").next().unwrap_or_default();
    let flags = field("flags");
    let has: Vec<&str> = ["sha_ni", "avx2", "avx512f", "vaes", "vpclmulqdq"]
        .into_iter()
        .filter(|flag| flags.split(' ').any(|have| have == *flag))
        .collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("machine: {model} ({}), {cores} cores, Linux {}, {build}", has.join(" "), kernel.trim());
}
