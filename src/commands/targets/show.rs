//! `pod-registrar targets show`: prints a target after its preset was merged.

use std::collections::BTreeMap;

use serde_json::json;

use crate::{
    cli::targets::ShowSettings,
    commands::{DONE, Error, report, targets_file},
    mapping::{load::LoadedTarget, show},
};

pub(super) async fn run(settings: ShowSettings) -> Result<u8, Error> {
    let ShowSettings { target, output, log: _ } = settings;
    let LoadedTarget { tree, .. } = targets_file::find(&target.targets, &target.name)?;
    let table = || show::show(&tree).lines().map(str::to_owned).collect();
    let origins = || show::origins(&tree).into_iter().collect::<BTreeMap<_, _>>();
    report::print(output.output, table, || json!({"target": tree.to_json(), "origins": origins()})).await?;
    Ok(DONE)
}
