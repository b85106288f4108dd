//! The program's own client of a target, driven directly: without a cluster, and without the event loop.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use pod_registrar::{
    mapping::{load::load, login::LoginTemplate, spec::auth::AuthSpec, target::Target},
    model::{
        digest::Fingerprint,
        ids::{DEFAULT_OWNER, RecordOwner, Version},
        pod::{
            Pod,
            object::PodObject,
            to_record::{AllowList, Rule, desired},
        },
        uid::Uid,
    },
    reconcile::{
        deletion::{Deletion, Removal},
        outcome::{Failure, Verdict},
    },
    registry::{
        Encoded, Projection, RecordChange, Registry as _,
        mapped::{
            MappedOperation, TargetClient,
            recorder::{Exchange, ExchangeLog},
        },
    },
};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds since 1970.
const FIRST_EPOCH: u64 = 1_795_428_000;

/// A process that writes the records of one cluster to one target.
pub(crate) struct TargetWriter {
    client: TargetClient,
    owner: RecordOwner,
    log: Arc<ExchangeLog>,
    /// The last version. Later terms have later epochs.
    version: Mutex<Version>,
}

impl TargetWriter {
    /// A writer of the first target in a file.
    pub(crate) fn new(file: &str, cluster: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let loaded = load("targets.yaml", file).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let spec = &loaded.targets[0].spec;
        let owner =
            RecordOwner { cluster_id: cluster.into(), cluster_name: cluster.into(), owner: DEFAULT_OWNER.into() };
        let target = Target::compile(spec, &owner).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let login = match &spec.connection.auth {
            Some(AuthSpec::Login(login)) => {
                Some(LoginTemplate::compile(login, &spec.connection.url, &owner).expect("a login that compiles"))
            }
            _ => None,
        };
        let log = Arc::new(ExchangeLog::default());
        let client = TargetClient::new(target, &spec.connection, login, TIMEOUT, Some(log.clone()));
        let version = Mutex::new(Version { epoch: FIRST_EPOCH, seq: 0 });
        Self { client: client.expect("a client"), owner, log, version }
    }

    pub(crate) fn name(&self) -> &str {
        self.client.target().name()
    }

    pub(crate) fn mark(&self) -> &str {
        self.client.target().mark()
    }

    /// Begins a term, as a process does that became the leader.
    pub(crate) async fn begin(&self, term: u64) -> Result<(), Failure> {
        *self.version.lock() = Version { epoch: FIRST_EPOCH + term, seq: 0 };
        self.client.prepare(term).await?;
        self.client.capabilities().await.map(|_| ())
    }

    /// The registry refused the credentials, and the controller says so.
    pub(crate) fn refused(&self) {
        self.client.refresh_credential();
    }

    /// The desired pod of an object.
    pub(crate) fn pod(&self, object: impl Into<Value>) -> Pod {
        let object: PodObject = serde_json::from_value(object.into()).expect("a pod");
        let all = || AllowList::new(["*"]);
        let rule = Rule { owner: self.owner.clone(), labels: all(), annotations: all() };
        desired(object, &rule).expect("a complete pod")
    }

    /// The key and the fingerprint of a pod's record.
    pub(crate) fn record(&self, pod: &Pod) -> (Uid, Fingerprint) {
        match self.client.project(pod) {
            Projection::Record { key, fingerprint } => (key, fingerprint),
            other => panic!("{}: {other:?}", pod.name),
        }
    }

    pub(crate) fn selects(&self, pod: &Pod) -> bool {
        !matches!(self.client.project(pod), Projection::NotSelected(_))
    }

    pub(crate) async fn put(&self, pod: &Pod) -> Result<Verdict, Failure> {
        let put = self.encode_put(pod);
        self.client.write(1, vec![put], false).await.map(|mut verdicts| verdicts.remove(0))
    }

    pub(crate) async fn delete(&self, key: &Uid) -> Result<Verdict, Failure> {
        let deletion = self.encode_deletion(key);
        self.client.write(1, vec![deletion], false).await.map(|mut verdicts| verdicts.remove(0))
    }

    /// Puts pods, and then deletes keys, in batches if the target has them.
    pub(crate) async fn apply(&self, pods: &[Pod], deletions: &[Uid]) -> Result<Vec<Verdict>, Failure> {
        let operations = pods.iter().map(|pod| self.encode_put(pod));
        let operations: Vec<_> = operations.chain(deletions.iter().map(|key| self.encode_deletion(key))).collect();
        let batched = self.client.capabilities().await?.features.batches;
        if batched {
            return self.client.write(1, operations, true).await;
        }
        let mut verdicts = Vec::new();
        for operation in operations {
            verdicts.extend(self.client.write(1, vec![operation], false).await?);
        }
        Ok(verdicts)
    }

    fn encode_put(&self, pod: &Pod) -> Encoded<MappedOperation> {
        let (key, fingerprint) = self.record(pod);
        let change = RecordChange::Put(pod, pod.content.as_ref().expect("a readable pod"));
        let encoded = self.client.encode(&key, self.version(), change).expect("a record");
        assert_eq!(encoded.fingerprint, Some(fingerprint));
        encoded
    }

    fn encode_deletion(&self, key: &Uid) -> Encoded<MappedOperation> {
        let removal = RecordChange::Delete(Removal::Observed(Deletion::Deleted));
        self.client.encode(key, self.version(), removal).expect("a deletion")
    }

    fn version(&self) -> Version {
        let mut version = self.version.lock();
        version.seq += 1;
        *version
    }

    /// All records that the target lists as ours.
    pub(crate) async fn inventory(&self) -> Result<BTreeMap<String, Fingerprint>, Failure> {
        let (mut all, mut token) = (BTreeMap::new(), None);
        loop {
            let page = self.client.inventory(None, token, 1_000).await?;
            all.extend(page.items.into_iter().map(|item| (item.uid.to_string(), item.fingerprint)));
            token = page.next;
            if token.is_none() {
                assert_eq!(page.count, all.len() as u64);
                return Ok(all);
            }
        }
    }

    /// What the inventory should be if these are the pods.
    pub(crate) fn desired(&self, pods: &[Pod]) -> BTreeMap<String, Fingerprint> {
        let record = |pod| self.record(pod);
        pods.iter().map(record).map(|(key, fingerprint)| (key.to_string(), fingerprint)).collect()
    }

    /// The last exchanges with the registry.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.log.exchanges()
    }
}
