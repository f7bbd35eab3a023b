//! A group has at most one leader in a term, and no process of a node goes back to an earlier term.

use std::collections::BTreeMap;

use ringway::ids::{GroupId, NodeId, Term};

use super::{Verdict, hold};

/// Who led when.
#[derive(Default, Debug)]
pub struct OneLeader {
    leaders: BTreeMap<(GroupId, Term), NodeId>,
    terms: BTreeMap<(NodeId, GroupId), Term>,
}

impl OneLeader {
    /// A node says that it leads.
    ///
    /// # Errors
    /// Another one leads in this term.
    pub fn leads(&mut self, group: GroupId, term: Term, node: NodeId) -> Verdict {
        let first = *self.leaders.entry((group, term)).or_insert(node);
        hold(first == node, || format!("group {group}, term {term}: {first} leads and so does {node}"))?;
        self.in_term(group, term, node)
    }

    /// A node says in which term it is. Terms are durable: a restart does not excuse an earlier one.
    ///
    /// # Errors
    /// It was in a later one before.
    pub fn in_term(&mut self, group: GroupId, term: Term, node: NodeId) -> Verdict {
        let before = self.terms.insert((node, group), term).unwrap_or_default();
        hold(before <= term, || format!("group {group}: {node} went from term {before} back to {term}"))
    }

    /// A node lost its disk on purpose: it may begin again.
    pub fn emptied(&mut self, node: NodeId) {
        self.terms.retain(|(other, _), _| *other != node);
    }
}
