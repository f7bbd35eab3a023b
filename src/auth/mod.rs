//! Who a peer is: the cluster's secrets, the handshake that proves them, and the tags of a session's frames.
//!
//! Pure: secret bytes, nonces and messages come in as arguments, and what to send comes out. Nothing here reads a
//! file, a clock or a socket, and nothing here decides policy: whether a proven peer is a member, and what it may
//! do, is for the caller, which gets [`Session::peer`].
//!
//! ```text
//! initiator                                   responder
//!   Hello   claims, offers, nonce      ---->
//!                                      <----  Welcome  claims, choice, nonce, proof
//!   Proof                              ---->
//!   frames tagged by one key           <--->  frames tagged by another
//! ```
//!
//! The responder proves first, so that a stranger who dials learns nothing from us, and one who is dialled gets no
//! proof of ours. Both proofs and both frame keys come from one secret and from everything that either side said
//! (`transcript`): a message that was changed, replayed, reflected or carried to another cluster, node or life of a
//! node proves nothing.
//!
//! A session shows who sent a frame and that none is missing before it. It hides nothing, and it covers no payload:
//! payload bytes are held against the digest that the manifest committed. TLS 1.3 with mutual certificates belongs in
//! this room too, as identities beside the secrets: below the handshake, which it does not replace, and chosen by
//! configuration, never by negotiation.

mod handshake;
mod refusal;
mod secret;
mod session;
mod transcript;

pub use handshake::{Expected, Hello, Initiator, Responder, Session, Welcome};
pub use refusal::{HandshakeError, Role};
pub use secret::{KeyId, KeyIds, Secret, SecretError, SecretSet};
pub use session::{Checker, SessionKeys, TagError, Tagger};
pub use transcript::{Nonce, Proof, Purpose, Side, Versions};
