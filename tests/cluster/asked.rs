//! Asking the nodes of a cluster, each where it is: over HTTP, or by a command of the binary.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ringway::engine::admin_token;
use serde_json::{Value, json};

use crate::bench::wait_or_tell;
use crate::binary::ringway;
use crate::space::Space;

/// For what a node answers at once.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Where the nodes of one cluster are to be asked.
pub struct Asked {
    pub root: PathBuf,
    secret: PathBuf,
    token: String,
    admin: Vec<SocketAddr>,
    /// None, or one a node.
    spaces: Vec<Space>,
}

/// Why a change was not acknowledged: the answer's status, 0 if none came, and its words.
#[derive(Debug)]
pub struct Unacknowledged {
    pub status: u16,
    pub why: String,
}

impl Unacknowledged {
    /// Either it never happened, or asking again is safe.
    pub fn says_what_to_do(&self) -> bool {
        says_what_to_do(&self.why)
    }
}

/// The two answers of a node that reached no leader in time.
pub fn says_what_to_do(why: &str) -> bool {
    why.contains("no leader was reached in time") || why.contains("asking again is safe")
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("few") - 1
}

impl Asked {
    pub fn new(root: &Path, secret: PathBuf, admin: Vec<SocketAddr>, spaces: Vec<Space>) -> Self {
        let token = admin_token(&fs::read_to_string(&secret).expect("made")).expect("a secret");
        Self { root: root.to_owned(), secret, token, admin, spaces }
    }

    pub fn numbers(&self) -> RangeInclusive<u64> {
        1..=self.admin.len() as u64
    }

    /// All nodes but one.
    pub fn others(&self, one: u64) -> impl Iterator<Item = u64> + use<> {
        self.numbers().filter(move |other| *other != one)
    }

    /// Where a node's segments stand.
    pub fn segments(&self, number: u64) -> PathBuf {
        self.root.join(format!("node-{number}/shard-0000/segments"))
    }

    /// What a node has said on standard error, in all its starts.
    pub fn log(&self, number: u64) -> String {
        fs::read_to_string(self.root.join(format!("node-{number}/log"))).unwrap_or_default()
    }

    /// The binary, run where the node is.
    pub fn command(&self, number: u64) -> Command {
        self.spaces.get(index(number)).map_or_else(ringway, |space| space.command(&ringway()))
    }

    /// One request: the answer's status and document.
    fn ask(&self, number: u64, request: &str, body: &str, within: Duration) -> io::Result<(u16, Value)> {
        let at = self.admin[index(number)];
        let whole = format!(
            "{request} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        match self.spaces.get(index(number)) {
            None => converse(at, &whole, within),
            Some(space) => space.inside(|| converse(at, &whole, within)),
        }
    }

    /// How a node stands, if it answers.
    pub fn status(&self, number: u64) -> Option<Value> {
        let (status, document) = self.ask(number, "GET /v1/status", "", AT_ONCE).ok()?;
        (status == 200).then_some(document)
    }

    /// What a node says of its shard's Raft group, if it answers.
    pub fn group(&self, number: u64) -> Option<Value> {
        let status = self.status(number)?;
        status["groups"].as_array()?.iter().find(|group| group["group"] == 1).cloned()
    }

    pub fn is_ready(&self, number: u64) -> bool {
        self.ask(number, "GET /readyz", "", AT_ONCE).is_ok_and(|(status, _)| status == 200)
    }

    /// The node that says it leads the shard, in the highest term of those that say so.
    pub fn leader(&self) -> Option<u64> {
        let groups = self.numbers().filter_map(|number| Some((number, self.group(number)?)));
        let leading =
            groups.filter(|(number, group)| group["role"] == "leader" && group["leader"] == *number);
        leading.max_by_key(|(_, group)| group["term"].as_u64()).map(|(number, _)| number)
    }

    /// Waits for a leader.
    #[track_caller]
    pub fn wait_leader(&self) -> u64 {
        self.wait("somebody leads", |fleet| fleet.leader().is_some());
        self.leader().unwrap_or_else(|| self.wait_leader())
    }

    /// Registers a file that stands at a node; the commit is waited for so long.
    pub fn register(&self, number: u64, path: &str, within: Duration) -> Result<(), Unacknowledged> {
        let body = json!({
            "shard": 0, "kind": "register", "paths": [path], "reason": "", "durability": "committed",
            "timeout_millis": u64::try_from(within.as_millis()).expect("short"),
        });
        let none = |error: io::Error| Unacknowledged { status: 0, why: error.to_string() };
        let answered = self.ask(number, "POST /v1/change", &body.to_string(), within + AT_ONCE);
        match answered.map_err(none)? {
            (200, _) => Ok(()),
            (status, document) => Err(Unacknowledged { status, why: document["error"].to_string() }),
        }
    }

    /// `ringway register` of a file that stands at a node.
    pub fn register_by_command(&self, number: u64, path: &str, seconds: u32) -> Output {
        let mut command = self.command(number);
        command.arg("register").arg("--endpoint").arg(self.admin[index(number)].to_string());
        command.arg("--secret-file").arg(&self.secret).args(["--timeout", &seconds.to_string()]);
        command.arg(path).output().expect("it runs")
    }

    /// Waits until another node leads.
    #[track_caller]
    pub fn wait_other_leader(&self, before: u64) {
        self.wait("another one leads", |fleet| fleet.leader().is_some_and(|now| now != before));
    }

    /// Waits, and tells how the nodes stand if it does not come to that.
    #[track_caller]
    pub fn wait(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let tell = |number| {
            let log = self.log(number);
            let last: Vec<_> = log.lines().rev().take(20).collect();
            let last: String = last.into_iter().rev().map(|line| format!("{line}\n")).collect();
            let stands = self
                .status(number)
                .map(|status| format!("{}\n{}\n{}", status["not_ready"], status["groups"], status["shards"]));
            format!("node {number}: {}\n{last}", stands.as_deref().unwrap_or("no answer"))
        };
        wait_or_tell(what, || done(self), || self.numbers().map(tell).collect());
    }

    /// Waits until every node is ready.
    #[track_caller]
    pub fn all_ready(&self) {
        self.wait("all are ready", |fleet| fleet.numbers().all(|number| fleet.is_ready(number)));
    }

    /// Waits until every node has all that any of them knows to be committed.
    #[track_caller]
    pub fn at_rest(&self) {
        self.all_ready();
        self.wait("all have installed the same", |fleet| {
            let of = |number| Some(fleet.status(number)?["shards"][0].clone());
            let all: Option<Vec<Value>> = fleet.numbers().map(of).collect();
            let Some(all) = all else { return false };
            let most = all.iter().filter_map(|shard| shard["committed"].as_u64()).max();
            all.iter().all(|shard| shard["installed"].as_u64() == most && shard["missing"] == 0)
        });
    }
}

fn converse(at: SocketAddr, request: &str, within: Duration) -> io::Result<(u16, Value)> {
    let mut stream = TcpStream::connect_timeout(&at, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let parsed = || {
        let status = answer.get(9..12)?.parse().ok()?;
        Some((status, serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?))
    };
    parsed().ok_or_else(|| io::Error::other(format!("not an answer: {answer:?}")))
}
