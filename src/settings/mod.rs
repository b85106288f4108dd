//! What was typed, turned into what it means.
//!
//! [`parse`] reads the command line and the environment and yields plain, validated values, or says which setting it
//! refuses, where that came from and how to mend it. It never ends the process and reads no variable but its own.

mod approve;
mod demo;
mod files;
mod flags;
mod reference;
mod refusal;
mod run;
mod selectors;
mod sources;
mod table;
mod values;

use std::ffi::OsString;

use clap::FromArgMatches as _;

use crate::telemetry::LogFormat;

pub use approve::ApproveSettings;
pub use demo::DemoSettings;
pub use reference::{ReferenceSettings, TlsFiles};
pub use refusal::{Problem, Refusal};
pub use run::{
    ClusterSettings, ElectionSettings, HoldSettings, IdentitySettings, LeaseName, Namespaces, RecordSettings,
    RegistrySettings, RunSettings, ScopeSettings, WatchSettings,
};
pub use table::reference_table;

use sources::Sources;

/// What the program is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Keep the registry equal to the cluster.
    Run(Box<RunSettings>),
    /// Show pods as they change.
    Watch(WatchSettings),
    /// Serve the reference registry.
    Registry(ReferenceSettings),
    /// Show the whole at work, without a cluster or with one.
    Demo(DemoSettings),
    /// Approve held deletions.
    Approve(ApproveSettings),
}

impl Command {
    /// How the command's log lines are written.
    pub fn log_format(&self) -> LogFormat {
        match self {
            Self::Run(settings) => settings.log_format,
            Self::Watch(settings) => settings.log_format,
            Self::Registry(settings) => settings.log_format,
            Self::Demo(settings) => settings.log_format,
            Self::Approve(settings) => settings.log_format,
        }
    }
}

/// Reads the command line (the program's name first) and the environment, which is handed in as a look-up by name.
/// An empty variable counts as one that is not set.
///
/// # Errors
/// Where a setting is refused, and where help or the version was asked for; see [`Refusal::exit_code`].
pub fn parse<A>(arguments: A, environment: impl Fn(&str) -> Option<OsString>) -> Result<Command, Refusal>
where
    A: IntoIterator<Item: Into<OsString>>,
{
    let (matches, sources) = sources::gather(arguments, environment)?;
    let flags::Program { command } = flags::Program::from_arg_matches(&matches)?;
    match command {
        flags::Command::Run(flags) => Ok(Command::Run(Box::new(RunSettings::read(*flags, &sources)?))),
        flags::Command::Watch(flags) => Ok(Command::Watch(WatchSettings::read(flags, &sources)?)),
        flags::Command::Registry(flags) => Ok(Command::Registry(ReferenceSettings::read(flags, &sources)?)),
        flags::Command::Approve(flags) => Ok(Command::Approve(ApproveSettings::read(flags, &sources)?)),
        flags::Command::Demo(flags) => Ok(Command::Demo(DemoSettings::read(flags, &sources)?)),
    }
}

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;
