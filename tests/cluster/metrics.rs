//! `/metrics` of running nodes: well formed, true, and all that the dashboard and the alerts ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::bench::{Cluster, Place, admin, alone, ask, wait_until};

/// One line with a value.
#[derive(Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// What a node answers.
struct Answer {
    text: String,
    /// Name to kind.
    families: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

/// Head and body of what is at a path.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n")
        .expect("it takes it");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

/// `name="value"`, by commas.
fn labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let (value, after) = after.split_once('"').expect("it is closed: no value of ours has a quote");
        assert!(labels.insert(name.to_owned(), value.to_owned()).is_none(), "{name} twice: {text}");
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    assert_eq!(rest, "", "labels and nothing else: {text}");
    labels
}

fn sample(line: &str) -> Sample {
    let (what, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, given) = what.split_once('{').unwrap_or((what, "}"));
    let given = given.strip_suffix('}').unwrap_or_else(|| panic!("labels have no end: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    Sample { name: name.to_owned(), labels: labels(given), value }
}

impl Answer {
    /// Asks, and holds what comes to the text format.
    fn of(address: &str) -> Self {
        let (head, text) = get(address, "/metrics");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert!(text.ends_with('\n') && !text.contains("\n\n"), "each line ends, and none is empty");
        let (mut families, mut samples): (BTreeMap<String, String>, Vec<Sample>) = Default::default();
        let mut told = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                told = help.split_once(' ').expect("a name and its meaning").0;
                assert!(!families.contains_key(told), "{told} is told of twice");
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').expect("a name and its kind");
                assert_eq!(name, told, "HELP comes before TYPE");
                assert!(families.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            } else {
                let sample = sample(line);
                let suffixes: &[&str] =
                    if families[told] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                let is_of = |suffix: &&str| sample.name == format!("{told}{suffix}");
                assert!(suffixes.iter().any(is_of), "{line} stands under {told}");
                samples.push(sample);
            }
        }
        let answer = Self { text, families, samples };
        answer.check_histograms();
        answer
    }

    fn check_histograms(&self) {
        for name in self.families.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut series = BTreeMap::<_, Vec<(f64, f64)>>::new();
            for bucket in self.all(&format!("{name}_bucket")) {
                let mut of = bucket.labels.clone();
                let bound = of.remove("le").expect("a bucket has a bound");
                let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a number") };
                series.entry(of).or_default().push((bound, bucket.value));
            }
            assert!(!series.is_empty(), "{name} has buckets");
            for (of, buckets) in series {
                assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {of:?}: {buckets:?}");
                let count = self.all(&format!("{name}_count")).find(|count| count.labels == of);
                let count = count.expect("each has its count").value;
                assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name} {of:?}");
            }
        }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of all samples of a name with such labels.
    #[track_caller]
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_such = |sample: &&Sample| {
            labels.iter().all(|(name, value)| sample.labels.get(*name).is_some_and(|found| found == value))
        };
        let found: Vec<f64> = self.all(name).filter(is_such).map(|sample| sample.value).collect();
        assert!(!found.is_empty(), "no {name} with {labels:?}");
        found.iter().sum()
    }

    /// A query may ask for it.
    fn has(&self, name: &str) -> bool {
        let of_histogram = ["_bucket", "_sum", "_count"].into_iter().filter_map(|end| name.strip_suffix(end));
        let is_histogram = |name: &str| self.families.get(name).is_some_and(|kind| kind == "histogram");
        let is_whole = self.families.get(name).is_some_and(|kind| kind != "histogram");
        is_whole || of_histogram.into_iter().any(is_histogram)
    }
}

/// Each of our names in a text, with what stands in braces behind it.
fn names(text: &str) -> Vec<(&str, &str)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let starts = text.match_indices("ringway_").map(|(at, _)| at);
    let whole = starts.filter(|at| !text[..*at].ends_with(is_word));
    let name = |at: usize| {
        let (name, rest) = text[at..].split_at(text[at..].find(|c| !is_word(c)).unwrap_or(text.len() - at));
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        (name, braces.map_or("", |(inside, _)| inside))
    };
    whole.map(name).collect()
}

/// All strings under a key, however deep.
fn under<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        found.extend(value.as_str().filter(|_| name == key));
        under(value, key, found);
    }
    value.as_array().into_iter().flatten().for_each(|item| under(item, key, found));
}

/// What a text asks for and a node does not tell.
fn unanswered(answer: &Answer, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (name, asked) in names(text) {
        if !answer.has(name) {
            found.push(name.to_owned());
            continue;
        }
        let matchers = asked.split(',').filter_map(|part| part.split_once('=')).map(|(label, value)| {
            (label.trim(), value.trim_start_matches('~').trim_matches('"').split('|').collect::<Vec<_>>())
        });
        // Those two are Prometheus' own.
        for (label, values) in matchers.filter(|(label, _)| !["job", "instance"].contains(label)) {
            let is_told = |value: &&str| {
                answer.all(name).any(|sample| sample.labels.get(label).is_some_and(|found| found == value))
            };
            found.extend(
                values.iter().filter(|value| !is_told(value)).map(|value| format!("{name} {label}={value}")),
            );
        }
    }
    found
}

#[test]
fn o1_dashboard_and_alerts_ask_for_nothing_that_nodes_do_not_tell() {
    let Place { root, .. } = &alone();
    let mut cluster = Cluster::start(root, &[]);
    assert_eq!(cluster.report()["synced"], true);
    let answer = Answer::of(&admin(root, 2));
    assert_eq!(cluster.stop().code(), Some(0));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/observe");
    let read = |name: &str| fs::read_to_string(dir.join(name)).expect("it ships with the sources");

    let dashboard: serde_json::Value = serde_json::from_str(&read("ringway.json")).expect("JSON");
    let mut queries = Vec::new();
    under(&dashboard, "expr", &mut queries);
    under(&dashboard, "query", &mut queries);
    assert!(queries.len() > 20, "{queries:?}");
    for query in queries.iter().filter(|query| **query != "prometheus") {
        assert!(!names(query).is_empty(), "{query} asks for something else");
        assert_eq!(unanswered(&answer, query), [""; 0], "{query}");
    }
    let alerts = read("alerts.yaml");
    let rules = alerts.lines().filter(|line| line.trim_start().starts_with("expr:")).count();
    assert!(names(&alerts).len() >= rules - 1, "all but the first ask for something of ours");
    assert_eq!(unanswered(&answer, &alerts), [""; 0]);
    // The check itself can fail.
    let wrong = "ringway_nothing + ringway_group_role{role=~\"leader|king\"} + ringway_fetch_landing_seconds";
    let found = ["ringway_nothing", "ringway_group_role role=king", "ringway_fetch_landing_seconds"];
    assert_eq!(unanswered(&answer, wrong), found);
}

#[test]
fn p9_weak_24_what_a_node_tells_in_numbers_is_what_its_status_says_and_what_has_happened() {
    let Place { root, .. } = &alone();
    let mut cluster = Cluster::start(root, &[]);
    let report = cluster.report();
    let (segments, bytes) =
        (report["segments"].as_f64().expect("32"), report["bytes"].as_f64().expect("64 MiB"));
    let nodes: Vec<String> = (1..=3).map(|node| admin(root, node)).collect();
    wait_until("all are ready", || {
        nodes.iter().all(|node| get(node, "/readyz").0.starts_with("HTTP/1.1 200 "))
    });
    // A peer's word of what it has installed comes within a second.
    wait_until("all know that nobody is behind", || {
        nodes.iter().all(|node| Answer::of(node).sum("ringway_peer_lag_entries", &[]) == 0.0)
    });
    let all: Vec<Answer> = nodes.iter().map(|node| Answer::of(node)).collect();
    let sum =
        |name: &str, labels: &[(&str, &str)]| all.iter().map(|node| node.sum(name, labels)).sum::<f64>();
    for (node, answer) in nodes.iter().zip(&all) {
        let status = ask(&["status", "--endpoint", node]);
        let shards = status["shards"].as_array().expect("a list");
        for (name, key) in [
            ("ringway_shard_segments", "segments"),
            ("ringway_shard_installed_index", "installed"),
            ("ringway_fetch_bytes_total", "bytes_fetched"),
            ("ringway_serve_bytes_total", "bytes_served"),
        ] {
            for (shard, at) in shards.iter().enumerate() {
                let told = answer.sum(name, &[("shard", &shard.to_string())]);
                assert_eq!(Some(told), at[key].as_f64(), "{name} of shard {shard} at {node}");
            }
        }
        for (name, expected) in [
            ("ringway_node_ready", 1.0),
            ("ringway_node_not_ready_reasons", 0.0),
            ("ringway_shard_lag_bytes", 0.0),
            ("ringway_shard_lag_seconds", 0.0),
            ("ringway_fetch_queued_segments", 0.0),
            ("ringway_fetch_damaged_chunks_total", 0.0),
            ("ringway_rate_limit_bytes_per_second", 0.0),
            ("ringway_rate_waits_total", 0.0),
            ("ringway_rate_waited_seconds_total", 0.0),
            ("ringway_rate_held_back_seconds_total", 0.0),
            ("ringway_rate_passed_bytes_total", 0.0),
            ("ringway_group_role", 3.0),
        ] {
            assert_eq!(answer.sum(name, &[]), expected, "{name} at {node}");
        }
        assert!(answer.sum("ringway_walks_total", &[]) >= 2.0, "each shard has been walked");
        let peers: BTreeSet<_> =
            answer.all("ringway_peer_landed_segments_total").map(|it| &it.labels["peer"]).collect();
        assert_eq!(peers.len(), 2, "the others: {peers:?}");
        let secret = fs::read_to_string(root.join("secret")).expect("ours");
        assert!(!answer.text.contains(secret.trim()) && !answer.text.contains('/'), "no secret and no path");
    }
    assert_eq!(sum("ringway_fetch_landed_segments_total", &[]), 2.0 * segments, "each on two others");
    assert_eq!(sum("ringway_fetch_landing_seconds_count", &[]), 2.0 * segments);
    assert_eq!(sum("ringway_peer_landed_segments_total", &[]), 2.0 * segments);
    assert_eq!(sum("ringway_fetch_skipped_segments_total", &[("reason", "own")]), segments);
    assert_eq!(sum("ringway_peer_fetched_bytes_total", &[]), 2.0 * bytes);
    assert_eq!(sum("ringway_peer_served_bytes_total", &[]), 2.0 * bytes);
    let committed = sum("ringway_proposals_total", &[("outcome", "committed")]);
    assert!(committed > 0.0 && sum("ringway_proposal_commit_seconds_count", &[]) == committed);
    assert!(sum("ringway_proposal_commit_seconds_sum", &[]) > 0.0);
    assert_eq!(sum("ringway_group_role", &[("role", "leader")]), 3.0, "each group has one");
    assert_eq!(cluster.stop().code(), Some(0));
}
