//! The admin endpoint: JSON over HTTP on a few threads of its own. Anybody who reaches it may read how the node
//! stands; changes need the token that the cluster's secret gives.
//!
//! | request | answers |
//! |---|---|
//! | `GET /v1/status` | the node's status |
//! | `GET /v1/members` | the cluster's members |
//! | `GET /v1/segments?shard=0&after=PATH&limit=N` | a page of a shard's manifest |
//! | `POST /v1/change` | commits a batch and answers with its outcome |
//! | `POST /v1/transfer-leader` | hands a group's leadership over |
//! | `GET /livez` `GET /readyz` | 200, or 503 with the reasons |

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ringway::engine::{Ask, Change, ChangeError, Durability, Engine, Sealed};
use ringway::ids::{GroupId, Nanos, NodeId, ShardId};
use serde::{Deserialize, Serialize};
use tiny_http::{Header, Method, Request, Response, Server};

/// Requests that are answered at a time: a change may wait for its landing while others ask how the node stands.
const THREADS: usize = 8;
/// Bytes of a request's body.
const BODY_BYTES_MAX: u64 = 4 << 20;
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

/// A running endpoint.
pub(crate) struct Admin {
    server: Arc<Server>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    address: SocketAddr,
}

impl Admin {
    /// Listens and answers until it is dropped.
    pub(crate) fn start(address: SocketAddr, engine: Engine, token: String) -> io::Result<Self> {
        let server = Arc::new(Server::http(address).map_err(io::Error::other)?);
        let address = server.server_addr().to_ip().unwrap_or(address);
        let token: Arc<str> = token.into();
        let mut admin = Self { server, stopping: Arc::default(), threads: Vec::new(), address };
        for _ in 0..THREADS {
            let (server, stopping) = (Arc::clone(&admin.server), Arc::clone(&admin.stopping));
            let (engine, token) = (engine.clone(), Arc::clone(&token));
            let body = move || {
                while !stopping.load(Ordering::Relaxed) {
                    match server.recv() {
                        Ok(request) => answer(&engine, &token, request),
                        // Also what `unblock` wakes with.
                        Err(error) => tracing::debug!(%error, "no connection could be taken"),
                    }
                }
            };
            let thread = std::thread::Builder::new().name("ringway-admin".to_owned()).spawn(body)?;
            admin.threads.push(thread);
        }
        Ok(admin)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Each call ends the waiting of one thread.
        self.threads.iter().for_each(|_| self.server.unblock());
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}

type Answer = Result<String, (u16, String)>;

fn answer(engine: &Engine, token: &str, mut request: Request) {
    let answer = route(engine, token, &mut request);
    let (code, text) = match answer {
        Ok(text) => (200, text),
        Err((code, error)) => (code, json(Problem { error })),
    };
    let kind = Header::from_bytes("Content-Type", "application/json").expect("a plain header");
    let mut response = Response::from_string(text).with_status_code(code).with_header(kind);
    if code == 503 {
        response = response.with_header(Header::from_bytes("Retry-After", "1").expect("a plain header"));
    }
    if let Err(error) = request.respond(response) {
        tracing::debug!(%error, "an asker has gone away");
    }
}

fn route(engine: &Engine, token: &str, request: &mut Request) -> Answer {
    let url = request.url().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    match (request.method(), path) {
        (Method::Get, "/livez") => Ok(json(Empty {})),
        (Method::Get, "/readyz") => ready(engine),
        (Method::Get, "/v1/status") => engine.status().wait().map(json).map_err(stopped),
        (Method::Get, "/v1/members") => {
            engine.members().wait().map(|members| json(Members { members })).map_err(stopped)
        }
        (Method::Get, "/v1/segments") => segments(engine, query),
        (Method::Post, "/v1/change") => change(engine, &permitted(request, token)?),
        (Method::Post, "/v1/transfer-leader") => transfer_leader(engine, &permitted(request, token)?),
        _ => Err((404, format!("there is nothing at {path}"))),
    }
}

fn stopped(error: impl std::fmt::Display) -> (u16, String) {
    (503, error.to_string())
}

fn json<T: Serialize>(body: T) -> String {
    serde_json::to_string(&Document { version: VERSION, body }).expect("plain values serialise")
}

fn ready(engine: &Engine) -> Answer {
    let status = engine.status().wait().map_err(stopped)?;
    if status.ready { Ok(json(Empty {})) } else { Err((503, status.not_ready.join("; "))) }
}

/// The body of a request that carries the token.
fn permitted(request: &mut Request, token: &str) -> Result<String, (u16, String)> {
    let given = request.headers().iter().find(|header| header.field.equiv("Authorization"));
    let expected = format!("Bearer {token}");
    if !given.is_some_and(|header| ringway::engine::same_token(header.value.as_str(), &expected)) {
        return Err((401, "a change needs the cluster's secret".to_owned()));
    }
    let mut body = String::new();
    let read = request.as_reader().take(BODY_BYTES_MAX).read_to_string(&mut body);
    read.map_err(|error| (400, error.to_string()))?;
    Ok(body)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, (u16, String)> {
    serde_json::from_str(body).map_err(|error| (400, error.to_string()))
}

fn segments(engine: &Engine, query: &str) -> Answer {
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

fn change(engine: &Engine, body: &str) -> Answer {
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

fn transfer_leader(engine: &Engine, body: &str) -> Answer {
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
