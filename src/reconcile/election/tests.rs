//! The election, and a simulation: candidates with their own clocks and a server that loses and delays requests.

use std::collections::BTreeMap;

use super::*;

const DURATION: Duration = Duration::from_secs(15);

const fn at(secs: u64) -> Moment {
    Moment::from_secs(secs)
}

fn candidate(me: &str) -> Election {
    let mut election = Election::new(me.into(), LeaseTiming::of(DURATION));
    election.stand();
    election
}

fn held_by(holder: &str, transitions: u64, renewed: &str, version: &str) -> LeaseState {
    let (holder, renewed, version) = (holder.into(), renewed.into(), version.into());
    LeaseState { holder, transitions, duration: Some(DURATION), renewed, version }
}

fn shipped() -> LeaseState {
    LeaseState { holder: String::new(), transitions: 0, duration: None, renewed: String::new(), version: "1".into() }
}

#[track_caller]
fn claim_of(election: &Election, now: Moment) -> LeaseUpdate {
    match election.step(now) {
        ElectionStep::Put(claim) => claim,
        step => panic!("{step:?}"),
    }
}

/// A leader since the start, in term 1.
fn leader() -> Election {
    let mut election = candidate("me");
    election.read(&shipped(), at(0));
    let claim = claim_of(&election, at(0));
    election.written(&claim, UpdateOutcome::Done, at(0), at(0));
    election
}

#[test]
fn empty_lease_is_claimed_at_once() {
    // The claim is made from the version that was read.
    let mut election = candidate("me");
    assert_eq!(election.step(at(0)), ElectionStep::Get);
    election.read(&shipped(), at(1));
    let claim = claim_of(&election, at(1));
    let version = "1".to_owned();
    assert_eq!(claim, LeaseUpdate { holder: "me".into(), transitions: 1, duration: DURATION, acquires: true, version });
    election.written(&claim, UpdateOutcome::Done, at(1), at(2));
    // Counted from when it was sent, because others may have seen it since then.
    assert_eq!(election.leadership(), Leadership::Leader { term: 1, until: at(11) });
    assert_eq!((election.step(at(2)), election.step(at(4))), (ElectionStep::Wait(at(4)), ElectionStep::Get));
}

#[test]
fn renewal_keeps_the_term_despite_a_conflict() {
    // Another client's edit of the Lease is not a loss of leadership.
    let mut election = leader();
    election.read(&held_by("me", 1, "r1", "2"), at(3));
    let claim = claim_of(&election, at(3));
    assert_eq!((claim.transitions, claim.acquires), (1, false));
    election.written(&claim, UpdateOutcome::Conflict, at(3), at(3));
    assert_eq!(
        election.leadership().term(at(3)),
        Some(LeaderTerm::Elected(1)),
        "a conflict alone does not end the leadership"
    );
    assert_eq!(election.step(at(3)), ElectionStep::Get);
    election.read(&held_by("me", 1, "r1", "3"), at(3));
    election.written(&claim_of(&election, at(3)), UpdateOutcome::Done, at(3), at(3));
    assert_eq!(election.leadership(), Leadership::Leader { term: 1, until: at(13) });
}

/// The lease after it was given up.
fn free(version: &str) -> LeaseState {
    LeaseState { holder: String::new(), ..held_by("", 1, "r", version) }
}

#[test]
fn leader_that_steps_aside_releases_the_lease() {
    let mut election = leader();
    election.step_aside(at(3));
    assert_eq!(election.leadership(), Leadership::Follower);
    assert_eq!(election.step(at(3)), ElectionStep::Wait(at(4)), "the writers stop first");
    election.read(&held_by("me", 1, "r1", "2"), at(4));
    let claim = claim_of(&election, at(4));
    assert_eq!((claim.holder.as_str(), claim.acquires), ("", false));
    election.written(&claim, UpdateOutcome::Done, at(4), at(4));
    // Another process takes the lease, which expires within that time.
    election.read(&held_by("other", 2, "r", "4"), at(5));
    election.read(&held_by("other", 2, "r", "4"), at(30));
    assert!(matches!(election.step(at(30)), ElectionStep::Wait(_)), "another candidate may want it");
    election.read(&held_by("other", 2, "r", "4"), at(123));
    assert!(claim_of(&election, at(123)).acquires, "the time is over");
}

#[test]
fn unclaimed_lease_is_taken_back() {
    let mut election = leader();
    election.step_aside(at(3));
    election.read(&held_by("me", 1, "r1", "2"), at(4));
    let claim = claim_of(&election, at(4));
    election.written(&claim, UpdateOutcome::Done, at(4), at(4));
    election.read(&free("3"), at(5));
    election.read(&free("3"), at(34));
    assert!(matches!(election.step(at(34)), ElectionStep::Wait(_)));
    election.read(&free("3"), at(35));
    assert!(claim_of(&election, at(35)).acquires);
}

#[test]
fn leader_steps_aside_longer_each_time() {
    let mut election = leader();
    let mut stepped_aside = |secs| {
        election.leadership = Leadership::Leader { term: 1, until: at(secs + 1) };
        election.step_aside(at(secs));
        election.stepped_aside.until.unwrap()
    };
    assert_eq!([stepped_aside(0), stepped_aside(1_000), stepped_aside(2_000)], [at(120), at(1_240), at(2_480)]);
    assert_eq!((0..9).map(|n| stepped_aside(10_000 * n)).last(), Some(at(81_200)));
    election.worked();
    assert_eq!(election.stepped_aside.times, 0);
}

#[test]
fn another_holder_ends_the_leadership() {
    let mut election = leader();
    election.read(&held_by("other", 2, "r", "9"), at(3));
    assert_eq!(election.leadership(), Leadership::Follower);
    assert!(matches!(election.step(at(3)), ElectionStep::Wait(_)));
}

#[test]
fn unrenewed_leadership_ends_before_another_can_begin() {
    let mut election = leader();
    for secs in 3..9 {
        election.not_read(at(secs));
    }
    assert_eq!(
        (election.leadership().term(at(9)), election.leadership().term(at(10))),
        (Some(LeaderTerm::Elected(1)), None)
    );
    // The Lease still names us, but the leadership has ended, so a new term begins.
    election.read(&held_by("me", 1, "r", "2"), at(12));
    let claim = claim_of(&election, at(12));
    assert_eq!((claim.transitions, claim.acquires), (2, true));
}

#[test]
fn late_renewal_does_not_restore_leadership() {
    // A new term begins instead.
    let mut election = leader();
    election.read(&held_by("me", 1, "r", "2"), at(9));
    let claim = claim_of(&election, at(9));
    election.written(&claim, UpdateOutcome::Done, at(9), at(11));
    assert_eq!((election.leadership(), election.step(at(11))), (Leadership::Follower, ElectionStep::Get));
    election.read(&held_by("me", 1, "r2", "3"), at(11));
    let claim = claim_of(&election, at(11));
    election.written(&claim, UpdateOutcome::Done, at(11), at(11));
    assert_eq!(election.leadership(), Leadership::Leader { term: 2, until: at(21) });
}

#[test]
fn foreign_lease_expires_by_the_local_clock() {
    // The time counts from the last change of the Lease, not from its timestamps.
    let mut election = candidate("me");
    for (renewed, secs) in [("1970", 0), ("2999", 7), ("1970-again", 9)] {
        election.read(&held_by("other", 4, renewed, "1"), at(secs));
        assert!(matches!(election.step(at(secs)), ElectionStep::Wait(_)), "its timestamps do not count");
    }
    // Another client changes the object, but not the lease.
    election.read(&held_by("other", 4, "1970-again", "2"), at(23));
    assert_eq!(election.step(at(23)), ElectionStep::Wait(at(23) + LeaseTiming::of(DURATION).poll));
    election.read(&held_by("other", 4, "1970-again", "2"), at(24));
    assert_eq!(claim_of(&election, at(24)).transitions, 5);
}

#[test]
fn holder_decides_how_long_its_lease_lasts() {
    let mut election = candidate("me");
    let long = LeaseState { duration: Some(Duration::from_secs(60)), ..held_by("other", 4, "r", "1") };
    election.read(&long, at(0));
    election.read(&long, at(59));
    assert_eq!(election.step(at(59)), ElectionStep::Wait(at(59) + LeaseTiming::of(DURATION).poll));
    election.read(&long, at(60));
    assert!(claim_of(&election, at(60)).acquires);
}

#[test]
fn observer_never_claims_the_lease() {
    let mut election = Election::new("me".into(), LeaseTiming::of(DURATION));
    for secs in 0..40 {
        election.read(&shipped(), at(secs));
        assert!(matches!(election.step(at(secs)), ElectionStep::Wait(_)));
    }
    election.stand();
    election.read(&shipped(), at(40));
    assert!(claim_of(&election, at(40)).acquires);
}

#[test]
fn unanswered_claim_is_found_and_made_again() {
    let mut election = candidate("me");
    election.read(&shipped(), at(0));
    let claim = claim_of(&election, at(0));
    election.written(&claim, UpdateOutcome::Failed, at(0), at(2));
    assert_eq!(election.leadership(), Leadership::Follower);
    election.read(&held_by("me", 1, "r", "2"), at(3));
    let claim = claim_of(&election, at(3));
    assert_eq!((claim.transitions, claim.acquires), (2, true));
}

#[test]
fn deleted_lease_ends_the_leadership() {
    // Its terms are not used again.
    let mut election = leader();
    election.missing(at(3));
    assert_eq!(election.leadership(), Leadership::Follower);
    election.read(&shipped(), at(5));
    assert_eq!(claim_of(&election, at(5)).transitions, 2);
}

#[test]
fn release_empties_only_an_own_lease() {
    let mut election = leader();
    election.release(at(2));
    assert_eq!((election.leadership(), election.step(at(2))), (Leadership::Follower, ElectionStep::Get));
    election.read(&held_by("me", 1, "r", "2"), at(2));
    let claim = claim_of(&election, at(2));
    assert_eq!((claim.holder.as_str(), claim.transitions, claim.version.as_str()), ("", 1, "2"));
    election.written(&claim, UpdateOutcome::Conflict, at(2), at(2));
    election.read(&held_by("me", 1, "r", "3"), at(2));
    election.written(&claim_of(&election, at(2)), UpdateOutcome::Done, at(2), at(2));
    assert_eq!(election.step(at(2)), ElectionStep::Done);

    let mut other = leader();
    other.release(at(2));
    other.read(&held_by("other", 2, "r", "2"), at(2));
    assert_eq!(other.step(at(2)), ElectionStep::Done);
}

#[test]
fn repeated_conflicts_back_off() {
    let mut election = candidate("me");
    for round in 0..5 {
        election.read(&shipped(), at(round));
        let claim = claim_of(&election, at(round));
        election.written(&claim, UpdateOutcome::Conflict, at(round), at(round));
        assert_eq!(election.step(at(round)) == ElectionStep::Get, round == 0);
    }
}

/// A request in flight, in the server's time.
struct Call {
    claim: Option<LeaseUpdate>,
    sent: Moment,
    /// When it arrives at the server, unless it is lost.
    arrives: Option<u64>,
    /// When the answer arrives, unless it is lost.
    answered: Option<u64>,
    given_up: u64,
    answer: Option<(LeaseState, UpdateOutcome)>,
}

struct Candidate {
    election: Election,
    /// The start of its clock, and its speed in percent of true time.
    origin: u64,
    speed: u64,
    call: Option<Call>,
    /// Requests that were given up and are still in flight.
    late: Vec<Call>,
    stopped_until: u64,
}

impl Candidate {
    fn new(name: &str, rng: &mut fastrand::Rng) -> Self {
        let (election, origin, speed) = (candidate(name), rng.u64(..1_000_000), rng.u64(85..=120));
        Self { election, origin, speed, call: None, late: Vec::new(), stopped_until: 0 }
    }

    fn clock(&self, ms: u64) -> Moment {
        Moment::START + Duration::from_micros(self.origin * 1_000 + ms * self.speed * 10)
    }

    fn term(&self, ms: u64) -> Option<u64> {
        match self.election.leadership().term(self.clock(ms))? {
            LeaderTerm::Endless => None,
            LeaderTerm::Elected(term) => Some(term),
        }
    }
}

/// The API server with one object and an unreliable network.
struct Server {
    lease: LeaseState,
    writes: u64,
    trouble: u64,
    /// The leader of each term.
    terms: BTreeMap<u64, String>,
}

impl Server {
    fn serve(&mut self, claim: Option<&LeaseUpdate>) -> (LeaseState, UpdateOutcome) {
        let Some(claim) = claim else { return (self.lease.clone(), UpdateOutcome::Done) };
        if claim.version != self.lease.version {
            return (self.lease.clone(), UpdateOutcome::Conflict);
        }
        self.touch();
        self.lease.holder.clone_from(&claim.holder);
        (self.lease.transitions, self.lease.duration) = (claim.transitions, Some(claim.duration));
        self.lease.renewed = self.writes.to_string();
        if claim.acquires {
            let before = self.terms.insert(claim.transitions, claim.holder.clone());
            assert!(before.is_none(), "term {} began twice", claim.transitions);
        }
        (self.lease.clone(), UpdateOutcome::Done)
    }

    /// Another client writes something else into the object.
    fn touch(&mut self) {
        self.writes += 1;
        self.lease.version = self.writes.to_string();
    }

    fn call(&self, claim: Option<LeaseUpdate>, sent: Moment, ms: u64, speed: u64, rng: &mut fastrand::Rng) -> Call {
        let lost = |rng: &mut fastrand::Rng| rng.u64(..100) < self.trouble;
        let way =
            |rng: &mut fastrand::Rng| if rng.u64(..100) < self.trouble { rng.u64(..20_000) } else { rng.u64(..40) };
        let arrives = (!lost(rng)).then(|| ms + way(rng));
        let answered = arrives.filter(|_| !lost(rng)).map(|arrives| arrives + way(rng));
        let patience = u64::try_from(LeaseTiming::of(DURATION).call.as_millis()).unwrap() * 100 / speed;
        Call { claim, sent, arrives, answered, given_up: ms + patience, answer: None }
    }
}

fn arrive(call: &mut Call, server: &mut Server, ms: u64) {
    if call.arrives.is_some_and(|arrives| arrives <= ms) {
        call.arrives = None;
        call.answer = Some(server.serve(call.claim.as_ref()));
    }
}

fn act(candidate: &mut Candidate, server: &mut Server, ms: u64, rng: &mut fastrand::Rng) {
    for call in candidate.late.iter_mut().chain(&mut candidate.call) {
        arrive(call, server, ms);
    }
    candidate.late.retain(|call| call.arrives.is_some());
    if candidate.stopped_until > ms {
        return;
    }
    let now = candidate.clock(ms);
    if let Some(call) = candidate.call.take() {
        let Call { claim, sent, answered, given_up, answer, .. } = &call;
        match (answered.filter(|at| *at <= ms && at <= given_up).and(answer.clone()), claim) {
            (Some((seen, _)), None) => candidate.election.read(&seen, now),
            (Some((_, written)), Some(claim)) => candidate.election.written(claim, written, *sent, now),
            (None, _) if ms < *given_up => return candidate.call = Some(call),
            (None, None) => candidate.election.not_read(now),
            (None, Some(claim)) => candidate.election.written(claim, UpdateOutcome::Failed, *sent, now),
        }
        candidate.late.push(call);
    }
    match candidate.election.step(now) {
        ElectionStep::Wait(_) | ElectionStep::Done => {}
        ElectionStep::Get => candidate.call = Some(server.call(None, now, ms, candidate.speed, rng)),
        ElectionStep::Put(claim) => candidate.call = Some(server.call(Some(claim), now, ms, candidate.speed, rng)),
    }
}

fn history(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut server = Server { lease: shipped(), writes: 1, trouble: 0, terms: BTreeMap::new() };
    let mut names = 0;
    let mut candidate = |rng: &mut fastrand::Rng| {
        names += 1;
        Candidate::new(&format!("candidate-{names}"), rng)
    };
    let mut candidates = [candidate(&mut rng), candidate(&mut rng)];
    let (troubled, end) = (rng.u64(60_000..200_000), 60_000);
    for ms in (0..troubled + end).step_by(10) {
        let which = rng.usize(..2);
        match rng.u32(..3_000) {
            _ if ms >= troubled => server.trouble = 0,
            0 => server.trouble = *rng.choice([0, 5, 30, 100].iter()).unwrap(),
            1 => candidates[which].stopped_until = ms + rng.u64(..40_000),
            2 => candidates[which] = candidate(&mut rng),
            3 => {
                let now = candidates[which].clock(ms);
                candidates[which].election.release(now);
            }
            4 => server.touch(),
            _ => {}
        }
        for candidate in &mut candidates {
            act(candidate, &mut server, ms, &mut rng);
        }
        for done in &mut candidates {
            if done.election.step(done.clock(ms)) == ElectionStep::Done {
                *done = candidate(&mut rng);
            }
        }
        let leading: Vec<_> = candidates.iter().filter_map(|c| Some((c.election.me.clone(), c.term(ms)?))).collect();
        assert!(leading.len() <= 1, "seed {seed}, {ms} ms: {leading:?} lead at once");
        for (me, term) in &leading {
            assert_eq!(server.terms.get(term), Some(me), "seed {seed}, {ms} ms: a term of another candidate");
        }
    }
    let last = troubled + end;
    let leading = candidates.iter().filter(|candidate| candidate.term(last).is_some()).count();
    assert_eq!(leading, 1, "seed {seed}: one leads at the end");
}

#[test]
#[expect(clippy::print_stdout, reason = "shown by the test runner if the test fails")]
fn two_candidates_never_lead_at_once() {
    // Requests are lost or delayed at random, and candidates stop for a while.
    let first = fastrand::u64(..1 << 40);
    println!("seeds from {first}");
    for seed in first..first + 150 {
        history(seed);
    }
}

#[test]
fn term_number_grows_with_a_new_lease() {
    let created = 1_790_000_000;
    let numbers = [
        term_number(0, 7),
        term_number(created, 1),
        term_number(created, 300),
        // Created again: its transitions begin at 1.
        term_number(created + 1, 1),
        LeaderTerm::Endless.number(created + 2),
        LeaderTerm::Elected(term_number(created + 2, 1)).number(created),
        // More transitions than one second has numbers do not turn it back.
        term_number(created + 2, 1 << 21),
        term_number(u64::MAX, u64::MAX),
    ];
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!(numbers.iter().all(|number| *number < 1 << 53));
    let leader = |term| Leadership::Leader { term, until: at(9) };
    assert_eq!(leader(3).counted_from(created), leader(term_number(created, 3)));
    assert_eq!(Leadership::Alone.counted_from(created), Leadership::Alone);
}
