//! Answers what the deletion brake asks: is it still the same cluster, and are these pods really gone?

use std::{collections::HashSet, time::Duration};

use kube::{Api, Client, api::ListParams};
use tokio::sync::mpsc;

use super::{Scope, Watched, identity, words::words};
use crate::model::{
    Uid,
    brake::{Answer, Confirmation, Finding, Inquiry},
};

/// A list of the largest cluster takes seconds; what takes longer than this does not come.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Pods in a page of a list.
const PAGE: u32 = 500;

/// Answers questions until nobody asks any more. `expected` is the UID of `kube-system` at the start; where it could not
/// be read then, the first answer stands for it.
pub async fn run(
    client: Client,
    scope: Scope,
    mut expected: Option<String>,
    mut questions: mpsc::Receiver<Inquiry>,
    answers: mpsc::Sender<Confirmation>,
) {
    while let Some(inquiry) = questions.recv().await {
        let round = inquiry.round();
        let finding = match identity::read(&client).await {
            Err(error) => Finding::Answer(Answer::Unanswered(error.to_string())),
            Ok(found) => {
                let expected = expected.get_or_insert_with(|| found.clone());
                if *expected == found {
                    let late = Finding::Answer(Answer::Unanswered("it took too long".into()));
                    tokio::time::timeout(ANSWER_WITHIN, answer(&client, &scope, inquiry)).await.unwrap_or(late)
                } else {
                    Finding::OtherCluster { expected: expected.clone(), found }
                }
            }
        };
        if answers.send(Confirmation { round, finding }).await.is_err() {
            return;
        }
    }
}

async fn answer(client: &Client, scope: &Scope, inquiry: Inquiry) -> Finding {
    let everything = Scope::default();
    match inquiry {
        Inquiry::LookUp { pods, .. } => Finding::Answer(look_up(client, &pods).await),
        Inquiry::List { whole, .. } => match list(client, if whole { &everything } else { scope }).await {
            Ok(uids) => Finding::Listed(uids),
            Err(error) => Finding::Answer(Answer::Unanswered(format!("pods cannot be listed: {}", words(&error)))),
        },
    }
}

/// The pods of the scope, from consistent lists: no resource version is named, so that none is older than its request.
async fn list(client: &Client, scope: &Scope) -> Result<HashSet<Uid>, kube::Error> {
    let apis: Vec<Api<Watched>> = match scope.namespaces.as_slice() {
        [] => vec![Api::all(client.clone())],
        namespaces => namespaces.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
    };
    let mut uids = HashSet::new();
    for api in apis {
        let mut page = ListParams {
            label_selector: scope.label_selector.clone(),
            field_selector: scope.fields(),
            ..ListParams::default().limit(PAGE)
        };
        loop {
            let list = api.list_metadata(&page).await?;
            uids.extend(list.items.into_iter().filter_map(|pod| pod.metadata.uid.map(Uid::from)));
            page.continue_token = list.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                break;
            }
        }
    }
    Ok(uids)
}

/// Looks pods up one by one: gone is a 404, or another UID under the name.
async fn look_up(client: &Client, pods: &[(Uid, String, String)]) -> Answer {
    let mut there = 0;
    for (uid, namespace, name) in pods {
        let api: Api<Watched> = Api::namespaced(client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(found) => there += usize::from(found.is_some_and(|pod| pod.uid() == Some(&*uid.text()))),
            Err(error) => {
                return Answer::Unanswered(format!("pod {namespace}/{name} cannot be looked up: {}", words(&error)));
            }
        }
    }
    if there == 0 { Answer::Gone } else { Answer::StillThere(there) }
}
