//! The event loop under a paused clock: watches and registry are values here, so that every wait is exact and no test
//! waits for the clock of the machine.

mod absence;
mod backlog;
mod budget;
mod delivery;
mod doubt;
mod fake;
mod fake_inventory;
mod faults;
mod features;
mod gateway;
mod holds;
mod hostile;
mod hour;
mod inventory;
mod leadership;
mod limits;
mod outage;
mod rivals;
mod session;
mod start;
mod tries;
mod world;
