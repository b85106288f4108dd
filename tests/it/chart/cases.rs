//! Values that people use, one case per purpose.

/// A name, values, and further arguments of `helm template`.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) values: &'static str,
    pub(crate) arguments: &'static [&'static str],
}

const fn case(name: &'static str, values: &'static str) -> Case {
    Case { name, values, arguments: &[] }
}

pub(crate) const CASES: [Case; 23] = [
    case("default", ""),
    case("own registry", "registry: {url: 'https://registry.example/', caKey: ca.crt}"),
    case(
        "registry without credentials",
        "{registry: {url: 'http://registry.example:7070'}, credentials: {mount: false}}",
    ),
    case(
        "targets as a list",
        "\
targets:
  - name: inventory
    preset: rest
    url: https://inventory.example/api/
    auth: {bearer: {tokenFile: /etc/pod-registrar/inventory-token}}
    body: {title: '{{ pod.namespace }}/{{ pod.name }}'}
credentials: {secretName: inventory-credentials}
",
    ),
    case(
        "targets as a text",
        "\
targets: |
  # The comment and the anchor of the file stay.
  targets:
    - {name: one, preset: rest, url: 'https://one.example/', limits: &limits {inFlight: 2}}
    - {name: two, preset: rest, url: 'https://two.example/', limits: *limits}
",
    ),
    case("existing targets", "existingTargets: {configMap: our-targets, key: registries.yaml}"),
    case("targets beside the reference registry", "{targets: [{name: a, preset: v1, url: 'http://registry:7070'}], referenceRegistry: {enabled: true}}"),
    case(
        "collector",
        "{collector: {url: 'https://collector.monitoring:4318', headersKey: headers, caKey: collector-ca.crt}, \
         settings: {traceRatio: 0.05, exportLogs: true}}",
    ),
    case(
        "names that YAML reads as other values",
        "{fullnameOverride: 'true', nameOverride: 'on', referenceRegistry: {name: 'null'}, \
         serviceAccount: {name: '1234'}, credentials: {secretName: '0.5'}}",
    ),
    case(
        "labels and annotations given twice",
        "{commonLabels: {team: a}, podLabels: {team: b}, podAnnotations: {prometheus.io/port: '9000'}}",
    ),
    case("namespaces", "namespaces: [default, kube-public]"),
    case(
        "no right in the cluster",
        "{namespaces: [default], rbac: {clusterRole: false}, settings: {clusterId: prod-eu}}",
    ),
    case(
        "rights from elsewhere",
        "{rbac: {create: false}, serviceAccount: {create: false, name: registrar}}",
    ),
    case("receipts", "receipts: {event: true, gate: true, annotation: true}"),
    case("receipts in namespaces", "{receipts: {gate: true}, namespaces: [default, kube-public]}"),
    case("approvals of their own", "approvals: {ownLease: true}"),
    case(
        "memory of one replica",
        "{replicaCount: 1, memory: {claim: memory}, existingTargets: {configMap: hooks}, podSecurityContext: {fsGroup: 65532}}",
    ),
    case(
        "memory of two replicas",
        "{memory: {claim: memory, readWriteMany: true}, existingTargets: {configMap: hooks}}",
    ),
    // A cluster with one family takes it, too.
    case("two families of addresses", "service: {ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv4]}"),
    Case { name: "OpenShift", values: "", arguments: &["--api-versions", "security.openshift.io/v1"] },
    case(
        "every setting",
        "\
settings:
  excludeNamespace: [kube-system, kube-public]
  labelSelector: app,app!=canary
  fieldSelector: spec.nodeName!=node-1
  labelAllow: []
  annotationAllow: [team, 'example.com/*']
  requestTimeout: 1.5s
  maxInFlight: 8
  maxWritesPerSecond: 20000000
  clusterId: prod-eu
  clusterName: 'Production, Europe: #1'
  owner: pod-registrar.eu
  replacesClusterUid: 3eb7722a-add0-4ac4-b0d4-43a98cab3cca
  leaseDuration: 30s
  holdOnScopeChange: false
  resyncInterval: 1h30m
  relistInterval: 6h
  otlpTimeout: 5s
  traceRatio: 1
  exportLogs: false
  logFormat: text
logLevel: info,pod_registrar=debug
",
    ),
    case(
        "everything around",
        "\
fullnameOverride: cmdb-sync
commonLabels: {team: platform}
image: {repository: 'registry.example:5000/infra/pod-registrar', digest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', pullPolicy: Always}
imagePullSecrets: [{name: pull}]
replicaCount: 3
deploymentStrategy: {type: Recreate}
deploymentAnnotations: {reloader.stakater.com/auto: 'true'}
podAnnotations: {example.com/a: b}
podLabels: {example.com/c: d}
resources: {limits: {cpu: null, memory: 1Gi}}
livenessProbe: {failureThreshold: 6}
priorityClassName: system-cluster-critical
nodeSelector: {kubernetes.io/os: linux}
tolerations: [{operator: Exists, effect: NoSchedule}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
topologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule}]
dnsPolicy: None
dnsConfig: {nameservers: ['2001:db8::53']}
hostAliases: [{ip: 192.0.2.7, hostnames: [registry.example]}]
extraEnv: [{name: RUST_BACKTRACE, value: '1'}]
extraVolumes: [{name: ca, configMap: {name: ca}}]
extraVolumeMounts: [{name: ca, mountPath: /etc/ca, readOnly: true}]
serviceAccount: {annotations: {example.com/role: registrar}}
service: {port: 80, annotations: {example.com/e: f}}
networkPolicy: {metricsFrom: [], egress: [{to: [{ipBlock: {cidr: '2001:db8::/32'}}], ports: [{protocol: TCP, port: 443}]}]}
podDisruptionBudget: {maxUnavailable: 50%}
referenceRegistry: {name: inventory, storage: {size: 10Gi, storageClassName: fast}, nodeSelector: {disk: fast}, tolerations: [{operator: Exists}]}
",
    ),
    case(
        "nothing around",
        "{service: {enabled: false}, networkPolicy: {enabled: false}, podDisruptionBudget: {enabled: false}, \
         scrapeAnnotations: false, topologySpreadConstraints: [], registry: {url: 'http://registry.example', tokenKey: ''}}",
    ),
];
