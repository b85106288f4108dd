//! Reads the command line and the environment.
//!
//! Every flag with a value has an environment variable, `POD_REGISTRAR_<FLAG>`, except those of the demo. A flag wins
//! over its variable. An empty variable counts as unset, and that of a list as the empty list. Values are checked when
//! they are parsed. An error names the flag or the variable, says what is wrong with its value, and how to fix it.
//! Nothing here ends the process.

pub mod conformance;
pub mod export;
mod files;
pub mod flags;
pub mod inspect;
pub mod orders;
pub mod page;
mod refusal;
pub mod targets;
pub mod values;

use std::{env, ffi::OsString};

use clap::{Arg, CommandFactory as _, FromArgMatches as _};

use flags::{Command, Program, RunSettings};

/// Reads the command line, whose first item is the program's name, and the environment of the process.
///
/// # Errors
/// If a flag is missing or invalid (exit code 2), and if help or the version was requested (exit code 0).
pub fn parse(arguments: impl IntoIterator<Item: Into<OsString> + Clone>) -> Result<Command, clap::Error> {
    parse_with(program(), arguments)
}

/// All commands with their flags and variables, for completions and manual pages.
pub fn program() -> clap::Command {
    with_variables(Program::command())
}

/// The settings of `run` for this registry, with the default of every other flag.
///
/// # Errors
/// If `registry_url` is not the address of a registry.
pub fn defaults(registry_url: &str) -> Result<RunSettings, clap::Error> {
    match parse_with(Program::command(), ["pod-registrar", "run", "--registry-url", registry_url])? {
        Command::Run(settings) => Ok(*settings),
        _ => Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand)),
    }
}

fn parse_with(
    mut program: clap::Command,
    arguments: impl IntoIterator<Item: Into<OsString> + Clone>,
) -> Result<Command, clap::Error> {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let has_variables = arguments.get(1).and_then(|name| name.to_str()).is_none_or(has_variables);
    let matches = program.try_get_matches_from_mut(arguments);
    let matches = matches.map_err(|error| refusal::of_missing(error, has_variables))?;
    let Program { mut command } = Program::from_arg_matches(&matches)?;
    command.check(matches.subcommand().map_or(&matches, |(_, matches)| matches))?;
    Ok(command)
}

fn with_variables(program: clap::Command) -> clap::Command {
    program.mut_subcommands(|command| match has_variables(command.get_name()) {
        true => with_variables(command.mut_args(with_variable)),
        false => command,
    })
}

/// Whether the flags of this command have environment variables. The demo would write to the registry and watch the
/// cluster of a shell that is set up for `run`.
fn has_variables(command: &str) -> bool {
    command != "demo"
}

fn with_variable(flag: Arg) -> Arg {
    // A flag without a value is for a person at a terminal.
    let Some(variable) = flag.get_long().filter(|_| flag.get_action().takes_values()).map(variable) else {
        return flag;
    };
    // clap does not treat an empty variable as unset. A list has no default then: who empties the list of registered
    // labels does not want all of them.
    if env::var_os(&variable).is_some_and(|value| value.is_empty()) {
        return if flag.get_value_delimiter().is_some() { flag.default_value(None::<&str>) } else { flag };
    }
    flag.env(variable).hide_env_values(true)
}

/// The environment variable of a flag: `POD_REGISTRAR_LEASE_DURATION` for `lease-duration`.
fn variable(flag: &str) -> String {
    format!("POD_REGISTRAR_{}", flag.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests;
