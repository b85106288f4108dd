//! The members of a targets file, as types.
//!
//! A value that holds templates stays a text or a tree with its places. The templates are compiled later, because
//! which words they may use depends on where they stand.

pub mod auth;
pub(super) mod checks;
pub mod reading;
pub mod request;
pub mod sign;
pub mod values;

use self::{
    auth::{AuthSpec, TlsSpec},
    reading::{FindSpec, ItemSpec, ListSpec, PrepareSpec},
    request::{BatchSpec, KeepaliveSpec, OutcomeRule, RequestSpec, RoundSpec, WriteSpec},
    sign::SignSpec,
    values::{
        BaseUrl, ByteSize, Count, Entries, FilePath, Flag, LabelSelectorText, NamespaceName, Period, PresetName, Rate,
        ReadingText, TargetName, TemplateText, TemplateTree, WordName,
    },
};
use super::members::members;

members! {
    /// A targets file.
    pub struct TargetsFile("the file") {
        /// The registries that are kept equal to the cluster's pods.
        pub targets: Vec<TargetSpec> = "targets",
    }
}

members! {
    /// A target: one registry, after its preset was merged.
    pub struct TargetSpec("a target") {
        /// Where the registry is, and how it is reached.
        pub connection: ConnectionSpec = flatten,
        /// What its records look like, and which requests write and read them.
        pub records: RecordsSpec = flatten,
    }
}

members! {
    /// Where a registry is, how it is reached, and which pods it is for. The members that every preset allows.
    pub struct ConnectionSpec("a target") {
        /// The target's name in metrics, logs and commands: a DNS label, unique in the file.
        pub name: TargetName = "name",
        /// The preset whose members this target overrides.
        pub preset: Option<PresetName> = "preset",
        /// The base address, http or https, without credentials, query and fragment.
        pub url: BaseUrl = "url",
        /// Which pods have a record. Default: all pods of the process.
        pub select: Option<SelectSpec> = "select",
        /// Credentials, which are read from files again when the files change and after a 401.
        pub auth: Option<AuthSpec> = "auth",
        /// How requests are signed, with secrets from files that are read again when they change.
        pub sign: Option<SignSpec> = "sign",
        /// Trusted certificate authorities and the client certificate.
        pub tls: Option<TlsSpec> = "tls",
        /// Instead of `list`: a file that remembers the records, so that a deletion during downtime is delivered.
        pub memory: Option<FilePath> = "memory",
        /// Limits on requests and answers.
        pub limits: Option<LimitsSpec> = "limits",
    }
}

members! {
    /// What the records of a registry look like, and which requests write and read them.
    pub struct RecordsSpec("a target") {
        /// Headers of every request but `auth.login`. A request's own headers come on top.
        pub headers: Entries<TemplateText> = "headers",
        /// Named expressions, used as `vars.NAME`.
        pub vars: Entries<TemplateTree> = "vars",
        /// The owner mark. It must contain `cluster.id`. Default: `pod-registrar:CLUSTER ID:OWNER`.
        pub mark: Option<TemplateText> = "mark",
        /// Whether no other writer uses the ids and the collection of this target. Then no record is looked up before
        /// its first put, and `item.mark` is not needed.
        pub exclusive: Flag = "exclusive",
        /// Things that records refer to: found or created before the first write of a term and before each resync.
        pub prepare: Vec<PrepareSpec> = "prepare",
        /// A request that is sent at an interval while this process leads.
        pub keepalive: Option<KeepaliveSpec> = "keepalive",
        /// For receivers that cannot be read: at an interval, all records are put again, between two requests.
        pub round: Option<RoundSpec> = "round",
        /// Several kinds of records per pod, by name. Each has its own `id`, `body` and requests.
        pub kinds: Entries<KindSpec> = "kinds",
        /// What one record looks like, and its requests.
        pub only: RecordSpec = flatten,
    }
}

members! {
    /// One kind of records of a target that has several per pod.
    pub struct KindSpec("a kind") {
        /// The kind of the record that this one belongs to. That record is put first and deleted last.
        pub of: Option<WordName> = "of",
        /// Whether the registry removes the record together with the one that it belongs to.
        pub cascade: Flag = "cascade",
        /// A list, as a template that is exactly one expression: one record per element, which is the word `each`.
        pub each: Option<TemplateText> = "each",
        /// Whether the pod has this record, as a template that is exactly one expression.
        pub when: Option<TemplateText> = "when",
        /// What one record looks like, and its requests.
        pub record: RecordSpec = flatten,
    }
}

members! {
    /// What one record looks like, and which requests write and read it.
    pub struct RecordSpec("a target") {
        /// The record's id. Default: the pod's UID.
        pub id: Option<TemplateText> = "id",
        /// The record as the registry should hold it.
        pub body: Option<TemplateTree> = "body",
        /// Writes a record under an id that we choose. Default method: PUT.
        pub put: Option<WriteSpec> = "put",
        /// Creates a record whose id the registry assigns. Default method: POST.
        pub create: Option<WriteSpec> = "create",
        /// Updates a record that exists. Default method: PATCH.
        pub update: Option<WriteSpec> = "update",
        /// Removes a record, or marks it as retired. Default method: DELETE.
        pub delete: Option<RequestSpec> = "delete",
        /// Reads all records. Default method: GET.
        pub list: Option<ListSpec> = "list",
        /// Reads one record. Default method: GET.
        pub find: Option<FindSpec> = "find",
        /// How to read one record from `list` and `find`.
        pub item: Option<ItemSpec> = "item",
        /// Finds the record that `pod-registrar adopt` may take over for a pod, which others made. Default: `find`, so
        /// a record under the id that the pod's record would have. Default method: GET.
        pub adopt: Option<FindSpec> = "adopt",
        /// Bulk requests.
        pub batch: Vec<BatchSpec> = "batch",
        /// Rules for answers; the first that matches decides. A request's own rules come first.
        pub outcome: Vec<OutcomeRule> = "outcome",
        /// A condition on every answer with status 2xx. A request's own check replaces it.
        pub check: Option<TemplateText> = "check",
        /// How to read the reason of a refusal from an answer.
        pub reason: Option<ReadingText> = "reason",
    }
}

members! {
    /// Which pods have a record.
    pub struct SelectSpec("`select`") {
        /// Full names of namespaces. Default: all.
        pub namespaces: Vec<NamespaceName> = "namespaces",
        /// A label selector as for kubectl.
        pub label_selector: Option<LabelSelectorText> = "labelSelector",
        /// A condition, as a template that is exactly one expression.
        pub when: Option<TemplateText> = "when",
    }
}

members! {
    /// Limits on requests and answers.
    pub struct LimitsSpec("`limits`") {
        /// Requests per second, more than 0.
        pub requests_per_second: Option<Rate> = "requestsPerSecond",
        /// Writes in flight at the same time, 1 to 64.
        pub in_flight: Option<Count<64>> = "inFlight",
        /// How long a request may take: 1ms to 5m.
        pub timeout: Option<Period> = "timeout",
        /// Bytes of one answer, 1KiB to 256MiB.
        pub answer_bytes: Option<ByteSize> = "answerBytes",
        /// Pages of one list, 1 to 1000000.
        pub pages: Option<Count<1_000_000>> = "pages",
    }
}

impl RecordsSpec {
    /// The records of each kind, or those of a target without `kinds`.
    pub fn each_kind(&self) -> impl Iterator<Item = &RecordSpec> {
        let only = if self.kinds.is_empty() { Some(&self.only) } else { None };
        only.into_iter().chain(self.kinds.iter().map(|(_, kind)| &kind.record))
    }

    /// All requests of the target.
    pub fn requests(&self) -> impl Iterator<Item = &RequestSpec> {
        let prepared = self.prepare.iter().flat_map(|prepare| {
            let find = prepare.find.iter().map(|find| &find.request);
            find.chain(prepare.create.iter().map(|create| &create.request))
        });
        let rounds = self.round.iter().flat_map(|round| [&round.begin, &round.end]);
        let notices = self.keepalive.iter().map(|keepalive| &keepalive.request).chain(rounds);
        let of_kinds = self.kinds.iter().flat_map(|(_, kind)| kind.record.requests());
        prepared.chain(notices).chain(self.only.requests()).chain(of_kinds)
    }
}

impl RecordSpec {
    fn requests(&self) -> impl Iterator<Item = &RequestSpec> {
        let writes = [&self.put, &self.create, &self.update].into_iter().flatten().map(|write| &write.request);
        let reads = self.list.iter().map(|list| &list.request).chain(self.find.iter().map(|find| &find.request));
        let adopt = self.adopt.iter().map(|adopt| &adopt.request);
        let batches = self.batch.iter().map(|batch| &batch.request);
        writes.chain(&self.delete).chain(reads).chain(adopt).chain(batches)
    }
}
