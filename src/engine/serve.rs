//! Point to point, the sending end: a directory is digested, then served to whoever has the secret.
//!
//! Digests are kept between starts outside the directory, by path, size, inode and time of change; nothing is written
//! in the directory itself. A file that changes while it is served is refused, and found again at the next start.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Bound;
use std::path::PathBuf;
use std::rc::Rc;

use crate::auth::SecretSet;
use crate::config::Work;
use crate::limits::PAGE_ENTRIES_MAX;
use crate::stats::TransferStats;
use crate::transfer::{self, Desk, Directory, Holdings, Pacer, Page, Pages, Served};
use crate::uring::{Core, Dir, Priority};
use crate::wire::Purpose;

use super::listing::{self, Listed};
use super::point::{self, SOURCE};

/// A directory with the digests of its files.
#[derive(Debug)]
pub(crate) struct Digested {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<(Listed, Served)>,
    pub(crate) skipped: u64,
}

/// Why nothing is served.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The secret is not usable.
    Secret {
        /// Why. Never the secret.
        why: String,
    },
    /// The directory cannot be read.
    Directory {
        /// Why.
        why: String,
    },
    /// The address cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// No ring.
    Ring {
        /// Why, and what to change.
        why: String,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret { why } => write!(f, "secret: {why}"),
            Self::Directory { why } | Self::Ring { why } => f.write_str(why),
            Self::Listen { address, why } => write!(f, "cannot listen on {address}: {why}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// Serves on the current core until it is aborted; `ready` hears the address, its port known.
pub(crate) async fn run(
    digested: Digested,
    listen: SocketAddr,
    secrets: SecretSet,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let directory_error =
        |why: &dyn fmt::Display| ServeError::Directory { why: format!("{}: {why}", digested.root.display()) };
    let path = digested.root.to_str().ok_or_else(|| directory_error(&"the path is not UTF-8"))?;
    let root = Dir::open_root(path).await.map_err(|error| directory_error(&error))?;
    let (listed, served): (Vec<_>, Vec<_>) = digested.files.into_iter().unzip();
    let listed: BTreeMap<String, Listed> = listed.into_iter().map(|file| (file.path.clone(), file)).collect();
    let skipped = u32::try_from(digested.skipped).unwrap_or(u32::MAX);
    let pages: Pages = Rc::new(move |after, limit| page(&listed, skipped, after, limit));
    let holdings = Holdings::Directory(Rc::new(Directory::new(root, true, served)));
    let stats = Rc::new(TransferStats::default());
    let transport = point::transport(secrets, Some(SOURCE));
    let mut incoming = transport.incoming();
    let address = transport
        .listen(listen)
        .await
        .map_err(|error| ServeError::Listen { address: listen, why: error.to_string() })?;
    ready(address);
    let (core, desk) = (Core::current(), Rc::<Desk>::default());
    while let Some(next) = incoming.receive().await {
        if next.purpose != Purpose::Transfer {
            tracing::warn!(purpose = %next.purpose, "a peer opens a stream for what is not served here");
            continue;
        }
        let (holdings, pages) = (holdings.clone(), Some(Rc::clone(&pages)));
        let pace = Pacer::default().of(Work::Live);
        let serving =
            transfer::serve(next.stream, holdings, pages, Rc::clone(&desk), pace, Rc::clone(&stats));
        drop(core.spawn(Priority::Bulk, serving));
    }
    Ok(())
}

fn page(files: &BTreeMap<String, Listed>, skipped: u32, after: &[u8], limit: usize) -> Page {
    let from = std::str::from_utf8(after).unwrap_or_default();
    let mut rest = files.range::<str, _>((Bound::Excluded(from), Bound::Unbounded));
    let (mut entries, mut next) = (listing::begin(skipped), Vec::new());
    for (path, file) in rest.by_ref().take(limit.clamp(1, PAGE_ENTRIES_MAX)) {
        listing::encode(file, &mut entries).expect("a walked path fits");
        next = path.as_bytes().to_vec();
    }
    if rest.next().is_none() {
        next.clear();
    }
    Page { entries, next }
}
