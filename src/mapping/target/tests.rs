//! Whole targets.
