//! Digests, by which records and inventories are compared without their bodies.
//!
//! The digest of a record is SHA-256 over its RFC 8785 form without `schema`, `version` and `digest`
//! (`docs/protocol-v1.md`). The digest of a bucket is the xor of the digests of its records, so two parties find the
//! buckets that differ without exchanging ids.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256:";

/// Members that the digest of a record leaves out. This holds for the top level only.
pub const NOT_DIGESTED: [&str; 3] = ["schema", "version", "digest"];

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected 64 lower-case hexadecimal digits, with or without `sha256:` before them")]
pub struct ParseDigestError;

/// A SHA-256 value, formatted as `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hashes the RFC 8785 bytes of a record without the members of [`NOT_DIGESTED`].
    pub fn of_canonical(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Hashes a record as it was received, unknown members included.
    ///
    /// # Errors
    /// The value has no RFC 8785 form, because a number in it is not finite.
    pub fn of_record(record: &serde_json::Map<String, serde_json::Value>) -> Result<Self, serde_json::Error> {
        let digested: serde_json::Map<_, _> = record
            .iter()
            .filter(|(name, _)| !NOT_DIGESTED.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Ok(Self::of_canonical(&serde_json_canonicalizer::to_vec(&digested)?))
    }

    /// Adds the digest of a record to the digest of a bucket, or removes it.
    pub fn xor(&mut self, other: &Self) {
        xor(&mut self.0, &other.0);
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let mut half = [0; 16];
        half.copy_from_slice(&self.0[..16]);
        Fingerprint(half)
    }

    /// The 64 hexadecimal digits without the prefix, which is how the protocol writes buckets.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
        text
    })
}

/// The first half of a [`Digest`]. The ledger and the store keep it for each pod, to compare records.
///
/// Equal fingerprints count as equal digests: among a million records with a thousand versions each, two different ones
/// collide with a probability of about 10^-21. Requests carry the whole digest, and answers are compared with it. Xor
/// works byte by byte, so the fingerprint of a bucket is the xor of the fingerprints in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    pub fn of_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The 32 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Parses 32 lower-case hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }

    /// Adds the fingerprint of a record to the fingerprint of a bucket, or removes it.
    pub fn xor(&mut self, other: &Self) {
        xor(&mut self.0, &other.0);
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}…", hex(&self.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex(text.strip_prefix(PREFIX).unwrap_or(text)).map(Self).ok_or(ParseDigestError)
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    (text.len() == 2 * N).then_some(bytes)
}

fn xor(mine: &mut [u8], theirs: &[u8]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine ^= theirs);
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// How an inventory is divided for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// One bucket for the whole inventory.
    One,
    /// By the first 8 bits of sha256(id).
    By8Bits,
    /// By the first 16 bits of sha256(id).
    By16Bits,
}

impl Buckets {
    /// The number of buckets, which is the parameter of the query.
    pub fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::By8Bits => 256,
            Self::By16Bits => 65_536,
        }
    }

    /// The division with this number of buckets, if the protocol has it.
    pub fn from_count(count: usize) -> Option<Self> {
        [Self::One, Self::By8Bits, Self::By16Bits].into_iter().find(|b| b.count() == count)
    }

    /// The bucket of an id: the first 0, 8 or 16 bits of sha256(id), big-endian.
    pub fn of(self, id: &str) -> usize {
        self.of_prefix(Self::prefix(id))
    }

    /// The first 16 bits of sha256(id), from which [`Self::of_prefix`] gets the bucket.
    pub fn prefix(id: &str) -> u16 {
        let hash = Sha256::digest(id.as_bytes());
        u16::from_be_bytes([hash[0], hash[1]])
    }

    pub fn of_prefix(self, prefix: u16) -> usize {
        match self {
            Self::One => 0,
            Self::By8Bits => usize::from(prefix >> 8),
            Self::By16Bits => usize::from(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_text_and_refuses_upper_case() {
        let digest = Digest::of_canonical(b"{}");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.hex().parse(), Ok(digest));
        assert_eq!(digest.to_string().to_uppercase().parse::<Digest>(), Err(ParseDigestError));
    }

    #[test]
    fn digest_xored_with_itself_gives_an_empty_bucket() {
        let mut bucket = Digest::default();
        let digest = Digest::of_canonical(b"x");
        bucket.xor(&digest);
        assert_eq!(bucket, digest);
        bucket.xor(&digest);
        assert_eq!(bucket.hex(), "0".repeat(64));
    }

    #[test]
    fn bucket_fingerprint_equals_its_digests_fingerprint() {
        let (mut whole, mut half) = (Digest::default(), Fingerprint::default());
        for n in 0..10_u8 {
            let digest = Digest::of_canonical(&[n]);
            whole.xor(&digest);
            half.xor(&digest.fingerprint());
            assert_eq!(whole.fingerprint(), half);
        }
        assert_ne!(half, Fingerprint::default());
        assert_eq!(Fingerprint::from_hex(&half.hex()), Some(half));
        assert!(Fingerprint::from_hex(&half.hex().to_uppercase()).is_none() && Fingerprint::from_hex("00").is_none());
        assert_eq!(format!("{half:?}"), format!("{}…", &whole.to_string()[..PREFIX.len() + 32]));
    }

    #[test]
    fn bucket_number_is_the_ids_leading_hash_bits() {
        // sha256("a") starts with ca97 8112.
        assert_eq!(Buckets::One.of("a"), 0);
        assert_eq!(Buckets::By8Bits.of("a"), 0xca);
        assert_eq!(Buckets::By16Bits.of("a"), 0xca97);
    }
}
