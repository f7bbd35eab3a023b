//! What a node's status tells of its connections and cores.

use ringway::engine::{ConnectionStatus, Durability, NodeStatus, Sealed, Sent};

use crate::nodes::{Nodes, patient, seal};

/// All payload bytes that have left.
fn total(sent: Sent) -> u64 {
    sent.bytes_by_reference + sent.bytes_zero_copy + sent.bytes_copied_by_kernel + sent.bytes_copied
}

fn uses(status: &NodeStatus, name: &str) -> bool {
    status.cores[0].findings.iter().any(|finding| finding.name == name && finding.in_use)
}

#[test]
fn d10_a_node_tells_of_each_connection_what_has_left_by_which_way_and_of_each_core_the_sum() {
    let mut nodes = Nodes::unfounded(2, 1);
    for node in [1, 2] {
        let wide = |builder: ringway::engine::Builder| {
            let cores = ringway::config::CoreConfig { count: 2, ..Default::default() };
            builder.cores(cores)
        };
        nodes.open_as(node, wide);
    }
    nodes.engine(1).bootstrap().wait().expect("founded");
    let (shard, bytes) = (nodes.shard(1), 3 << 20);
    seal(&shard, "segment", &vec![7; bytes]);
    let done = shard.register(Sealed::at("segment"), patient(Durability::Landed(2))).wait();
    assert!(done.expect("committed").reached);
    let status = nodes.engine(1).status().wait().expect("it runs");
    for core in &status.cores {
        let of_core = status.connections.iter().filter(|connection| connection.core == core.core);
        let sum = of_core.fold(Sent::default(), |sum, connection| sum.plus(connection.sent));
        assert_eq!(core.sent, sum, "no connection has ended: {status:?}");
        assert_eq!(core.buffer_bytes, 1 << 20);
        let registered = if uses(&status, "registered buffers") { core.buffers } else { 0 };
        assert_eq!(core.buffers_registered, registered);
    }
    let sent = status.cores[1].sent;
    assert_eq!((total(sent), status.cores[0].sent), (bytes as u64, Sent::default()), "shard 0 is on core 1");
    if uses(&status, "cachestat") {
        assert_eq!(sent.bytes_by_reference, bytes as u64, "it was just written: {sent:?}");
    } else {
        println!("skipped: cachestat");
    }
    assert!(status.connections.iter().any(|connection| connection.core == 0));
    for connection in &status.connections {
        let ConnectionStatus { node, congestion, send_path, send_path_why, .. } = connection;
        assert_eq!((*node, send_path.as_str()), (Some(2), "copy"), "{connection:?}");
        if uses(&status, "zero-copy send") {
            assert!(send_path_why.contains("loopback"), "{connection:?}");
        }
        if uses(&status, "cubic") {
            assert_eq!(congestion.as_deref(), Some("cubic"), "{connection:?}");
        } else {
            println!("skipped: cubic");
        }
    }
}
