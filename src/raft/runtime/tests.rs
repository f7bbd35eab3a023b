//! The runtime against openraft's conformance suite, on the kernel's ring.

use super::tasks::CoreRuntime;

#[test]
fn the_runtime_passes_openrafts_suite() {
    openraft_rt::testing::Suite::<CoreRuntime>::test_all();
}
