//! Generates the page `docs/settings.md` from the flags.

use clap::{Arg, Command, CommandFactory as _};

use super::{flags::Program, has_variables, variable};

const WIDTH: usize = 100;

const INTRODUCTION: &str = "\
# Settings

<!-- This page is generated from src/cli. To generate it again:
     POD_REGISTRAR_TEST_UPDATE=1 cargo test --test it settings_page -->

`pod-registrar` reads its settings from flags and from environment variables. Every flag with a
value has a variable: `POD_REGISTRAR_` and the name of the flag, in capitals and with `_` for `-`.
Only the flags of `demo` have none, so that it never uses the registry or the cluster of `run`.

- A flag wins over its variable, and the variable wins over the default.
- An empty variable counts as unset. The variable of a list is the exception: if it is empty, so is
  the list. An empty `POD_REGISTRAR_LABEL_ALLOW` registers no labels.
- A flag that takes a list can be repeated. In one flag, and in its variable, commas separate the
  items.
- A duration is a number and a unit, such as `500ms`, `10s`, `30m` or `1h30m`.
- Files are checked at the start.

If a setting is missing or invalid, the program exits with code 2. The error names the flag or the
variable, says what is wrong, and how to fix it.
";

pub fn page() -> String {
    let program = Program::command();
    let mut page = INTRODUCTION.to_owned();
    add_commands(&mut page, &program, "pod-registrar");
    page
}

/// Adds the commands of a command, each with its own commands after it.
fn add_commands(page: &mut String, parent: &Command, name: &str) {
    for command in parent.get_subcommands() {
        let name = format!("{name} {}", command.get_name());
        page.push_str(&format!("\n## `{name}`\n\n"));
        add_wrapped(page, "", &sentence(command.get_about()));
        add_flags(page, command);
        add_commands(page, command, &name);
    }
}

/// Adds the flags in the order of their definition, under their headings.
fn add_flags(page: &mut String, command: &Command) {
    let mut heading = None;
    for argument in command.get_arguments() {
        if argument.get_help_heading() != heading {
            heading = argument.get_help_heading();
            heading.iter().for_each(|heading| page.push_str(&format!("\n### {heading}\n")));
        }
        page.push('\n');
        add_wrapped(page, "- ", &headline(argument, has_variables(command.get_name())));
        page.push('\n');
        add_wrapped(page, "  ", &sentence(argument.get_help()));
    }
}

/// The flag, its variable and its default.
fn headline(argument: &Arg, has_variable: bool) -> String {
    let Some(flag) = argument.get_long() else { return format!("**`{argument}`**") };
    if !argument.get_action().takes_values() {
        return format!("**`--{flag}`**");
    }
    let value = argument.get_value_names().and_then(<[_]>::first).map_or("", |name| name.as_str());
    let mut line = format!("**`--{flag} {value}`**");
    if has_variable {
        line.push_str(&format!(", `{}`", variable(flag)));
    }
    let defaults = argument.get_default_values();
    if matches!(argument.get_action(), clap::ArgAction::Append) {
        line.push_str(", list");
    }
    for default in defaults {
        line.push_str(&format!(", default `{}`", default.to_string_lossy()));
    }
    line
}

/// Adds the full stop that clap removes from a single paragraph.
fn sentence(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(|help| format!("{}.", help.to_string().trim_end_matches('.'))).unwrap_or_default()
}

/// Adds a wrapped paragraph. Its first line begins with `mark`; the others are indented by the width of the mark.
fn add_wrapped(page: &mut String, mark: &str, paragraph: &str) {
    let mut line = mark.to_owned();
    for word in paragraph.split(' ') {
        if line.len() + word.len() > WIDTH {
            page.push_str(line.trim_end());
            page.push('\n');
            line = " ".repeat(mark.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    page.push_str(line.trim_end());
    page.push('\n');
}
