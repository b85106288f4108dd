//! Lists from a scripted server under a paused clock, with pages that are refused, slow, large or expired.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use http_body_util::Full;
use tokio::time::Instant;

use super::*;

/// A request for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    token: Option<usize>,
    limit: usize,
}

impl Asked {
    fn by(request: &Request<Body>) -> Self {
        let query: BTreeMap<_, _> =
            request.uri().query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('=')).collect();
        let number = |name: &str| query.get(name).and_then(|value| value.trim_start_matches("at-").parse().ok());
        Self { token: number("continue"), limit: number("limit").unwrap_or(usize::MAX / 2) }
    }
}

/// How the server answers a request.
enum Answer {
    Page,
    Status(u16, &'static str),
    After(Duration),
    Text(String),
}

/// A server with `pods` pods of `bytes` bytes each. `script` decides how each request is answered. The counter holds
/// the number of bytes sent.
fn server(
    pods: usize,
    bytes: usize,
    script: impl Fn(usize, &Asked) -> Answer + Send + Sync + 'static,
) -> (ListSource, Arc<AtomicUsize>) {
    let (script, sent) = (Arc::new(script), Arc::new(AtomicUsize::new(0)));
    let (asked, counted) = (Arc::new(AtomicUsize::new(0)), sent.clone());
    let service = tower::service_fn(move |request: Request<Body>| {
        let (script, asked, sent) = (script.clone(), asked.clone(), sent.clone());
        async move {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            let page = Asked::by(&request);
            let (status, head, body) = match script(number, &page) {
                Answer::Page => (200, "", self::page(pods, bytes, &page)),
                Answer::Status(status, head) => (status, head, refusal(status)),
                Answer::After(time) => {
                    tokio::time::sleep(time).await;
                    (200, "", self::page(pods, bytes, &page))
                }
                Answer::Text(text) => (200, "", text),
            };
            let mut response = Response::builder().status(status);
            if let Some(seconds) = head.strip_prefix("retry-after: ") {
                response = response.header("retry-after", seconds);
            }
            sent.fetch_add(body.len(), Ordering::SeqCst);
            Ok::<_, tower::BoxError>(response.body(Full::new(bytes::Bytes::from(body))).unwrap())
        }
    });
    let client = Client::new(service, "default");
    let source = ListSource::new(client, None, &PodSelection::default(), PageTurns::default(), Clock::start());
    (source, counted)
}

fn page(pods: usize, bytes: usize, asked: &Asked) -> String {
    let first = asked.token.unwrap_or(0);
    let end = (first + asked.limit).min(pods);
    let pad = "x".repeat(bytes);
    let items: Vec<String> = (first..end)
        .map(|n| {
            format!(r#"{{"metadata":{{"uid":"u{n}","name":"p{n}","namespace":"n","annotations":{{"a":"{pad}"}}}}}}"#)
        })
        .collect();
    let next = if end < pods {
        format!(r#","continue":"at-{end}","remainingItemCount":{}"#, pods - end)
    } else {
        String::new()
    };
    format!(r#"{{"kind":"PodList","metadata":{{"resourceVersion":"7"{next}}},"items":[{}]}}"#, items.join(","))
}

fn refusal(status: u16) -> String {
    let token = if status == 410 { r#"{"continue":"at-4"}"# } else { "{}" };
    format!(r#"{{"kind":"Status","apiVersion":"v1","metadata":{token},"message":"no","reason":"No","code":{status}}}"#)
}

/// A whole list: its pages and its failures.
struct Taken {
    uids: Vec<String>,
    /// When each first page was requested.
    begins: Vec<Instant>,
    pages: Vec<PodPage>,
    failures: Vec<FailedAttempt>,
}

async fn take(source: &ListSource, paging: Paging) -> Taken {
    let mut steps = source.list(paging);
    let mut taken = Taken { uids: Vec::new(), begins: Vec::new(), pages: Vec::new(), failures: Vec::new() };
    while let Some(step) = steps.next().await {
        match step {
            ListStep::Begins => taken.begins.push(Instant::now()),
            ListStep::Failed(failed) => taken.failures.push(failed),
            ListStep::Page(mut page) => {
                if page.is_first {
                    taken.uids.clear();
                }
                taken.uids.extend(page.items.drain(..).map(|pod| pod.uid().unwrap().to_owned()));
                taken.pages.push(page);
            }
        }
    }
    taken
}

fn all(pods: usize) -> Vec<String> {
    (0..pods).map(|number| format!("u{number}")).collect()
}

#[tokio::test(start_paused = true)]
async fn refused_pages_are_retried_alone() {
    // There are 40 pages, and one of twelve requests is refused. The list does not begin again.
    let (source, _) = server(20_000, 0, |number, _| match number % 12 {
        5 => Answer::Status([429, 500, 503][number % 3], ""),
        _ => Answer::Page,
    });
    let taken = take(&source, Paging::default()).await;
    assert_eq!((taken.pages.len(), taken.uids), (40, all(20_000)));
    assert_eq!(taken.pages.iter().filter(|page| page.is_first).count(), 1, "one list");
    assert!(taken.pages.iter().all(|page| page.is_consistent) && !taken.failures.is_empty());
    assert!(taken.failures.iter().all(|failed| !failed.is_stuck));
}

#[tokio::test(start_paused = true)]
async fn refused_page_waits_as_long_as_asked() {
    let (source, _) = server(3, 0, |number, _| match number {
        0 => Answer::Status(429, "retry-after: 17"),
        _ => Answer::Page,
    });
    let begun = Instant::now();
    let taken = take(&source, Paging::default()).await;
    assert_eq!(taken.uids, all(3));
    let begins: Vec<u64> = taken.begins.iter().map(|at| (*at - begun).as_secs()).collect();
    assert_eq!(begins, [0, 17]);
}

#[tokio::test(start_paused = true)]
async fn large_pages_are_divided_and_limit_is_kept() {
    // There are 250 MB, and a page may have 16. The next list begins with the limit that worked.
    let (source, sent) = server(250, 1_000_000, |_, _| Answer::Page);
    let taken = take(&source, Paging::default()).await;
    assert_eq!((taken.uids.len(), taken.failures.len()), (250, 6), "500, 250, 125, 62, 31 and 15 would be too large");
    assert!(taken.pages.iter().all(|page| page.items.len() <= 15));
    let paging = taken.pages.last().unwrap().paging;
    assert!(paging.limit <= 15, "{}", paging.limit);
    sent.store(0, Ordering::SeqCst);
    let again = take(&source, paging).await;
    assert!(again.failures.len() <= 2 && again.uids.len() == 250, "{}", again.failures.len());
}

#[tokio::test(start_paused = true)]
async fn slow_page_gets_more_time() {
    let (source, _) = server(3, 0, |_, _| Answer::After(Duration::from_secs(40)));
    let taken = take(&source, Paging::default()).await;
    assert_eq!(taken.uids, all(3));
    let errors: Vec<String> = taken.failures.iter().map(|failed| failed.error.to_string()).collect();
    assert!(matches!(&*errors, [first, second] if first.contains("25 s") && second.contains("37 s")), "{errors:?}");
}

#[tokio::test(start_paused = true)]
async fn expired_list_restarts_then_comes_in_one_page() {
    let expiring = |times: usize, bytes: usize| {
        let expired = AtomicUsize::new(0);
        let (source, _) = server(1_200, bytes, move |_, asked| match asked.token {
            Some(500) if expired.fetch_add(1, Ordering::SeqCst) < times => Answer::Status(410, ""),
            _ => Answer::Page,
        });
        source
    };
    let taken = take(&expiring(2, 0), Paging::default()).await;
    assert!(taken.uids == all(1_200) && taken.pages.iter().all(|page| page.is_consistent));
    assert_eq!((taken.pages.iter().filter(|page| page.is_first).count(), taken.begins.len()), (3, 3));
    let taken = take(&expiring(99, 0), Paging::default()).await;
    assert!(taken.uids == all(1_200) && taken.pages.iter().all(|page| page.is_consistent));
    assert_eq!(taken.failures.len(), 3);
    // 24 MB do not fit in a page.
    let taken = take(&expiring(99, 20_000), Paging::default()).await;
    assert_eq!(taken.failures.len(), 5);
    assert!(taken.pages.last().is_some_and(|page| page.next.is_none() && !page.is_consistent));
}

#[tokio::test(start_paused = true)]
async fn lasting_refusal_is_stuck_and_still_retried() {
    let (source, _) = server(3, 0, |number, _| match number {
        0..20 => Answer::Status(403, ""),
        _ => Answer::Page,
    });
    let taken = take(&source, Paging::default()).await;
    assert_eq!((taken.uids, taken.failures.len()), (all(3), 20));
    assert!(taken.failures.iter().all(|failed| failed.is_stuck && failed.error.status() == Some(403)));
    assert!(taken.failures.last().unwrap().retry_in <= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn answer_that_is_not_a_list_is_retried() {
    let page = r#"{ "items" : [ {"metadata": {"uid" : "u0"}} ] , "metadata" : { "resourceVersion" : "7" } }"#;
    let (source, _) = server(1, 0, move |number, _| match number {
        0 => Answer::Text("<html>It works!</html>".into()),
        1 => Answer::Text(r#"{"kind":"PodList","metadata":{},"items":[]}"#.into()),
        _ => Answer::Text(page.into()),
    });
    let taken = take(&source, Paging::default()).await;
    assert_eq!((taken.uids, taken.failures.len()), (all(1), 2));
    let errors: Vec<String> = taken.failures.iter().map(|failed| failed.error.to_string()).collect();
    assert!(errors[0].contains("an HTML page") && errors[0].contains("is there a proxy"), "{errors:?}");
    assert!(errors[1].contains("JSON of the kind PodList, missing field"), "{errors:?}");
    assert_eq!(taken.pages[0].version, "7");
}

#[tokio::test(start_paused = true)]
async fn lists_of_many_namespaces_take_turns() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, seen) = (now.clone(), most.clone());
    let service = tower::service_fn(move |_: Request<Body>| {
        let (now, most) = (counted.clone(), seen.clone());
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            let empty = r#"{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[]}"#;
            Ok::<_, tower::BoxError>(Response::new(Full::new(bytes::Bytes::from(empty))))
        }
    });
    let (client, turns, clock) = (Client::new(service, "default"), PageTurns::default(), Clock::start());
    let lists = (0..100).map(|number| {
        let namespace = Some(format!("n{number}"));
        let source = ListSource::new(client.clone(), namespace, &PodSelection::default(), turns.clone(), clock);
        async move { take(&source, Paging::default()).await.pages.len() }
    });
    let pages: usize = futures::future::join_all(lists).await.into_iter().sum();
    assert_eq!((pages, most.load(Ordering::SeqCst)), (100, PAGES_AT_ONCE));
}
