//! The cluster's promises, case by case.

use super::*;
use crate::ids::{ClusterId, Incarnation, LogIndex, NodeId, ShardId};
use crate::limits::{NODES_MAX, SERVES_MAX};

fn record(id: u64, role: Role) -> NodeRecord {
    NodeRecord {
        id: NodeId(id),
        name: format!("node-{id}"),
        address: format!("host-{id}:7400"),
        admin_address: Some(format!("host-{id}:7401")),
        incarnation: Incarnation(u128::from(id).to_be_bytes()),
        role,
    }
}

fn bootstrap() -> Bootstrap {
    Bootstrap {
        cluster: ClusterId([1; 16]),
        nodes: vec![record(1, Role::Voter), record(2, Role::Voter), record(3, Role::NonVoter)],
        shard_count: 4,
        replicas: Replicas::All,
    }
}

fn apply(state: &mut ClusterState, command: Command) -> Effect {
    let index = LogIndex(state.applied().0 + 1);
    state.apply(index, &command.encode())
}

fn set(state: &ClusterState, record: NodeRecord) -> Command {
    Command::SetNode { record, seen: state.nodes_changed() }
}

fn remove(state: &ClusterState, node: u64) -> Command {
    Command::RemoveNode { node: NodeId(node), seen: state.nodes_changed() }
}

fn apply_set(state: &mut ClusterState, record: NodeRecord) -> Effect {
    let command = set(state, record);
    apply(state, command)
}

fn apply_remove(state: &mut ClusterState, node: u64) -> Effect {
    let command = remove(state, node);
    apply(state, command)
}

fn refusal(state: &mut ClusterState, command: Command) -> Refusal {
    let before = state.clone();
    let effect = apply(state, command);
    let Outcome::Refused(refusal) = effect.outcome else { panic!("not refused: {effect:?}") };
    let unchanged = ClusterState { applied: state.applied(), ..before };
    assert_eq!(
        (effect.change, &*state),
        (None, &unchanged),
        "a refused command changes nothing but the index"
    );
    refusal
}

fn reason(state: &mut ClusterState, record: NodeRecord) -> NodeReason {
    let command = set(state, record);
    let refusal = refusal(state, command);
    let Refusal::Node { reason, .. } = refusal else { panic!("refused for another reason: {refusal:?}") };
    reason
}

fn founded() -> ClusterState {
    let mut state = ClusterState::new();
    let effect = apply(&mut state, Command::Bootstrap(bootstrap()));
    assert_eq!(effect, Effect { outcome: Outcome::Applied, change: Some(Change::Bootstrapped) });
    state
}

#[test]
fn d14_a_cluster_is_made_exactly_once() {
    let mut state = founded();
    let cluster = ClusterId([1; 16]);
    assert_eq!(state.cluster(), Some(cluster));
    for other in [bootstrap(), Bootstrap { cluster: ClusterId([2; 16]), ..bootstrap() }] {
        let refused = refusal(&mut state, Command::Bootstrap(other));
        assert_eq!(refused, Refusal::AlreadyBootstrapped { cluster });
    }
}

#[test]
fn d14_nothing_else_is_agreed_before_the_bootstrap() {
    let mut state = ClusterState::new();
    for command in [
        set(&state, record(1, Role::Voter)),
        remove(&state, 1),
        Command::SetLimit { limit: Limit::Serves, value: None },
    ] {
        assert_eq!(refusal(&mut state, command), Refusal::NotBootstrapped);
    }
    assert_eq!(state.shards().count() + state.replicas(ShardId(0)).count(), 0);
}

#[test]
fn d14_a_bootstrap_that_cannot_be_a_cluster_is_refused() {
    let mut state = ClusterState::new();
    let mut refused = |change: fn(&mut Bootstrap)| {
        let mut bootstrap = bootstrap();
        change(&mut bootstrap);
        refusal(&mut state, Command::Bootstrap(bootstrap))
    };
    assert_eq!(refused(|first| first.cluster = ClusterId::default()), Refusal::ClusterIdZero);
    assert_eq!(refused(|first| first.shard_count = 0), Refusal::ShardCount { shards: 0 });
    assert_eq!(refused(|first| first.shard_count = 1025), Refusal::ShardCount { shards: 1025 });
    assert_eq!(refused(|first| first.nodes.clear()), Refusal::LastVoter);
    assert_eq!(refused(|first| first.nodes.drain(..2).for_each(drop)), Refusal::LastVoter);
    let twice = refused(|first| first.nodes.push(record(2, Role::Voter)));
    assert_eq!(twice, Refusal::NodeTwice { node: NodeId(2) });
    let node = NodeId(2);
    let taken = refused(|first| first.nodes[1].name = "node-1".to_owned());
    assert_eq!(taken, Refusal::Node { node, reason: NodeReason::NameTaken { by: NodeId(1) } });
    let many =
        refused(|first| first.nodes = (1..=NODES_MAX as u64 + 1).map(|id| record(id, Role::Voter)).collect());
    assert_eq!(many, Refusal::NodesFull);
}

#[test]
fn a_node_joins_moves_and_is_removed_and_each_twice_is_once() {
    let mut state = founded();
    let joins = record(4, Role::Promotable);
    assert_eq!(apply_set(&mut state, joins.clone()).change, Some(Change::Joined(joins.clone())));
    assert_eq!(apply_set(&mut state, joins.clone()).outcome, Outcome::Unchanged);
    let moved = NodeRecord { address: "[::1]:9".to_owned(), role: Role::Voter, ..joins.clone() };
    let effect = apply_set(&mut state, moved.clone());
    assert_eq!(effect.change, Some(Change::Altered { now: moved.clone(), before: joins }));
    let node = state.node(NodeId(4)).expect("it joined");
    assert_eq!((node.joined, node.changed), (LogIndex(2), LogIndex(4)));
    let effect = apply_remove(&mut state, 4);
    assert_eq!(effect.change, Some(Change::Removed(moved.clone())));
    assert_eq!(apply_remove(&mut state, 4).outcome, Outcome::Unchanged);
    assert_eq!(state.admits(NodeId(4), moved.incarnation), Admission::UnknownNode);
    let effect = apply_set(&mut state, moved.clone());
    assert_eq!(effect.change, Some(Change::Joined(moved)), "with its root whole, the same node joins again");
}

#[test]
fn every_wrong_word_about_a_node_has_its_reason() {
    let mut state = founded();
    let mut with = |change: fn(&mut NodeRecord)| {
        let mut said = record(2, Role::Voter);
        change(&mut said);
        reason(&mut state, said)
    };
    let by = NodeId(1);
    assert_eq!(with(|said| said.id = NodeId(0)), NodeReason::IdZero);
    assert_eq!(with(|said| said.name = "a b".to_owned()), NodeReason::Name);
    assert_eq!(with(|said| said.name = "node-1".to_owned()), NodeReason::NameTaken { by });
    assert_eq!(with(|said| said.address = "host".to_owned()), NodeReason::Address);
    assert_eq!(with(|said| said.address = "host-1:7400".to_owned()), NodeReason::AddressTaken { by });
    assert_eq!(with(|said| said.admin_address = Some(String::new())), NodeReason::AdminAddress);
    assert_eq!(with(|said| said.incarnation = Incarnation::default()), NodeReason::IncarnationZero);
    let first = Incarnation(1_u128.to_be_bytes());
    assert_eq!(state.admits(NodeId(2), first), Admission::Copied { of: by });
    let copied = NodeRecord { incarnation: first, ..record(9, Role::Promotable) };
    assert_eq!(reason(&mut state, copied), NodeReason::IncarnationTaken { by });
}

#[test]
fn d15_a_node_that_returns_with_another_incarnation_is_not_the_old_voter() {
    let mut state = founded();
    let old = record(2, Role::Voter);
    let new = NodeRecord { incarnation: Incarnation([0xaa; 16]), ..old.clone() };
    assert_eq!(state.admits(old.id, new.incarnation), Admission::Foreign);
    assert_eq!(reason(&mut state, new.clone()), NodeReason::ReturnsAsVoter);
    let new = NodeRecord { role: Role::Promotable, ..new };
    let effect = apply_set(&mut state, new.clone());
    let returned = Change::Returned { now: new.clone(), retired: old.incarnation };
    assert_eq!(effect.change, Some(returned));
    assert_eq!(state.admits(old.id, old.incarnation), Admission::Retired);
    assert_eq!(state.admits(old.id, new.incarnation), Admission::Current { role: Role::Promotable });
    assert_eq!(state.owners(ShardId(0)).collect::<Vec<_>>(), [NodeId(1)], "a learner owns nothing");
    assert_eq!(reason(&mut state, old), NodeReason::IncarnationRetired);
    apply_set(&mut state, NodeRecord { role: Role::Voter, ..new });
    assert_eq!(state.owners(ShardId(0)).count(), 2, "promoted, it owns again");
    apply_remove(&mut state, 2);
    let fenced = state.admits(NodeId(2), Incarnation(2_u128.to_be_bytes()));
    assert_eq!(fenced, Admission::Retired, "removal lifts no fence");
}

#[test]
fn a_command_that_comes_late_undoes_nothing() {
    let mut state = founded();
    let (joins, goes) = (set(&state, record(4, Role::Voter)), remove(&state, 3));
    apply(&mut state, joins.clone());
    assert_eq!(apply(&mut state, joins.clone()).outcome, Outcome::Unchanged, "a retry of what happened");
    assert_eq!(refusal(&mut state, goes), Refusal::Stale { changed: LogIndex(2) });
    apply_remove(&mut state, 4);
    let changed = state.nodes_changed();
    assert_eq!(refusal(&mut state, joins), Refusal::Stale { changed }, "it does not bring the node back");
}

#[test]
fn the_last_voter_stays_one() {
    let mut state = founded();
    apply_remove(&mut state, 2);
    for command in [remove(&state, 1), set(&state, record(1, Role::NonVoter))] {
        assert_eq!(refusal(&mut state, command), Refusal::LastVoter);
    }
    assert_eq!(apply_remove(&mut state, 3).outcome, Outcome::Applied);
}

#[test]
fn every_voter_owns_every_shard_and_every_node_holds_it() {
    let state = founded();
    assert_eq!(state.shards().collect::<Vec<_>>(), [0, 1, 2, 3].map(ShardId));
    assert_eq!(state.shards_of(NodeId(2)).count(), 4);
    assert_eq!(state.shards_of(NodeId(3)).count(), 0);
    assert_eq!(state.owners(ShardId(3)).collect::<Vec<_>>(), [NodeId(1), NodeId(2)]);
    assert_eq!(state.replicas(ShardId(3)).count(), 3);
    assert_eq!(state.owners(ShardId(4)).count() + state.replicas(ShardId(4)).count(), 0);
}

#[test]
fn limits_are_set_changed_and_lifted() {
    let mut state = founded();
    let set = |value| Command::SetLimit { limit: Limit::Serves, value };
    assert_eq!(refusal(&mut state, set(Some(0))), Refusal::LimitValue { value: 0 });
    let value = SERVES_MAX as u64 + 1;
    assert_eq!(refusal(&mut state, set(Some(value))), Refusal::LimitValue { value });
    assert_eq!(apply(&mut state, set(Some(5))).change, Some(Change::Limited));
    assert_eq!(apply(&mut state, set(Some(5))).outcome, Outcome::Unchanged);
    assert_eq!(state.limit(Limit::Serves), Some(5));
    assert_eq!(apply(&mut state, set(None)).change, Some(Change::Limited));
    assert_eq!(state.limit(Limit::Serves), None);
}

#[test]
fn bytes_that_are_no_command_are_refused() {
    let mut state = founded();
    for bytes in [&[][..], &[0xff; 40], &Command::Bootstrap(bootstrap()).encode()[1..]] {
        let index = LogIndex(state.applied().0 + 1);
        assert_eq!(state.apply(index, bytes).outcome, Outcome::Refused(Refusal::Undecodable));
    }
    for outcome in [Outcome::Applied, Outcome::Refused(Refusal::NodeTwice { node: NodeId(5) })] {
        assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
    }
    assert!(Outcome::decode(&[9; 7]).is_err());
}

fn eventful() -> ClusterState {
    let mut state = founded();
    let returns = NodeRecord { incarnation: Incarnation([0xaa; 16]), ..record(2, Role::Promotable) };
    apply_set(&mut state, returns);
    apply_set(&mut state, NodeRecord { admin_address: None, ..record(7, Role::Voter) });
    apply(&mut state, Command::SetLimit { limit: Limit::NodeSendBytesPerSecond, value: Some(1 << 30) });
    state
}

#[test]
fn a_snapshot_installs_as_the_same_state_and_gives_the_same_bytes() {
    for state in [ClusterState::new(), founded(), eventful()] {
        let bytes = state.snapshot();
        let installed = ClusterState::install(&bytes).expect("our own");
        assert_eq!(installed, state);
        assert_eq!(installed.snapshot().as_slice(), bytes.as_slice());
    }
}

#[test]
fn any_flipped_bit_of_a_snapshot_is_refused() {
    let bytes = eventful().snapshot();
    for at in 0..bytes.len() * 8 {
        let mut bad = bytes.to_vec();
        bad[at / 8] ^= 1 << (at % 8);
        assert!(ClusterState::install(&bad).is_err(), "bit {at}");
    }
}

#[test]
fn a_forged_snapshot_with_right_checksums_breaks_no_rule_of_the_cluster() {
    let refused = |change: fn(&mut ClusterState)| {
        let mut state = eventful();
        change(&mut state);
        let error = ClusterState::install(&state.snapshot()).expect_err("it breaks a rule");
        if let SnapshotError::Rule { rule } = error { rule.to_owned() } else { format!("{error:?}") }
    };
    fn node(state: &mut ClusterState, id: u64) -> &mut Node {
        state.nodes.get_mut(&NodeId(id)).expect("it is there")
    }
    assert!(refused(|state| state.founded = None).contains("before the bootstrap"));
    assert!(refused(|state| state.nodes.clear()).contains("voter"));
    assert!(refused(|state| node(state, 1).record.name.clear()).contains("Name"));
    assert!(refused(|state| node(state, 3).record.id = NodeId(9)).contains("ascend"));
    assert!(refused(|state| node(state, 3).record.name = "node-1".to_owned()).contains("NameTaken"));
    assert!(refused(|state| node(state, 3).changed = LogIndex(99)).contains("after"));
    assert!(refused(|state| node(state, 3).record.incarnation = Incarnation([0xaa; 16])).contains("Taken"));
    let lifted = refused(|state| node(state, 2).record.incarnation = Incarnation(2_u128.to_be_bytes()));
    assert!(lifted.contains("IncarnationRetired"), "{lifted}");
    assert!(refused(|state| state.limits.extend([(Limit::Serves, 0)])).contains("values"));
    assert!(refused(|state| state.founded.as_mut().expect("founded").shard_count = 0).contains("shards"));
}

#[test]
fn r2_a_roll_is_read_as_it_was_written_and_what_was_cut_or_is_too_long_is_refused() {
    let roll = Roll::of(&eventful());
    let bytes = roll.encode();
    assert!(!roll.nodes.is_empty());
    assert_eq!(Roll::decode(&bytes), Ok(roll));
    for cut in 0..bytes.len() {
        assert!(Roll::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() * 8 {
        let mut bad = bytes.to_vec();
        bad[at / 8] ^= 1 << (at % 8);
        // It has no checksum: the connection has.
        let _another_or_none = Roll::decode(&bad);
    }
    let nodes = (1..=NODES_MAX as u64 + 1).map(|id| record(id, Role::Voter)).collect();
    assert!(Roll::decode(&Roll { changed: LogIndex(1), nodes }.encode()).is_err());
}
