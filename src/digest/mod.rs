//! SHA-256 segment digests: the tree, the flat digest beside it, and the kernels that compute them. Pure.
