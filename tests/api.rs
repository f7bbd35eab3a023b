//! The embedding API as an embedder uses it: its public items only, real rings, loopback, temporary directories; the
//! nodes of a cluster in one process.

#[path = "api/adapter.rs"]
mod adapter;
#[path = "api/adopt.rs"]
mod adopt;
#[path = "api/changes.rs"]
mod changes;
#[path = "api/checkpoint/mod.rs"]
mod checkpoint;
#[path = "bad_input/disk.rs"]
#[allow(dead_code, reason = "the tests of bad input use the rest")]
mod disk;
#[path = "api/errors.rs"]
mod errors;
#[path = "api/events.rs"]
mod events;
#[path = "api/leaving.rs"]
mod leaving;
#[path = "api/lend.rs"]
mod lend;
#[path = "api/life.rs"]
mod life;
#[path = "api/members.rs"]
mod members;
#[path = "api/nodes.rs"]
mod nodes;
#[path = "api/open.rs"]
mod open;
#[path = "api/outside.rs"]
mod outside;
#[path = "api/rates.rs"]
mod rates;
#[path = "api/ready.rs"]
mod ready;
#[path = "api/refusals.rs"]
mod refusals;
#[path = "api/registrar.rs"]
mod registrar;
#[path = "api/runtimes.rs"]
mod runtimes;
#[path = "api/secrets.rs"]
mod secrets;
#[path = "api/sessions.rs"]
mod sessions;
#[path = "api/sources.rs"]
mod sources;
#[path = "api/status.rs"]
mod status;
#[path = "api/sync.rs"]
mod sync;
