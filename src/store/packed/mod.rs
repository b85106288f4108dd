//! A pod as some hundred bytes: what a controller keeps of each of a million pods.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `names` | [`NameTable`]: the texts that pods share, each kept once and counted |
//! | `packed` | [`Packed`]: one pod, its layout, and what is read of it without expanding it |
//! | `pack` | a record on its way into the bytes |
//! | `expand` | the way back |
//! | `times` | moments as small numbers |
//! | `wire` | numbers, texts and parts of texts as bytes, and their reader |
//!
//! Whatever is packed comes back exactly as it was. What is usual is short; what is unusual is written out.

mod bytes;
mod expand;
pub mod names;
mod pack;
pub mod pod;
mod times;

#[cfg(test)]
mod tests;
