//! Pods out of numbers: a seed, a place and a life say everything about one, so that none has to be kept.

mod layout;
mod render;
mod shape;

pub(crate) use layout::{Kind, Layout};

/// How a pod stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The how many-th pod at its place this is.
    pub(crate) life: u32,
    /// 0 while it is pending, then 1 and one more with every restart of its container.
    pub(crate) revision: u32,
    /// Of its newest change.
    pub(crate) resource_version: u64,
    /// Whether it is there.
    pub(crate) alive: bool,
}

/// Mixes bits so that neighbours have nothing in common (splitmix64's finalizer).
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random UUID of the two halves.
pub(crate) fn uuid(high: u64, low: u64) -> u128 {
    let bits = (u128::from(high) << 64) | u128::from(low);
    (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes the lowest hexadecimal digits of a number.
pub(crate) fn push_hex(out: &mut Vec<u8>, value: u128, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(HEX[((value >> (4 * digit)) & 0xf) as usize]);
    }
}

/// Writes a UUID as the API server does.
pub(crate) fn push_uuid(out: &mut Vec<u8>, uid: u128) {
    for (shift, digits) in [(96, 8), (80, 4), (64, 4), (48, 4), (0, 12)] {
        if digits != 8 {
            out.push(b'-');
        }
        push_hex(out, uid >> shift, digits);
    }
}

/// Reads a UUID in its usual form.
pub(crate) fn read_uuid(text: &[u8]) -> Option<u128> {
    let digits = text.iter().filter(|byte| **byte != b'-');
    let value = |byte: &u8| char::from(*byte).to_digit(16);
    (text.len() == 36).then_some(())?;
    digits.map(value).try_fold(0_u128, |all, digit| Some((all << 4) | u128::from(digit?)))
}

/// Writes a number.
pub(crate) fn push_number(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = HEX[(value % 10) as usize];
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
