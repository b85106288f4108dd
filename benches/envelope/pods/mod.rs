//! Pods that are computed from a seed, a slot and a life, so that none has to be stored.

mod layout;
mod render;
mod shape;

use std::{fmt::Arguments, io::Write as _};

pub(crate) use layout::{Kind, Layout};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The number of the pod in its slot.
    pub(crate) life: u32,
    /// 0 while it is pending, then 1, and 1 more after each restart of its container.
    pub(crate) revision: u32,
    pub(crate) resource_version: u64,
    pub(crate) alive: bool,
}

/// Mixes the bits of a number (the finalizer of splitmix64).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random UUID.
pub(crate) fn uuid(high: u64, low: u64) -> u128 {
    let bits = (u128::from(high) << 64) | u128::from(low);
    (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
}

/// Appends to a buffer, which cannot fail.
pub(crate) fn push(out: &mut Vec<u8>, text: Arguments<'_>) {
    _ = out.write_fmt(text);
}

/// Appends a UUID as the API server writes it.
pub(crate) fn push_uuid(out: &mut Vec<u8>, uid: u128) {
    let part = |shift: u32, bits: u32| (uid >> shift) & ((1 << bits) - 1);
    let (a, b, c, d, e) = (part(96, 32), part(80, 16), part(64, 16), part(48, 16), part(0, 48));
    push(out, format_args!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}"));
}

/// Reads a UUID in its usual form.
pub(crate) fn read_uuid(text: &str) -> Option<u128> {
    (text.len() == 36).then(|| u128::from_str_radix(&text.replace('-', ""), 16).ok())?
}
