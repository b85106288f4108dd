//! Packed pods: the compact stored form, of which a controller may keep a million.
//!
//! | file | content |
//! | --- | --- |
//! | `pod` | [`Packed`](pod::Packed): the layout of a packed pod, and access without expanding it |
//! | `names` | [`NameTable`](names::NameTable): texts that pods share, stored once with a reference count |
//! | `pack` | from a record to bytes |
//! | `expand` | from bytes to a record |
//! | `open` | reads a packed pod up to its name |
//! | `times` | timestamps as small numbers |
//! | `bytes` | numbers and texts as bytes, and their reader |
//!
//! Every record comes back exactly. Usual values are short; unusual ones are written in full.

mod bytes;
mod expand;
pub mod names;
mod open;
mod pack;
pub mod pod;
mod times;

#[cfg(test)]
mod tests;
