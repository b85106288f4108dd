//! Checks the lines of a watch as they come in: each must be whole, and none may be endless.
//!
//! kube's watcher passes over a line that breaks off as if it had never been there, and goes on after the next one: the
//! event in it would be lost until the next list. Such a line ends the watch here instead, which is then resumed from
//! before that event.

/// No event of a pod is nearly as long: the API server takes objects of a few megabytes.
const LONGEST_LINE: usize = 32 << 20;

/// A line that is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// It ended in the middle of its JSON.
    #[error("a line of the watch breaks off; look for a proxy that cuts answers")]
    Cut,
    /// It did not end.
    #[error("a line of the watch is longer than {LONGEST_LINE} bytes; is the address that of an API server?")]
    TooLong,
}

/// The line that comes in.
#[derive(Debug, Default)]
pub(super) struct Lines {
    length: usize,
    /// Its last byte that is no white space; zero if there is none.
    last: u8,
}

impl Lines {
    /// Takes a part of the body.
    ///
    /// # Errors
    /// When a line in it is not an event.
    pub(super) fn take(&mut self, mut data: &[u8]) -> Result<(), Error> {
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (line, rest) = data.split_at(end);
            self.add(line)?;
            self.end()?;
            data = rest.get(1..).unwrap_or_default();
        }
        self.add(data)
    }

    fn add(&mut self, part: &[u8]) -> Result<(), Error> {
        self.length += part.len();
        if self.length > LONGEST_LINE {
            return Err(Error::TooLong);
        }
        if let Some(last) = part.iter().rfind(|byte| !byte.is_ascii_whitespace()) {
            self.last = *last;
        }
        Ok(())
    }

    /// The line, or the body, ends here.
    ///
    /// # Errors
    /// When it ends in the middle of an event.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        match std::mem::take(self).last {
            0 | b'}' => Ok(()),
            _ => Err(Error::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_lines_pass_wherever_they_are_divided() {
        let text = b"{\"type\":\"ADDED\",\"object\":{}}\n\r\n{\"type\":\"ERROR\",\"object\":{}} \n";
        for first in 0..text.len() {
            let mut lines = Lines::default();
            let (a, b) = text.split_at(first);
            assert_eq!((lines.take(a), lines.take(b), lines.end()), (Ok(()), Ok(()), Ok(())), "{first}");
        }
    }

    #[test]
    fn line_that_breaks_off_is_an_error() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(br#"{"type":"ADDED","object":{"#), Ok(()));
        assert_eq!(lines.take(b"\n"), Err(Error::Cut));
        assert_eq!(Lines::default().take(b"<html>\n"), Err(Error::Cut));
        assert_eq!((lines.take(br#"{"type":"#), lines.end()), (Ok(()), Err(Error::Cut)), "at the body's end");
    }

    #[test]
    fn endless_line_is_an_error() {
        let (mut lines, part) = (Lines::default(), vec![b'x'; 1 << 20]);
        let taken = std::iter::from_fn(|| Some(lines.take(&part))).take(40).find(|taken| taken.is_err());
        assert_eq!(taken, Some(Err(Error::TooLong)));
    }
}
