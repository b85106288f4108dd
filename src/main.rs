//! The program. All its code is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Returns freed memory to the system at once: pages of lists take megabytes for a moment, while small packed pods
/// stay. `.cargo/config.toml` has its settings.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pod_registrar::commands::main()
}
