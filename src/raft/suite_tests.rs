//! The log and the state against openraft's storage suite.

use std::rc::Rc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use crate::ids::GroupId;
use crate::manifest::State;
use crate::uring::Notify;

use super::keeper::Keeper;
use super::log::Log;
use super::testing::{on_core, open, scratch};
use super::types::Types;

struct Stores;

impl StoreBuilder<Types, Log, Keeper<State>, tempfile::TempDir> for Stores {
    async fn build(&self) -> Result<(tempfile::TempDir, Log, Keeper<State>), StorageError<Types>> {
        let folder = scratch();
        let group = GroupId(1);
        let log = Log::open(open(&folder).await, group, None).await.expect("an empty directory");
        let keeper = Keeper::open(group, open(&folder).await, None, None, Rc::new(Notify::default()));
        Ok((folder, log, keeper.await.expect("an empty directory")))
    }
}

#[test]
fn log_and_state_pass_openrafts_suite() {
    on_core(Suite::test_all(Stores)).expect("the suite passes");
}
