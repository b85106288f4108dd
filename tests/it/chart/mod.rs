//! The Helm chart, rendered by Helm, and its rules, judged by promtool. They run with the tools that
//! `tests/chart/build` builds; without them, they print that they are skipped.

mod alerts;
pub(crate) mod cases;
mod coherent;
mod earlier;
mod equality;
mod helm_test;
mod matrix;
mod refusals;
