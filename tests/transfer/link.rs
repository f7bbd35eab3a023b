//! P10: content that the target holds already is linked and not fetched, whatever becomes of the file it stands in.

use std::rc::Rc;

use ringway::ids::Nanos;
use ringway::limits::CHUNK_BYTES;
use ringway::transfer::Plan;

use super::{LONG, Rig, Sample, Target};
use crate::sim::{Fault, Loss, OpKind, Rule, each_seed};

const LARGE: usize = 3 * CHUNK_BYTES + 777;
const SMALL: usize = 40_000;

fn bytes(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(29) + at / 251 + salt) as u8).collect()
}

/// A source whose files have these contents, by number; a target that shares what it holds.
fn rig(seed: u64, contents: &[usize]) -> Rig {
    let sample = |(index, content): (usize, &usize)| Sample {
        path: format!("dir-{}/file-{index}", index % 3),
        bytes: bytes(if content % 2 == 0 { LARGE } else { SMALL }, *content),
    };
    let mut rig = Rig::of(seed, contents.iter().enumerate().map(sample).collect());
    rig.links = true;
    rig
}

/// What of it is different.
fn distinct(rig: &Rig) -> u64 {
    let mut all: Vec<&[u8]> = rig.samples.iter().map(|sample| &*sample.bytes).collect();
    all.sort_unstable();
    all.dedup();
    all.iter().map(|bytes| bytes.len() as u64).sum()
}

/// A target that has the first file, and to which the others are unknown.
fn with_first(rig: &mut Rig) -> Target {
    let rest = rig.samples.split_off(1);
    let target = rig.start_target();
    rig.finish(&target);
    rig.samples.extend(rest);
    target
}

/// From now on it wants the others.
fn want_rest(rig: &mut Rig, target: &Target) {
    let wants: Vec<_> = (1..rig.samples.len()).map(|index| rig.want(index)).collect();
    let (core, driver) = (rig.sim.core(rig.target, 0), Rc::clone(&target.driver));
    rig.sim.block_on(&core, async move { assert!(wants.into_iter().all(|want| driver.want(want))) });
}

fn file(rig: &Rig, index: usize) -> String {
    format!("/data/dest/{}", rig.samples[index].path)
}

fn staged(rig: &mut Rig) -> Vec<String> {
    rig.sim.host(rig.target).disk.paths("/data/dest/.ringway/staging")
}

#[test]
fn p10_the_same_content_under_several_names_is_fetched_once_and_each_name_lands() {
    each_seed(6, |seed| {
        let mut rig = rig(seed, &[2, 2, 1, 1, 1, 4, 2, 3]);
        let target = rig.start_target();
        rig.finish(&target);
        let stats = &target.stats;
        assert_eq!(stats.bytes_fetched.get(), distinct(&rig));
        assert_eq!((stats.landed.get(), stats.linked.get(), stats.failed.get()), (8, 4, 0));
        assert_eq!(stats.bytes_linked.get(), rig.total() - distinct(&rig));
        drop(target);
        rig.sim.power_cut_with(rig.target, Loss::All);
        rig.sim.restart(rig.target);
        let again = rig.start_target();
        assert_eq!(again.store.held().count(), 8, "each has a record of its own");
        rig.finish(&again);
        assert_eq!(again.stats.bytes_fetched.get(), 0);
    });
}

#[test]
fn p10_what_is_held_lands_with_nobody_to_ask() {
    let mut rig = rig(1, &[2, 2, 4]);
    let target = with_first(&mut rig);
    let (source, node) = (rig.source, rig.target);
    rig.sim.partition(&[source], &[node]);
    want_rest(&mut rig, &target);
    rig.sim.run_for(Nanos::SECOND);
    assert_eq!((target.stats.linked.get(), target.store.held().count()), (1, 2));
    rig.sim.heal();
    rig.finish(&target);
    assert_eq!(target.stats.bytes_fetched.get(), distinct(&rig));
}

/// What the file system tells of a rotten file is as it was: only its content says so.
#[test]
fn p10_content_that_rotted_or_was_changed_here_is_fetched() {
    // A small file is read through the page cache, which has it as it was.
    for (content, rot) in [(1, &[false][..]), (2, &[false, true])] {
        for is_rot in rot.iter().copied() {
            let mut rig = rig(1, &[content, content]);
            let target = with_first(&mut rig);
            let first = file(&rig, 0);
            let mut other = rig.samples[0].bytes.clone();
            other[7] ^= 1;
            match is_rot {
                true => assert!(rig.sim.host(rig.target).disk.rot(&first, 7, 1)),
                false => rig.sim.host(rig.target).disk.overwrite(&first, &other),
            }
            want_rest(&mut rig, &target);
            rig.sim.run_until(|| target.driver.with_plan(Plan::is_empty), LONG);
            let stands = rig.sim.host(rig.target).disk.file(&file(&rig, 1));
            assert!(stands.as_ref() == Some(&rig.samples[1].bytes), "rot {is_rot}: of {content}");
            assert_eq!((target.stats.linked.get(), target.stats.bytes_fetched.get()), (0, rig.total()));
            let of_first = rig.want(0);
            assert!(!target.store.is_held(of_first.id, of_first.root), "rot {is_rot}: it counts no more");
        }
    }
}

/// At any time of the linking, by how long it has been going on. What is open by then is copied.
#[test]
fn p10_a_file_that_is_removed_while_its_content_is_shared_gives_it_all_the_same_or_it_is_fetched() {
    let mut in_the_middle = 0;
    for micros in (0..4000).step_by(125) {
        let mut rig = rig(1 + micros, &[2, 2]);
        let target = with_first(&mut rig);
        want_rest(&mut rig, &target);
        rig.sim.run_for(Nanos(micros * 1000));
        in_the_middle += u64::from(target.stats.linked.get() == 0);
        remove(&mut rig, &target, 0);
        rig.sim.run_until(|| target.driver.with_plan(Plan::is_empty), LONG);
        let stands = rig.sim.host(rig.target).disk.file(&file(&rig, 1));
        assert!(stands.as_ref() == Some(&rig.samples[1].bytes), "after {micros} us");
        assert_eq!(rig.sim.host(rig.target).disk.file(&file(&rig, 0)), None);
        assert_eq!(staged(&mut rig), [""; 0], "after {micros} us");
        let fetched = target.stats.bytes_fetched.get() - LARGE as u64;
        assert_eq!(target.stats.bytes_linked.get() + fetched, LARGE as u64, "after {micros} us");
    }
    assert!(in_the_middle > 8, "{in_the_middle}");
    let mut rig = rig(1, &[2, 2]);
    let target = with_first(&mut rig);
    remove(&mut rig, &target, 0);
    want_rest(&mut rig, &target);
    rig.sim.run_until(|| target.driver.with_plan(Plan::is_empty), LONG);
    assert_eq!(target.stats.bytes_fetched.get(), rig.total(), "nothing is left of it");
}

fn remove(rig: &mut Rig, target: &Target, index: usize) {
    let (core, store, id) = (rig.sim.core(rig.target, 0), Rc::clone(&target.store), rig.want(index).id);
    rig.sim.block_on(&core, async move { store.remove(id).await.map(drop).expect("a sound disk") });
}

#[test]
fn p10_a_segment_that_is_forgotten_while_it_is_linked_leaves_nothing() {
    for micros in (0..4000).step_by(250) {
        let mut rig = rig(1, &[2, 2]);
        let target = with_first(&mut rig);
        let slow = Rule::new(Fault::Slow(Nanos::from_millis(1))).on(OpKind::Link);
        rig.sim.fault(rig.target, slow);
        want_rest(&mut rig, &target);
        rig.sim.run_for(Nanos(micros * 1000));
        target.driver.forget(rig.want(1).id);
        remove(&mut rig, &target, 1);
        rig.sim.run_for(Nanos::SECOND);
        assert_eq!(rig.sim.host(rig.target).disk.file(&file(&rig, 1)), None, "after {micros} us");
        assert_eq!(staged(&mut rig), [""; 0], "after {micros} us");
        assert!(target.driver.with_plan(Plan::is_empty));
        rig.samples.truncate(1);
        rig.finish(&target);
    }
}

#[test]
fn p10_a_node_that_ends_while_it_links_goes_on_and_nothing_unverified_stands() {
    let mut again = 0;
    each_seed(40, |seed| {
        let mut rig = rig(seed, &[2, 2, 1, 1]);
        let first = with_first(&mut rig);
        want_rest(&mut rig, &first);
        let pause = rig.sim.draw(6000);
        rig.sim.run_for(Nanos(pause * 1000));
        drop(first);
        if seed % 2 == 0 {
            rig.sim.kill(rig.target);
        } else {
            rig.sim.power_cut(rig.target);
        }
        rig.nothing_wrong_stands();
        rig.sim.restart(rig.target);
        let second = rig.start_target();
        rig.finish(&second);
        again += second.stats.linked.get();
        assert_eq!(second.store.held().count(), 4);
    });
    assert!(again > 5, "{again} were linked in the second life");
}
