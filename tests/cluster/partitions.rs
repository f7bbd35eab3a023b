//! Nodes in network namespaces of their own, whose links are cut, both ways and one way, under a load.

use std::thread;
use std::time::Duration;

use crate::bench::{Place, alone};
use crate::binary::{content, write};
use crate::fleet::Fleet;
use crate::space::Net;
use crate::writers::{WITHIN, Writers};

/// Three nodes that are ready; nothing where the machine has no namespaces to give.
fn founded(place: &Place) -> Option<(Net, Fleet)> {
    let (net, spaces) = match Net::new(3) {
        Ok(made) => made,
        Err(why) => {
            println!("skipped: network namespaces with veth links and a bridge ({why})");
            return None;
        }
    };
    let at = net.addresses();
    let mut fleet = Fleet::known_as(&place.root, &at, &at, spaces);
    fleet.found();
    Some((net, fleet))
}

#[test]
fn x3_a_leader_cut_off_refuses_writes_while_the_others_go_on_and_catches_up_when_it_is_back() {
    let place = alone();
    let Some((net, fleet)) = founded(&place) else { return };
    let leader = fleet.wait_leader();
    let writers = Writers::at(fleet.others(leader), &fleet.asked());
    writers.wait_for(3, fleet.others(leader));
    net.cut(leader);
    writers.wait_for_soon(3, fleet.others(leader));
    fleet.wait_other_leader(leader);
    fleet.wait("it knows that it is alone", |fleet| {
        let is_led = fleet.group(leader).expect("it answers")["leader"].is_u64();
        !is_led && !fleet.is_ready(leader)
    });
    write(&fleet.segments(leader), "cut-off", &content(1, 5000));
    let refused = fleet.register(leader, "cut-off", Duration::from_secs(1)).expect_err("it is alone");
    assert_eq!(refused.status, 503);
    assert!(refused.says_what_to_do(), "{}", refused.why);
    net.heal(leader);
    fleet.wait("it follows", |fleet| fleet.group(leader).is_some_and(|group| group["role"] == "follower"));
    fleet.register(leader, "cut-off", WITHIN).expect("asking again is safe");
    writers.end();
}

#[test]
fn x3_a_leader_that_no_longer_hears_or_is_no_longer_heard_is_followed_by_another() {
    let place = alone();
    let Some((net, fleet)) = founded(&place) else { return };
    for is_heard in [false, true] {
        let leader = fleet.wait_leader();
        let writers = Writers::at(fleet.others(leader), &fleet.asked());
        writers.wait_for(3, fleet.others(leader));
        let way = |other| if is_heard { (other, leader) } else { (leader, other) };
        fleet.others(leader).map(way).for_each(|(from, to)| net.lose(from, to));
        writers.wait_for_soon(3, fleet.others(leader));
        fleet.wait_other_leader(leader);
        fleet.others(leader).map(way).for_each(|(from, to)| net.lose_no_more(from, to));
        writers.end();
    }
}

/// It would be a candidate for ever, and every term that it began would cost the others their leader.
#[test]
fn x3_a_follower_that_hears_nothing_of_its_leader_disturbs_nobody() {
    let place = alone();
    let Some((net, fleet)) = founded(&place) else { return };
    let leader = fleet.wait_leader();
    let deaf = leader % 3 + 1;
    let writers = Writers::at(fleet.others(deaf), &fleet.asked());
    writers.wait_for(3, fleet.others(deaf));
    let term = || fleet.group(leader).expect("it answers")["term"].as_u64().expect("a number");
    let before = term();
    net.lose(leader, deaf);
    // It has waited for a leader many times as long as it waits before it stands for election.
    fleet.wait("it knows that it hears nobody", |fleet| {
        fleet.group(deaf).expect("it answers")["leader"].is_null() && !fleet.is_ready(deaf)
    });
    thread::sleep(Duration::from_secs(3));
    writers.wait_for(3, fleet.others(deaf));
    // Not as many as it has had time for; a machine that is too busy for a heartbeat may have elected once.
    assert!(term() < before + 3, "from {before} to {}", term());
    net.lose_no_more(leader, deaf);
    writers.end();
}
