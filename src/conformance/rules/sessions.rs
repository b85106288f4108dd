//! Sessions: epochs, heartbeats, contenders, and what is shown of them.

use crate::conformance::rule::{Level, ProtocolRule, rules};

rules! {
    CLUSTER_UNKNOWN: Should, "Show a cluster",
        "Answer 404 if no session was ever opened for the cluster.",
        "Answer GET /v1/clusters/{cluster} with 404 until a session is opened.";
    INVENTORY_EMPTY: Must, "Inventory pages",
        "A writer without records has an empty page with `count` 0, not 404.",
        "Answer {\"items\":[],\"count\":0,\"asOf\":…} for writers that you do not know.";
    NO_SESSION: Must, "Sessions",
        "So is the epoch of a closed session, and any epoch if the writer has no session.",
        "Refuse writes with 409 `unknown-session` until the writer opens a session.";
    SESSION_OPENED: Must, "Open a session",
        "`POST /v1/clusters/{cluster}/session` → 201 · 422.",
        "Answer 201 with `epoch` and `ttlSeconds`.";
    TTL_GRANTED: Must, "Open a session",
        "`ttlSeconds` | must | the time to live that you grant; reduce one that is too high",
        "Answer with a `ttlSeconds` from 1 to the requested one.";
    TTL_REDUCED: Must, "Open a session",
        "`ttlSeconds` | must | the time to live that you grant; reduce one that is too high",
        "Open the session with a shorter time to live; do not refuse a high one.";
    TTL_BELOW_ONE: Must, "Open a session",
        "`ttlSeconds` | always | how long the session is live without a heartbeat; below 1 is `schema`",
        "Refuse a `ttlSeconds` below 1 with 422 `schema`.";
    OPENING_SUCCEEDS: Must, "Sessions",
        "Opening a session always succeeds, even if the session before it is live.",
        "Accept every new session; the older one is fenced.";
    EPOCH_GROWS: Must, "Sessions",
        "A new epoch must be above `minEpoch`, above the writer's newest epoch, and above the epoch of every record and \
         tombstone that you store for the writer.",
        "Give each session the epoch max(newest epoch, minEpoch) + 1, in one transaction.";
    EPOCH_ABOVE_MIN_EPOCH: Must, "Sessions",
        "A new epoch must be above `minEpoch`, above the writer's newest epoch, and above the epoch of every record and \
         tombstone that you store for the writer.",
        "Give each session the epoch max(newest epoch, minEpoch) + 1, in one transaction.";
    EPOCH_LIMIT: Must, "Sessions",
        "A `minEpoch` that leaves no epoch is `schema`.",
        "Refuse a `minEpoch` of 2^53 - 1 and above with 422 `schema`, and open no session.";
    PREVIOUS: Should, "Open a session",
        "`previous` | should | the session that this one replaced; absent for a writer's first session",
        "Answer with `previous`: epoch, instance and state of the replaced session.";
    PREVIOUS_MEMBERS: Must, "Open a session",
        "`previous.state` | must | its state when it was replaced: `live`, `stale` or `closed`",
        "If you send `previous`, send its epoch, instance and state as they were.";
    PREVIOUS_SCOPE: Should, "Open a session",
        "`previous.scope`, `.clusterUid` | should | as that session has them",
        "Keep `scope` with the session, and return it in `previous`.";
    PREVIOUS_CLUSTER_UID: Should, "Open a session",
        "`previous.scope`, `.clusterUid` | should | as that session has them",
        "Keep `clusterUid` with the writer, and return it in `previous`.";
    TEXTS_UNCHANGED: Must, "Open a session",
        "Return `instance` and `scope` unchanged, and never parse, shorten or normalize them: the controller compares \
         them with its own.",
        "Store both texts as they come, of any characters, and return them.";
    FENCED_WRITE: Must, "Sessions",
        "A lower epoch is 409 `stale-epoch`, also when the newest session is closed.",
        "Compare the epoch of each write with the newest session's, in the transaction of the write.";
    HIGHER_EPOCH: Must, "Sessions",
        "A higher epoch is 409 `unknown-session`.",
        "Accept only the epoch of the newest session.";
    RECORDS_KEEP_EPOCH: Must, "Sessions",
        "Records keep the epoch that they were written with. A new session changes no record.",
        "Do not rewrite versions when a session opens.";
    HEARTBEAT: Must, "Renew a session",
        "`epoch` and `expiresAt` are required in the answer.",
        "Answer 200 with `epoch` and `expiresAt`.";
    EXPIRES_AT_CHANGES: Must, "Renew a session",
        "It must differ after each heartbeat, and may go back after one with a shorter `ttlSeconds`.",
        "Set `expiresAt` to now plus the time to live at each heartbeat.";
    HEARTBEAT_TTL: Must, "Renew a session",
        "`ttlSeconds` replaces the session's time to live.",
        "Set `expiresAt` to now plus the `ttlSeconds` of this heartbeat.";
    HEARTBEAT_MEMBERS: Must, "Renew a session",
        "Only `epoch` and `ttlSeconds` are in every heartbeat.",
        "Accept heartbeats without `instance`, `synced` and `counts`.";
    HEARTBEAT_EPOCH: Must, "Sessions",
        "These rules hold for heartbeats and for closing too, except that the closed session may be closed again.",
        "Check the epoch of heartbeats and of closing as for writes.";
    HEARTBEAT_EPOCH_ZERO: Must, "Renew a session",
        "The epoch of such a heartbeat may be 0: a process that waits for a session sends the epoch below it.",
        "Accept the epoch 0 in heartbeats: it is `stale-epoch`, not `schema`.";
    CONTENDER: Should, "Renew a session",
        "For 90 s from then on, return the newest contender in the answer to the holder's heartbeats and in \
         `GET /v1/clusters/{cluster}`: its `epoch`, its `instance` if it sent one, and `seenAt`.",
        "Note the sender of a heartbeat with an old epoch, and return it to the holder.";
    CONTENDER_KEPT: Should, "Renew a session",
        "Opening a session keeps the contender.",
        "Keep the contender with the writer, not with the session.";
    CONTENDER_HARMLESS: Must, "Renew a session",
        "A contender changes no session and no record.",
        "Refuse the request of an old epoch, and leave the newest session as it is.";
    WRITES_RENEW_NOTHING: Must, "Sessions",
        "Writes do not: only heartbeats prolong a session.",
        "Set `expiresAt` when a session is opened or renewed, and leave it at writes.";
    STALE_ACCEPTS_WRITES: Must, "Sessions",
        "That changes only what you show: you must still accept its writes and must not delete anything.",
        "Check only the epoch of a write, and whether the session is closed; not its time to live.";
    STALE_KEEPS_RECORDS: Must, "Sessions",
        "That changes only what you show: you must still accept its writes and must not delete anything.",
        "Delete no record when a session becomes stale.";
    STALE_RENEWED: Must, "Sessions",
        "That changes only what you show: you must still accept its writes and must not delete anything.",
        "Accept a heartbeat of a stale session. The session is live again.";
    STALE_SHOWN: Must, "Sessions",
        "A session that misses its heartbeats becomes `stale`.",
        "Show the state `stale` once `expiresAt` has passed, until the next heartbeat.";
    SESSION_CLOSED: Must, "Close a session",
        "`DELETE /v1/clusters/{cluster}/session?epoch=7` → 204 · 409 · 422.",
        "Answer 204 to the holder that closes its session.";
    CLOSING_KEEPS_RECORDS: Must, "Close a session",
        "Nothing is deleted.",
        "Keep all records of the writer when it closes its session.";
    CLOSED_AGAIN: Must, "Close a session",
        "Closing the closed session again is 204.",
        "Answer 204 when the newest session is closed already.";
    CLOSED_SESSION_REFUSED: Must, "Close a session",
        "For all other requests, its epoch is `unknown-session`.",
        "Remember that the newest session is closed, and refuse its epoch with 409 `unknown-session`.";
    CLOSED_STALE_EPOCH: Must, "Sessions",
        "A lower epoch is 409 `stale-epoch`, also when the newest session is closed.",
        "Compare with the newest epoch before you look at the state of the session.";
    CLUSTER_SHOWN: Must, "Show a cluster",
        "`owner`, `epoch`, `instance` | must | the answer is unreadable",
        "List each owner with `owner`, `epoch`, `instance` and `state`.";
    CLUSTER_SHOWS_STATE: Must, "Close a session",
        "The state becomes `closed`.",
        "Show `state` live, stale or closed, as the session is.";
    CLUSTER_SHOWS_EXPIRY: Should, "Show a cluster",
        "`expiresAt` | should | a process waits until `state` is `stale` or `closed`",
        "Show `expiresAt` of each owner.";
    CLUSTER_SHOWS_PODS: Should, "Show a cluster",
        "`pods` | should | records of this owner; a large inventory can be read too early",
        "Show the number of records of each owner.";
    CLUSTER_SHOWS_OWNERS: Must, "Show a cluster",
        "Show all owners, whatever the parameter `owner` names.",
        "Ignore `owner` at this address, and list every owner that has a session.";
    CLUSTER_NAME_KEPT: Must, "Open a session",
        "`clusterName` | may | a name for people; keep the last one that was sent",
        "Show the last `clusterName` as `name`, or show no name.";
    CLUSTER_UID_KEPT: Must, "Two clusters with one id",
        "Keep it with the writer: a session without it keeps that of the session before.",
        "Keep `clusterUid` until a session names another one.";
    SYNCED: Must, "Show a cluster",
        "`synced` | may | only people read it",
        "Show `synced` of the last heartbeat; absent means false.";
    CLUSTER_LIST: Must, "Show a cluster",
        "`GET /v1/clusters` → 200 lists all clusters that the token covers, ordered by id.",
        "List each cluster that has a session, ordered by id.";
    CLUSTER_LIST_PODS: Must, "Show a cluster",
        "Each entry has `pods`, the records of all its owners.",
        "Add up the records of all owners of the cluster.";
    OWNER_DEFAULT: Must, "Conventions",
        "It is left out for the owner `pod-registrar`.",
        "Take a request without `owner` as one of the owner `pod-registrar`.";
    OWNERS_APART_SESSIONS: Must, "How it works",
        "Sessions, epochs, records, tombstones, inventories and digests belong to one writer.",
        "Store sessions by cluster and owner: a session of one owner fences no other.";
    OWNERS_APART_RECORDS: Must, "How it works",
        "Two installations in one cluster never see or touch each other's records.",
        "Store records by cluster, owner and id.";
}
