//! `pod-registrar watch`: prints a line when a pod is created or deleted, without a registry.

use std::{collections::HashMap, io::ErrorKind, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    Error,
    informers::{self, InformerParts, Watching},
    output::Output,
    tasks::Tasks,
};
use crate::{
    cli::flags::WatchSettings,
    clock::Clock,
    kubernetes::kubeconfig::Environment,
    model::{
        ids::RecordOwner,
        pod::to_record::{AllowList, Rule},
        uid::Uid,
    },
    reconcile::pod_event::PodEvent,
    store::View,
    telemetry::{health::Health, metrics::Metrics},
};

/// The default of `--relist-interval`, which this command does not have.
const RELIST_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Prints pods until `stop` is cancelled or the reader of standard output closes it.
pub(super) async fn run(
    settings: WatchSettings,
    environment: Environment,
    stop: CancellationToken,
) -> Result<(), Error> {
    let WatchSettings { cluster, scope, log: _ } = settings;
    let cluster = informers::cluster(cluster, environment)?;
    let scope = informers::scope(scope);
    let health = Health::new(informers::watches(&scope));
    let owner = RecordOwner { cluster_id: String::new(), cluster_name: String::new(), owner: String::new() };
    let rule = Rule { owner, labels: AllowList::default(), annotations: AllowList::default() };
    let parts = InformerParts {
        scope,
        rule,
        relist_interval: RELIST_INTERVAL,
        clock: Clock::start(),
        metrics: Metrics::new(health.clone()),
        health,
        receipts: None,
    };
    let mut tasks = Tasks::default();
    let Watching { view, mut pod_events, relist: _relist } = informers::start(&cluster, parts, &mut tasks);
    let (mut shown, mut output) = (Shown::default(), Output::default());
    let result = loop {
        let pod_event = tokio::select! {
            () = stop.cancelled() => break Ok(()),
            error = tasks.first_end() => break Err(error),
            pod_event = pod_events.recv() => pod_event,
        };
        // All watches have ended.
        let Some(pod_event) = pod_event else { break Err(tasks.first_end().await) };
        let lines = shown.lines(&pod_event, &view);
        let printed = tokio::select! {
            // A blocked standard output does not delay the end.
            () = stop.cancelled() => break Ok(()),
            printed = output.print(&lines) => printed,
        };
        match printed {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break Ok(()),
            Err(error) => break Err(Error::Output(error)),
        }
    };
    tasks.end().await;
    result
}

/// The pods whose creation was printed and whose deletion was not: the index of their watch, and their names.
#[derive(Default)]
struct Shown(HashMap<Uid, (usize, Box<str>)>);

impl Shown {
    /// The lines for a pod event. A complete list shows what its watch missed.
    fn lines(&mut self, pod_event: &PodEvent, view: &View) -> Vec<String> {
        match pod_event {
            // A pod that is already gone from the view is shown too: its deletion event comes next.
            PodEvent::Applied { uid, name, watch, .. } => self.created(uid, *watch, name).into_iter().collect(),
            PodEvent::Deletion { uid, .. } => self.deleted(uid).into_iter().collect(),
            PodEvent::Page { .. } | PodEvent::ListFailed { .. } => Vec::new(),
            PodEvent::Listed { watch, .. } => {
                let pods = view.named(*watch);
                let gone: Vec<Uid> = self
                    .0
                    .iter()
                    .filter(|(uid, (seen_by, _))| seen_by == watch && !view.contains(uid))
                    .map(|(uid, _)| uid.clone())
                    .collect();
                let mut lines: Vec<String> = gone.iter().filter_map(|uid| self.deleted(uid)).collect();
                let mut created: Vec<String> =
                    pods.iter().filter_map(|(uid, name)| self.created(uid, *watch, name)).collect();
                // A store has no order.
                lines.sort();
                created.sort();
                lines.append(&mut created);
                lines
            }
        }
    }

    fn created(&mut self, uid: &Uid, watch: usize, name: &str) -> Option<String> {
        let new = self.0.insert(uid.clone(), (watch, name.into())).is_none();
        new.then(|| format!("Pod created: {name}"))
    }

    fn deleted(&mut self, uid: &Uid) -> Option<String> {
        self.0.remove(uid).map(|(_, name)| format!("Pod deleted: {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreWriter;
    use crate::{
        model::{
            moment::Moment,
            pod::{Pod, to_record},
        },
        reconcile::{deletion::Deletion, pod_event::WatchList},
    };

    fn pod(uid: &str, name: &str) -> Pod {
        to_record::unreadable(uid, "default", name, "1")
    }

    fn list(writer: &mut StoreWriter, pods: &[(&str, &str)]) -> PodEvent {
        writer.begin_list(None);
        for (uid, name) in pods {
            writer.list_item(&pod(uid, name));
        }
        writer.end_list();
        let list = WatchList { begun: Moment::START, pods: pods.len(), trusted: true, identified: true };
        PodEvent::Listed { watch: 0, list }
    }

    #[test]
    fn next_list_shows_deletions_missed_by_the_watch() {
        let mut writer = StoreWriter::default();
        let (view, mut shown) = (View::new([writer.store()]), Shown::default());
        let first = list(&mut writer, &[("1", "a"), ("2", "b")]);
        assert_eq!(shown.lines(&first, &view), ["Pod created: a", "Pod created: b"]);
        let second = list(&mut writer, &[("3", "a"), ("4", "c")]);
        let expected = ["Pod deleted: a", "Pod deleted: b", "Pod created: a", "Pod created: c"];
        assert_eq!(shown.lines(&second, &view), expected, "the name a went to another pod");
    }

    fn applied(uid: &str, name: &str) -> PodEvent {
        PodEvent::Applied { uid: uid.into(), name: name.into(), watch: 0, at: Moment::START }
    }

    #[test]
    fn short_lived_pod_is_shown() {
        // The pod is already gone from the view when its events are shown.
        let writer = StoreWriter::default();
        let (view, mut shown) = (View::new([writer.store()]), Shown::default());
        assert_eq!(shown.lines(&applied("1", "a"), &view), ["Pod created: a"]);
        let ended = PodEvent::Deletion { uid: "1".into(), why: Deletion::Deleted, at: Moment::START };
        assert_eq!(shown.lines(&ended, &view), ["Pod deleted: a"]);
    }

    #[test]
    fn creation_and_deletion_are_shown_once_each() {
        // A change of a pod is not shown as a creation.
        let mut writer = StoreWriter::default();
        let (view, mut shown) = (View::new([writer.store()]), Shown::default());
        writer.apply(&pod("1", "a"));
        let applied = applied("1", "a");
        assert_eq!(shown.lines(&applied, &view), ["Pod created: a"]);
        assert!(shown.lines(&applied, &view).is_empty());
        writer.remove(&"1".into(), "2");
        let ended = PodEvent::Deletion { uid: "1".into(), why: Deletion::Deleted, at: Moment::START };
        assert_eq!(shown.lines(&ended, &view), ["Pod deleted: a"]);
        assert!(shown.lines(&ended, &view).is_empty());
    }
}
