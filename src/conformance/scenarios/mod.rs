//! The scenarios: requests in an order in which each answer shows one rule.
//!
//! Each scenario opens a session of its own and uses ids of its own, so that what one breaks does not reach the next.
//! A scenario that cannot go on ends; its other rules are skipped with the reason.

mod access;
mod batch_limits;
mod batches;
mod buckets;
mod changes;
mod contents;
mod inventory;
mod order;
mod restart;
mod sessions;
mod stale;
mod tombstones;
mod vectors;
mod writes;

use super::{
    rule::ProtocolRule,
    rules,
    suite::{Halt, Suite},
};

/// Runs all scenarios.
///
/// `restart` is the command that restarts the registry.
pub(super) async fn run(suite: &mut Suite, restart: Option<&str>) -> Result<(), Halt> {
    access::capabilities(suite).await?;
    let end = sessions::run(suite).await;
    finish(suite, rules::sessions::RULES, end)?;
    let end = order::run(suite).await;
    finish(suite, rules::order::RULES, end)?;
    let end = writes::run(suite).await;
    finish(suite, rules::writes::RULES, end)?;
    if claimed(suite, "batch", rules::batches::RULES) {
        let end = batches::run(suite).await;
        finish(suite, rules::batches::RULES, end)?;
    }
    let end = inventory::run(suite).await;
    finish(suite, rules::inventory::RULES, end)?;
    if claimed(suite, "digest-inventory", rules::buckets::RULES) {
        let end = buckets::run(suite).await;
        finish(suite, rules::buckets::RULES, end)?;
    }
    if claimed(suite, "changes", rules::changes::RULES) {
        let end = changes::run(suite).await;
        finish(suite, rules::changes::RULES, end)?;
    }
    let end = access::run(suite).await;
    finish(suite, rules::access::RULES, end)?;
    let Some(command) = restart else {
        suite.skip_all(rules::restart::RULES, "there is no --restart-command");
        return Ok(());
    };
    let end = restart::run(suite, command).await;
    finish(suite, rules::restart::RULES, end)
}

/// Skips the rules of a feature that the registry does not claim.
fn claimed(suite: &mut Suite, feature: &str, rules: &'static [ProtocolRule]) -> bool {
    let is_claimed = suite.claims.has(feature);
    if !is_claimed {
        suite.skip_all(rules, &format!("the registry does not claim the feature `{feature}`"));
    }
    is_claimed
}

/// Skips the rules that a scenario did not reach. An error ends the run.
fn finish(suite: &mut Suite, rules: &'static [ProtocolRule], end: Result<(), Halt>) -> Result<(), Halt> {
    match end {
        Ok(()) => Ok(()),
        Err(Halt::Scenario(why)) => {
            suite.skip_all(rules, &why);
            Ok(())
        }
        Err(halt) => Err(halt),
    }
}
