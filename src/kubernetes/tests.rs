//! Random input for decoding.

mod fuzz;
