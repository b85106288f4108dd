//! Targets: registries that a file describes.
pub mod engine;
pub mod filters;
pub mod url;
pub mod values;
