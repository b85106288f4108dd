//! Wrong values are refused, and the error names the value.

use crate::support::chart::ChartTools;

/// Values that the schema refuses, and what the error names.
const WRONG: [(&str, &str); 28] = [
    ("replicaCount: two", "replicaCount"),
    ("replicaCount: -1", "replicaCount"),
    ("replicas: 3", "replicas"),
    ("image: {tagg: '1'}", "tagg"),
    ("image: {digest: sha256:12}", "digest"),
    ("image: null", "image"),
    ("registry: {url: registry.example}", "url"),
    ("registry: {url: 'https://me:secret@registry.example'}", "url"),
    ("registry: {tokenKey: a/b}", "tokenKey"),
    ("targets: {name: cmdb}", "targets"),
    ("targets: [{url: 'https://cmdb.example'}]", "name"),
    ("namespaces: [Shop]", "namespaces"),
    ("namespaces: [shop, shop]", "namespaces"),
    ("settings: {labelSelektor: app=web}", "labelSelektor"),
    ("settings: {maxInFlight: 65}", "maxInFlight"),
    ("settings: {resyncInterval: 30}", "resyncInterval"),
    ("settings: {leaseDuration: 15 seconds}", "leaseDuration"),
    ("settings: {leaseDuration: 2s}", "leaseDuration"),
    ("settings: {leaseDuration: 1500ms}", "leaseDuration"),
    ("targets: hello", "targets"),
    ("targets: '  '", "targets"),
    ("settings: {holdOnScopeChange: 'no'}", "holdOnScopeChange"),
    ("settings: {traceRatio: [0.5]}", "traceRatio"),
    ("collector: {url: 'collector:4318'}", "url"),
    ("service: {ipFamilyPolicy: DualStack}", "ipFamilyPolicy"),
    ("referenceRegistry: {enabled: maybe}", "enabled"),
    ("networkPolicy: {metricsFrom: [{}]}", "metricsFrom"),
    ("podDisruptionBudget: {maxUnavailable: half}", "maxUnavailable"),
];

/// Combinations that templates refuse, and the fix that the error has.
const UNFIT: [(&str, &str); 26] = [
    ("{targets: [{name: a}], existingTargets: {configMap: b}}", "keep one of them"),
    ("{targets: [{name: a}], registry: {url: 'https://b.example'}}", "with the preset v1"),
    ("registry: {url: 'https://registry.example/v1/'}", "registry.url ends in /v1; remove /v1"),
    ("referenceRegistry: {enabled: false}", "set registry.url, targets or existingTargets.configMap"),
    ("{targets: [{name: a}], registry: {caKey: ca.crt}}", "as tls.caFile: /etc/pod-registrar/KEY"),
    ("{registry: {caKey: ca.crt}, credentials: {mount: false}}", "set credentials.mount to true"),
    ("collector: {headersKey: headers}", "set collector.url"),
    (
        "{collector: {url: 'http://a:4318', caKey: ca.crt}, credentials: {mount: false}}",
        "set credentials.mount to true",
    ),
    ("{namespaces: [a], settings: {excludeNamespace: [b]}}", "namespaces and settings.excludeNamespace"),
    ("settings: {traceRatio: 1.5}", "settings.traceRatio is 1.5; set it to a number from 0 to 1"),
    ("settings: {traceRatio: '2'}", "settings.traceRatio is 2; set it to a number from 0 to 1"),
    ("settings: {traceRatio: half}", "settings.traceRatio is half; set it to a number from 0 to 1"),
    ("rbac: {clusterRole: false}", "set namespaces"),
    ("{rbac: {clusterRole: false}, namespaces: [a]}", "set settings.clusterId"),
    ("serviceAccount: {create: false}", "set serviceAccount.name"),
    ("{targets: [{name: a}], memory: {claim: c}}", "set memory.readWriteMany to true"),
    ("{replicaCount: 1, memory: {claim: c}}", "or remove memory.claim"),
    ("{serviceMonitor: {enabled: true}, service: {enabled: false}}", "set service.enabled to true"),
    ("service: {ipFamilies: [IPv4, IPv6], ipFamilyPolicy: SingleStack}", "set it to PreferDualStack"),
    ("targets: [{name: a}, {name: b}, {name: a}]", "two targets have the name a"),
    ("fullnameOverride: registry", "both be named registry; set fullnameOverride or referenceRegistry.name"),
    ("referenceRegistry: {name: pod-registrar}", "both be named pod-registrar"),
    ("podLabels: {app.kubernetes.io/name: web}", "podLabels has the label app.kubernetes.io/name"),
    ("commonLabels: {app.kubernetes.io/component: web}", "commonLabels has the label app.kubernetes.io/component"),
    ("commonLabels: {app.kubernetes.io/version: '2'}", "commonLabels has the label app.kubernetes.io/version"),
    ("prometheusRule: {enabled: true, disabledAlerts: [NoStandby]}", "there is no alert NoStandby; the alerts are"),
];

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(tools) = ChartTools::find() else { return };
    for (values, name) in WRONG {
        let error = tools.template(values, &[]).expect_err(values);
        assert!(
            error.contains("don't meet the specifications of the schema") && error.contains(name),
            "{values}: {error}"
        );
    }
}

#[test]
fn unfit_combinations_are_refused_with_a_fix() {
    let Some(tools) = ChartTools::find() else { return };
    for (values, fix) in UNFIT {
        let error = tools.template(values, &[]).expect_err(values);
        assert!(error.contains(fix), "{values}: {error}");
    }
}

/// A fraction in `--set` is a text.
#[test]
fn ratio_may_be_a_number_or_a_text() {
    let Some(tools) = ChartTools::find() else { return };
    for ratio in ["0", "0.05", "'0.05'", "'.5'", "1", "1.0", "'1'", "0.00001"] {
        let rendered = tools.template(&format!("settings: {{traceRatio: {ratio}}}"), &[]).expect(ratio);
        assert!(rendered.contains("POD_REGISTRAR_TRACE_RATIO: "), "{ratio}");
    }
    let set = tools.template("", &["--set", "settings.traceRatio=0.05"]).unwrap();
    assert!(set.contains("POD_REGISTRAR_TRACE_RATIO: \"0.05\""), "{set}");
}
