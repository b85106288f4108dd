//! Errors about settings: where a value came from, what is wrong with it, and how to fix it.

use std::{ffi::OsStr, fmt};

use clap::{
    Arg, ArgMatches, Command, Error,
    builder::TypedValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
    parser::ValueSource,
};

use super::variable;

/// What is wrong with a value, and how to fix it. It must not repeat a value that may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValueProblem {
    what: String,
    fix: &'static str,
}

impl ValueProblem {
    pub(super) fn new(what: impl Into<String>, fix: &'static str) -> Self {
        Self { what: what.into(), fix }
    }
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// A value parser whose errors name the flag or the environment variable that the value came from.
#[derive(Clone)]
pub(super) struct Checked<F>(pub(super) F);

impl<F, T> TypedValueParser for Checked<F>
where
    F: Fn(&str) -> Result<T, ValueProblem> + Clone + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(&self, _: &Command, arg: Option<&Arg>, value: &OsStr, source: ValueSource) -> Result<T, Error> {
        let text = value.to_str().ok_or_else(|| ValueProblem::new("it is not valid UTF-8", "write it as UTF-8 text"));
        let parsed = text.and_then(|text| self.0(text.trim()));
        parsed.map_err(|problem| {
            let named = |arg: &Arg| arg.get_long().map_or(arg.to_string(), |flag| name(flag, Some(source)));
            let origin = arg.map(named).unwrap_or_default();
            refuse(ErrorKind::ValueValidation, format_args!("{origin}: {problem}"))
        })
    }
}

/// Where the value of a flag came from: `--owner`, or `POD_REGISTRAR_OWNER`.
pub(super) fn origin(matches: &ArgMatches, flag: &str) -> String {
    name(flag, matches.value_source(&flag.replace('-', "_")))
}

fn name(flag: &str, source: Option<ValueSource>) -> String {
    if source == Some(ValueSource::EnvVariable) { variable(flag) } else { format!("--{flag}") }
}

pub(super) fn refuse(kind: ErrorKind, why: fmt::Arguments<'_>) -> Error {
    Error::raw(kind, format!("{why}\n\nFor more information, try '--help'.\n"))
}

/// Says in the error about a missing flag what to set: the flag, or its environment variable if it has one.
pub(super) fn of_missing(error: Error, has_variables: bool) -> Error {
    let missing = match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => missing.first(),
        _ => None,
    };
    let Some(flag) = missing.and_then(|argument| argument.strip_prefix("--")?.split(' ').next()) else { return error };
    let or = if has_variables { format!(", or set {}", variable(flag)) } else { String::new() };
    refuse(error.kind(), format_args!("--{flag} is missing; set it{or}"))
}
