//! Finds one target of the targets file.

use std::path::Path;

use super::{
    Error,
    target_settings::{load, stand_in},
};
use crate::mapping::{load::LoadedTarget, spec::TargetSpec};

/// The target of this name. The whole file is checked.
pub(super) fn find(path: &Path, name: &str) -> Result<LoadedTarget, Error> {
    let mut targets = load(path, &stand_in())?;
    let known: Vec<&str> = targets.iter().map(|target| target.spec.connection.name.text.as_str()).collect();
    match known.iter().position(|known| *known == name) {
        Some(at) => Ok(targets.swap_remove(at)),
        None => Err(Error::NoSuchTarget { name: name.to_owned(), known: known.join(", ") }),
    }
}

/// What kind of registry it is: the preset, or `custom`.
pub(super) fn kind(spec: &TargetSpec) -> &'static str {
    spec.connection.preset.map_or("custom", |preset| preset.name())
}
