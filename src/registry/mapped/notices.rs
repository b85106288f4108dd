//! Requests about the target as a whole: signs of life, and rounds.
//!
//! ```text
//!   waits --due, inventory is read--> begin is sent --acknowledged--> lasts --all put, in sync--> end is sent --> waits
//! ```
//!
//! While a round lasts, the inventory says of each record that the round has not put that its content is not known, so
//! that it is written again like any other difference. A round of a term that ended begins again.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    TargetClient, change_time,
    judge::{Ruling, failure, rule},
    memory::RoundNote,
    now_ms,
};
use crate::{
    mapping::{
        notices::{NoticeKind, NoticeWords},
        request::RequestTemplate,
    },
    reconcile::{outcome::Failure, retry::notice_delay},
};

/// What is due, and the round that lasts.
#[derive(Debug, Default)]
pub(super) struct NoticeState {
    keepalive: NoticeDue,
    /// Of the request that ends the round.
    end: NoticeDue,
    round: RoundState,
}

/// When a request is sent next.
#[derive(Debug, Default)]
struct NoticeDue {
    /// None: at once.
    at: Option<Instant>,
    /// Failures in a row.
    failures: u32,
    /// Refusals among them.
    refusals: u32,
}

impl NoticeDue {
    fn after(&self) -> Duration {
        self.at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }

    fn is_due(&self) -> bool {
        self.after().is_zero()
    }

    /// A request was answered, or failed. `every` is its interval, if it has one.
    fn answered(&mut self, kind: NoticeKind, every: Option<Duration>, result: &Result<(), Failure>) {
        let request = kind.name();
        let Err(error) = result else {
            if self.refusals > 0 {
                tracing::info!(request, refusals = self.refusals, "the registry accepts the request again");
            }
            *self = Self { at: every.map(|every| Instant::now() + every), ..Self::default() };
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let delay = notice_delay(self.failures, error.is_refusal(), every);
        self.at = Some(Instant::now() + delay);
        if error.is_refusal() {
            self.refusals = self.refusals.saturating_add(1);
            // The first one, and then ever fewer.
            if self.refusals.is_power_of_two() {
                tracing::warn!(
                    request,
                    %error,
                    refusals = self.refusals,
                    retry_in_ms = delay.as_millis(),
                    "the registry refuses a request about the target; retrying"
                );
            }
        }
    }
}

#[derive(Debug, Default)]
enum RoundState {
    /// No round is known.
    #[default]
    Unknown,
    /// The next one is due.
    DueAt(Instant),
    /// `begin` is being sent, in milliseconds since 1970.
    Beginning(i64),
    /// Since milliseconds since 1970.
    Open(i64),
}

impl NoticeState {
    /// The memory was read: the last round ended then, or was not finished.
    pub(super) fn recall(&mut self, last_round: Option<i64>, every: Option<Duration>) {
        let ago = last_round.map(|ended| u64::try_from(now_ms().saturating_sub(ended)).unwrap_or_default());
        let left = every.zip(ago).map(|(every, ago)| every.saturating_sub(Duration::from_millis(ago)));
        self.round = left.map_or(RoundState::Unknown, |left| RoundState::DueAt(Instant::now() + left));
    }

    /// Another process may have led since.
    pub(super) fn begin_term(&mut self) {
        *self = Self::default();
    }

    /// When the round began that is due, whose `begin` may have been sent without an answer.
    fn due(&mut self) -> Option<i64> {
        match self.round {
            RoundState::Open(_) => None,
            RoundState::DueAt(at) if Instant::now() < at => None,
            RoundState::Beginning(began) => Some(began),
            RoundState::Unknown | RoundState::DueAt(_) => {
                let began = now_ms();
                self.round = RoundState::Beginning(began);
                Some(began)
            }
        }
    }
}

impl TargetClient {
    /// Begins the round that is due.
    pub(super) async fn begin_round(&self) -> Result<(), Failure> {
        let Some(round) = &self.target.notices.round else { return Ok(()) };
        let Some(began) = self.rounds.lock().due() else { return Ok(()) };
        self.send_about(&round.begin, &self.round_words(began, NoticeKind::Begin)).await?;
        self.save_with(Some(RoundNote::Begun)).await?;
        for kind in &self.kinds {
            let mut records = kind.records.lock();
            records.table.begin_round();
            records.in_round = true;
        }
        self.rounds.lock().round = RoundState::Open(began);
        tracing::info!("a round begins; putting every record again");
        Ok(())
    }

    /// How long until the next round.
    pub(super) fn round_after(&self) -> Option<Duration> {
        self.target.notices.round.as_ref()?;
        match self.rounds.lock().round {
            RoundState::Open(_) => None,
            RoundState::DueAt(at) => Some(at.saturating_duration_since(Instant::now())),
            RoundState::Unknown | RoundState::Beginning(_) => Some(Duration::ZERO),
        }
    }

    pub(super) fn next_notice(&self, in_sync: bool) -> Option<Duration> {
        let ended = self.ended_round(in_sync);
        let state = self.rounds.lock();
        let keepalive = self.target.notices.keepalive.as_ref().map(|_| state.keepalive.after());
        keepalive.into_iter().chain(ended.map(|_| state.end.after())).min()
    }

    /// When the round began that may end: every record was put in it.
    fn ended_round(&self, in_sync: bool) -> Option<i64> {
        let RoundState::Open(began) = self.rounds.lock().round else { return None };
        (in_sync && self.kinds.iter().all(|kind| kind.records.lock().are_in_round())).then_some(began)
    }

    /// Sends what is due.
    pub(super) async fn notify(&self, in_sync: bool) -> Result<(), Failure> {
        let notices = &self.target.notices;
        if let Some(keepalive) = notices.keepalive.as_ref().filter(|_| self.rounds.lock().keepalive.is_due()) {
            let kind = NoticeKind::Keepalive;
            let id = format!("{}-keepalive-{}", self.target.name(), now_ms());
            let words = NoticeWords { id, time: change_time(now_ms()), kind };
            let result = self.send_about(&keepalive.request, &words).await;
            self.rounds.lock().keepalive.answered(kind, Some(keepalive.every), &result);
            result?;
        }
        let ended = self.ended_round(in_sync).filter(|_| self.rounds.lock().end.is_due());
        if let (Some(round), Some(began)) = (&notices.round, ended) {
            let result = self.send_about(&round.end, &self.round_words(began, NoticeKind::End)).await;
            self.rounds.lock().end.answered(NoticeKind::End, None, &result);
            result?;
            self.rounds.lock().round = RoundState::DueAt(Instant::now() + round.every);
            self.kinds.iter().for_each(|kind| kind.records.lock().in_round = false);
            self.save_with(Some(RoundNote::Ended(now_ms()))).await?;
            tracing::info!("the round ended; the registry acknowledged every record");
        }
        Ok(())
    }

    /// Both requests of a round have its beginning in their ids.
    fn round_words(&self, began: i64, kind: NoticeKind) -> NoticeWords {
        let id = format!("{}-round-{began}-{}", self.target.name(), kind.name());
        NoticeWords { id, time: change_time(began), kind }
    }

    async fn send_about(&self, request: &RequestTemplate, words: &NoticeWords) -> Result<(), Failure> {
        let scope = self.target.notice_scope(&self.term(), words);
        let rendered = request.render(&scope, None);
        let rendered = rendered.map_err(|error| Failure::Broken(error.to_string()))?.about(&words.id);
        let exchanged = self.transport.send(&rendered).await?;
        let judgement = request.judge(&exchanged.answer, &scope);
        match rule(&judgement, &exchanged, &self.transport) {
            Ruling::Done => Ok(()),
            _ => Err(failure(&judgement, &exchanged, &self.transport)),
        }
    }
}
