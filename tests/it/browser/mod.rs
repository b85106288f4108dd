//! The status page in Chromium, as Debian packages it. Without the program `chromium`, these tests print that they are
//! skipped; `.ci/run browser` installs it.

mod chromium;
mod page;
