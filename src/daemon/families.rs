//! What `/metrics` tells: one row a name. A name means the same for ever; what is counted otherwise gets another one.

mod node;
mod shards;

use super::metrics::Family;

/// Every row, in the order in which they are told.
pub(super) fn all() -> impl Iterator<Item = &'static Family> {
    node::FAMILIES.iter().chain(shards::FAMILIES)
}
