//! Random answers of registries, and random texts of templates.

use super::*;
use crate::fuzz::{self, ensure};

#[test]
fn random_answer_never_breaks_a_reading() {
    let (targets, corpus) = ([REST, ETCD, CONSUL].map(target), answers());
    fuzz::check_slow(2, &corpus, |input, rng| {
        let target = &targets[rng.usize(..targets.len())];
        let status = [200, 200, 409, 500][rng.usize(..4)];
        let answer = Answer::new(status, [("link".to_owned(), String::from_utf8_lossy(input).into_owned())], input);
        let term = term(target);
        let mut reader = target.kinds[0].read_list(&term).unwrap().unwrap();
        reader.request().unwrap();
        let read = |item: &Json| {
            let kind = &target.kinds[0];
            let (whole, compared) = (kind.read_item(item, &answer, &term), kind.read_to_compare(item, &answer, &term));
            let print = |item: Option<RegistryItem>| item.and_then(|item| item.content.fingerprint());
            if print(whole) == print(compared) { Ok(()) } else { Err(item.to_string()) }
        };
        let items = reader.take(&answer, read);
        ensure(!matches!(items, Err(crate::mapping::paging::Error::Item(_))), || format!("{items:?}"))?;
        if let Ok(items) = items {
            ensure(items <= input.len(), || format!("{items} items"))?;
            let next = reader.request().ok().flatten();
            let hosts = ["https://cmdb.example/api", "https://etcd.example:2379", "https://consul.example:8501"];
            let is_end = |rest: &str| rest.is_empty() || rest.starts_with(['/', '?']);
            let is_ours = |url: &str| hosts.iter().any(|host| url.strip_prefix(host).is_some_and(is_end));
            ensure(next.as_ref().is_none_or(|next| is_ours(&next.url)), || format!("{next:?}"))?;
        }
        if let Writes::Put(put) = &target.kinds[0].writes {
            let judgement = put.request.judge(&answer, term.scope());
            put.held(&answer, term.scope());
            ensure(!judgement.reason.contains('\n'), || judgement.reason)?;
        }
        for batch in &target.kinds[0].batches {
            batch.results(&answer, term.scope());
        }
        Ok(())
    });
}

fn answers() -> Vec<Vec<u8>> {
    let kv =
        json!({"key": "L3N5c3RlbXMvYzEvYQ==", "value": "eyJvd25lciI6Im0iLCJkaWdlc3QiOiJkIn0=", "mod_revision": "7"});
    let answers = [
        json!({"results": [{"id": "a", "owner": "m", "digest": "0".repeat(32)}], "next": "/api/systems?page=2"}),
        json!({"header": {"revision": "9"}, "kvs": [kv], "more": true, "succeeded": false,
            "responses": [{"response_range": {"kvs": [kv]}}]}),
        json!({"Services": [{"ID": "a", "Meta": {"managed-by": "m", "digest": "d"}}],
            "Errors": [{"OpIndex": 1, "What": "no"}]}),
    ];
    answers.iter().map(|answer| answer.to_string().into_bytes()).collect()
}

#[test]
fn random_template_is_accepted_or_refused() {
    let templates = [
        "{{ (pod.namespace ~ '/' ~ pod.name) | fit(64, id) }}",
        "{{ containers | selectattr('role', 'eq', 'app') | map(attribute='image') | join(', ') }}",
        "{{ placement.node | default(omit) }}{# a #}-{{- [1, 2][0] * 3 -}}",
        "{{ {'a': (pod.labels | items | list)[:5]} | json | b64 | b64d | fromjson }}",
        "{{ times.created | date('%Y-%m-%d') ~ (times.created | epoch) }}",
    ];
    let corpus = templates.map(|template| template.as_bytes().to_vec());
    fuzz::check_slow(2, &corpus, |input, _| {
        let text = serde_json::to_string(&String::from_utf8_lossy(input)).unwrap();
        // JSON texts are YAML texts.
        let Ok(target) = try_target(&small(&format!("body: {{n: {text}}}"))) else { return Ok(()) };
        _ = target.render(&sample(0), &term(&target));
        Ok(())
    });
}
