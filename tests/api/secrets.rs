//! The cluster's secret, changed while the cluster goes on.

use ringway::engine::{Durability, Sealed};

use crate::nodes::{Nodes, SECRET, patient, seal};

const NEXT: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

#[test]
fn a4_a_secret_is_changed_node_by_node_and_every_node_lands_what_is_registered_meanwhile() {
    let mut nodes = Nodes::new(3);
    let mut step = 0;
    for is_over in [false, true] {
        for node in 1..=3 {
            nodes.stop(node);
            nodes.open_as(node, |builder| {
                let builder = builder.secret(NEXT);
                if is_over { builder } else { builder.previous_secret(SECRET) }
            });
            let (shard, path) = (nodes.shard(node), step.to_string());
            seal(&shard, &path, b"sealed in between");
            let registered = shard.register(Sealed::at(&path), patient(Durability::Landed(3)));
            assert!(registered.wait().expect("it is committed").reached, "step {step}");
            step += 1;
        }
    }
}
