//! Tests of the client against a registry on loopback that can misbehave.

mod batches;
mod credentials;
mod fake;
mod kinds;
mod lists;
mod memory;
mod memory_file;
mod merges;
mod notices;
mod others;
mod renamed;
mod retired;
mod unlisted;
mod unnamed;
mod writes;
