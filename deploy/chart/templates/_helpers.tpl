{{/* Names, labels, and the parts that several pods share. */}}

{{- define "pod-registrar.name" -}}
{{- default .Chart.Name .Values.nameOverride }}
{{- end }}

{{- define "pod-registrar.fullname" -}}
{{- $name := include "pod-registrar.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The labels by which pods are found. Takes a list: the component and the context. */}}
{{- define "pod-registrar.selector" -}}
{{- $context := last . -}}
app.kubernetes.io/name: {{ include "pod-registrar.name" $context | quote }}
app.kubernetes.io/instance: {{ $context.Release.Name | quote }}
app.kubernetes.io/component: {{ first . }}
{{- end }}

{{/* The labels that only the chart sets. Takes a list: the component and the context. */}}
{{- define "pod-registrar.ownLabels" -}}
{{- $context := last . -}}
{{ include "pod-registrar.selector" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* All labels of an object. Takes a list: the component and the context. */}}
{{- define "pod-registrar.labels" -}}
{{- include "pod-registrar.ownLabels" . }}
{{- with (last .).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* All labels of a pod of the controller or of its check. Takes a list: the component and the context. */}}
{{- define "pod-registrar.podLabels" -}}
{{- $values := (last .).Values }}
{{- include "pod-registrar.ownLabels" . }}
{{- with merge (dict) $values.podLabels $values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pod-registrar.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "pod-registrar.serviceAccount" -}}
{{- default (include "pod-registrar.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "pod-registrar.secret" -}}
{{- default (include "pod-registrar.fullname" .) .Values.credentials.secretName }}
{{- end }}

{{- define "pod-registrar.approvalLease" -}}
{{- include "pod-registrar.fullname" . }}{{ if .Values.approvals.ownLease }}-approvals{{ end }}
{{- end }}

{{/* Whether a targets file is used, instead of one registry: true or nothing. */}}
{{- define "pod-registrar.usesTargets" -}}
{{- if or .Values.targets .Values.existingTargets.configMap }}true{{ end }}
{{- end }}

{{/* Whether the chart installs the reference registry: true or nothing. */}}
{{- define "pod-registrar.installsRegistry" -}}
{{- if eq (toString .Values.referenceRegistry.enabled) "auto" }}
{{- if not (or .Values.registry.url (include "pod-registrar.usesTargets" .)) }}true{{ end }}
{{- else if .Values.referenceRegistry.enabled }}true
{{- end }}
{{- end }}

{{- define "pod-registrar.registryUrl" -}}
{{- default (printf "http://%s.%s.svc:7070" .Values.referenceRegistry.name .Release.Namespace) .Values.registry.url }}
{{- end }}

{{/* The kinds of receipts, separated by commas. */}}
{{- define "pod-registrar.receipts" -}}
{{- $kinds := list }}
{{- range $kind := list "event" "gate" "annotation" }}
{{- if index $.Values.receipts $kind }}{{ $kinds = append $kinds $kind }}{{ end }}
{{- end }}
{{- join "," $kinds }}
{{- end }}

{{/* The text of a setting. An empty list is an empty variable, which counts as the empty list. A whole number has no
     exponent. */}}
{{- define "pod-registrar.setting" -}}
{{- if kindIs "slice" . }}{{ join "," . }}
{{- else if and (kindIs "float64" .) (eq (float64 (int64 .)) .) }}{{ int64 . }}
{{- else }}{{ . }}
{{- end }}
{{- end }}

{{/* The environment of the controller, as data of a ConfigMap. */}}
{{- define "pod-registrar.settings" -}}
{{- if include "pod-registrar.usesTargets" . }}
POD_REGISTRAR_TARGETS: /etc/pod-registrar-targets/targets.yaml
{{- else }}
POD_REGISTRAR_REGISTRY_URL: {{ include "pod-registrar.registryUrl" . | quote }}
{{- with .Values.registry.caKey }}
POD_REGISTRAR_REGISTRY_CA_FILE: /etc/pod-registrar/{{ . }}
{{- end }}
{{- end }}
{{- with .Values.collector }}
{{- if .url }}
POD_REGISTRAR_OTLP_ENDPOINT: {{ .url | quote }}
{{- end }}
{{- if .headersKey }}
POD_REGISTRAR_OTLP_HEADERS_FILE: /etc/pod-registrar/{{ .headersKey }}
{{- end }}
{{- if .caKey }}
POD_REGISTRAR_OTLP_CA_FILE: /etc/pod-registrar/{{ .caKey }}
{{- end }}
{{- end }}
POD_REGISTRAR_LEASE: {{ .Release.Namespace }}/{{ include "pod-registrar.fullname" . }}
{{- if .Values.approvals.ownLease }}
POD_REGISTRAR_APPROVAL_LEASE: {{ .Release.Namespace }}/{{ include "pod-registrar.approvalLease" . }}
{{- end }}
{{- with .Values.namespaces }}
POD_REGISTRAR_NAMESPACE: {{ join "," . | quote }}
{{- end }}
{{- with include "pod-registrar.receipts" . }}
POD_REGISTRAR_RECEIPTS: {{ . }}
{{- end }}
{{- range $name, $value := .Values.settings }}
POD_REGISTRAR_{{ $name | snakecase | upper }}: {{ include "pod-registrar.setting" $value | quote }}
{{- end }}
{{- end }}

{{/* The targets file. */}}
{{- define "pod-registrar.targets" -}}
{{- if kindIs "string" .Values.targets }}
{{- .Values.targets | trimSuffix "\n" }}
{{- else }}
{{- dict "targets" .Values.targets | toYaml }}
{{- end }}
{{- end }}

{{/* Begin of the specification of each pod. */}}
{{- define "pod-registrar.podDefaults" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
enableServiceLinks: false
{{- end }}

{{/* Image and security context of each container. */}}
{{- define "pod-registrar.containerDefaults" -}}
image: {{ include "pod-registrar.image" . | quote }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Fields of the pods that run the controller or check its settings. */}}
{{- define "pod-registrar.controllerPod" -}}
{{ include "pod-registrar.podDefaults" . }}
serviceAccountName: {{ include "pod-registrar.serviceAccount" . | quote }}
automountServiceAccountToken: true
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "pod-registrar.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "pod-registrar.fullname" . | quote }}
env:
  - name: POD_REGISTRAR_INSTANCE
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- if and .Values.credentials.mount .Values.registry.tokenKey (not (include "pod-registrar.usesTargets" .)) }}
  - name: POD_REGISTRAR_REGISTRY_TOKEN_FILE
    value: /etc/pod-registrar/{{ .Values.registry.tokenKey }}
  {{- end }}
  {{- with .Values.logLevel }}
  - name: RUST_LOG
    value: {{ . | quote }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Mounts of a container. Takes a list: whether it uses the memory, and the context. */}}
{{- define "pod-registrar.mounts" -}}
{{- $values := (last .).Values }}
{{- if $values.credentials.mount }}
- name: token
  mountPath: /etc/pod-registrar
  readOnly: true
{{- end }}
{{- if include "pod-registrar.usesTargets" (last .) }}
- name: targets
  mountPath: /etc/pod-registrar-targets
  readOnly: true
{{- end }}
{{- if and (first .) $values.memory.claim }}
- name: memory
  mountPath: /var/lib/pod-registrar
{{- end }}
{{- with $values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Volumes of a pod. Takes a list: whether it uses the memory, and the context. */}}
{{- define "pod-registrar.volumes" -}}
{{- $values := (last .).Values }}
{{- if $values.credentials.mount }}
- name: token
  secret:
    secretName: {{ include "pod-registrar.secret" (last .) | quote }}
    # Readable for any user id, as the cluster may assign one. Only this pod sees the volume.
    defaultMode: 0444
{{- end }}
{{- if $values.targets }}
- name: targets
  configMap:
    name: "{{ include "pod-registrar.fullname" (last .) }}-targets"
{{- else if $values.existingTargets.configMap }}
- name: targets
  configMap:
    name: {{ $values.existingTargets.configMap | quote }}
    items:
      - key: {{ $values.existingTargets.key | quote }}
        path: targets.yaml
{{- end }}
{{- if and (first .) $values.memory.claim }}
- name: memory
  persistentVolumeClaim:
    claimName: {{ $values.memory.claim | quote }}
{{- end }}
{{- with $values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Families of addresses of a Service. */}}
{{- define "pod-registrar.ipFamilies" -}}
{{- with .Values.service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with .Values.service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
