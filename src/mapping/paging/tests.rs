//! Lists of several pages, and lists that fail.
