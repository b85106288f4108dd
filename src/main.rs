//! The program: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    pod_registrar::app::main(std::env::args_os(), |name| std::env::var_os(name))
}
