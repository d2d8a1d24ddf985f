{{- define "dagster.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (default .Chart.Name .Values.nameOverride) .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name (default .Chart.Name .Values.nameOverride) | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end -}}

{{- define "dagster.meta" -}}
namespace: {{ .Release.Namespace }}
labels: {helm.sh/chart: "dagster-{{ .Chart.Version }}"}
{{- end -}}

{{/* Argument: (list $ its values, its name, what bash runs). */}}
{{- define "dagster.pod" -}}
{{- $ := index . 0 }}{{- $part := index . 1 -}}
serviceAccountName: {{ $.Values.serviceAccount.name }}
automountServiceAccountToken: true
securityContext: {{- toYaml $part.podSecurityContext | nindent 2 }}
containers:
  - name: {{ index . 2 }}
    image: "{{ $part.image.repository }}:{{ $part.image.tag }}"
    imagePullPolicy: {{ $part.image.pullPolicy }}
    command: [/bin/bash, -c, {{ index . 3 | quote }}]
    env:
      - name: DAGSTER_PG_PASSWORD
        valueFrom:
          secretKeyRef: {name: {{ $.Values.global.postgresqlSecretName }}, key: postgresql-password}
    envFrom:
      {{- range $part.envConfigMaps }}
      - configMapRef: {{- toYaml . | nindent 10 }}
      {{- end }}
      {{- range $part.envSecrets }}
      - secretRef: {{- toYaml . | nindent 10 }}
      {{- end }}
    securityContext: {{- toYaml $part.securityContext | nindent 6 }}
    resources: {{- toYaml $part.resources | nindent 6 }}
    {{- range $probe := list "livenessProbe" "readinessProbe" "startupProbe" }}
    {{- with get $part $probe }}
    {{ $probe }}: {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
    volumeMounts:
      - {name: dagster-instance, mountPath: {{ $.Values.global.dagsterHome }}/dagster.yaml, subPath: dagster.yaml}
      - {name: dagster-workspace-yaml, mountPath: /dagster-workspace/}
      {{- toYaml $part.volumeMounts | nindent 6 }}
volumes:
  - {name: dagster-instance, configMap: {name: {{ include "dagster.fullname" $ }}-instance}}
  - {name: dagster-workspace-yaml, configMap: {name: {{ include "dagster.fullname" $ }}-workspace-yaml}}
  {{- toYaml $part.volumes | nindent 2 }}
{{- range $key := list "nodeSelector" "affinity" "tolerations" }}
{{- with get $part $key }}
{{ $key }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}
