//! Writes the completions of the shells and the manual pages into a folder, for a release:
//! `cargo run --example release-assets -- FOLDER`.

use std::{env, fs, io, path::Path};

use clap_complete::Shell;

const NAME: &str = "pod-registrar";
/// The generator for bash makes names of its own from the program's name, in two ways that differ for a hyphen:
/// <https://github.com/clap-rs/clap/issues/6421>. So it gets a name without one.
const NAME_FOR_BASH: &str = "pod_registrar";

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1) else {
        return Err(io::Error::other("the folder is missing: cargo run --example release-assets -- FOLDER"));
    };
    let folder = Path::new(&folder);
    let (completions, pages) = (folder.join("completions"), folder.join("man"));
    fs::create_dir_all(&completions)?;
    fs::create_dir_all(&pages)?;
    fs::write(completions.join("pod-registrar.bash"), bash())?;
    for shell in [Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut pod_registrar::cli::program(), NAME, &completions)?;
    }
    clap_mangen::generate_to(pod_registrar::cli::program(), &pages)
}

/// The completion of bash. Only the lines that say what it completes have the program's name at their end.
fn bash() -> String {
    let mut script = Vec::new();
    clap_complete::generate(Shell::Bash, &mut pod_registrar::cli::program(), NAME_FOR_BASH, &mut script);
    String::from_utf8_lossy(&script).replace(&format!(" {NAME_FOR_BASH}\n"), &format!(" {NAME}\n"))
}
