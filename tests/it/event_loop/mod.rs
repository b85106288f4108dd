//! The event loop under a paused clock: watches and registry are values here, so that every wait is exact and no test
//! waits for the clock of the machine.

mod absence;
mod delivery;
mod fake;
mod faults;
mod holds;
mod hostile;
mod leadership;
mod outage;
mod session;
mod start;
mod world;
