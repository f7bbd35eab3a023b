//! P2: the embedder says who is asked for a segment; whatever it says breaks nothing.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use ringway::ids::{Nanos, NodeId};
use ringway::limits::BACKOFF_MAX;
use ringway::transfer::{Plan, Resolver};
use ringway::wire::Refusal;

use super::teller::{Says, TELLER, Teller};
use super::{LONG, Rig, SOURCE, Target};

const SMALL: usize = 40_000;

/// A target of two sources that want nothing yet, and an embedder that answers this.
fn start(
    rig: &mut Rig,
    teller: &Teller,
    answer: impl Fn(NodeId, &str) -> Vec<NodeId> + Send + Sync + 'static,
) -> Target {
    let samples = std::mem::take(&mut rig.samples);
    let peers = vec![rig.source_address(), teller.peer];
    let target = rig.start_target_of(peers);
    rig.samples = samples;
    target.driver.resolve_by(Resolver::new(answer));
    target
}

fn want(rig: &mut Rig, target: &Target) {
    let wants: Vec<_> = (0..rig.samples.len()).map(|index| rig.want(index)).collect();
    let (core, driver) = (rig.sim.core(rig.target, 0), Rc::clone(&target.driver));
    rig.sim.block_on(&core, async move { assert!(wants.into_iter().all(|want| driver.want(want))) });
}

fn landed(target: &Target, node: NodeId) -> u64 {
    let all = target.stats.peers.map(|peer, stats| (peer, stats.landed.get()));
    all.into_iter().find(|(peer, _)| *peer == node).expect("it is a source").1
}

#[test]
fn p2_the_first_replica_of_the_embedders_list_is_asked_and_before_every_attempt_anew() {
    let mut rig = Rig::new(1, &[SMALL; 3]);
    let teller = Teller::start(&mut rig, Says::Right);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let target = start(&mut rig, &teller, move |origin, path| {
        heard.lock().expect("nobody panicked").push((origin, path.to_owned()));
        vec![NodeId(77), TELLER, SOURCE]
    });
    want(&mut rig, &target);
    rig.finish(&target);
    assert_eq!((landed(&target, TELLER), landed(&target, SOURCE)), (3, 0), "its origin would be our choice");
    let expected: Vec<_> = rig.samples.iter().map(|sample| (SOURCE, sample.path.clone())).collect();
    assert_eq!(*asked.lock().expect("nobody panicked"), expected);
}

#[test]
fn p2_one_of_the_list_that_has_it_not_or_rests_is_passed_over_and_then_the_choice_is_ours() {
    for (says, list) in [
        (Says::Refuses(0, Refusal::NotHere), vec![TELLER, SOURCE]),
        (Says::Refuses(0, Refusal::NotHere), vec![TELLER]),
        (Says::Wrong(0), vec![TELLER, TELLER]),
    ] {
        let mut rig = Rig::new(1, &[SMALL; 2]);
        let teller = Teller::start(&mut rig, says);
        let target = start(&mut rig, &teller, move |_, _| list.clone());
        want(&mut rig, &target);
        rig.finish(&target);
        assert_eq!((landed(&target, SOURCE), target.stats.failed.get()), (2, 2));
        assert_eq!(*teller.asked.borrow(), [0, 1]);
    }
}

#[test]
fn p2_an_embedder_that_knows_nobody_is_asked_again_ever_later_and_nothing_fails() {
    for nobody in [vec![], vec![NodeId(77), NodeId(0)]] {
        let mut rig = Rig::new(1, &[SMALL]);
        let teller = Teller::start(&mut rig, Says::Right);
        let known = Arc::new(Mutex::new((0, nobody)));
        let answer = Arc::clone(&known);
        let target = start(&mut rig, &teller, move |_, _| {
            let mut answer = answer.lock().expect("nobody panicked");
            answer.0 += 1;
            answer.1.clone()
        });
        want(&mut rig, &target);
        rig.sim.run_for(Nanos::from_secs(100));
        let asked = known.lock().expect("nobody panicked").0;
        // After 0.5, 1, 2, 4, 8, 16, 30 and 30 seconds.
        assert_eq!((asked, target.stats.failed.get(), target.stats.no_source.get()), (9, 0, 9));
        assert_eq!(target.driver.with_plan(|plan| plan.unavailable().count()), 0);
        known.lock().expect("nobody panicked").1 = vec![TELLER];
        rig.sim.run_for(BACKOFF_MAX.plus(Nanos::SECOND));
        rig.finish(&target);
        assert_eq!(landed(&target, TELLER), 1);
    }
}

#[test]
fn p2_an_embedder_that_panics_leaves_the_choice_to_us() {
    let mut rig = Rig::new(1, &[SMALL; 3]);
    let teller = Teller::start(&mut rig, Says::Right);
    let target = start(&mut rig, &teller, |_, path| panic!("{path} is too much"));
    want(&mut rig, &target);
    rig.sim.run_until(|| target.driver.with_plan(Plan::is_empty), LONG);
    rig.finish(&target);
    assert_eq!((landed(&target, SOURCE), target.stats.failed.get()), (3, 0), "its origin");
}
