//! Commands that ask a running node: status, segments, register, delete, transfer-leader.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ringway::engine::{
    ConnectionStatus, CountStatus, NodeStatus, SegmentPage, SegmentStatus, Sent, ShardStatus,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::Agent;
use ureq::http::Response;

use super::args::{self, Delete, Level, Output, Register, Segments, Steered, TransferLeader};
use super::exit::{Exit, Failure};
use super::output::{bytes, count, print};
use super::secret;
use crate::daemon::{ChangeBody, ChangeReport, Problem, TransferBody};

/// For an answer; for a change's, behind the time that the change has, as its files are read first.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);
/// Segments of one page.
pub(super) const PAGE: usize = 1000;
/// Bytes of an answer: a page whose paths are all as long as they may be has less.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

#[derive(Serialize)]
struct AllSegments {
    segments: Vec<SegmentStatus>,
}

/// The answer to what has no other one.
#[derive(Serialize, Deserialize)]
pub(super) struct Done {}

/// Why a node did not do what it was asked.
#[derive(Debug)]
pub(super) struct Trouble {
    /// The answer's status; `None` if there was none.
    status: Option<u16>,
    message: String,
}

impl Trouble {
    /// The node has decided against it; asking again changes nothing.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }

    /// It may go well later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, None | Some(503))
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let exit = match trouble.status {
            Some(401) => Exit::Auth,
            None | Some(503) => Exit::Unreachable,
            Some(400 | 404) => Exit::Usage,
            Some(_) => Exit::Failed,
        };
        Self::new(exit, trouble.message)
    }
}

/// A running node's admin endpoint.
pub(super) struct Endpoint {
    address: SocketAddr,
    agent: Agent,
}

impl Endpoint {
    /// Answers are waited for so long.
    pub(super) fn new(address: SocketAddr, timeout: Duration) -> Self {
        let config =
            Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).build();
        Self { address, agent: config.into() }
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, Trouble> {
        let unreachable =
            |error: ureq::Error| Trouble { status: None, message: format!("{}: {error}", self.address) };
        let mut answer = answer.map_err(unreachable)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        if status == 200 {
            return body.read_json().map_err(unreachable);
        }
        let problem: Problem = body.read_json().map_err(unreachable)?;
        Err(Trouble { status: Some(status), message: problem.error })
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        self.read(self.agent.get(format!("http://{}{path}", self.address)).call())
    }

    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        token: &str,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        let request = self.agent.post(format!("http://{}{path}", self.address));
        self.read(request.header("Authorization", format!("Bearer {token}")).send_json(body))
    }

    /// How the node stands.
    pub(super) fn status(&self) -> Result<NodeStatus, Trouble> {
        self.get("/v1/status")
    }

    /// A page of a shard's manifest.
    pub(super) fn segments(
        &self,
        shard: u32,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SegmentPage, Trouble> {
        let from = after.map(|path| format!("&after={}", escape(path))).unwrap_or_default();
        self.get(&format!("/v1/segments?shard={shard}&limit={limit}{from}"))
    }

    /// Commits a batch.
    pub(super) fn change(&self, token: &str, body: &ChangeBody) -> Result<ChangeReport, Trouble> {
        self.post("/v1/change", token, body)
    }
}

pub(super) fn asked_of(asked: &args::Endpoint) -> Result<Endpoint, Failure> {
    asked_within(asked, ASK_TIMEOUT)
}

pub(super) fn asked_within(asked: &args::Endpoint, timeout: Duration) -> Result<Endpoint, Failure> {
    let address = asked.endpoint.reach().map_err(|error| Failure::new(Exit::Unreachable, error))?;
    Ok(Endpoint::new(address, timeout))
}

/// The token that a secret's file gives.
pub(super) fn token(secret_file: &Path) -> Result<String, Failure> {
    Ok(secret::read_with_token(secret_file)?.1)
}

pub(crate) fn status(asked: &args::Endpoint, output: Output) -> Result<(), Failure> {
    let status = asked_of(asked)?.status()?;
    print(output, &status, |out| write_status(out, &status))
}

fn write_status(out: &mut dyn Write, status: &NodeStatus) -> io::Result<()> {
    writeln!(out, "node {} at {} of cluster {}", status.node, status.address, status.cluster)?;
    writeln!(out, "{}", if status.ready { "ready" } else { "not ready" })?;
    status.not_ready.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
    for core in &status.cores {
        let (used, all) = (core.buffers.saturating_sub(core.buffers_free), core.buffers);
        writeln!(
            out,
            "core {}: {} on Linux {}, host {}, digest {}, {used} of {all} buffers in use, {} registered",
            core.core, core.backend, core.kernel, core.host, core.digest, core.buffers_registered
        )?;
        writeln!(out, "  sent {}", sent(&core.sent))?;
        for finding in &core.findings {
            let in_use = if finding.in_use { "yes" } else { "no" };
            writeln!(out, "{}", format!("  {in_use:<3} {} {}", finding.name, finding.note).trim_end())?;
        }
    }
    for group in &status.groups {
        let leader = group.leader.map_or_else(|| "none".to_owned(), |node| node.to_string());
        writeln!(
            out,
            "group {}: {} in term {}, leader {leader}, committed {}, applied {}",
            group.group, group.role, group.term, group.committed, group.applied
        )?;
    }
    status.shards.iter().try_for_each(|shard| write_shard(out, shard))?;
    status.connections.iter().try_for_each(|connection| write_connection(out, connection))
}

fn write_shard(out: &mut dyn Write, shard: &ShardStatus) -> io::Result<()> {
    writeln!(
        out,
        "shard {}: {} of {}, installed {} of {}, {} missing, {} damaged, {} being fetched",
        shard.shard,
        count(shard.segments, "segment"),
        bytes(shard.bytes),
        shard.installed,
        shard.committed,
        shard.missing,
        shard.damaged,
        shard.fetching
    )?;
    if !shard.direct {
        let why = if shard.direct_asked { "the file system refuses O_DIRECT" } else { "as configured" };
        writeln!(out, "  content goes through the page cache: {why}")?;
    }
    if !shard.links {
        writeln!(out, "  engines' files cannot be linked and are held open")?;
    }
    if let Some(why) = &shard.paused {
        writeln!(out, "  paused: {why}")?;
    }
    for lost in &shard.unavailable {
        writeln!(out, "  unavailable for {} s: {} ({})", lost.seconds, lost.segment, lost.reason)?;
    }
    write_transfers(out, shard)
}

/// Nothing of what has not happened.
fn write_transfers(out: &mut dyn Write, shard: &ShardStatus) -> io::Result<()> {
    let (lag, of) = (&shard.lag, &shard.transfers);
    if lag.entries > 0 || lag.bytes > 0 {
        let (entries, seconds) = (lag.entries, lag.millis / 1000);
        writeln!(out, "  behind by {entries} log entries and {}, for {seconds} s", bytes(lag.bytes))?;
    }
    if of.landed > 0 {
        writeln!(out, "  {} landed", count(of.landed, "segment"))?;
    }
    for CountStatus { what, count } in of.failed.iter().filter(|failed| failed.count > 0) {
        writeln!(out, "  fetches that were tried again, {what}: {count}")?;
    }
    for peer in of.peers.iter().filter(|peer| peer.bytes_fetched > 0 || peer.bytes_served > 0) {
        let (came, left) = (bytes(peer.bytes_fetched), bytes(peer.bytes_served));
        writeln!(out, "  {came} from node {}, {left} to it", peer.node)?;
    }
    Ok(())
}

fn write_connection(out: &mut dyn Write, connection: &ConnectionStatus) -> io::Result<()> {
    let ConnectionStatus { core, address, class, send_path, send_path_why, .. } = connection;
    let node = connection.node.map_or_else(String::new, |node| format!("node {node}, "));
    let way = if connection.dialled { "to" } else { "from" };
    let congestion = connection.congestion.as_deref().unwrap_or("congestion control unknown");
    let why = if send_path_why.is_empty() { String::new() } else { format!(" ({send_path_why})") };
    writeln!(
        out,
        "connection {way} {node}{address}: {class} on core {core}, {}, {congestion}, buffers by {send_path}{why}",
        count(connection.streams, "stream")
    )?;
    writeln!(out, "  sent {}", sent(&connection.sent))
}

/// Payload by the way that it left.
fn sent(sent: &Sent) -> String {
    format!(
        "{} by reference, {} by zero-copy, {} copied, {} copied by the kernel in {} of {} zero-copy sends",
        bytes(sent.bytes_by_reference),
        bytes(sent.bytes_zero_copy),
        bytes(sent.bytes_copied),
        bytes(sent.bytes_copied_by_kernel),
        sent.zero_copy_sends_copied,
        sent.zero_copy_sends
    )
}

pub(crate) fn segments(asked: &Segments, output: Output) -> Result<(), Failure> {
    let mut all = AllSegments { segments: Vec::new() };
    let endpoint = asked_of(&asked.endpoint)?;
    let mut after = asked.after.clone();
    loop {
        let rest = asked.limit.map_or(PAGE, |limit| limit.saturating_sub(all.segments.len()).min(PAGE));
        let page = endpoint.segments(asked.shard.id, after.as_deref(), rest)?;
        all.segments.extend(page.segments);
        after = page.next;
        if after.is_none() || asked.limit.is_some_and(|limit| all.segments.len() >= limit) {
            break;
        }
    }
    print(output, &all, |out| {
        all.segments.iter().try_for_each(|segment| {
            let here = if segment.here { "here" } else { "missing" };
            writeln!(
                out,
                "{}  {:>12}  {here:<7}  {}  {}",
                segment.segment, segment.bytes, segment.root, segment.path
            )
        })
    })
}

pub(crate) fn register(asked: &Register, output: Output) -> Result<(), Failure> {
    let durability = match asked.durability {
        Level::Committed => "committed",
        Level::Quorum => "quorum",
        Level::All => "all",
    };
    let body = ChangeBody {
        shard: asked.shard.id,
        kind: if asked.update { "update" } else { "register" }.to_owned(),
        paths: asked.paths.clone(),
        reason: String::new(),
        durability: durability.to_owned(),
        timeout_millis: asked.within.millis(),
    };
    change(&asked.node, &body, output)
}

pub(crate) fn delete(asked: &Delete, output: Output) -> Result<(), Failure> {
    let body = ChangeBody {
        shard: asked.shard.id,
        kind: "delete".to_owned(),
        paths: asked.paths.clone(),
        reason: asked.reason.clone(),
        durability: "committed".to_owned(),
        timeout_millis: asked.within.millis(),
    };
    change(&asked.node, &body, output)
}

fn change(node: &Steered, body: &ChangeBody, output: Output) -> Result<(), Failure> {
    let timeout = ASK_TIMEOUT + Duration::from_millis(body.timeout_millis);
    let report = asked_within(&node.endpoint, timeout)?.change(&token(&node.secret_file)?, body)?;
    print(output, &report, |out| {
        writeln!(out, "committed at {}, landed on {} of {}", report.index, report.landed, report.replicas)
    })?;
    if report.reached {
        Ok(())
    } else {
        Err(Failure::failed("committed, but not landed on as many nodes as asked"))
    }
}

pub(crate) fn transfer_leader(asked: &TransferLeader, output: Output) -> Result<(), Failure> {
    let body = TransferBody { group: asked.group, to: asked.to };
    let token = token(&asked.node.secret_file)?;
    let done: Done = asked_of(&asked.node.endpoint)?.post("/v1/transfer-leader", &token, &body)?;
    print(output, &done, |out| writeln!(out, "node {} leads group {}", asked.to, asked.group))
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
