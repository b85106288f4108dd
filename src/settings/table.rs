//! The settings as a page for people, made from the flags themselves; a test compares it with the README.

use clap::{Arg, ArgAction, Command};

use super::sources::{flag, program, variable};

/// The README's settings: a heading and a Markdown table for every command.
pub fn reference_table() -> String {
    let program = program();
    program.get_subcommands().map(section).collect::<Vec<_>>().join("\n")
}

fn section(command: &Command) -> String {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("### `pod-registrar {}`\n{about}.\n\n", command.get_name());
    text.push_str("| flag | environment | default | meaning |\n| --- | --- | --- | --- |\n");
    for argument in command.get_arguments().filter(|argument| argument.get_action().takes_values()) {
        text.push_str(&if argument.is_positional() { positional_row(argument) } else { row(argument) });
    }
    text
}

fn positional_row(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    format!("| `{}` |  |  | {help} |\n", argument.get_id().as_str().to_uppercase())
}

fn row(argument: &Arg) -> String {
    let id = argument.get_id().as_str();
    let repeatable = if matches!(argument.get_action(), ArgAction::Append) { ", repeatable" } else { "" };
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default = if defaults.is_empty() { String::new() } else { format!("`{}`", defaults.join(",")) };
    let variable = variable(id);
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.trim_end_matches(&format!(" [env: {variable}]")).replace('|', "\\|");
    format!("| `{}`{repeatable} | `{variable}` | {default} | {help} |\n", flag(id))
}
