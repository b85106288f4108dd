//! Where a value came from: the command line, or the environment where the command line is silent.

use std::{collections::BTreeSet, ffi::OsString};

use clap::{ArgMatches, Command, CommandFactory as _, parser::ValueSource};

use super::{
    flags::Program,
    refusal::{Problem, Refusal},
};

/// Every flag can be given as an environment variable of this prefix and the flag's name.
const PREFIX: &str = "POD_REGISTRAR_";

/// The flag of an argument, such as `--registry-url`.
pub(super) fn flag(id: &str) -> String {
    format!("--{}", id.replace('_', "-"))
}

/// The environment variable of an argument, such as `POD_REGISTRAR_REGISTRY_URL`.
pub(super) fn variable(id: &str) -> String {
    format!("{PREFIX}{}", id.to_uppercase())
}

/// The program's commands with the environment variables in the help texts.
pub(super) fn program() -> Command {
    Program::command().mut_subcommands(|command| {
        command.mut_args(|argument| {
            if argument.is_positional() {
                return argument;
            }
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let variable = variable(argument.get_id().as_str());
            argument.help(format!("{help} [env: {variable}]"))
        })
    })
}

/// Knows which arguments were filled from the environment.
#[derive(Debug)]
pub(super) struct Sources {
    from_environment: BTreeSet<String>,
}

/// Reads the command line, fills what it leaves out from the environment, and reads it again.
pub(super) fn gather<A>(
    arguments: A,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<(ArgMatches, Sources), Refusal>
where
    A: IntoIterator<Item: Into<OsString>>,
{
    let mut arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut program = program();
    let typed = program.try_get_matches_from_mut(&arguments)?;
    let mut from_environment = BTreeSet::new();
    for id in left_out(&program, &typed) {
        let variable = variable(&id);
        let Some(value) = environment(&variable).filter(|value| !value.is_empty()) else { continue };
        let Some(value) = value.to_str() else {
            let problem = Problem::new("it is not valid UTF-8", "write it as UTF-8 text");
            return Err(Refusal::Invalid { origin: variable, problem });
        };
        arguments.push(format!("{}={value}", flag(&id)).into());
        from_environment.insert(id);
    }
    Ok((program.try_get_matches_from_mut(&arguments)?, Sources { from_environment }))
}

/// The arguments of the chosen subcommand that were not typed.
fn left_out(program: &Command, typed: &ArgMatches) -> Vec<String> {
    let Some((name, typed)) = typed.subcommand() else { return Vec::new() };
    let Some(command) = program.find_subcommand(name) else { return Vec::new() };
    let flags = command.get_arguments().filter(|argument| !argument.is_positional());
    let ids = flags.filter(|argument| argument.get_action().takes_values());
    let ids = ids.map(|argument| argument.get_id().as_str());
    ids.filter(|id| typed.value_source(id) != Some(ValueSource::CommandLine)).map(str::to_owned).collect()
}

impl Sources {
    /// The name under which the value was given.
    pub(super) fn name(&self, id: &str) -> String {
        if self.from_environment.contains(id) { variable(id) } else { flag(id) }
    }

    /// Reads a value, and adds to a refusal where the value came from.
    pub(super) fn read<T>(
        &self,
        id: &str,
        text: &str,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<T, Refusal> {
        read(text.trim()).map_err(|problem| Refusal::Invalid { origin: self.name(id), problem })
    }

    /// Reads a value that has no flag: it can only have been typed.
    pub(super) fn read_positional<T>(
        name: &str,
        text: &str,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<T, Refusal> {
        read(text.trim()).map_err(|problem| Refusal::Invalid { origin: name.to_owned(), problem })
    }

    /// Reads a value that may be left out.
    pub(super) fn read_optional<T>(
        &self,
        id: &str,
        text: Option<String>,
        read: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<Option<T>, Refusal> {
        text.map(|text| self.read(id, &text, read)).transpose()
    }

    /// Reads a list of values. Empty ones are left aside, so that a trailing comma does no harm.
    pub(super) fn read_all<T, C: FromIterator<T>>(
        &self,
        id: &str,
        texts: &[String],
        read: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<C, Refusal> {
        let texts = texts.iter().filter(|text| !text.trim().is_empty());
        texts.map(|text| self.read(id, text, &read)).collect()
    }

    /// Insists on a value.
    pub(super) fn required<T>(&self, id: &str, value: Option<T>, what: &'static str) -> Result<T, Refusal> {
        value.ok_or_else(|| Refusal::Missing { flag: flag(id), variable: variable(id), what })
    }

    /// Refuses two settings together.
    pub(super) fn combination(&self, one: &str, other: &str, problem: Problem) -> Refusal {
        Refusal::Combination { one: self.name(one), other: self.name(other), problem }
    }
}
