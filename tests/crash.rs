//! Segment files and what breaks under them: power cuts at every step, failing and full disks, files that change.

#[path = "sim/mod.rs"]
mod sim;

mod crash {
    pub mod check_acknowledged;
    pub mod check_final_names;
    pub mod check_kept;
    mod engine_files;
    mod exchange;
    mod failing_disk;
    mod held;
    mod landing;
    mod owned;
    mod partial;
    mod pins;
    mod queue;
    mod race;
    mod recovery;
    mod removal;
    pub mod rig;
    mod session;
    mod shared;
    pub mod stray;
    mod taken;
}
