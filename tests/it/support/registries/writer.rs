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
        DesiredState, Encoded, Projection, RecordChange, Registry as _,
        mapped::{
            MappedOperation, TargetClient,
            recorder::{Exchange, ExchangeLog},
        },
    },
};
use serde_json::Value;

const TIMEOUT: Duration = Duration::from_secs(10);
/// The name of the cluster of each writer.
pub(crate) const CLUSTER_NAME: &str = "prod";
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
            RecordOwner { cluster_id: cluster.into(), cluster_name: CLUSTER_NAME.into(), owner: DEFAULT_OWNER.into() };
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

    /// The same, if records cannot be made before it is done.
    pub(crate) async fn begin_if_records_need_it(&self) -> Result<(), Failure> {
        if self.client.target().needs_prepared() { self.begin(1).await } else { Ok(()) }
    }

    /// The key and the fingerprint of a pod's only record.
    pub(crate) fn record(&self, pod: &Pod) -> (Uid, Fingerprint) {
        let [record] = self.records(pod).try_into().expect("one record");
        record
    }

    /// The keys and fingerprints of a pod's records, each behind the one that it belongs to. Those that wait for what
    /// the registry assigns are left out: they stand at the end.
    pub(crate) fn records(&self, pod: &Pod) -> Vec<(Uid, Fingerprint)> {
        let records = match self.client.project(pod) {
            Projection::Record { key, fingerprint } => return vec![(key, fingerprint)],
            Projection::Records(records) => records,
            other => panic!("{}: {other:?}", pod.name),
        };
        let made = records.into_iter().filter_map(|record| match record.state {
            DesiredState::Made(fingerprint) => Some((record.key, fingerprint)),
            DesiredState::Waits => None,
            DesiredState::Failed { cause } => panic!("{}: {cause}", pod.name),
        });
        made.collect()
    }

    pub(crate) fn selects(&self, pod: &Pod) -> bool {
        !matches!(self.client.project(pod), Projection::NotSelected(_))
    }

    /// Puts all records of a pod, one after the other. Returns the first verdict that is not done.
    pub(crate) async fn put(&self, pod: &Pod) -> Result<Verdict, Failure> {
        let mut written = 0;
        // What the registry assigns to one record is needed for the next.
        while let Some((key, _)) = self.records(pod).get(written) {
            match self.put_record(pod, key).await? {
                Verdict::Done => written += 1,
                other => return Ok(other),
            }
        }
        Ok(Verdict::Done)
    }

    pub(crate) async fn put_record(&self, pod: &Pod, key: &Uid) -> Result<Verdict, Failure> {
        let put = self.encode_put(pod, key);
        self.client.write(1, vec![put], false).await.map(|mut verdicts| verdicts.remove(0))
    }

    pub(crate) async fn delete(&self, key: &Uid) -> Result<Verdict, Failure> {
        let deletion = self.encode_deletion(key);
        self.client.write(1, vec![deletion], false).await.map(|mut verdicts| verdicts.remove(0))
    }

    /// Deletes all records of a pod, those that belong to others first. Returns the first verdict that is not done.
    pub(crate) async fn remove(&self, pod: &Pod) -> Result<Verdict, Failure> {
        for (key, _) in self.records(pod).iter().rev() {
            match self.delete(key).await? {
                Verdict::Done => {}
                other => return Ok(other),
            }
        }
        Ok(Verdict::Done)
    }

    /// Puts pods, and then deletes keys, in batches if the target has them.
    pub(crate) async fn apply(&self, pods: &[Pod], deletions: &[Uid]) -> Result<Vec<Verdict>, Failure> {
        let batched = self.client.capabilities().await?.features.batches;
        if batched {
            let operations = pods.iter().map(|pod| self.encode_put(pod, &self.record(pod).0));
            let operations = operations.chain(deletions.iter().map(|key| self.encode_deletion(key)));
            return self.client.write(1, operations.collect(), true).await;
        }
        let mut verdicts = Vec::new();
        for pod in pods {
            verdicts.push(self.put(pod).await?);
        }
        for key in deletions {
            verdicts.push(self.delete(key).await?);
        }
        Ok(verdicts)
    }

    fn encode_put(&self, pod: &Pod, key: &Uid) -> Encoded<MappedOperation> {
        let records = self.records(pod);
        let change = RecordChange::Put(pod, pod.content.as_ref().expect("a readable pod"));
        let encoded = self.client.encode(key, self.version(), change).expect("a record");
        assert!(records.contains(&(key.clone(), encoded.fingerprint.expect("a put"))));
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
            all.extend(page.items.into_iter().map(|item| (item.uid.to_string(), item.fingerprint.unwrap())));
            token = page.next;
            if token.is_none() {
                assert_eq!(page.count, all.len() as u64);
                return Ok(all);
            }
        }
    }

    /// What the inventory should be if these are the pods.
    pub(crate) fn desired(&self, pods: &[Pod]) -> BTreeMap<String, Fingerprint> {
        pods.iter().flat_map(|pod| self.records(pod)).map(|(key, print)| (key.to_string(), print)).collect()
    }

    /// The last exchanges with the registry.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.log.exchanges()
    }
}
