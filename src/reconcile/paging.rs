//! How a list is read page by page: the size of a page, its time limit, and what follows a failure.
//!
//! | failure of a page | what follows |
//! | --- | --- |
//! | refused, broken off, or not a list | the same page, after a backoff or the server's `Retry-After` |
//! | too many bytes | the same page at once, with half the limit |
//! | too slow | the same page with half as much time again; at the server's own limit, with half the pods |
//! | the continue token expired | the first page; the third time, all pods in one page |
//! | the same, and all pods are too many for one page | the rest of the list at the present version |
//! | the same, and the server offers no token for the rest | the same page; the third time, the first page, with twice the limit |
//! | the continue token is not accepted | the first page |
//!
//! A list that ends at another version than it began at shows no single point in time, so it proves no absence.

use std::time::Duration;

use super::retry;

/// Pods per page.
pub const LIMIT: u32 = 500;
/// Pods per page if a list expires and the server offers no token: fewer pages take less time.
const LIMIT_EXPIRING: u32 = 8_000;
/// A page without a limit. It has all pods and needs no token; its bytes are still limited.
pub const WHOLE: u32 = 0;
/// The first time limit of a page.
pub const WITHIN: Duration = Duration::from_secs(25);
/// The largest time limit of a page: an API server gives up a list after this time.
pub const WITHIN_MAX: Duration = Duration::from_secs(60);
/// Delays between lists that prove no absence: the first and the longest.
const UNPROVEN_BACKOFF: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// Delays between attempts: the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// The longest `Retry-After` that is obeyed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// A list is stuck once a page failed this often in a row.
const PASSING_FAILURES: u32 = 5;
/// After this many pages with a reduced limit, the limit doubles.
const GROWS_AFTER: u32 = 10;
/// After this many expired lists in a row, all pods are requested in one page.
const EXPIRED_LISTS: u32 = 3;
/// After this many expired attempts without an offered token, the list begins again. API servers behind one address may
/// disagree.
const EXPIRED_PAGES: u32 = 3;

/// Why a page failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageFailure {
    /// It has too many bytes.
    TooLarge,
    TooSlow,
    /// The HTTP status is not success.
    Refused {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// The server no longer holds the version of the list.
    Expired {
        /// A token that continues the list at the present version.
        offered: Option<String>,
    },
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPage {
    /// Request the same page after this time.
    Page(Duration),
    /// Begin the list again after this time.
    Whole(Duration),
    /// Continue the list with this token after this time, at another version.
    Rest(String, Duration),
}

/// The page settings of one watch. They outlive a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// Pods per page, or [`WHOLE`].
    pub limit: u32,
    /// The time limit of a page.
    pub within: Duration,
    /// Failed attempts in a row.
    pub failures: u32,
    pages: u32,
    expired: u32,
    exceeds_page: bool,
    unproven: u32,
}

impl Default for Paging {
    fn default() -> Self {
        Self { limit: LIMIT, within: WITHIN, failures: 0, pages: 0, expired: 0, exceeds_page: false, unproven: 0 }
    }
}

impl Paging {
    pub fn arrived(&mut self, is_last: bool) {
        self.failures = 0;
        self.pages += 1;
        if self.limit != WHOLE && self.limit < LIMIT && self.pages >= GROWS_AFTER {
            self.pages = 0;
            self.limit = (self.limit * 2).min(LIMIT);
        }
        if is_last {
            self.expired = 0;
            self.limit = if self.limit == WHOLE { LIMIT } else { self.limit.min(LIMIT) };
        }
    }

    /// A page failed. `continued` is false for the first page of a list.
    pub fn failed(&mut self, fault: &PageFailure, continued: bool, random: u64) -> NextPage {
        self.failures = self.failures.saturating_add(1);
        self.pages = 0;
        let delay = retry::backoff(BACKOFF.0, BACKOFF.1, self.failures, random);
        match fault {
            PageFailure::TooLarge | PageFailure::TooSlow if self.limit == WHOLE => {
                (self.limit, self.exceeds_page) = (LIMIT, true);
                NextPage::Page(Duration::ZERO)
            }
            PageFailure::TooLarge if self.limit > 1 => {
                self.limit /= 2;
                // Not a fault of the server, and certain to help.
                self.failures -= 1;
                NextPage::Page(Duration::ZERO)
            }
            PageFailure::TooSlow if self.within < WITHIN_MAX => {
                self.within = self.within.mul_f64(1.5).min(WITHIN_MAX);
                NextPage::Page(delay)
            }
            PageFailure::TooSlow => {
                self.limit = (self.limit / 2).max(1);
                NextPage::Page(delay)
            }
            PageFailure::Refused { status: 400 | 404, .. } if continued => NextPage::Whole(delay),
            PageFailure::Refused { retry_after, .. } => {
                NextPage::Page(retry_after.map_or(delay, |asked| delay.max(asked.min(RETRY_AFTER_MAX))))
            }
            PageFailure::Expired { offered: None } if continued && !self.failures.is_multiple_of(EXPIRED_PAGES) => {
                NextPage::Page(delay)
            }
            PageFailure::Expired { offered: None } if continued => {
                let is_last_resort = self.limit >= LIMIT_EXPIRING && !self.exceeds_page;
                self.limit = if is_last_resort { WHOLE } else { (self.limit * 2).min(LIMIT_EXPIRING) };
                NextPage::Whole(delay)
            }
            PageFailure::Expired { offered: Some(token) } if continued => {
                self.expired += 1;
                match self.expired {
                    ..EXPIRED_LISTS => NextPage::Whole(delay),
                    _ if self.exceeds_page => NextPage::Rest(token.clone(), delay),
                    _ => {
                        self.limit = WHOLE;
                        NextPage::Whole(delay)
                    }
                }
            }
            PageFailure::TooLarge | PageFailure::Expired { .. } | PageFailure::Broken => NextPage::Page(delay),
        }
    }

    /// A list is complete. Returns the delay before the next requested one: a list that proves no absence is requested
    /// again at once, and the next one rarely proves more.
    pub fn listed(&mut self, proves: bool, random: u64) -> Duration {
        self.unproven = if proves { 0 } else { self.unproven.saturating_add(1) };
        match self.unproven {
            0 => Duration::ZERO,
            unproven => retry::backoff(UNPROVEN_BACKOFF.0, UNPROVEN_BACKOFF.1, unproven, random),
        }
    }

    /// Whether the list is refused or fails repeatedly.
    pub fn is_stuck(&self, fault: &PageFailure) -> bool {
        let refused = matches!(fault, PageFailure::Refused { status: 400..=407 | 409..=428, .. });
        refused || self.failures >= PASSING_FAILURES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, secs: u64) -> PageFailure {
        PageFailure::Refused { status, retry_after: Some(Duration::from_secs(secs)) }
    }

    #[test]
    fn large_page_halves_until_it_fits() {
        let mut paging = Paging::default();
        for expected in [250, 125, 62, 31, 15, 7, 3, 1] {
            assert_eq!(paging.failed(&PageFailure::TooLarge, true, 0), NextPage::Page(Duration::ZERO));
            assert_eq!((paging.limit, paging.failures), (expected, 0));
        }
        assert!(
            matches!(paging.failed(&PageFailure::TooLarge, true, 0), NextPage::Page(delay) if delay > Duration::ZERO)
        );
    }

    #[test]
    fn limit_grows_back_slowly() {
        let mut paging = Paging::default();
        paging.failed(&PageFailure::TooLarge, true, 0);
        paging.failed(&PageFailure::TooLarge, true, 0);
        let mut limits = Vec::new();
        for _ in 0..25 {
            paging.arrived(false);
            limits.push(paging.limit);
        }
        assert_eq!((limits[8], limits[9], limits[18], limits[19], limits[24]), (125, 250, 250, 500, 500));
    }

    #[test]
    fn slow_page_gets_more_time_then_fewer_pods() {
        let mut paging = Paging::default();
        let mut times = Vec::new();
        while paging.limit == LIMIT {
            paging.failed(&PageFailure::TooSlow, false, 0);
            times.push(paging.within.as_millis());
        }
        assert_eq!(times, [37_500, 56_250, 60_000, 60_000]);
        assert_eq!(paging.limit, 250);
    }

    #[test]
    fn refused_page_waits_as_long_as_asked() {
        let mut paging = Paging::default();
        assert_eq!(paging.failed(&refused(429, 7), true, 0), NextPage::Page(Duration::from_secs(7)));
        assert_eq!(paging.failed(&refused(503, 1 << 40), true, 0), NextPage::Page(RETRY_AFTER_MAX));
        assert_eq!(paging.failed(&refused(500, 0), true, 0), NextPage::Page(Duration::from_millis(400)));
        assert!(matches!(paging.failed(&refused(400, 0), true, 0), NextPage::Whole(_)), "the token is not accepted");
        assert!(matches!(paging.failed(&refused(400, 0), false, 0), NextPage::Page(_)));
    }

    #[test]
    fn expired_token_leads_to_one_large_page() {
        // All pods are then requested in one page.
        let mut paging = Paging::default();
        let expired = PageFailure::Expired { offered: Some("t".into()) };
        for limit in [LIMIT, LIMIT, WHOLE] {
            assert!(matches!(paging.failed(&expired, true, 0), NextPage::Whole(_)));
            assert_eq!(paging.limit, limit);
        }
        let mut fits = paging;
        fits.arrived(true);
        assert_eq!(fits.limit, LIMIT);
        assert_eq!(paging.failed(&PageFailure::TooLarge, false, 0), NextPage::Page(Duration::ZERO));
        paging.arrived(false);
        assert_eq!(paging.limit, LIMIT);
        assert!(matches!(paging.failed(&expired, true, 0), NextPage::Rest(token, _) if token == "t"));
        paging.arrived(true);
        assert!(matches!(paging.failed(&expired, true, 0), NextPage::Whole(_)), "another list");
    }

    #[test]
    fn expired_page_without_offer_is_retried_first() {
        let (mut paging, expired) = (Paging::default(), PageFailure::Expired { offered: None });
        let mut begun = Vec::new();
        for attempt in 1..=18 {
            if matches!(paging.failed(&expired, true, 0), NextPage::Whole(_)) {
                begun.push((attempt, paging.limit));
            }
        }
        assert_eq!(begun, [(3, 1_000), (6, 2_000), (9, 4_000), (12, 8_000), (15, WHOLE), (18, WHOLE)]);
        paging.failed(&PageFailure::TooLarge, false, 0);
        paging.limit = LIMIT_EXPIRING;
        paging.failed(&PageFailure::TooLarge, true, 0);
        assert_eq!(paging.limit, 4_000, "bytes are still limited");
        paging.arrived(true);
        assert_eq!(paging.limit, LIMIT);
    }

    #[test]
    fn lists_that_prove_no_absence_become_rare() {
        let mut paging = Paging::default();
        assert_eq!(paging.listed(true, 0), Duration::ZERO);
        let delays: Vec<u64> = (0..10).map(|_| paging.listed(false, 0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 150, 150]);
        assert_eq!(paging.listed(true, 0), Duration::ZERO);
    }

    #[test]
    fn list_is_stuck_when_refused_or_failing_repeatedly() {
        let mut paging = Paging::default();
        assert!(paging.is_stuck(&refused(403, 0)) && paging.is_stuck(&refused(401, 0)));
        assert!(!paging.is_stuck(&refused(429, 0)) && !paging.is_stuck(&refused(503, 0)));
        for _ in 0..5 {
            assert!(!paging.is_stuck(&PageFailure::Broken));
            paging.failed(&PageFailure::Broken, true, 0);
        }
        assert!(paging.is_stuck(&PageFailure::Broken));
    }
}
