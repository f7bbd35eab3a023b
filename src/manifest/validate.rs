//! The rules of form that a batch keeps whatever the state is: checked before it is proposed and again at
//! apply.

use rkyv::util::AlignedVec;

use super::command::{
    self, ArchivedBatch, ArchivedCommand, ArchivedLabel, ArchivedOperation, ArchivedRegistration, Command,
};
use super::outcome::{Reason, Refusal};
use super::path::SafePath;
use crate::limits::{BATCH_OPERATIONS_MAX, LABEL_BYTES_MAX, LABELS_MAX, REASON_BYTES_MAX, SEGMENT_BYTES_MAX};

impl Command {
    /// Checks bytes before they are proposed: all that apply would refuse them for, whatever the state is.
    ///
    /// # Errors
    /// What apply would answer.
    pub fn check(bytes: &[u8]) -> Result<(), Refusal> {
        match Self::access(bytes, &mut AlignedVec::new()) {
            Err(error) => Err(command::refusal(&error)),
            Ok(ArchivedCommand::Batch(batch)) => batch.validate(),
            Ok(ArchivedCommand::OpenSession { .. } | ArchivedCommand::RetireSession { .. }) => Ok(()),
        }
    }
}

impl ArchivedBatch {
    /// Checks all that can be checked without a state.
    ///
    /// # Errors
    /// The first operation that breaks a rule, and which rule; or the batch as a whole.
    pub fn validate(&self) -> Result<(), Refusal> {
        let operations = u32::try_from(self.operations.len()).unwrap_or(u32::MAX);
        if self.operations.is_empty() {
            return Err(Refusal::BatchEmpty);
        }
        if self.operations.len() > BATCH_OPERATIONS_MAX {
            return Err(Refusal::BatchTooLong { operations });
        }
        for (ordinal, operation) in (0..operations).zip(self.operations.iter()) {
            check_operation(operation).map_err(|reason| Refusal::Operation { ordinal, reason })?;
        }
        Ok(())
    }
}

fn check_operation(operation: &ArchivedOperation) -> Result<(), Reason> {
    match operation {
        ArchivedOperation::Register(registration) | ArchivedOperation::Update(registration) => {
            check_registration(registration)
        }
        ArchivedOperation::Delete { path, reason } => {
            SafePath::parse(path).map_err(Reason::Path)?;
            if reason.len() > REASON_BYTES_MAX {
                return Err(Reason::DeleteReasonTooLong {
                    bytes: u32::try_from(reason.len()).unwrap_or(u32::MAX),
                });
            }
            Ok(())
        }
    }
}

fn check_registration(registration: &ArchivedRegistration) -> Result<(), Reason> {
    SafePath::parse(&registration.path).map_err(Reason::Path)?;
    let bytes = registration.bytes.to_native();
    if bytes > SEGMENT_BYTES_MAX {
        return Err(Reason::TooLarge { bytes });
    }
    if registration.sealed_at.native().0 == 0 {
        return Err(Reason::SealedAtZero);
    }
    let labels = u32::try_from(registration.labels.len()).unwrap_or(u32::MAX);
    if registration.labels.len() > LABELS_MAX {
        return Err(Reason::TooManyLabels { labels });
    }
    for (label, pair) in (0..labels).zip(registration.labels.iter()) {
        if !label_is_valid(&pair.name, &pair.value) {
            return Err(Reason::LabelInvalid { label });
        }
    }
    let sorted = sorted(&registration.labels);
    for (label, pair) in (1..).zip(sorted.windows(2)) {
        if pair[0] == pair[1] {
            return Err(Reason::LabelRepeated { label });
        }
    }
    Ok(())
}

/// Whether a label may be in a manifest.
pub(super) fn label_is_valid(name: &str, value: &str) -> bool {
    let fits = |text: &str| text.len() <= LABEL_BYTES_MAX && !text.chars().any(char::is_control);
    !name.is_empty() && fits(name) && fits(value)
}

/// Labels in the order of name and value, which is the order of an entry's labels.
pub(super) fn sorted(labels: &[ArchivedLabel]) -> Vec<(&str, &str)> {
    let mut sorted: Vec<_> = labels.iter().map(|label| (label.name.as_str(), label.value.as_str())).collect();
    sorted.sort_unstable();
    sorted
}
