{{/*
What the schema cannot say: facts that must agree with each other. Each message names the key, what it holds, and the remedy.
*/}}
{{- define "groundplan.checks" -}}
{{- include "groundplan.checks.store" . }}
{{- include "groundplan.checks.project" . }}
{{- include "groundplan.checks.profiles" . }}
{{- if .Values.service.enabled }}{{ include "groundplan.checks.service" . }}{{ end }}
{{- if .Values.dagster.enabled }}{{ include "groundplan.checks.dagster" . }}{{ end }}
{{- end -}}

{{- define "groundplan.checks.store" -}}
{{- $store := .Values.store }}{{- $cloud := .Values.cloud }}
{{- if not $store.url }}{{ fail "store.url is not set. Say where objects are kept: s3://bucket/prefix, az://container/prefix or gs://bucket/prefix" }}{{ end }}
{{- $scheme := (splitList "://" $store.url) | first }}
{{- $home := get (dict "s3" "aws" "az" "azure" "gs" "gcp") $scheme }}
{{- if eq $store.credentials "identity" }}
{{- if ne $cloud.provider $home }}{{ fail (printf "store.url is %s, but pods on cloud.provider '%s' get no identity that opens %s://. Set cloud.provider to %s, or store.credentials to secret and make the Secret groundplan-store" $store.url $cloud.provider $scheme $home) }}{{ end }}
{{- if $store.endpoint }}{{ fail (printf "store.endpoint is %s, and a workload identity opens the cloud's own store only. Set store.credentials to secret" $store.endpoint) }}{{ end }}
{{- if not (dig "identity" "run" "" $cloud) }}{{ fail (printf "cloud.identity.run is not set: run pods could not open %s. Give the role, or set store.credentials to secret" $store.url) }}{{ end }}
{{- end }}
{{- if and $store.endpoint (ne $scheme "s3") }}{{ fail (printf "store.endpoint is for s3:// stores, and store.url is %s. Remove one" $store.url) }}{{ end }}
{{- if and (eq $scheme "s3") (not $store.region) }}{{ fail "store.region is not set. Give the bucket's region (us-east-1 for most servers that are not Amazon's)" }}{{ end }}
{{- if and (eq $scheme "az") (not $store.account) }}{{ fail "store.account is not set. Give the storage account of the az:// store" }}{{ end }}
{{- if .Values.externalSecrets.enabled }}
{{- if not .Values.externalSecrets.storeRef.name }}{{ fail "externalSecrets.storeRef.name is not set. Name the (Cluster)SecretStore" }}{{ end }}
{{- if not .Values.externalSecrets.database.key }}{{ fail "externalSecrets.database.key is not set. Say where the database's password lies" }}{{ end }}
{{- if and (eq $store.credentials "secret") (not .Values.externalSecrets.store) }}{{ fail "externalSecrets.store is empty, and store.credentials is secret. List the variables, such as AWS_ACCESS_KEY_ID" }}{{ end }}
{{- end }}
{{- end -}}

{{- define "groundplan.checks.project" -}}
{{- $grid := .Values.settings.grid }}
{{- if not $grid.crs }}{{ fail "settings.grid.crs is not set. Give a projected CRS in metres, such as EPSG:28992" }}{{ end }}
{{- if ne (len $grid.origin) 2 }}{{ fail "settings.grid.origin is not set. Give [x, y], the upper left corner of block x0y0, in CRS units" }}{{ end }}
{{- range $section := list "grid" "store" }}
{{- if hasKey ($.Values.settings.extra | default dict) $section }}{{ fail (printf "settings.extra.%s is not for there. Use settings.grid, or store" $section) }}{{ end }}
{{- end }}
{{- if not .Values.database.host }}{{ fail "database.host is not set. Give the PostgreSQL server for Dagster's runs and events" }}{{ end }}
{{- end -}}

{{- define "groundplan.checks.profiles" -}}
{{- $nodes := .Values.nodes }}{{- $groups := keys $nodes | sortAlpha | join ", " }}
{{- range $name, $profile := .Values.profiles }}
{{- if not (hasKey $nodes $profile.nodes) }}{{ fail (printf "profiles.%s.nodes names the node group '%s', which is not in nodes. There are: %s" $name $profile.nodes $groups) }}{{ end }}
{{- if not (has $profile.image (list "groundplan" "train")) }}{{ fail (printf "profiles.%s.image is '%s'. It must be groundplan (image) or train (trainImage)" $name $profile.image) }}{{ end }}
{{- end }}
{{- range $asset, $profile := .Values.assets }}
{{- if not (hasKey $.Values.profiles $profile) }}{{ fail (printf "assets.%s names the profile '%s', which is not in profiles. There are: %s" $asset $profile (keys $.Values.profiles | sortAlpha | join ", ")) }}{{ end }}
{{- end }}
{{- if .Values.previews.enabled }}
{{- if not (hasKey $nodes .Values.previews.nodes) }}{{ fail (printf "previews.nodes names the node group '%s', which is not in nodes. There are: %s" .Values.previews.nodes $groups) }}{{ end }}
{{- $identity := .Values.cloud.identity | default dict }}
{{- if eq .Values.store.credentials "identity" }}
{{- if not $identity.previews }}{{ fail "cloud.identity.previews is not set, and that of the runs may write. Give the preview server a role that only reads the store" }}{{ end }}
{{- if eq $identity.previews $identity.run }}{{ fail "cloud.identity.previews is cloud.identity.run, which may write. Give the preview server a role that only reads the store" }}{{ end }}
{{- else if .Values.externalSecrets.enabled }}
{{- if not .Values.externalSecrets.storeRead }}{{ fail "externalSecrets.storeRead is empty, and previews are enabled. List the variables of a key that only reads the store, such as AWS_ACCESS_KEY_ID" }}{{ end }}
{{- if eq (toJson .Values.externalSecrets.storeRead) (toJson .Values.externalSecrets.store) }}{{ fail "externalSecrets.storeRead is externalSecrets.store, whose key may write. Give a key that only reads the store" }}{{ end }}
{{- end }}
{{- if not .Values.previews.url }}{{ fail "previews.url is not set. Give the address at which browsers reach the preview server, such as http://localhost:8081 for kubectl port-forward" }}{{ end }}
{{- end }}
{{- if .Values.login.enabled }}
{{- range $key := list "image" "issuer" }}
{{- if not (get $.Values.login $key) }}{{ fail (printf "login.%s is not set, and login.enabled is true. values.yaml says what it is" $key) }}{{ end }}
{{- end }}
{{- if not .Values.login.emailDomains }}{{ fail "login.emailDomains is empty: nobody could log in. Name the domains of those who may, such as [example.org]" }}{{ end }}
{{- if not (or .Values.previews.dagsterUrl (and .Values.previews.enabled .Values.previews.url)) }}{{ fail "login.enabled is true, and there is nothing to log in to. Set previews.dagsterUrl to the address of Dagster's web UI, or enable previews" }}{{ end }}
{{- end }}
{{- if not (hasKey $nodes .Values.code.nodes) }}{{ fail (printf "code.nodes names the node group '%s', which is not in nodes. There are: %s" .Values.code.nodes $groups) }}{{ end }}
{{- end -}}

{{- define "groundplan.checks.service" -}}
{{- $service := .Values.service }}{{- $groups := keys .Values.nodes | sortAlpha | join ", " }}
{{- if not $service.database.url }}{{ fail "service.database.url is not set. Give a PostgreSQL with PostGIS for results: postgresql://HOST/DATABASE" }}{{ end }}
{{- if regexMatch "://[^/]*@" $service.database.url }}{{ fail "service.database.url holds a name or a password, and would lie in a ConfigMap. Put them as PGUSER and PGPASSWORD into the Secret service.database.secret" }}{{ end }}
{{- range $role := list "serve" "work" "relay" }}
{{- $nodes := (get $service $role).nodes }}
{{- if not (hasKey $.Values.nodes $nodes) }}{{ fail (printf "service.%s.nodes names the node group '%s', which is not in nodes. There are: %s" $role $nodes $groups) }}{{ end }}
{{- end }}
{{- if eq .Values.store.credentials "identity" }}
{{- $identity := .Values.cloud.identity | default dict }}
{{- range $role := list "serve" "work" }}
{{- if not (get $identity $role) }}{{ fail (printf "cloud.identity.%s is not set: %s could not store images. Give a role of its own, as terraform/ makes it, or set store.credentials to secret" $role $role) }}{{ end }}
{{- if eq (get $identity $role) (get $identity "run") }}{{ fail (printf "cloud.identity.%s is cloud.identity.run, which removes from the whole store. Give %s a role of its own" $role $role) }}{{ end }}
{{- end }}
{{- if and (eq (dig "messages" "broker" "" (.Values.settings.extra | default dict)) "sqs") (not (get $identity "relay")) }}{{ fail "cloud.identity.relay is not set, and settings.extra.messages.broker is sqs: the relay could not tell anybody. Give a role that sends into the queue of events" }}{{ end }}
{{- end }}
{{- if and .Values.externalSecrets.enabled (not .Values.externalSecrets.results.key) }}{{ fail "externalSecrets.results.key is not set, and service is enabled. Say where the password of the results' database lies" }}{{ end }}
{{- if lt (int $service.serve.most) (int $service.serve.replicas) }}{{ fail (printf "service.serve.most is %d, and service.serve.replicas is %d. Give most at least that" (int $service.serve.most) (int $service.serve.replicas)) }}{{ end }}
{{- if and $service.monitoring.enabled $.Values.networkPolicy.enabled (not $service.metricsFrom) }}{{ fail "service.metricsFrom is empty, and service.monitoring is enabled. Say where Prometheus runs: a list of NetworkPolicyPeer" }}{{ end }}
{{- if and $service.keda.enabled (not $service.keda.prometheus) }}{{ fail "service.keda.prometheus is not set. Give the address of the Prometheus that reads /metrics" }}{{ end }}
{{- end -}}

{{/* The block `dagster` goes to another chart as it is; here is seen that it says the same as ours. */}}
{{- define "groundplan.checks.dagster" -}}
{{- $d := .Values.dagster }}{{- $v := .Values }}
{{- range $key := list "dagsterWebserver" "dagsterDaemon" }}
{{- $image := (get $d $key).image }}
{{- if or (ne $image.repository $v.image.repository) (ne (toString $image.tag) (toString $v.image.tag)) }}{{ fail (printf "dagster.%s.image is %s:%v, and image is %s:%v. They must be the same: all must hold one code" $key $image.repository $image.tag $v.image.repository $v.image.tag) }}{{ end }}
{{- end }}
{{- range $pair := list
  (list "database.host" $v.database.host "postgresql.postgresqlHost" $d.postgresql.postgresqlHost)
  (list "database.port" (int $v.database.port) "postgresql.service.port" (int $d.postgresql.service.port))
  (list "database.name" $v.database.name "postgresql.postgresqlDatabase" $d.postgresql.postgresqlDatabase)
  (list "database.user" $v.database.user "postgresql.postgresqlUsername" $d.postgresql.postgresqlUsername)
  (list "database.secret" $v.database.secret "global.postgresqlSecretName" $d.global.postgresqlSecretName) }}
{{- if ne (toString (index $pair 1)) (toString (index $pair 3)) }}{{ fail (printf "%s is '%v', and dagster.%s is '%v'. Write the same in both" (index $pair 0) (index $pair 1) (index $pair 2) (index $pair 3)) }}{{ end }}
{{- end }}
{{- $web := $d.dagsterWebserver }}
{{- $path := printf "%s/server_info" (trimSuffix "/" ($web.pathPrefix | default "")) }}
{{- $probe := ($web.readinessProbe | default dict).httpGet }}
{{- if $probe }}
{{- if ne (toString $probe.port) (toString $web.service.port) }}{{ fail (printf "dagster.dagsterWebserver.service.port is %v, where the server listens, and dagster.dagsterWebserver.readinessProbe.httpGet.port is %v. Write the same in both" $web.service.port $probe.port) }}{{ end }}
{{- if ne $probe.path $path }}{{ fail (printf "dagster.dagsterWebserver.pathPrefix is '%v', and dagster.dagsterWebserver.readinessProbe.httpGet.path is %v, where nothing answers. Set that to %s" ($web.pathPrefix | default "") $probe.path $path) }}{{ end }}
{{- end }}
{{- $asked := (($web.livenessProbe | default dict).exec | default dict).command | default list | last | default "" | toString }}
{{- $answers := printf "http://127.0.0.1:%d%s" (int $web.service.port) $path }}
{{- if and (hasPrefix "http://127.0.0.1" $asked) (ne $asked $answers) }}{{ fail (printf "dagster.dagsterWebserver.livenessProbe asks %s, and the server answers at %s. Write that there" $asked $answers) }}{{ end }}
{{- if lt (int $web.service.port) 1024 }}{{ fail (printf "dagster.dagsterWebserver.service.port is %v. Below 1024 the server would need a capability: use 8080" $web.service.port) }}{{ end }}
{{- range $one := $web.workspace.servers }}
{{- if and (eq $one.host "groundplan-code") (ne (int $one.port) 3030) }}{{ fail (printf "dagster.dagsterWebserver.workspace.servers names groundplan-code at port %v, and it listens at 3030. Write that there" $one.port) }}{{ end }}
{{- end }}
{{- if ne $d.runLauncher.type "CustomRunLauncher" }}{{ fail (printf "dagster.runLauncher.type is %s, whose pods would have none of the settings in customRunLauncher. Leave it at CustomRunLauncher" $d.runLauncher.type) }}{{ end }}
{{- $pod := $d.runLauncher.config.customRunLauncher.config.run_k8s_config }}
{{- $grace := int $pod.pod_spec_config.terminationGracePeriodSeconds }}
{{- if ne (int $v.graceSeconds) $grace }}{{ fail (printf "graceSeconds is %d, and dagster.runLauncher.config.customRunLauncher.config.run_k8s_config.pod_spec_config.terminationGracePeriodSeconds is %d. Write the same in both" (int $v.graceSeconds) $grace) }}{{ end }}
{{- if eq $v.cloud.provider "azure" }}
{{- if ne (toString (get $pod.pod_template_spec_metadata.labels "azure.workload.identity/use")) "true" }}{{ fail "cloud.provider is azure, and run pods lack the label that its webhook looks for. Set dagster.runLauncher.config.customRunLauncher.config.run_k8s_config.pod_template_spec_metadata.labels.\"azure.workload.identity/use\" to \"true\", also in dagster.dagsterWebserver.labels and dagster.dagsterDaemon.labels" }}{{ end }}
{{- end }}
{{- $logs := $d.computeLogManager.type }}
{{- if has $logs (list "AzureBlobComputeLogManager" "GCSComputeLogManager") }}{{ fail (printf "dagster.computeLogManager.type is %s, whose package is not in the image: every run would die. Use CustomComputeLogManager with StoreLogManager, as examples/azure.yaml and gpu.yaml do" $logs) }}{{ end }}
{{- if and (eq $logs "S3ComputeLogManager") (not (hasPrefix "s3://" $v.store.url)) }}{{ fail (printf "dagster.computeLogManager.type is %s, and pods have credentials for %s. Use CustomComputeLogManager with StoreLogManager, as examples/azure.yaml and gpu.yaml do" $logs $v.store.url) }}{{ end }}
{{- if not (has $logs (list "S3ComputeLogManager" "NoOpComputeLogManager" "CustomComputeLogManager")) }}{{ fail (printf "dagster.computeLogManager.type is %s, which keeps nothing once the pod is gone. Use S3ComputeLogManager or CustomComputeLogManager" $logs) }}{{ end }}
{{- $own := ($d.computeLogManager.config | default dict).customComputeLogManager | default dict }}
{{- if and (eq $logs "CustomComputeLogManager") (eq (get $own "class" | toString) "StoreLogManager") }}
{{- $url := ($own.config | default dict).url | default "" }}
{{- $scheme := splitList "://" $v.store.url | first }}
{{- if not (hasPrefix (printf "%s://" $scheme) $url) }}{{ fail (printf "dagster.computeLogManager.config.customComputeLogManager.config.url is '%v', and pods have credentials for %s. Give an address below that" $url $v.store.url) }}{{ end }}
{{- end }}
{{- end -}}
