//! `ringway members`: who is in the cluster, who comes and who goes.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use ringway::engine::{MemberStatus, NodeStatus};
use serde::{Deserialize, Serialize};

use super::args::{self, MemberChange, MemberRole, Members, MembersCommand, Output};
use super::ask::{Done, Endpoint, asked_of, token};
use super::exit::{Exit, Failure};
use super::output::print;
use crate::daemon::{self, MemberBody};

/// How long a change may take to be committed.
const COMMIT_MILLIS: u64 = 30_000;
/// Between two looks at what has become of it.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Serialize, Deserialize)]
struct All {
    members: Vec<MemberStatus>,
}

/// What a member's seats are to be.
#[derive(Clone, Copy)]
enum Wished {
    Voter,
    NonVoter,
    Gone,
}

pub(crate) fn run(asked: Members, output: Output) -> Result<(), Failure> {
    let Members { command, endpoint } = asked;
    let millis = COMMIT_MILLIS;
    match command {
        None => list(&args::Endpoint { endpoint: endpoint.expect("the grammar asks for it") }, output),
        Some(MembersCommand::Add { change, address, role }) => {
            let address = address.reach().map_err(|error| Failure::new(Exit::Usage, error))?;
            let (node, told) = (change.node, told(role));
            let body = MemberBody::Add { node, address, role: told, timeout_millis: millis };
            perform(&change, &body, wished(role), output)
        }
        Some(MembersCommand::Role { change, role }) => give(&change, role, output),
        Some(MembersCommand::Promote(change)) => give(&change, MemberRole::Voter, output),
        Some(MembersCommand::Remove(change)) => {
            let body = MemberBody::Remove { node: change.node, timeout_millis: millis };
            perform(&change, &body, Wished::Gone, output)
        }
    }
}

fn give(change: &MemberChange, role: MemberRole, output: Output) -> Result<(), Failure> {
    let body = MemberBody::Role { node: change.node, role: told(role), timeout_millis: COMMIT_MILLIS };
    perform(change, &body, wished(role), output)
}

fn told(role: MemberRole) -> daemon::MemberRole {
    match role {
        MemberRole::Voter => daemon::MemberRole::Voter,
        MemberRole::NonVoter => daemon::MemberRole::NonVoter,
    }
}

fn wished(role: MemberRole) -> Wished {
    match role {
        MemberRole::Voter => Wished::Voter,
        MemberRole::NonVoter => Wished::NonVoter,
    }
}

/// Has a change committed, then waits until the groups have followed.
fn perform(change: &MemberChange, body: &MemberBody, wished: Wished, output: Output) -> Result<(), Failure> {
    let endpoint = asked_of(&change.asked.endpoint)?;
    let done: Done = endpoint.post("/v1/members", &token(&change.asked.secret_file)?, body)?;
    let until = Instant::now() + Duration::from_secs(change.within);
    while let Some(left) = left_to_do(&endpoint, change.node, wished).filter(|_| change.within > 0) {
        if Instant::now() >= until {
            let why = format!("it is committed, and goes on by itself; after {} s {left}", change.within);
            return Err(Failure::failed(why));
        }
        thread::sleep(LOOK);
    }
    print(output, &done, |out| {
        writeln!(
            out,
            "node {}: {}",
            change.node,
            match (wished, change.within) {
                (_, 0) => "committed",
                (Wished::Voter, _) => "votes in every group",
                (Wished::NonVoter, _) => "is in every group, without a vote",
                (Wished::Gone, _) => "is in no group any more",
            }
        )
    })
}

/// What the node asked does not see yet; nothing when all of it is done.
fn left_to_do(endpoint: &Endpoint, node: u64, wished: Wished) -> Option<String> {
    let status = match endpoint.status() {
        Ok(status) => status,
        Err(error) => return Some(Failure::from(error).message),
    };
    // A node that was removed itself hears no more of the groups.
    if matches!(wished, Wished::Gone) && status.node == node {
        return None;
    }
    left(&status, node, wished)
}

fn left(status: &NodeStatus, node: u64, wished: Wished) -> Option<String> {
    let member = status.members.iter().find(|member| member.node == node);
    let seat = |group: u32| member?.seats.iter().find(|seat| seat.group == group).map(|seat| seat.voter);
    let not_yet = status.groups.iter().map(|group| group.group).filter(|group| match wished {
        Wished::Voter => seat(*group) != Some(true),
        Wished::NonVoter => seat(*group) != Some(false),
        Wished::Gone => seat(*group).is_some(),
    });
    let groups: Vec<String> = not_yet.map(|group| group.to_string()).collect();
    let what = match wished {
        Wished::Voter => "has no vote in",
        Wished::NonVoter => "is not, or still votes, in",
        Wished::Gone => "is still in",
    };
    (!groups.is_empty()).then(|| format!("node {node} {what} group {}", groups.join(", ")))
}

fn list(asked: &args::Endpoint, output: Output) -> Result<(), Failure> {
    let all: All = asked_of(asked)?.get("/v1/members")?;
    print(output, &all, |out| all.members.iter().try_for_each(|member| write_member(out, member)))
}

fn write_member(out: &mut dyn Write, member: &MemberStatus) -> io::Result<()> {
    let (voting, seats) = (member.seats.iter().filter(|seat| seat.voter).count(), member.seats.len());
    let role = if member.role.is_empty() { "first member" } else { &member.role };
    let line = format!(
        "{}  {}  {role}, votes in {voting} of {seats} groups  {}",
        member.node, member.address, member.incarnation
    );
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use ringway::engine::{GroupStatus, SeatStatus};

    use super::*;

    fn status(seats: &[(u32, bool)]) -> NodeStatus {
        let group = |group| GroupStatus {
            group,
            role: "leader".to_owned(),
            term: 1,
            leader: Some(1),
            voters: vec![1],
            committed: 1,
            applied: 1,
            foreign_calls: 0,
        };
        let seats = seats.iter().map(|(group, voter)| SeatStatus {
            group: *group,
            voter: *voter,
            installed: None,
            way: None,
        });
        let member = MemberStatus {
            node: 4,
            address: String::new(),
            incarnation: String::new(),
            role: String::new(),
            voter: false,
            seats: seats.collect(),
        };
        NodeStatus {
            node: 1,
            ready: true,
            groups: vec![group(0), group(1)],
            members: vec![member],
            ..NodeStatus::default()
        }
    }

    #[test]
    fn r2_a_change_is_waited_for_in_every_group() {
        let left = |seats: &[(u32, bool)], wished| left(&status(seats), 4, wished);
        assert!(left(&[(0, true)], Wished::Voter).is_some_and(|left| left.ends_with("group 1")));
        assert!(left(&[(0, true), (1, false)], Wished::Voter).is_some());
        assert_eq!(left(&[(0, true), (1, true)], Wished::Voter), None);
        assert!(
            left(&[(0, true), (1, false)], Wished::NonVoter).is_some_and(|left| left.ends_with("group 0"))
        );
        assert_eq!(left(&[(0, false), (1, false)], Wished::NonVoter), None);
        assert!(left(&[(1, false)], Wished::Gone).is_some_and(|left| left.ends_with("group 1")));
        assert_eq!(left(&[], Wished::Gone), None);
    }
}
