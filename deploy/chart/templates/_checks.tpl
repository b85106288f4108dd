{{/* Combinations of values that cannot work, and that the schema cannot refuse. */}}
{{- define "pod-registrar.check" -}}
{{- $values := .Values }}
{{- $targets := include "pod-registrar.usesTargets" . }}
{{- if and $values.targets $values.existingTargets.configMap }}
{{- fail "targets and existingTargets.configMap are both set; keep one of them" }}
{{- end }}
{{- if and $values.registry.url $targets }}
{{- fail "registry.url and targets are both set; describe the registry in targets, with the preset v1" }}
{{- end }}
{{- if hasSuffix "/v1" (trimSuffix "/" $values.registry.url) }}
{{- fail "registry.url ends in /v1; remove /v1, as the controller adds it" }}
{{- end }}
{{- if and (eq (toString $values.referenceRegistry.enabled) "false") (not $values.registry.url) (not $targets) }}
{{- fail "referenceRegistry.enabled is false and no registry is named; set registry.url, targets or existingTargets.configMap" }}
{{- end }}
{{- if kindIs "slice" $values.targets }}
{{- $names := list }}
{{- range $values.targets }}
{{- if has .name $names }}
{{- fail (printf "two targets have the name %s; give each its own name" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}
{{- $name := include "pod-registrar.fullname" . }}
{{- if and (include "pod-registrar.installsRegistry" .) (eq $name $values.referenceRegistry.name) }}
{{- fail (printf "the controller and the reference registry would both be named %s; set fullnameOverride or referenceRegistry.name" $name) }}
{{- end }}
{{- $labels := include "pod-registrar.ownLabels" (list "registrar" .) | fromYaml }}
{{- range $value, $given := dict "commonLabels" $values.commonLabels "podLabels" $values.podLabels }}
{{- range $label, $_ := $given }}
{{- if hasKey $labels $label }}
{{- fail (printf "%s has the label %s, which the chart sets; remove it" $value $label) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.registry.caKey $targets }}
{{- fail "registry.caKey is not used with targets; name the file in the target, as tls.caFile: /etc/pod-registrar/KEY" }}
{{- end }}
{{- if and $values.registry.caKey (not $values.credentials.mount) }}
{{- fail "registry.caKey is a key of the Secret, and credentials.mount is false; set credentials.mount to true" }}
{{- end }}
{{- with $values.collector }}
{{- if and (or .headersKey .caKey) (not .url) }}
{{- fail "collector.headersKey and collector.caKey are not used without a collector; set collector.url" }}
{{- end }}
{{- if and (or .headersKey .caKey) (not $values.credentials.mount) }}
{{- fail "collector.headersKey and collector.caKey are keys of the Secret, and credentials.mount is false; set credentials.mount to true" }}
{{- end }}
{{- end }}
{{- with $values.settings.traceRatio }}
{{- /* A fraction in --set is a text. */}}
{{- if not (regexMatch "^(0|1|1\\.0*|0?\\.[0-9]+|[0-9](\\.[0-9]+)?e-[0-9]*[1-9])$" (toString .)) }}
{{- fail (printf "settings.traceRatio is %v; set it to a number from 0 to 1, such as 0.05" .) }}
{{- end }}
{{- end }}
{{- if and $values.namespaces $values.settings.excludeNamespace }}
{{- fail "namespaces and settings.excludeNamespace cannot be combined; keep one of them" }}
{{- end }}
{{- if and $values.rbac.create (not $values.rbac.clusterRole) }}
{{- if not $values.namespaces }}
{{- fail "rbac.clusterRole is false, so the pods of the cluster cannot be read; set namespaces" }}
{{- end }}
{{- if not $values.settings.clusterId }}
{{- fail "rbac.clusterRole is false, so the cluster's identity cannot be read; set settings.clusterId" }}
{{- end }}
{{- end }}
{{- if not (or $values.serviceAccount.create $values.serviceAccount.name) }}
{{- fail "serviceAccount.create is false; set serviceAccount.name to an account that exists" }}
{{- end }}
{{- if and $values.memory.claim (not $values.memory.readWriteMany) (gt (int $values.replicaCount) 1) }}
{{- fail "memory.claim is one volume for several replicas; set memory.readWriteMany to true if all can mount it, or replicaCount to 1" }}
{{- end }}
{{- if and $values.memory.claim (not $targets) }}
{{- fail "memory.claim is set and no target can use it; set targets or existingTargets.configMap, or remove memory.claim" }}
{{- end }}
{{- if and $values.serviceMonitor.enabled (not $values.service.enabled) }}
{{- fail "serviceMonitor.enabled needs the Service; set service.enabled to true" }}
{{- end }}
{{- if and (eq (len $values.service.ipFamilies) 2) (eq $values.service.ipFamilyPolicy "SingleStack") }}
{{- fail "service.ipFamilies names two families and service.ipFamilyPolicy is SingleStack; set it to PreferDualStack or RequireDualStack" }}
{{- end }}
{{- end }}
