//! Changes a document as bytes. The result is often not JSON, and sometimes not text.

use std::ops::Range;

use fastrand::Rng;

/// Bytes that are inserted.
const PIECES: [&[u8]; 24] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\u0000",
    b"\\ud800",
    b"\\udfff\\ud800",
    b"\xff",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"\0",
    b"\r\n",
    b"null",
    b"1e999",
    b"-",
    b"1.0",
    b"00",
    b"18446744073709551616",
    b"\"uid\":\"x\",",
    b"\"epoch\":1,",
];

/// Changes the bytes in one to three places.
pub(super) fn spoil(mut bytes: Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    for _ in 0..rng.usize(1..=3) {
        let part = part(&bytes, rng);
        match rng.u8(..8) {
            0 => bytes.truncate(part.start),
            1 => drop(bytes.drain(part)),
            2 => {
                let copy = bytes[part.clone()].to_vec();
                bytes.splice(part.start..part.start, copy);
            }
            3 if !bytes.is_empty() => {
                let at = rng.usize(..bytes.len());
                bytes[at] ^= 1 << rng.u8(..8);
            }
            4 => {
                let other = &corpus[rng.usize(..corpus.len())];
                let from = self::part(other, rng);
                bytes.splice(part, other[from].iter().copied());
            }
            5 => twice(&mut bytes, rng),
            6 => {
                let nested = [&b"["[..], b"{\"a\":", b"\""][rng.usize(..3)].repeat(rng.usize(..5_000));
                bytes.splice(part.start..part.start, nested);
            }
            _ => {
                let piece = PIECES[rng.usize(..PIECES.len())];
                bytes.splice(part.start..part.start, piece.iter().copied());
            }
        }
    }
    bytes
}

/// A random range, mostly a short one.
fn part(bytes: &[u8], rng: &mut Rng) -> Range<usize> {
    let start = rng.usize(..=bytes.len());
    let most = (bytes.len() - start).min(if rng.u8(..4) == 0 { usize::MAX } else { 24 });
    start..start + rng.usize(..=most)
}

/// Repeats the bytes between two commas after another comma, which often gives an object the same member twice.
fn twice(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let commas: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b',').collect();
    if commas.len() < 2 {
        return;
    }
    let first = rng.usize(..commas.len() - 1);
    let copy = bytes[commas[first]..commas[first + 1]].to_vec();
    let to = commas[rng.usize(..commas.len())];
    bytes.splice(to..to, copy);
}
