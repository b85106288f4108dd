//! What every connection of the program shares: which servers are trusted, and what a failed connection tells a person.
//!
//! The registry's client and the cluster's client both use this room, so that the same certificate and the same failure
//! mean the same to both:
//!
//! - [`Bundle`] holds the certificates that a server's certificate must lead to, and makes rustls' verifier from them.
//! - [`explain`] turns an error into one sentence: what is wrong, which setting changes it, and the whole chain of causes.

pub mod explain;
pub mod trust;
