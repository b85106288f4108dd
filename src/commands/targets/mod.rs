//! `pod-registrar targets`: looks at one target of a targets file. One file per command.

mod check;
mod render;
mod requests;
mod show;
mod try_record;

use tokio_util::sync::CancellationToken;

use super::{DONE, Error};
use crate::{
    cli::targets::{TargetsCommand, TargetsSettings},
    kubernetes::kubeconfig::Environment,
};

/// Runs one of the commands. Returns its exit code.
pub(super) async fn run(
    settings: TargetsSettings,
    environment: Environment,
    stop: CancellationToken,
) -> Result<u8, Error> {
    let TargetsSettings { command } = settings;
    // The record of `try` is deleted also after a signal.
    if let TargetsCommand::Try(settings) = command {
        return try_record::run(settings, stop).await;
    }
    let command = async {
        match command {
            TargetsCommand::Show(settings) => show::run(settings).await,
            TargetsCommand::Render(settings) => render::run(settings, environment).await.map(|()| DONE),
            TargetsCommand::Check(settings) => check::run(settings, environment).await,
            TargetsCommand::Try(_) => Ok(DONE),
        }
    };
    stop.run_until_cancelled(command).await.unwrap_or(Err(Error::Stopped))
}
