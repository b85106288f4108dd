//! The program: everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pod_registrar::app::main(std::env::args_os(), |name| std::env::var_os(name))
}
