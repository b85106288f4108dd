//! Shared by the clients of the registry and of the API server: trusted certificates, and the causes of failed
//! connections.
//!
//! - [`trust::Bundle`] holds trusted certificates, and makes a TLS verifier from them.
//! - [`failures::describe`] describes an error in one sentence: what is wrong, which setting to change, and all causes.

pub mod failures;
pub mod trust;
