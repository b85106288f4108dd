//! Protocol v1: the wire types, the bytes of operations, the HTTP connection, and the client made of them.

mod client;
mod encode;
mod files;
mod http;
pub mod wire;

#[cfg(test)]
mod tests;

pub use client::{Client, Config};
pub use files::Error;
