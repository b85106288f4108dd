//! The client of a registry that a targets file describes.

mod auth;
mod pacer;
pub mod recorder;
mod secrets;
mod table;
mod transport;
