//! A panic in any thread or task ends the process.
//!
//! A worker that is gone leaves a process that looks alive and does nothing; after a restart everything works again.

use std::{any::Any, panic, process, thread};

use super::stderr::Stderr;

/// The exit code of a process that failed while running.
const FAILED: i32 = 1;

/// From now on every panic is logged and ends the process with code 1.
pub fn end_the_process(stderr: Stderr) {
    panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or_default().to_owned();
        let message = literal(panic.payload());
        tracing::error!(panic = message, location, thread, "panic; ending the process, please report this defect");
        stderr.flush();
        process::exit(FAILED);
    }));
}

/// A panic's message if the source spells it out. One that was formatted may hold anything, secrets included, and the
/// location leads to its cause as well.
fn literal(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(formatted, not shown)")
}
