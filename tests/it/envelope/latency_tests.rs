//! Delays between changes and requests.

use super::latency::{Arrival, Delays, Event};

#[test]
fn latency_ends_with_the_first_sufficient_request() {
    // The request contains the content of the change or later content.
    let event = |uid, version, deleted| Event { happened_at: 1_000_000, written_at: 1_500_000, deleted, uid, version };
    let put = |at, uid, version| Arrival { at, uid, version: Some(version), put: true };
    let events = [event(1, 5, false), event(1, 7, false), event(2, 8, true), event(3, 9, false)];
    let delete = Arrival { at: 9_000_000, uid: 2, version: None, put: false };
    let arrivals = [put(2_000_000, 1, 4), put(3_000_000, 1, 5), put(5_000_000, 1, 7), put(6_000_000, 2, 3), delete];
    let delays = Delays::of(&events, &arrivals);
    assert_eq!((delays.reported, delays.unreported), (3, 1));
    assert!((delays.p50 - 4.0).abs() < 1e-9 && (delays.p99 - 8.0).abs() < 1e-9);
    assert!((delays.wire_p99 - 7.5).abs() < 1e-9);
}
