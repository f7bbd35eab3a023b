//! Network devices, congestion control, socket buffers. See kernel-notes/limits.md.

use std::fs;
use std::path::Path;

use crate::uring::Probe;

use super::check::{Check, Standing};

/// The largest buffer of a connection that keeps 10 Gbit/s over a round trip of 1 ms.
const BUFFER_MIN: u64 = 4 << 20;
/// Drivers with zero-copy receive, and the kernel that has it (Documentation/networking/iou-zcrx.rst).
const ZERO_COPY_RECEIVERS: [&str; 4] = ["bnxt_en", "mlx5_core", "fbnic", "gve"];
const ZERO_COPY_RECEIVE: (u64, u64) = (6, 15);

pub(super) fn checks(probe: &Probe) -> Vec<Check> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
    let mut checks = vec![
        congestion(read("tcp_congestion_control").trim(), read("tcp_available_congestion_control").trim()),
        buffer("receive buffers", "net.ipv4.tcp_rmem", &read("tcp_rmem")),
        buffer("send buffers", "net.ipv4.tcp_wmem", &read("tcp_wmem")),
    ];
    let devices = devices(Path::new("/sys/class/net"));
    if devices.is_empty() {
        checks.push(Check::new(
            "network device",
            Standing::Unknown,
            "none with hardware behind it: sends copy, as loopback and virtual devices copy every zero-copy send",
        ));
    }
    checks.extend(devices.iter().map(|device| device.check(&probe.kernel, probe.uses("zero-copy send"))));
    checks
}

fn congestion(default: &str, available: &str) -> Check {
    let name = "congestion control";
    let found = format!("{default} by default; {available} available");
    let has_cubic = available.split_whitespace().any(|name| name == "cubic");
    if has_cubic || default.is_empty() {
        let standing = if default.is_empty() { Standing::Unknown } else { Standing::Good };
        return Check::new(name, standing, found);
    }
    Check::new(name, Standing::Slower, found).change(
        "`modprobe tcp_cubic`: bbr paces, which halves a stream on loopback and in one rack; `transfer.congestion` in \
         a node's file chooses",
    )
}

/// The largest buffer that the kernel gives a connection by itself: the third of the three numbers.
fn buffer(name: &str, key: &str, numbers: &str) -> Check {
    let Some(most) = numbers.split_whitespace().nth(2).and_then(|most| most.parse::<u64>().ok()) else {
        return Check::new(name, Standing::Unknown, format!("{key} cannot be read"));
    };
    let found = format!("{} MiB at most", most >> 20);
    if most >= BUFFER_MIN {
        return Check::good(name, found);
    }
    Check::new(name, Standing::Slower, found).change(format!(
        "`sysctl -w {key}='4096 131072 {}'`: rate times round trip has to fit, 4 MiB for 10 Gbit/s over 3 ms",
        16 << 20
    ))
}

/// A device with hardware behind it.
#[derive(Debug)]
struct Device {
    name: String,
    driver: String,
    mbits: Option<u64>,
    mtu: u64,
}

fn devices(class: &Path) -> Vec<Device> {
    let mut found: Vec<Device> = fs::read_dir(class)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let driver = fs::read_link(path.join("device/driver")).ok()?;
            let number = |name: &str| fs::read_to_string(path.join(name)).ok()?.trim().parse().ok();
            Some(Device {
                name: path.file_name()?.to_string_lossy().into_owned(),
                driver: driver.file_name()?.to_string_lossy().into_owned(),
                mbits: number("speed"),
                mtu: number("mtu").unwrap_or_default(),
            })
        })
        .collect();
    found.sort_by(|one, other| one.name.cmp(&other.name));
    found
}

impl Device {
    fn check(&self, kernel: &str, zero_copy_send: bool) -> Check {
        let speed =
            self.mbits.map_or("speed unknown".to_owned(), |mbits| format!("{} Gbit/s", mbits as f64 / 1e3));
        let send = if zero_copy_send {
            "tried on its connections, kept where the kernel copies nothing"
        } else {
            "none"
        };
        let receives =
            ZERO_COPY_RECEIVERS.contains(&self.driver.as_str()) && release(kernel) >= ZERO_COPY_RECEIVE;
        let receive = if receives {
            "the driver has it; Ringway does not use it yet"
        } else {
            "none with this driver and kernel"
        };
        let found = format!(
            "{}, {speed}, MTU {}; zero-copy send: {send}; zero-copy receive: {receive}",
            self.driver, self.mtu
        );
        let check = Check::good(format!("network device {}", self.name), found);
        let is_fast = self.mbits.is_some_and(|mbits| mbits >= 25_000);
        if is_fast && self.mtu < 9000 {
            let change = format!(
                "`ip link set {} mtu 9000`, if the switches take it: fewer packets a byte",
                self.name
            );
            return Check { standing: Standing::Slower, ..check }.change(change);
        }
        check
    }
}

/// Major and minor number of a kernel's release.
fn release(kernel: &str) -> (u64, u64) {
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(driver: &str, mbits: Option<u64>, mtu: u64) -> Device {
        Device { name: "eth0".to_owned(), driver: driver.to_owned(), mbits, mtu }
    }

    #[test]
    fn a_host_without_cubic_and_with_small_buffers_hears_what_to_change() {
        assert_eq!(congestion("bbr", "reno bbr cubic").standing, Standing::Good);
        let check = congestion("bbr", "reno bbr");
        assert!(check.standing == Standing::Slower && check.change.contains("tcp_cubic"), "{check:?}");
        assert_eq!(congestion("", "").standing, Standing::Unknown);
        assert_eq!(buffer("b", "key", "4096 131072 6291456").standing, Standing::Good);
        let check = buffer("b", "key", "4096 87380 1048576");
        assert!(check.standing == Standing::Slower && check.change.contains("sysctl -w key="), "{check:?}");
        assert_eq!(buffer("b", "key", "").standing, Standing::Unknown);
    }

    #[test]
    fn a_device_is_described_by_its_driver_and_the_kernel() {
        let check = device("mlx5_core", Some(100_000), 1500).check("6.18.1", true);
        assert!(check.found.contains("the driver has it") && check.change.contains("mtu 9000"), "{check:?}");
        let check = device("mlx5_core", Some(100_000), 9000).check("6.12.0-amd64", true);
        assert!(
            check.found.contains("none with this driver") && check.standing == Standing::Good,
            "{check:?}"
        );
        assert!(device("virtio_net", None, 1500).check("6.18", false).found.contains("speed unknown"));
        assert_eq!((release("6.18.44-fc"), release("7.0"), release("")), ((6, 18), (7, 0), (0, 0)));
    }

    #[test]
    fn a_device_without_hardware_is_none() {
        let dir = tempfile::tempdir().expect("a directory");
        let class = dir.path();
        fs::create_dir_all(class.join("lo")).expect("a folder");
        fs::create_dir_all(class.join("eth0/device")).expect("a folder");
        std::os::unix::fs::symlink("/drivers/virtio_net", class.join("eth0/device/driver")).expect("a link");
        fs::write(class.join("eth0/mtu"), "1500\n").expect("written");
        let found: Vec<_> =
            devices(class).into_iter().map(|device| (device.name, device.driver, device.mtu)).collect();
        assert_eq!(found, [("eth0".to_owned(), "virtio_net".to_owned(), 1500)]);
    }
}
