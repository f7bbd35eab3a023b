//! The admin endpoint: JSON over HTTP on threads of its own. Anybody who reaches it by its address may read how the
//! node stands; changes need the token that the cluster's secret gives. What it bears stands in `http.rs`.
//!
//! | request | answers |
//! |---|---|
//! | `GET /v1/status` | the node's status |
//! | `GET /v1/members` | the cluster's members |
//! | `GET /v1/segments?shard=0&after=PATH&limit=N` | a page of a shard's manifest |
//! | `POST /v1/change` | commits a batch and answers with its outcome |
//! | `POST /v1/transfer-leader` | hands a group's leadership over |
//! | `GET /livez` `GET /readyz` | 200, or 503 with the reasons |

use std::io;
use std::net::SocketAddr;

use ringway::engine::{Ask, Change, ChangeError, Durability, Engine, Sealed};
use ringway::ids::{GroupId, Nanos, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use super::http::{Answer, Refusal, Request, Server};

/// Version of every document.
const VERSION: u32 = 1;

/// A batch of changes, as the command line sends it.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct ChangeBody {
    pub(crate) shard: u32,
    /// `register`, `update` or `delete`, for every path.
    pub(crate) kind: String,
    pub(crate) paths: Vec<String>,
    pub(crate) reason: String,
    /// `committed`, `quorum` or `all`.
    pub(crate) durability: String,
    pub(crate) timeout_millis: u64,
}

/// What came of a batch.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct ChangeReport {
    pub(crate) index: u64,
    pub(crate) segments: Vec<String>,
    pub(crate) landed: u32,
    pub(crate) replicas: u32,
    pub(crate) reached: bool,
}

/// Asks for a hand-over.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct TransferBody {
    pub(crate) group: u32,
    pub(crate) to: u64,
}

/// Why a request failed.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct Problem {
    pub(crate) error: String,
}

#[derive(Serialize)]
struct Document<T> {
    version: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct Members<T> {
    members: T,
}

#[derive(Serialize)]
struct Empty {}

/// A running endpoint; dropping it ends it.
pub(crate) struct Admin(Server);

impl Admin {
    /// Listens and answers until it is dropped.
    pub(crate) fn start(address: SocketAddr, engine: Engine, token: String) -> io::Result<Self> {
        let serve = move |request: Result<&mut Request<'_>, Refusal>| answer(&engine, &token, request);
        Server::start(address, serve).map(Self)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

fn answer(engine: &Engine, token: &str, request: Result<&mut Request<'_>, Refusal>) -> Answer {
    match request.and_then(|request| route(engine, token, request)) {
        Ok(text) => (200, text),
        Err((code, error)) => (code, json(Problem { error })),
    }
}

fn route(engine: &Engine, token: &str, request: &mut Request<'_>) -> Result<String, Refusal> {
    let url = request.target().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    match (request.method(), path) {
        ("GET", "/livez") => Ok(json(Empty {})),
        ("GET", "/readyz") => ready(engine),
        ("GET", "/v1/status") => engine.status().wait().map(json).map_err(stopped),
        ("GET", "/v1/members") => {
            engine.members().wait().map(|members| json(Members { members })).map_err(stopped)
        }
        ("GET", "/v1/segments") => segments(engine, query),
        ("POST", "/v1/change") => change(engine, &permitted(request, token)?),
        ("POST", "/v1/transfer-leader") => transfer_leader(engine, &permitted(request, token)?),
        _ => Err((404, format!("there is nothing at {path}"))),
    }
}

fn stopped(error: impl std::fmt::Display) -> Refusal {
    (503, error.to_string())
}

fn json<T: Serialize>(body: T) -> String {
    serde_json::to_string(&Document { version: VERSION, body }).expect("plain values serialise")
}

fn ready(engine: &Engine) -> Result<String, Refusal> {
    let status = engine.status().wait().map_err(stopped)?;
    if status.ready { Ok(json(Empty {})) } else { Err((503, status.not_ready.join("; "))) }
}

/// The body of a request that carries the token.
fn permitted(request: &mut Request<'_>, token: &str) -> Result<String, Refusal> {
    let expected = format!("Bearer {token}");
    if !request.authorization().is_some_and(|given| ringway::engine::same_token(given, &expected)) {
        return Err((401, "a change needs the cluster's secret".to_owned()));
    }
    request.body()
}

fn parse<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(body).map_err(|error| (400, error.to_string()))
}

fn segments(engine: &Engine, query: &str) -> Result<String, Refusal> {
    let (mut shard, mut after, mut limit) = (0, None, 1000);
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let number = || value.parse().map_err(|_| (400, format!("{key} must be a number")));
        match key {
            "shard" => shard = number()?,
            "limit" => limit = usize::try_from(number()?).unwrap_or(usize::MAX),
            "after" => after = Some(unescape(value).ok_or((400, "after is not a path".to_owned()))?),
            _ => return Err((400, format!("{key} is not a parameter"))),
        }
    }
    let shard = engine.shard(ShardId(shard)).map_err(|error| (404, error.to_string()))?;
    shard.segments(after, limit).wait().map(json).map_err(stopped)
}

fn change(engine: &Engine, body: &str) -> Result<String, Refusal> {
    let asked: ChangeBody = parse(body)?;
    let make = |path: &String| match asked.kind.as_str() {
        "register" => Ok(Change::Register(Sealed::at(path))),
        "update" => Ok(Change::Update(Sealed::at(path))),
        "delete" => Ok(Change::delete(path, &asked.reason)),
        other => Err((400, format!("{other:?} is no kind of change"))),
    };
    let changes = asked.paths.iter().map(make).collect::<Result<Vec<_>, _>>()?;
    let durability = match asked.durability.as_str() {
        "committed" => Durability::Committed,
        "quorum" => Durability::LandedQuorum,
        "all" => Durability::Landed(u32::MAX),
        other => return Err((400, format!("{other:?} is no durability"))),
    };
    let ask = Ask { durability, timeout: Nanos::from_millis(asked.timeout_millis) };
    let shard = engine.shard(ShardId(asked.shard)).map_err(|error| (404, error.to_string()))?;
    let committed = shard.batch(changes, ask).wait().map_err(|error| {
        let is_later = error.is_retryable() || error == ChangeError::Stopped;
        (if is_later { 503 } else { 409 }, error.to_string())
    })?;
    Ok(json(ChangeReport {
        index: committed.index.0,
        segments: committed.segments.iter().map(ToString::to_string).collect(),
        landed: committed.landed,
        replicas: committed.replicas,
        reached: committed.reached,
    }))
}

fn transfer_leader(engine: &Engine, body: &str) -> Result<String, Refusal> {
    let asked: TransferBody = parse(body)?;
    let done = engine.transfer_leader(GroupId(asked.group), NodeId(asked.to)).wait();
    done.map(|()| json(Empty {})).map_err(|error| (409, error.to_string()))
}

/// `%xx` to bytes.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let pair = [bytes.next()?, bytes.next()?];
        out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_broken_ones_refused() {
        assert_eq!(unescape("a%20b/%C3%BC"), Some("a b/ü".to_owned()));
        assert_eq!(unescape("%2"), None);
        assert_eq!(unescape("%ff"), None);
    }
}
