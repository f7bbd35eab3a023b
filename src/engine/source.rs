//! A served directory as a pull sees it: reached when it has room, listed to an end, busy for how long.

use std::fmt;

use crate::ids::{GroupId, Nanos};
use crate::limits::{ANSWER_TIMEOUT, ENTRIES_MAX, PAGE_ENTRIES_MAX, SOURCE_BUSY_MAX};
use crate::transfer::back_off;
use crate::transport::{Peer, RefusedCode, Stream, Transport};
use crate::uring::{Core, sleep, timeout};
use crate::wire::{Body, Class, Cursor, ListPage, Purpose};

use super::listing::{self, Listed, ListingError};
use super::pull_parts::{PullError, PullProgress};

/// How long a source says nothing but that it is busy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Busy {
    since: Option<Nanos>,
    /// What had come from it then.
    bytes: u64,
    pub(super) length: Nanos,
}

impl Busy {
    /// It says so again; so many bytes have come from it by now.
    pub(super) fn again(self, bytes: u64, now: Nanos) -> Self {
        let since = self.since.filter(|_| self.bytes == bytes).unwrap_or(now);
        Self { since: Some(since), bytes, length: now.since(since) }
    }
}

/// Opens the first stream; a source that has no room now is dialled again for a while.
async fn open(transport: &Transport, peer: Peer, tell: &dyn Fn(PullProgress)) -> Result<Stream, PullError> {
    let begun = Core::current().now();
    for refusals in 0.. {
        let opened = transport.open_stream(peer, GroupId::CLUSTER, Class::Control, Purpose::Transfer).await;
        let error = match opened {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let why = format!("{}: {error}", peer.address);
        match error.refusal() {
            Some(RefusedCode::Busy) if Core::current().now().since(begun) < SOURCE_BUSY_MAX => {
                tell(PullProgress { waits_for_source: true, ..PullProgress::default() });
                sleep(back_off(refusals)).await;
            }
            Some(RefusedCode::Busy) => break,
            _ if error.is_refusal() => return Err(PullError::Refused { why }),
            _ => return Err(PullError::Unreachable { why }),
        }
    }
    Err(PullError::Busy { address: peer.address })
}

/// What the source has: its files, and how many things it does not carry.
pub(super) async fn list(
    transport: &Transport,
    peer: Peer,
    tell: &dyn Fn(PullProgress),
) -> Result<(Vec<Listed>, u64), PullError> {
    let mut stream = open(transport, peer, tell).await?;
    let broken =
        |error: &dyn fmt::Display| PullError::Unreachable { why: format!("{}: {error}", peer.address) };
    let (mut listed, mut after) = (Vec::new(), Vec::new());
    loop {
        let limit = u32::try_from(PAGE_ENTRIES_MAX).expect("a small constant");
        let ask = ListPage { request: 0, limit, after: Cursor(&after) };
        let answer = timeout(ANSWER_TIMEOUT, async {
            stream.send(ask).await?; // a source that gives no credit may answer pings for ever
            stream.receive().await
        });
        let answer = answer.await.map_err(|error| broken(&error))?;
        let message = answer.map_err(|error| broken(&error))?;
        let bad = |why: &dyn fmt::Display| PullError::List { why: why.to_string() };
        let Ok(Body::ListReply(page)) = message.decode() else {
            return Err(bad(&"it answers with something else"));
        };
        let (skipped, files) = listing::decode(page.entries).map_err(|error| bad(&error))?;
        extend(&mut listed, files, page.end, ENTRIES_MAX).map_err(|error| bad(&error))?;
        if page.end {
            return Ok((listed, u64::from(skipped)));
        }
        if page.next.0 <= &after[..] {
            return Err(bad(&"it goes round"));
        }
        after = page.next.0.to_vec();
    }
}

/// Takes a page in behind those before it. The source lists in the order of paths: none comes twice, and there is
/// an end.
fn extend(
    listed: &mut Vec<Listed>,
    page: Vec<Listed>,
    is_last: bool,
    most: usize,
) -> Result<(), ListingError> {
    if page.is_empty() && !is_last {
        return Err(ListingError::NoEnd);
    }
    for file in page {
        if listed.last().is_some_and(|last| last.path >= file.path) {
            return Err(ListingError::Order { path: file.path });
        }
        if listed.len() >= most {
            return Err(ListingError::TooMany { most });
        }
        listed.push(file);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;

    fn files(paths: &[&str]) -> Vec<Listed> {
        let file = |path: &&str| Listed { path: (*path).to_owned(), bytes: 1, root: Digest([1; 32]) };
        paths.iter().map(file).collect()
    }

    #[test]
    fn a_list_without_order_or_end_is_refused() {
        let mut listed = files(&["a", "b"]);
        let order = |path: &str| Err(ListingError::Order { path: path.to_owned() });
        assert_eq!(extend(&mut listed, files(&["b"]), false, 9), order("b"), "twice");
        assert_eq!(extend(&mut listed, files(&["d", "c"]), false, 9), order("c"));
        assert_eq!(extend(&mut listed, files(&["e", "f"]), false, 4), Err(ListingError::TooMany { most: 4 }));
        assert_eq!(extend(&mut listed, files(&["g"]), false, 9), Ok(()));
        assert_eq!(extend(&mut listed, files(&[]), false, 9), Err(ListingError::NoEnd));
        assert_eq!(extend(&mut listed, files(&[]), true, 9), Ok(()), "an empty one may be the last");
    }

    #[test]
    fn a_source_is_busy_for_as_long_as_it_gives_nothing() {
        let at = |seconds| Nanos::from_secs(seconds);
        let busy = Busy::default().again(5, at(10)).again(5, at(12));
        assert_eq!(busy.length, at(2));
        assert_eq!(busy.again(6, at(20)).length, at(0), "something came meanwhile");
        let long = busy.again(5, at(10).plus(SOURCE_BUSY_MAX));
        assert!(long.length >= SOURCE_BUSY_MAX);
    }
}
