//! The event loop under a paused clock. Watches and the registry are values in memory, so every wait is exact and no
//! test waits for the clock of the machine.

mod absence;
mod activity;
mod attempts;
mod backlog;
mod budget;
mod delivery;
mod described;
mod explain;
mod fake;
mod fake_inventory;
mod families;
mod faults;
mod features;
mod gateway;
mod holds;
mod hostile;
mod hour;
mod inventory;
mod leadership;
mod limits;
mod mapping;
mod notices;
mod outage;
mod projected;
mod receipts;
mod session;
mod start;
mod traces;
mod turns;
mod uncertain;
mod world;
mod writers;
