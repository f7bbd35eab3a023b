//! A node's status as Prometheus reads it: text format 0.0.4. `families/` has what there is; here it is written.
//!
//! Values are whole numbers in the status' own unit and are written in the base unit, so that none is rounded. Labels
//! have few values: cores, groups, shards, members, and words of closed lists. No path and no segment is one.

use std::fmt::{self, Display, Write};

use ringway::engine::{
    CoreStatus, CountStatus, GroupStatus, HistogramStatus, NodeStatus, PeerStatus, ShardStatus,
};

use super::families;

/// What the answer is, to whoever asks for it by HTTP.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One name, with what it means and where its values come from.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    kind: Kind,
    /// Values are given in this part of the base unit.
    scale: u64,
    read: Read,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Where values come from, and by what they are labelled.
pub(super) enum Read {
    Node(fn(&NodeStatus) -> u64),
    /// `core`.
    Core(fn(&CoreStatus) -> u64),
    /// `group`.
    Group(fn(&GroupStatus) -> u64),
    /// `shard`.
    Shard(fn(&ShardStatus) -> u64),
    /// `shard` and the label named, by what has happened.
    Counts(&'static str, fn(&ShardStatus) -> &[CountStatus]),
    /// `shard` and `peer`.
    Peer(fn(&ShardStatus, &PeerStatus) -> Option<u64>),
    /// `shard`.
    Lengths(fn(&ShardStatus) -> &HistogramStatus),
    /// Whatever it writes.
    Each(fn(&NodeStatus, &mut Samples<'_>)),
}

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a dyn Display);

/// Where the samples of one family are written.
pub(super) struct Samples<'a> {
    family: &'a Family,
    text: &'a mut String,
}

/// Only grows, from 0 at the node's start.
pub(super) const fn counter(name: &'static str, help: &'static str, read: Read) -> Family {
    Family { name, help, kind: Kind::Counter, scale: 1, read }
}

/// As it stands now.
pub(super) const fn gauge(name: &'static str, help: &'static str, read: Read) -> Family {
    Family { name, help, kind: Kind::Gauge, scale: 1, read }
}

/// Lengths of time, given in microseconds and written in seconds.
pub(super) const fn histogram(name: &'static str, help: &'static str, read: Read) -> Family {
    Family { name, help, kind: Kind::Histogram, scale: 1_000_000, read }
}

impl Family {
    /// The same; its values are given in this part of the base unit.
    pub(super) const fn in_parts(mut self, scale: u64) -> Self {
        self.scale = scale;
        self
    }

    fn write(&self, status: &NodeStatus, text: &mut String) {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let (name, help) = (self.name, self.help);
        put(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        let mut out = Samples { family: self, text };
        match &self.read {
            Read::Node(read) => out.put(&[], read(status)),
            Read::Core(read) => {
                status.cores.iter().for_each(|core| out.put(&[("core", &core.core)], read(core)));
            }
            Read::Group(read) => {
                status.groups.iter().for_each(|group| out.put(&[("group", &group.group)], read(group)));
            }
            Read::Shard(read) => {
                status.shards.iter().for_each(|shard| out.put(&[("shard", &shard.shard)], read(shard)));
            }
            Read::Counts(label, read) => {
                for shard in &status.shards {
                    for CountStatus { what, count } in read(shard) {
                        out.put(&[("shard", &shard.shard), (label, what)], *count);
                    }
                }
            }
            Read::Peer(read) => {
                for shard in &status.shards {
                    for peer in &shard.transfers.peers {
                        if let Some(value) = read(shard, peer) {
                            out.put(&[("shard", &shard.shard), ("peer", &peer.node)], value);
                        }
                    }
                }
            }
            Read::Lengths(read) => {
                status.shards.iter().for_each(|shard| out.lengths(&[("shard", &shard.shard)], read(shard)));
            }
            Read::Each(write) => write(status, &mut out),
        }
    }
}

impl Samples<'_> {
    /// One sample.
    pub(super) fn put(&mut self, labels: &[Label<'_>], value: u64) {
        self.line("", labels, value, self.family.scale);
    }

    /// The samples of one histogram: each bucket counts what those before it do, too.
    fn lengths(&mut self, labels: &[Label<'_>], lengths: &HistogramStatus) {
        let scale = self.family.scale;
        let mut count = 0;
        let bounds = lengths.bounds_micros.iter().map(|bound| decimal(*bound, scale));
        for (bound, more) in bounds.chain(["+Inf".to_owned()]).zip(&lengths.counts) {
            count += more;
            self.line("_bucket", &[labels, &[("le", &bound)]].concat(), count, 1);
        }
        self.line("_sum", labels, lengths.sum_micros, scale);
        self.line("_count", labels, count, 1);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], value: u64, scale: u64) {
        put(self.text, format_args!("{}{suffix}", self.family.name));
        for (place, (name, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            put(self.text, format_args!("{before}{name}=\"{}\"", escape(&value.to_string())));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        put(self.text, format_args!("{after} {}\n", decimal(value, scale)));
    }
}

fn put(text: &mut String, what: fmt::Arguments<'_>) {
    text.write_fmt(what).expect("memory takes all text");
}

/// A label's value as the format wants it.
fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// `value` parts of which `scale`, a power of ten, are one.
fn decimal(value: u64, scale: u64) -> String {
    let (whole, rest) = (value / scale, value % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = usize::try_from(scale.ilog10()).unwrap_or_default();
    format!("{whole}.{rest:0digits$}").trim_end_matches('0').to_owned()
}

/// The whole answer.
pub(super) fn text(status: &NodeStatus) -> String {
    let mut text = String::new();
    families::all().for_each(|family| family.write(status, &mut text));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_parts_of_the_base_unit_are_written_without_rounding() {
        let cases = [
            (0, 1000, "0"),
            (1, 1, "1"),
            (1500, 1000, "1.5"),
            (500, 1_000_000, "0.0005"),
            (2_000_001, 1_000_000, "2.000001"),
            (u64::MAX, 1, "18446744073709551615"),
        ];
        for (value, scale, expected) in cases {
            assert_eq!(decimal(value, scale), expected);
        }
    }

    #[test]
    fn p9_a_labels_value_cannot_end_its_label_or_its_line() {
        let family = gauge("ringway_x", "x", Read::Node(|_| 0));
        let mut text = String::new();
        Samples { family: &family, text: &mut text }.put(&[("a", &"\\\"}\n1"), ("b", &2)], 7);
        assert_eq!(text, "ringway_x{a=\"\\\\\\\"}\\n1\",b=\"2\"} 7\n");
    }

    #[test]
    fn p9_a_bucket_counts_what_those_before_it_do() {
        let family = histogram("ringway_x_seconds", "x", Read::Node(|_| 0));
        let mut text = String::new();
        let lengths = HistogramStatus {
            bounds_micros: vec![500, 2_500_000],
            counts: vec![3, 0, 4],
            sum_micros: 9_000_500,
        };
        Samples { family: &family, text: &mut text }.lengths(&[("shard", &0)], &lengths);
        let expected = [
            "ringway_x_seconds_bucket{shard=\"0\",le=\"0.0005\"} 3",
            "ringway_x_seconds_bucket{shard=\"0\",le=\"2.5\"} 3",
            "ringway_x_seconds_bucket{shard=\"0\",le=\"+Inf\"} 7",
            "ringway_x_seconds_sum{shard=\"0\"} 9.0005",
            "ringway_x_seconds_count{shard=\"0\"} 7\n",
        ];
        assert_eq!(text, expected.join("\n"));
    }

    /// By Prometheus' conventions; what a running node answers is looked at in `tests/cluster/metrics.rs`.
    #[test]
    fn p9_names_follow_the_conventions_and_each_is_told_of_once() {
        let mut names = std::collections::BTreeSet::new();
        for Family { name, help, kind, .. } in families::all() {
            assert!(names.insert(name), "{name} twice");
            let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(name.starts_with("ringway_") && name.bytes().all(is_plain), "{name}");
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(
                !["_millis", "_micros", "_count", "_sum"].iter().any(|end| name.ends_with(end)),
                "{name}"
            );
            assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help}");
        }
    }
}
