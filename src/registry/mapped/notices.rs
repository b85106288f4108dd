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
    reconcile::outcome::Failure,
};

/// What is due, and the round that lasts.
#[derive(Debug, Default)]
pub(super) struct NoticeState {
    /// When the last sign of life was acknowledged.
    alive_at: Option<Instant>,
    round: RoundState,
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
        let keepalive = self.target.notices.keepalive.as_ref().map(|keepalive| {
            let last = self.rounds.lock().alive_at;
            last.map_or(Duration::ZERO, |last| keepalive.every.saturating_sub(last.elapsed()))
        });
        let end = self.ended_round(in_sync).map(|_| Duration::ZERO);
        keepalive.into_iter().chain(end).min()
    }

    /// When the round began that may end: every record was put in it.
    fn ended_round(&self, in_sync: bool) -> Option<i64> {
        let RoundState::Open(began) = self.rounds.lock().round else { return None };
        (in_sync && self.kinds.iter().all(|kind| kind.records.lock().are_in_round())).then_some(began)
    }

    /// Sends what is due.
    pub(super) async fn notify(&self, in_sync: bool) -> Result<(), Failure> {
        let notices = &self.target.notices;
        if let Some(keepalive) = &notices.keepalive {
            let last = self.rounds.lock().alive_at;
            if last.is_none_or(|last| last.elapsed() >= keepalive.every) {
                let id = format!("{}-keepalive-{}", self.target.name(), now_ms());
                let words = NoticeWords { id, time: change_time(now_ms()), kind: NoticeKind::Keepalive };
                self.send_about(&keepalive.request, &words).await?;
                self.rounds.lock().alive_at = Some(Instant::now());
            }
        }
        if let (Some(round), Some(began)) = (&notices.round, self.ended_round(in_sync)) {
            self.send_about(&round.end, &self.round_words(began, NoticeKind::End)).await?;
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
