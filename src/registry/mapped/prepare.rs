//! Things that records refer to: found or created before the first write of a term, and before each list.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value as Json};

use super::{
    TargetClient, TermState,
    judge::{Ruling, failure, rule},
};
use crate::{
    mapping::{
        answer::Answer, request::RequestTemplate, scope::Scope, spec::request::RuleOutcome, writes::PrepareStep,
    },
    reconcile::outcome::Failure,
};

impl TargetClient {
    /// Begins a term.
    pub(super) async fn prepare_term(&self, number: u64) -> Result<(), Failure> {
        if self.term.read().number != number {
            self.kinds.iter().for_each(|kind| kind.records.lock().begin_term());
            self.rounds.lock().begin_term();
        }
        self.recall(number).await?;
        let prepared = self.run_steps(number).await?;
        let words = self.target.term(number, &prepared);
        *self.term.write() = TermState::new(number, words, Some(prepared));
        Ok(())
    }

    /// The same in a term that was prepared before: something may have removed what records refer to.
    pub(super) async fn prepare_again(&self) -> Result<(), Failure> {
        let (number, before) = {
            let term = self.term.read();
            (term.number, term.prepared.clone())
        };
        if before.is_none() || self.target.prepare.is_empty() {
            return Ok(());
        }
        self.prepare_term(number).await?;
        if self.target.needs_prepared() && self.term.read().prepared != before {
            self.has_prepared_change.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether nothing is left to prepare.
    pub(super) fn is_prepared(&self) -> bool {
        self.target.prepare.is_empty() || self.term.read().prepared.is_some()
    }

    async fn run_steps(&self, number: u64) -> Result<Json, Failure> {
        let mut prepared = Map::new();
        for step in &self.target.prepare {
            let words = self.target.term(number, &Json::Object(prepared.clone()));
            let kept = self.run_step(step, words.scope()).await?;
            prepared.insert(step.name.clone(), kept);
        }
        Ok(Json::Object(prepared))
    }

    async fn run_step(&self, step: &PrepareStep, scope: &Scope) -> Result<Json, Failure> {
        if let Some(kept) = self.find_step(step, scope).await? {
            return Ok(kept);
        }
        let Some(create) = &step.create else {
            return Err(Failure::Broken(format!("`prepare`: {} was not found; create it in the registry", step.name)));
        };
        let (outcome, answer) = self.send_step(create, scope).await?;
        if outcome == RuleOutcome::Exists {
            let found = self.find_step(step, scope).await?;
            if let Some(kept) = found {
                return Ok(kept);
            }
            if step.keeps() {
                let problem = format!("`prepare`: {} exists and is not found; check its `find`", step.name);
                return Err(Failure::Broken(problem));
            }
        }
        let item = answer.json().cloned().unwrap_or_default();
        step.kept(&item, "create", &answer, scope).map_err(|error| self.not_prepared(&error))
    }

    async fn find_step(&self, step: &PrepareStep, scope: &Scope) -> Result<Option<Json>, Failure> {
        let Some(find) = &step.find else { return Ok(None) };
        let (outcome, answer) = self.send_step(&find.request, scope).await?;
        if outcome == RuleOutcome::Absent {
            return Ok(None);
        }
        let item = find.item(&answer, scope).map_err(|error| self.not_prepared(&error.to_string()))?;
        match item {
            None => Ok(None),
            Some(item) => step.kept(&item, "find", &answer, scope).map(Some).map_err(|error| self.not_prepared(&error)),
        }
    }

    /// Sends a request. Its outcome is done, absent or exists.
    async fn send_step(&self, request: &RequestTemplate, scope: &Scope) -> Result<(RuleOutcome, Answer), Failure> {
        let rendered = request.render(scope, None).map_err(|error| self.not_prepared(&error.to_string()))?;
        let exchanged = self.transport.send(&rendered).await?;
        let judgement = request.judge(&exchanged.answer, scope);
        let outcome = judgement.outcome;
        match rule(&judgement, &exchanged, &self.transport) {
            Ruling::Done | Ruling::Absent | Ruling::Exists(_) => Ok((outcome, exchanged.answer)),
            _ => Err(failure(&judgement, &exchanged, &self.transport)),
        }
    }

    fn not_prepared(&self, error: &str) -> Failure {
        Failure::Broken(self.transport.clean(&format!("`prepare`: {error}")))
    }
}
