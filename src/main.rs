//! The program: everything is in the library.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Pages of lists come and go in megabytes while pods of a hundred bytes stay: what is freed has to go back at once.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    pod_registrar::commands::main()
}
