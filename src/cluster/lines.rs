//! Looks at the lines of a watch as they come in: whether each of them is whole, and whether it tells anything.
//!
//! kube's watcher passes over a line that breaks off as if it had never been there, and goes on after the next one: the
//! event in it would be lost until the next list. What is noticed here instead ends the watch, which is then resumed
//! from before that event.

/// No event of a pod is nearly as long: the API server takes objects of a few megabytes.
const LONGEST_LINE: usize = 32 << 20;
/// How a line begins that tells of a refusal.
const REFUSAL: &[u8] = br#"{"type":"ERROR""#;

/// What a piece of a watch's body means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// No line has ended in it.
    Nothing,
    /// An event or a bookmark.
    News,
    /// The watch was refused.
    Refusal,
}

/// A line that is no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// It ended in the middle of its JSON.
    #[error("a line of the watch breaks off; it is resumed from before it, look for a proxy that cuts answers")]
    Cut,
    /// It did not end.
    #[error("a line of the watch is longer than {LONGEST_LINE} bytes; is the address that of an API server?")]
    TooLong,
}

/// The line that comes in.
#[derive(Debug, Default)]
pub(super) struct Lines {
    length: usize,
    /// Its first bytes.
    start: Vec<u8>,
    /// Its last byte that is no white space.
    last: u8,
}

impl Lines {
    /// Takes note of a piece.
    pub(super) fn take(&mut self, mut data: &[u8]) -> Result<Heard, Error> {
        let mut heard = Heard::Nothing;
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (line, rest) = data.split_at(end);
            self.add(line)?;
            if let Some(of_line) = std::mem::take(self).ended()? {
                heard = of_line;
            }
            data = rest.get(1..).unwrap_or_default();
        }
        self.add(data)?;
        Ok(heard)
    }

    fn add(&mut self, part: &[u8]) -> Result<(), Error> {
        self.length += part.len();
        if self.length > LONGEST_LINE {
            return Err(Error::TooLong);
        }
        self.start.extend(part.iter().take(REFUSAL.len() - self.start.len()));
        if let Some(last) = part.iter().rfind(|byte| !byte.is_ascii_whitespace()) {
            self.last = *last;
        }
        Ok(())
    }

    /// What the whole line means; nothing, if it is empty.
    fn ended(self) -> Result<Option<Heard>, Error> {
        match self.last {
            0 => Ok(None),
            b'}' if self.start == REFUSAL => Ok(Some(Heard::Refusal)),
            b'}' => Ok(Some(Heard::News)),
            _ => Err(Error::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart_wherever_they_are_divided() {
        let text = b"{\"type\":\"ADDED\",\"object\":{}}\n\r\n{\"type\":\"ERROR\",\"object\":{}} \n";
        for first in 0..text.len() {
            let mut lines = Lines::default();
            let (a, b) = text.split_at(first);
            let heard = [lines.take(a).unwrap(), lines.take(b).unwrap()];
            let expected = if first > 28 { Heard::News } else { Heard::Nothing };
            assert_eq!(heard, [expected, Heard::Refusal], "{first}");
        }
    }

    #[test]
    fn a_line_that_breaks_off_is_an_error_and_an_unfinished_one_is_not() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(br#"{"type":"ADDED","object":{"#), Ok(Heard::Nothing));
        assert_eq!(lines.take(b"\n"), Err(Error::Cut));
        assert_eq!(Lines::default().take(b"<html>\n"), Err(Error::Cut));
    }

    #[test]
    fn a_line_without_end_is_not_waited_for() {
        let (mut lines, part) = (Lines::default(), vec![b'x'; 1 << 20]);
        let taken = std::iter::from_fn(|| Some(lines.take(&part))).take(40).find(|taken| taken.is_err());
        assert_eq!(taken, Some(Err(Error::TooLong)));
    }
}
