//! Small disks of our own: an ext4 in a file, or a tmpfs, mounted for one test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system that goes away with its test.
pub struct Disk {
    at: PathBuf,
    _image: Option<tempfile::TempPath>,
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

impl Disk {
    /// Mounts an empty disk of so many MiB at `at`; `None` if this machine does not allow it, which is printed.
    pub fn mount(at: &Path, mib: u64) -> Option<Self> {
        fs::create_dir_all(at).expect("made");
        let image =
            tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file").into_temp_path();
        File::options().write(true).open(&image).and_then(|file| file.set_len(mib << 20)).expect("sparse");
        // No journal and no reserve, so that nearly all of it is ours.
        let options = ["-q", "-F", "-m", "0", "-O", "^has_journal"];
        let made = succeeds(Command::new("mkfs.ext4").args(options).arg(&image));
        if !made || !succeeds(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(at)) {
            println!("skipped: mkfs.ext4 and mount -o loop, for a small disk");
            return None;
        }
        Some(Self { at: at.to_owned(), _image: Some(image) })
    }

    /// Mounts an empty disk in memory at `at`, of so many KiB and so many names; `None` as `mount`.
    pub fn in_memory(at: &Path, kib: u64, names: u64) -> Option<Self> {
        fs::create_dir_all(at).expect("made");
        let options = format!("size={kib}k,nr_inodes={names}");
        if !succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at)) {
            println!("skipped: mount -t tmpfs, for a small disk");
            return None;
        }
        Some(Self { at: at.to_owned(), _image: None })
    }

    /// Mounts an empty disk in memory at `at` whose files cannot be opened with O_DIRECT (tmpfs takes it); `None` as
    /// `mount`.
    pub fn without_direct(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("made");
        if !succeeds(Command::new("mount").args(["-t", "ramfs", "ramfs"]).arg(at)) {
            println!("skipped: mount -t ramfs, for a disk without O_DIRECT");
            return None;
        }
        Some(Self { at: at.to_owned(), _image: None })
    }

    /// Takes all room but so many MiB.
    pub fn fill_but(&self, mib: u64) {
        let free = self.free_mib();
        assert!(free > mib, "{free} MiB are free");
        let filler = self.filler();
        let length = format!("{}M", free - mib);
        assert!(succeeds(Command::new("fallocate").args(["-l", &length]).arg(&filler)), "fallocate {length}");
    }

    /// Takes all room there is.
    pub fn fill_to_the_last_block(&self) {
        let mut filler = File::create(self.filler()).expect("made");
        while std::io::Write::write_all(&mut filler, &[1; 4096]).is_ok() {}
    }

    /// Gives back what `fill_but` took.
    pub fn make_room(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    pub fn free_mib(&self) -> u64 {
        let output = Command::new("df").args(["--output=avail", "-B1M"]).arg(&self.at).output().expect("df");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().nth(1).and_then(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("df: {text}"))
    }

    /// Nothing can be written any more.
    pub fn read_only(&self) {
        assert!(succeeds(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.at)), "remount");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A ring lets go of its files a little after its process has died.
        for _ in 0..100 {
            if succeeds(Command::new("umount").arg(&self.at)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        succeeds(Command::new("umount").arg("-l").arg(&self.at));
    }
}
