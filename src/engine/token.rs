//! The token that permits changes through an admin endpoint: made from the cluster's secret, and of no use to find it.

use ring::hmac;

use crate::auth::Secret;

use super::error::OpenError;

/// What is signed with the secret to make the token.
const MESSAGE: &[u8] = b"ringway admin v1";

/// The token of a cluster: HMAC-SHA256 under its secret, hexadecimal.
///
/// # Errors
/// `OpenError::Secret` if the text is no secret.
pub fn admin_token(secret_text: &str) -> Result<String, OpenError> {
    let secret = Secret::parse(secret_text.as_bytes())
        .map_err(|error| OpenError::Secret { why: error.to_string() })?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.text().as_bytes());
    Ok(hmac::sign(&key, MESSAGE).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether two tokens are the same, in a time that does not tell where they differ.
#[must_use]
pub fn same_token(one: &str, other: &str) -> bool {
    // What is compared are the codes, in constant time: the key need not be secret for that.
    let key = hmac::Key::new(hmac::HMAC_SHA256, MESSAGE);
    hmac::verify(&key, one.as_bytes(), hmac::sign(&key, other.as_bytes()).as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_has_its_own_token_and_other_text_has_none() {
        let (one, other) = ("0123456789abcdef".repeat(4), "fedcba9876543210".repeat(4));
        let token = admin_token(&one).expect("a secret");
        assert_eq!(token.len(), 64);
        assert!(!token.contains(&one[..16]));
        assert_eq!(admin_token(&format!("{}\n", one.to_uppercase())).expect("the same secret"), token);
        assert_ne!(admin_token(&other).expect("a secret"), token);
        assert!(admin_token("short").is_err());
    }

    #[test]
    fn only_the_same_token_is_the_same() {
        assert!(same_token("Bearer abc", "Bearer abc"));
        assert!(!same_token("Bearer abc", "Bearer abd"));
        assert!(!same_token("", "Bearer abc"));
    }
}
