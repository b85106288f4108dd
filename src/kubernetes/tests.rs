//! Unit tests.

mod fuzz;
