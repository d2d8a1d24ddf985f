{{/* Names, labels, and values written as TOML. */}}

{{- define "groundplan.labels" -}}
app.kubernetes.io/name: groundplan
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "groundplan.image" -}}{{ .Values.image.repository }}:{{ .Values.image.tag }}{{- end -}}

{{/* The name before all objects of Dagster's chart, made by its rules. */}}
{{- define "groundplan.dagster" -}}
{{- $d := .Values.dagster }}{{- $name := $d.nameOverride | default "dagster" -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ $d.fullnameOverride | default $full | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* What the cloud's workload identity wants to see on a service account. Argument: (list $ identity). */}}
{{- define "groundplan.identity" -}}
{{- $root := index . 0 }}{{- $identity := index . 1 }}
{{- if $identity }}
{{- $key := get (dict "aws" "eks.amazonaws.com/role-arn" "azure" "azure.workload.identity/client-id" "gcp" "iam.gke.io/gcp-service-account") $root.Values.cloud.provider }}
{{- if $key }}
annotations:
  {{ $key }}: {{ $identity | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Pods of ours: no root, nothing writable but /tmp, no capabilities (Pod Security Standard "restricted"). */}}
{{- define "groundplan.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}
{{- define "groundplan.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Pod labels of a role; Azure's webhook wants to see one more. Argument: (list $ role). */}}
{{- define "groundplan.podLabels" -}}
{{- $root := index . 0 }}
groundplan/role: {{ index . 1 }}
{{- if eq $root.Values.cloud.provider "azure" }}
azure.workload.identity/use: "true"
{{- end }}
{{- end -}}

{{/* Where a pod goes, as the run coordinator says it for runs, and how long it stays with a lost node. Argument: a node group. */}}
{{- define "groundplan.placement" -}}
{{- with .selector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .prefer }}
affinity:
  nodeAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        preference:
          matchExpressions:
            {{- range $key, $value := . }}
            - {key: {{ $key }}, operator: In, values: [{{ $value | quote }}]}
            {{- end }}
{{- end }}
tolerations:                    # a lost node: the pod goes after 30 s instead of 300 s
  - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
  {{- with .tolerations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* A number, string, bool or list as TOML. Helm reads every number as float: whole ones are written as integers. */}}
{{- define "groundplan.toml.value" -}}
{{- if kindIs "string" . }}{{ . | toJson }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else if kindIs "slice" . }}[{{ range $i, $v := . }}{{ if $i }}, {{ end }}{{ include "groundplan.toml.value" $v }}{{ end }}]
{{- else if kindIs "map" . }}{ {{- $n := 0 }}{{ range $k, $v := . }}{{ if $n }},{{ end }} {{ $k }} = {{ include "groundplan.toml.value" $v }}{{ $n = add $n 1 }}{{ end }} }
{{- else if eq (float64 .) (floor .) }}{{ printf "%.0f" (float64 .) }}
{{- else }}{{ . }}{{ end -}}
{{- end -}}

{{/* groundplan.toml. */}}
{{- define "groundplan.toml" -}}
{{- $grid := .Values.settings.grid }}
{{- $extra := deepCopy (.Values.settings.extra | default dict) }}
{{- with .Values.landing }}
{{- $imagery := get $extra "imagery" | default dict }}
{{- $_ := set $extra "imagery" (merge $imagery (dict "reference_roots" .)) }}
{{- end }}
{{- with .Values.previews.url }}
{{- $service := printf "groundplan-previews.%s" $.Release.Namespace }}
{{- $hosts := list "groundplan-previews" $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service) }}
{{- $serving := dict "url" (trimSuffix "/" .) "dagster_url" (trimSuffix "/" ($.Values.previews.dagsterUrl | default "")) "hosts" $hosts }}
{{- with $.Values.previews.proxies }}{{ $_ := set $serving "proxies" . }}{{ end }}
{{- $_ := set $extra "serving" (merge (get $extra "serving" | default dict) $serving) }}
{{- end }}
{{- if .Values.service.enabled }}
{{- $_ := set $extra "database" (merge (get $extra "database" | default dict) (dict "url" .Values.service.database.url)) }}
{{- end -}}
# Written by the chart from `settings`, `store` and `landing`.
store = {{ .Values.store.url | toJson }}

[grid]
crs = {{ $grid.crs | toJson }}
resolution = {{ include "groundplan.toml.value" $grid.resolution }}
block_size = {{ include "groundplan.toml.value" $grid.blockSize }}
origin = {{ include "groundplan.toml.value" $grid.origin }}
{{- range $section, $keys := $extra }}

[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "groundplan.toml.value" $value }}
{{- end }}
{{- end }}
{{ end -}}

{{/* A priority class by its full name: one of priorityClasses has the namespace before it. Argument: (list $ name). */}}
{{- define "groundplan.priorityClass" -}}
{{- $root := index . 0 }}{{- $name := index . 1 }}
{{- range $root.Values.priorityClasses }}{{- if eq .name $name }}{{ $root.Release.Namespace }}-{{ end }}{{- end }}{{ $name }}
{{- end -}}

{{/* The launch profiles as the run coordinator reads them. */}}
{{- define "groundplan.profiles" -}}
{{- $profiles := dict }}
{{- range $name, $profile := .Values.profiles }}
{{- $one := dict "cpu" (toString $profile.cpu) "memory" $profile.memory "gpu" (int $profile.gpu) "disk" $profile.disk "nodes" $profile.nodes "image" $profile.image "priority_class" (include "groundplan.priorityClass" (list $ ($profile.priorityClass | default ""))) }}
{{- if hasKey $profile "maxRuns" }}{{ $_ := set $one "max_runs" (int $profile.maxRuns) }}{{ end }}
{{- if hasKey $profile "launchSeconds" }}{{ $_ := set $one "launch_seconds" $profile.launchSeconds }}{{ end }}
{{- $_ := set $profiles $name $one }}
{{- end }}
{{- $nodes := dict }}
{{- range $name, $group := .Values.nodes }}
{{- $_ := set $nodes $name (dict "selector" ($group.selector | default dict) "prefer" ($group.prefer | default dict) "tolerations" ($group.tolerations | default list)) }}
{{- end -}}
images:
  groundplan: {{ include "groundplan.image" . | quote }}
  train: {{ printf "%s:%s" .Values.trainImage.repository .Values.trainImage.tag | quote }}
pull_policy: {{ .Values.image.pullPolicy | default "IfNotPresent" }}
nodes: {{- $nodes | toYaml | nindent 2 }}
profiles: {{- $profiles | toYaml | nindent 2 }}
assets: {{- if .Values.assets }}{{ .Values.assets | toYaml | nindent 2 }}{{ else }} {}{{ end }}
grace_seconds: {{ int .Values.graceSeconds }}
{{ end -}}

{{/* What pods read once, when they start: another one starts them anew. Not the profiles, which are read for each run. */}}
{{- define "groundplan.checksum" -}}
{{ printf "%s%s" (include "groundplan.toml" .) (include "groundplan.environment" . | fromYaml | toJson) | sha256sum }}
{{- end -}}

{{/* Ways out of a pod, each a list of NetworkPolicyEgressRule. */}}
{{- define "groundplan.egress.names" -}}
- ports:                        # names; to anywhere, since a node's own cache answers from a link-local address
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}
{{- define "groundplan.egress.database" -}}
- to: {{- toYaml .Values.networkPolicy.databaseTo | nindent 4 }}
  ports: [{protocol: TCP, port: {{ int .Values.database.port }}}]
{{- end -}}
{{- define "groundplan.egress.store" -}}
{{- $host := (urlParse (.Values.store.endpoint | default "https://store")).host }}
{{- $plain := hasPrefix "http://" .Values.store.endpoint }}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default (ternary "80" "443" $plain) | int -}}
- to: {{- toYaml .Values.networkPolicy.storeTo | nindent 4 }}
  ports: [{protocol: TCP, port: {{ $port }}}]
{{- if eq .Values.cloud.provider "gcp" }}
- to:                           # GKE's metadata server gives the identity's tokens
    - ipBlock: {cidr: 169.254.169.252/32}
    - ipBlock: {cidr: 169.254.169.254/32}
  ports:
    - {protocol: TCP, port: 988}
    - {protocol: TCP, port: 80}
{{- end }}
{{- end -}}
{{- define "groundplan.egress.code" -}}
- to: [{podSelector: {matchLabels: {groundplan/role: code}}}]
  ports: [{protocol: TCP, port: 3030}]
{{- end -}}
{{/* Of web server and daemon; the store for what pods printed, the Kubernetes API to launch, see and end runs. */}}
{{- define "groundplan.egress.dagster" -}}
{{ include "groundplan.egress.names" . }}
{{ include "groundplan.egress.database" . }}
{{ include "groundplan.egress.store" . }}
{{ include "groundplan.egress.code" . }}
- to: {{- toYaml .Values.networkPolicy.apiTo | nindent 4 }}
  ports:
    {{- range .Values.networkPolicy.apiPorts }}
    - {protocol: TCP, port: {{ int . }}}
    {{- end }}
{{- with .Values.networkPolicy.dagsterTo }}
{{ toYaml . }}
{{- end }}
{{- end -}}
