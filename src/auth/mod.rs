//! Who a peer is: secrets, the handshake transcript, session keys, frame tags.
