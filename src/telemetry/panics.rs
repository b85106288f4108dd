//! Ends the process when any thread or task panics.
//!
//! Otherwise the process would stay alive with a part of its work stopped. After a restart all of it runs again.

use std::{any::Any, panic, process, thread};

use super::stderr::Stderr;

const FAILED: i32 = 1;

/// Installs a hook that logs each panic and ends the process with code 1.
pub fn end_the_process(stderr: Stderr) {
    panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or_default().to_owned();
        let message = literal(panic.payload());
        tracing::error!(panic = message, location, thread, "panic; ending the process. Please report this defect");
        stderr.flush();
        process::exit(FAILED);
    }));
}

/// The message of a panic if it is a literal. A formatted message may hold secrets, and the location is enough to find
/// the cause.
fn literal(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(formatted, not shown)")
}
