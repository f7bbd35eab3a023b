//! Memory, descriptors, queues and tasks stay within their bounds.

use std::collections::BTreeMap;

use ringway::ids::NodeId;

use super::{Verdict, hold};

/// Gauges, their bounds and their peaks.
#[derive(Default, Debug)]
pub struct Bounded(BTreeMap<&'static str, (u64, u64)>);

impl Bounded {
    /// Declares a gauge.
    #[must_use]
    pub fn gauge(mut self, name: &'static str, bound: u64) -> Self {
        self.0.insert(name, (bound, 0));
        self
    }

    /// A gauge's value on a node.
    ///
    /// # Errors
    /// It is above its bound, or nobody declared one.
    pub fn observe(&mut self, node: NodeId, name: &'static str, value: u64) -> Verdict {
        let Some((bound, peak)) = self.0.get_mut(name) else {
            return hold(false, || format!("{name} has no bound"));
        };
        *peak = value.max(*peak);
        hold(value <= *bound, || format!("{node}: {name} is {value}, its bound {bound}"))
    }

    /// The highest value that was seen of a gauge: a bound that nothing comes near to checks nothing.
    #[must_use]
    pub fn peak(&self, name: &'static str) -> u64 {
        self.0.get(name).map_or(0, |(_, peak)| *peak)
    }
}
