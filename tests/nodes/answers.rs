//! What a node answers when it cannot do as it was asked: too many ask at once, or whom it needs does not answer.

use ringway::engine::{
    Ask, BootstrapError, ChangeError, EventsError, LocateError, Locator, NoAnswer, Reply,
    TransferLeaderError, WaitError, block_on,
};
use ringway::ids::{GroupId, LogIndex, Nanos, NodeId};
use ringway::limits::{BOOTSTRAP_TIMEOUT, MAILBOX_MESSAGES_MAX};

use crate::sim::SimOptions;

use super::campaign::three;
use super::cluster::Cluster;
use super::host::poll;
use super::{millis, secs};

const FIRST: NodeId = NodeId(1);
const OTHERS: [NodeId; 2] = [NodeId(2), NodeId(3)];

/// Three nodes of which the first runs, and has been asked to found the cluster.
fn asked(seed: u64) -> (Cluster, Reply<(), BootstrapError>) {
    let mut cluster = Cluster::new(seed, SimOptions::default(), three());
    cluster.working = false;
    cluster.sim.partition(&[FIRST], &OTHERS);
    let runs = cluster.until(secs(20), |cluster| cluster.host(FIRST).engine().is_some());
    assert!(runs.expect("no checker minds"));
    let asked = cluster.host(FIRST).engine().expect("it runs").bootstrap();
    (cluster, asked)
}

/// The answer, and how long it took.
fn answer(
    cluster: &mut Cluster,
    mut reply: Reply<(), BootstrapError>,
) -> (Result<(), BootstrapError>, Nanos) {
    let (mut answer, began) = (None, cluster.sim.now());
    let limit = BOOTSTRAP_TIMEOUT.plus(secs(20));
    cluster
        .until(limit, |_| {
            answer = poll(&mut reply);
            answer.is_some()
        })
        .expect("no checker minds");
    (answer.expect("there is an answer in time"), cluster.sim.now().since(began))
}

fn founded(cluster: &mut Cluster) {
    cluster.sim.heal();
    assert!(
        cluster.until(secs(90), |cluster| cluster.is_founded()).expect("no checker minds"),
        "asked again"
    );
}

#[test]
fn a_member_that_never_answers_ends_a_founding_in_time_with_its_name_and_the_next_goes_well() {
    let (mut cluster, asked) = asked(1);
    let (answer, after) = answer(&mut cluster, asked);
    let error = answer.expect_err("nobody else can be reached");
    assert!(matches!(&error, BootstrapError::Unreachable { node, .. } if OTHERS.contains(node)), "{error:?}");
    assert!(after >= BOOTSTRAP_TIMEOUT && after < BOOTSTRAP_TIMEOUT.plus(secs(10)), "after {after}");
    founded(&mut cluster);
}

#[test]
fn members_that_answer_and_go_away_end_a_founding_that_goes_on_when_they_are_back() {
    let (mut cluster, asked) = asked(2);
    cluster.sim.heal();
    let members = |cluster: &Cluster| {
        let seats = cluster.host(FIRST).seats.borrow();
        seats.iter().find_map(|seat| seat.cluster()).map_or(0, |group| group.members().len())
    };
    assert!(cluster.until(secs(20), |cluster| members(cluster) == 3).expect("no checker minds"));
    cluster.sim.partition(&[FIRST], &OTHERS);
    let (answer, _) = answer(&mut cluster, asked);
    let error = answer.expect_err("there is no majority");
    assert!(matches!(&error, BootstrapError::Refused { why } if why.contains("no leader")), "{error:?}");
    founded(&mut cluster);
}

/// Nothing on the node runs between the askings: its mailbox is as long as it may be, and a request more is refused.
#[test]
fn what_a_node_has_no_place_to_take_is_refused_as_busy_at_once_and_what_it_took_is_answered() {
    let mut cluster = Cluster::new(3, SimOptions::default(), three());
    cluster.working = false;
    assert!(cluster.until(secs(20), |cluster| cluster.is_founded()).expect("no checker minds"));
    let engine = cluster.host(FIRST).engine().expect("it runs").clone();
    let shard = engine.shards().find(|shard| engine.config().core_of(shard.id().group()) == 0);
    let shard = shard.expect("a shard lives on the first core");
    let mut now = shard.events_now();
    cluster.go_on(millis(10)).expect("no checker minds");
    let now = poll(&mut now).expect("it is answered").expect("it runs");
    let mut waiting: Vec<_> = (0..MAILBOX_MESSAGES_MAX).map(|_| engine.members()).collect();
    assert_eq!(engine.bootstrap().wait(), Err(BootstrapError::Busy));
    assert_eq!(engine.members().wait(), Err(NoAnswer::Busy));
    assert_eq!(engine.status().wait(), Err(NoAnswer::Busy));
    let group = GroupId::CLUSTER;
    assert_eq!(engine.transfer_leader(group, NodeId(2)).wait(), Err(TransferLeaderError::Busy));

    assert_eq!(shard.delete("a", "", Ask::default()).wait(), Err(ChangeError::TooMany));
    assert_eq!(shard.wait_installed(LogIndex(1), millis(1)).wait(), Err(WaitError::Busy));
    assert_eq!(
        block_on(shard.open_segment(Locator::Path("a".to_owned()))).expect_err("busy"),
        LocateError::Busy
    );
    assert_eq!(shard.segments(None, 1).wait().expect_err("busy"), NoAnswer::Busy);
    assert_eq!(shard.events(now).wait().expect_err("busy"), EventsError::Busy);

    cluster.go_on(secs(1)).expect("no checker minds");
    let answers = waiting.iter_mut().map(|reply| poll(reply).expect("it is answered"));
    assert!(answers.into_iter().all(|members| members.is_ok_and(|members| members.len() == 3)));
}
