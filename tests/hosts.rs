//! Nodes whose cores are guests: the same scenes on every host that is compiled in, and on pinned threads. By
//! `cargo test --features tokio-uring,glommio --test hosts`; a host whose feature is not on is named by a test that is
//! ignored.

#[cfg(feature = "daemon")]
mod binary;
#[path = "hosts/executors.rs"]
mod executors;
#[path = "hosts/pinned.rs"]
mod pinned;
#[cfg(feature = "daemon")]
#[path = "hosts/process.rs"]
mod process;
#[path = "hosts/rig.rs"]
mod rig;
#[cfg(any(feature = "tokio-uring", feature = "glommio"))]
#[path = "hosts/scenes.rs"]
mod scenes;

/// The scenes on one host.
#[cfg(any(feature = "tokio-uring", feature = "glommio"))]
macro_rules! on {
    ($name:ident, $executor:ty) => {
        mod $name {
            #[test]
            fn three_nodes_replicate_one_is_killed_and_comes_back_and_all_is_verified() {
                crate::scenes::three_nodes::<$executor>();
            }

            #[test]
            fn tasks_beside_a_core_at_work_go_on() {
                crate::scenes::ticks::<$executor>();
            }

            #[test]
            fn an_engine_that_is_shut_down_ends_the_futures_of_its_cores() {
                crate::scenes::shut_down::<$executor>();
            }

            #[test]
            fn a_future_that_is_dropped_takes_the_node_with_it_and_leaves_nothing_open() {
                crate::scenes::dropped::<$executor>();
            }

            #[test]
            fn what_keeps_a_node_from_opening_is_told_to_who_waits_for_it() {
                crate::scenes::refused::<$executor>();
            }
        }
    };
}

#[cfg(feature = "tokio-uring")]
on!(tokio_uring_host, crate::executors::TokioUring);

/// One of glommio loses its tasks instead.
#[cfg(feature = "tokio-uring")]
#[test]
fn a_runtime_of_tokio_uring_that_goes_takes_the_node_with_it() {
    scenes::executor_gone::<executors::TokioUring>();
}

#[cfg(feature = "glommio")]
on!(glommio_host, crate::executors::Glommio);

#[cfg(not(feature = "tokio-uring"))]
#[test]
#[ignore = "built without the feature `tokio-uring`"]
fn tokio_uring_host() {}

#[cfg(not(feature = "glommio"))]
#[test]
#[ignore = "built without the feature `glommio`, whose build needs git, cc and sh"]
fn glommio_host() {}
