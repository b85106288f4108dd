//! Targets: registries that a file describes.
//!
//! A targets file is read in four steps. All of them are pure: the caller reads the file.
//!
//! ```text
//!   text --yaml--> Tree --preset--> Tree --members--> TargetSpec --rules--> LoadedTarget
//! ```
//!
//! Every value keeps its [`place::Place`], so that an error shows the line that causes it.
pub mod load;
pub mod members;
pub mod place;
pub mod preset;
mod rules;
pub mod schema;
pub mod selector;
pub mod show;
pub mod spec;
pub mod tree;
pub mod yaml;
