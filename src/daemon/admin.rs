//! The admin endpoint: HTTP on threads of its own. Anybody who reaches it by its address may read how the
//! node stands; changes need the token that the cluster's secret gives. What it bears stands in `http.rs`.
//!
//! | request | answers |
//! |---|---|
//! | `GET /v1/status` | the node's status |
//! | `GET /v1/members` | the cluster's members |
//! | `GET /v1/segments?shard=0&after=PATH&limit=N` | a page of a shard's manifest |
//! | `POST /v1/change` | commits a batch and answers with its outcome |
//! | `POST /v1/sync` | brings a shard of the node up to date, and answers when it is |
//! | `POST /v1/members` | adds or removes a member, or gives it another role |
//! | `POST /v1/transfer-leader` | hands a group's leadership over |
//! | `GET /livez` `GET /readyz` | 200, or 503 with the reasons |
//! | `GET /metrics` | the status in numbers, as Prometheus reads it; all other answers are JSON |

use std::io;
use std::net::SocketAddr;

use ringway::engine::{
    self, Ask, Change, ChangeError, Durability, Engine, MemberError, Sealed, SyncError, Synced,
};
use ringway::ids::{GroupId, Nanos, NodeId, ShardId};
use serde::{Deserialize, Serialize};

use super::http::{Answer, Refusal, Request, Server};
use super::metrics;

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

/// Asks for a change of the members.
#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "change", rename_all = "snake_case")]
pub(crate) enum MemberBody {
    /// A node comes.
    Add { node: u64, address: SocketAddr, role: MemberRole, timeout_millis: u64 },
    /// A member gets another role.
    Role { node: u64, role: MemberRole, timeout_millis: u64 },
    /// A node goes.
    Remove { node: u64, timeout_millis: u64 },
}

/// What a member is to be.
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberRole {
    /// Votes when it has installed.
    Voter,
    /// Never votes.
    NonVoter,
}

/// Asks for a shard to be brought up to date.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct SyncBody {
    pub(crate) shard: u32,
    /// The member, if it is another node than the one that is asked.
    #[serde(default)]
    pub(crate) to: Option<u64>,
    pub(crate) timeout_millis: u64,
}

/// A shard that is up to date.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct SyncReport {
    /// Log index up to which everything stands on the node.
    pub(crate) due: u64,
    /// The snapshot that came instead of entries of the log, if one did.
    pub(crate) snapshot: Option<u64>,
    /// What came meanwhile; not known of another node.
    pub(crate) landed: Option<u64>,
    pub(crate) bytes_fetched: Option<u64>,
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
        Ok(answer) => answer,
        Err((code, error)) => Answer::json(code, json(Problem { error })),
    }
}

fn route(engine: &Engine, token: &str, request: &mut Request<'_>) -> Result<Answer, Refusal> {
    let url = request.target().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    let text = match (request.method(), path) {
        ("GET", "/metrics") => {
            let text = metrics::text(&engine.status().wait().map_err(stopped)?);
            return Ok(Answer { code: 200, content_type: metrics::CONTENT_TYPE, text });
        }
        ("GET", "/livez") => Ok(json(Empty {})),
        ("GET", "/readyz") => ready(engine),
        ("GET", "/v1/status") => engine.status().wait().map(json).map_err(stopped),
        ("GET", "/v1/members") => {
            engine.members().wait().map(|members| json(Members { members })).map_err(stopped)
        }
        ("GET", "/v1/segments") => segments(engine, query),
        ("POST", "/v1/change") => change(engine, &permitted(request, token)?),
        ("POST", "/v1/sync") => sync(engine, &permitted(request, token)?),
        ("POST", "/v1/members") => change_members(engine, &permitted(request, token)?),
        ("POST", "/v1/transfer-leader") => transfer_leader(engine, &permitted(request, token)?),
        _ => Err((404, format!("there is nothing at {path}"))),
    };
    text.map(|text| Answer::json(200, text))
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
    if !request.authorization().is_some_and(|given| engine::same_token(given, &expected)) {
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

fn sync(engine: &Engine, body: &str) -> Result<String, Refusal> {
    let asked: SyncBody = parse(body)?;
    let shard = engine.shard(ShardId(asked.shard)).map_err(|error| (404, error.to_string()))?;
    let timeout = Nanos::from_millis(asked.timeout_millis);
    let report = match asked.to {
        Some(node) => {
            let due = shard.sync_member(NodeId(node), timeout).wait().map_err(|error| {
                let is_unknown = matches!(error, SyncError::NotAMember { .. });
                if is_unknown { (404, error.to_string()) } else { stopped(error) }
            })?;
            SyncReport { due: due.0, snapshot: None, landed: None, bytes_fetched: None }
        }
        None => {
            let Synced { due, snapshot, landed, bytes_fetched } =
                shard.sync(timeout).wait().map_err(stopped)?;
            let snapshot = snapshot.map(|index| index.0);
            SyncReport { due: due.0, snapshot, landed: Some(landed), bytes_fetched: Some(bytes_fetched) }
        }
    };
    Ok(json(report))
}

fn change_members(engine: &Engine, body: &str) -> Result<String, Refusal> {
    let role = |role| match role {
        MemberRole::Voter => engine::MemberRole::Voter,
        MemberRole::NonVoter => engine::MemberRole::NonVoter,
    };
    let done = match parse(body)? {
        MemberBody::Add { node, address, role: asked, timeout_millis } => {
            engine.add_member(NodeId(node), address, role(asked), Nanos::from_millis(timeout_millis))
        }
        MemberBody::Role { node, role: asked, timeout_millis } => {
            engine.set_member_role(NodeId(node), role(asked), Nanos::from_millis(timeout_millis))
        }
        MemberBody::Remove { node, timeout_millis } => {
            engine.remove_member(NodeId(node), Nanos::from_millis(timeout_millis))
        }
    };
    done.wait().map(|()| json(Empty {})).map_err(|error| {
        let is_later = error.is_retryable() || error == MemberError::Stopped;
        (if is_later { 503 } else { 409 }, error.to_string())
    })
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
