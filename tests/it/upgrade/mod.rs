//! Upgrades to this version and back.
//!
//! | file | shows |
//! | --- | --- |
//! | `rolling` | replicas and the reference registry are replaced one by one while pods change |
//! | `holds` | held deletions, and approvals on the Lease |
//! | `described` | a targets file, a registry that it describes, and the memory of another one |
//! | `files` | databases, memories and targets files of earlier versions, and what later ones wrote |
//!
//! All but `files` need an executable of the previous version, which `tests/upgrade/build` builds. Values of earlier
//! charts are in `chart::earlier`.

mod described;
mod files;
mod holds;
mod rolling;
mod world;
