//! Reads the targets file and compiles its targets.

use std::path::Path;

use super::Error;
use crate::{
    files,
    mapping::{
        load::{self, LoadedTarget},
        login::LoginTemplate,
        place,
        spec::{TargetSpec, auth::AuthSpec},
        target::Target,
    },
    model::ids::RecordOwner,
};

/// The targets of the file, checked.
pub(super) fn load(path: &Path) -> Result<Vec<LoadedTarget>, Error> {
    let unreadable = |source| Error::TargetsFile { path: path.into(), source };
    let bytes = files::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(std::io::Error::other(error)))?;
    let loaded = load::load(&path.display().to_string(), &text).map_err(Error::Targets)?;
    // The cluster's identity need not be known yet. Whatever is wrong in a template is wrong for every cluster.
    let owner = RecordOwner { cluster_id: "cluster".into(), cluster_name: "cluster".into(), owner: "owner".into() };
    let described = loaded.targets.iter().filter(|target| !target.speaks_v1());
    let errors: Vec<_> = described.filter_map(|target| compile(&target.spec, &owner).err()).flatten().collect();
    if errors.is_empty() { Ok(loaded.targets) } else { Err(Error::Targets(errors)) }
}

/// The target of this name. The whole file is checked.
pub(super) fn find(path: &Path, name: &str) -> Result<LoadedTarget, Error> {
    let mut targets = load(path)?;
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

/// Compiles a target that the file describes.
pub(super) fn compile(
    spec: &TargetSpec,
    owner: &RecordOwner,
) -> Result<(Target, Option<LoginTemplate>), Vec<place::Error>> {
    let target = Target::compile(spec, owner)?;
    let login = match &spec.connection.auth {
        Some(AuthSpec::Login(login)) => Some(LoginTemplate::compile(login, &spec.connection.url, owner)?),
        _ => None,
    };
    Ok((target, login))
}
