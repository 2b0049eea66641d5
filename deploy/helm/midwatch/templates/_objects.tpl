{{/* Ends with what to do when there is nothing to install, or when another version rendered it. */}}
{{- define "midwatch.ensureRendered" -}}
{{- if not .Values.rendered }}
{{- fail "there is nothing to install: write the values with `midwatch render --target helm -f platform.yaml -o build`, and give them with -f build/helm/values.yaml" }}
{{- end }}
{{- if ne .Values.renderedBy .Chart.AppVersion }}
{{- fail (printf "the values were rendered by Midwatch %s, and this chart is of %s: render them again" .Values.renderedBy .Chart.AppVersion) }}
{{- end }}
{{- end -}}

{{/* Ends where a value is for a name that nothing has: it would change nothing, and nobody would know. */}}
{{- define "midwatch.ensureNamed" -}}
{{- $values := .Values }}
{{- $known := dict "replicas" dict "storage" dict "resources" dict "serviceAccounts" dict "services" dict }}
{{- range $path, $text := $values.rendered }}
{{- range splitList "\n---\n" (printf "\n%s" ($text | trimPrefix "---\n")) }}
{{- include "midwatch.addNames" (dict "object" (fromYaml .) "known" $known) }}
{{- end }}
{{- end }}
{{- range $value, $names := $known }}
{{- range $name := keys (index $values $value) | sortAlpha }}
{{- if not (hasKey $names $name) }}
{{- fail (printf "%s.%s: nothing that is rendered has this name; known: %s" $value $name (keys $names | sortAlpha | join ", " | default "none")) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Adds the names of an object to those that values may be for, by value. */}}
{{- define "midwatch.addNames" -}}
{{- $object := .object }}
{{- $known := .known }}
{{- $value := get (dict "ServiceAccount" "serviceAccounts" "Service" "services" "StatefulSet" "replicas" "Deployment" "replicas") ($object.kind | default "") }}
{{- if $value }}{{ $_ := set (index $known $value) $object.metadata.name true }}{{ end }}
{{- $pod := include "midwatch.podKind" $object }}
{{- if eq $pod "template" }}
{{- if $object.spec.volumeClaimTemplates }}{{ $_ := set $known.storage $object.metadata.name true }}{{ end }}
{{- range $object.spec.template.spec.containers }}{{ $_ := set $known.resources .name true }}{{ end }}
{{- else if eq $pod "job" }}
{{- range $object.spec.jobTemplate.spec.template.spec.containers }}{{ $_ := set $known.resources .name true }}{{ end }}
{{- else if eq $pod "analysis" }}
{{- range $object.spec.metrics }}{{ if and .provider .provider.job }}
{{- range .provider.job.spec.template.spec.containers }}{{ $_ := set $known.resources .name true }}{{ end }}
{{- end }}{{ end }}
{{- end }}
{{- end -}}

{{/* `yes` for the path of a file whose part is on. What is of no part is always installed. */}}
{{- define "midwatch.isWanted" -}}
{{- $parts := dict
  "kubernetes/platform-file-" "platformFile"
  "kubernetes/plane-exporter" "workloads"
  "kubernetes/plane-gate" "workloads"
  "kubernetes/plane-loop" "workloads"
  "kubernetes/plane-incidents" "workloads"
  "kubernetes/plane-evaluator" "workloads"
  "kubernetes/plane-explainers" "workloads"
  "kubernetes/plane-stream" "workloads"
  "kubernetes/plane-console" "workloads"
  "kubernetes/plane-recovery" "workloads"
  "kubernetes/plane-systems" "workloads"
  "kubernetes/systems-exporter" "workloads"
  "kubernetes/plane-network" "network"
  "kubernetes/plane-monitors" "scrapes"
  "kubernetes/scrape-" "scrapes"
  "kubernetes/rules-" "rules"
  "kubernetes/alertmanager" "routes"
  "kubernetes/grafana/" "dashboards"
  "argo-rollouts/" "canaries"
  "kubernetes/chaos" "experiments"
  "kubernetes/recovery-drills" "drills" }}
{{- $isWanted := true }}
{{- range $begin, $part := $parts }}
{{- if and (hasPrefix $begin $.path) (not (index $.values.parts $part)) }}{{ $isWanted = false }}{{ end }}
{{- end }}
{{- if and .values.platform.existingConfigMap (hasPrefix "kubernetes/platform-file-" .path) }}{{ $isWanted = false }}{{ end }}
{{- if $isWanted }}yes{{ end }}
{{- end -}}

{{/* One object: as it was rendered, to the byte, unless a value changes it. */}}
{{- define "midwatch.object" -}}
{{- $before := fromYaml .text }}
{{- if hasKey $before "Error" }}{{ fail (printf "%s: %s" .path $before.Error) }}{{ end }}
{{- $after := fromYaml .text }}
{{- include "midwatch.changeMetadata" (dict "object" $after "values" .values) }}
{{- $pod := include "midwatch.podKind" $after }}
{{- if eq $pod "template" }}
{{- include "midwatch.changePod" (dict "template" $after.spec.template "values" .values) }}
{{- include "midwatch.changeSet" (dict "object" $after "values" .values) }}
{{- else if eq $pod "job" }}
{{- include "midwatch.changePod" (dict "template" $after.spec.jobTemplate.spec.template "values" .values) }}
{{- else if eq $pod "analysis" }}
{{- range $after.spec.metrics }}
{{- if and .provider .provider.job }}{{ include "midwatch.changePod" (dict "template" .provider.job.spec.template "values" $.values) }}{{ end }}
{{- end }}
{{- end }}
{{- if deepEqual $before $after }}{{ .text }}{{ else }}{{ toYaml $after }}{{ end }}
{{- end -}}

{{/* Where an object has a pod: in its template, in that of its jobs, in a metric's job; nothing where it has none. */}}
{{- define "midwatch.podKind" -}}
{{- if has .kind (list "StatefulSet" "Deployment") }}template
{{- else if eq .kind "CronJob" }}job
{{- else if eq .kind "AnalysisTemplate" }}analysis
{{- end }}
{{- end -}}

{{/* Labels of every object; annotations of ServiceAccounts; annotations and type of Services. */}}
{{- define "midwatch.changeMetadata" -}}
{{- if .values.labels }}
{{- $_ := set .object.metadata "labels" (merge (deepCopy (.object.metadata.labels | default dict)) .values.labels) }}
{{- end }}
{{- $own := dict }}
{{- if eq .object.kind "ServiceAccount" }}{{ $own = index .values.serviceAccounts .object.metadata.name | default dict }}{{ end }}
{{- if eq .object.kind "Service" }}{{ $own = index .values.services .object.metadata.name | default dict }}{{ end }}
{{- if $own.annotations }}
{{- $_ := set .object.metadata "annotations" (merge (deepCopy $own.annotations) (.object.metadata.annotations | default dict)) }}
{{- end }}
{{- if $own.type }}{{ $_ := set .object.spec "type" $own.type }}{{ end }}
{{- end -}}

{{/* How many pods a set has, and their volumes. */}}
{{- define "midwatch.changeSet" -}}
{{- $name := .object.metadata.name }}
{{- if hasKey .values.replicas $name }}{{ $_ := set .object.spec "replicas" (index .values.replicas $name) }}{{ end }}
{{- range (.object.spec.volumeClaimTemplates | default list) }}
{{- if $.values.storageClass }}{{ $_ := set .spec "storageClassName" $.values.storageClass }}{{ end }}
{{- if hasKey $.values.storage $name }}{{ $_ := set .spec.resources.requests "storage" (index $.values.storage $name) }}{{ end }}
{{- end }}
{{- end -}}

{{/* What values say of pods and of their containers. */}}
{{- define "midwatch.changePod" -}}
{{- $values := .values }}
{{- $spec := .template.spec }}
{{- if or $values.labels $values.podAnnotations $values.platform.checksum }}
{{- if not .template.metadata }}{{ $_ := set .template "metadata" dict }}{{ end }}
{{- $annotations := merge (deepCopy $values.podAnnotations) (.template.metadata.annotations | default dict) }}
{{- if $values.platform.checksum }}{{ $_ := set $annotations "midwatch.dev/configuration" $values.platform.checksum }}{{ end }}
{{- if $annotations }}{{ $_ := set .template.metadata "annotations" $annotations }}{{ end }}
{{- if $values.labels }}
{{- $_ := set .template.metadata "labels" (merge (deepCopy (.template.metadata.labels | default dict)) $values.labels) }}
{{- end }}
{{- end }}
{{- if $values.imagePullSecrets }}
{{- $secrets := list }}
{{- range $values.imagePullSecrets }}{{ $secrets = append $secrets (dict "name" .) }}{{ end }}
{{- $_ := set $spec "imagePullSecrets" $secrets }}
{{- end }}
{{- if $values.nodeSelector }}{{ $_ := set $spec "nodeSelector" $values.nodeSelector }}{{ end }}
{{- if $values.tolerations }}{{ $_ := set $spec "tolerations" $values.tolerations }}{{ end }}
{{- if $values.priorityClassName }}{{ $_ := set $spec "priorityClassName" $values.priorityClassName }}{{ end }}
{{- range $spec.containers }}
{{- if and $values.image (not (has .name (list "explainer" "stream"))) }}{{ $_ := set . "image" $values.image }}{{ end }}
{{- if $values.imagePullPolicy }}{{ $_ := set . "imagePullPolicy" $values.imagePullPolicy }}{{ end }}
{{- if hasKey $values.resources .name }}
{{- $_ := set . "resources" (mergeOverwrite (deepCopy .resources) (index $values.resources .name)) }}
{{- end }}
{{- if $values.env }}
{{- $env := .env | default list }}
{{- range $name := keys $values.env | sortAlpha }}{{ $env = append $env (dict "name" $name "value" (index $values.env $name)) }}{{ end }}
{{- $_ := set . "env" $env }}
{{- end }}
{{- end }}
{{- if $values.platform.existingConfigMap }}
{{- range $spec.volumes }}{{ if eq .name "platform" }}{{ include "midwatch.useConfigMap" (dict "volume" . "name" $values.platform.existingConfigMap) }}{{ end }}{{ end }}
{{- end }}
{{- end -}}

{{/* The volume of the platform file with another ConfigMap. The first is the platform file's; what lies beside it stays. */}}
{{- define "midwatch.useConfigMap" -}}
{{- if .volume.configMap }}{{ $_ := set .volume.configMap "name" .name }}
{{- else }}{{ $_ := set (index .volume.projected.sources 0).configMap "name" .name }}{{ end }}
{{- end -}}
