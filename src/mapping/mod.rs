//! Targets: registries that a file describes.
//!
//! A targets file is read in four steps. All of them are pure: the caller reads the file.
//!
//! ```text
//!   text --yaml--> Tree --preset--> Tree --members--> TargetSpec --rules--> LoadedTarget
//! ```
//!
//! Every value keeps its [`place::Place`], so that an error shows the line that causes it.
//!
//! [`target::Target`] is a target whose templates are compiled. It renders the records of pods; each [`kind::Kind`] of
//! records renders requests and reads answers:
//!
//! ```text
//!   words --scope--> template --> request          answer --reading--> items, next page, outcome
//! ```

pub mod answer;
pub mod batch;
mod check;
pub mod differences;
pub mod engine;
pub mod filters;
mod fingerprint;
pub mod guarantees;
pub mod items;
mod json_part;
pub mod kind;
pub mod load;
pub mod login;
pub mod members;
pub mod notices;
pub mod outcome;
pub mod paging;
pub mod place;
pub mod preset;
pub mod preview;
pub mod reading;
mod record_words;
pub mod request;
mod rules;
pub mod samples;
pub mod schema;
pub mod scope;
pub mod selector;
mod shape;
pub mod show;
pub mod spec;
pub mod target;
pub mod template;
pub mod tree;
pub mod url;
pub mod values;
mod vars;
pub mod words;
pub mod writes;
pub mod yaml;
