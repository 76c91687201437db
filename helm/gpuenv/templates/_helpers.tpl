{{/* The name is fixed, because the admission policy contains it and a cluster has one gpuenv. */}}
{{- define "gpuenv.name" -}}
gpuenv-operator
{{- end }}

{{- define "gpuenv.labels" -}}
app.kubernetes.io/name: gpuenv
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "gpuenv.selector" -}}
app.kubernetes.io/name: gpuenv
app.kubernetes.io/component: operator
{{- end }}

{{- define "gpuenv.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The port of an address such as ":8080". It is empty if the address is "0", which means that nothing is served. */}}
{{- define "gpuenv.port" -}}
{{- if contains ":" . }}{{ regexFind "[0-9]+$" . }}{{ end -}}
{{- end }}

{{/* Placement and priority of the pods of the operator, of the test and of the uninstall Job. */}}
{{- define "gpuenv.placement" -}}
{{- with .Values.pod.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* There is no runAsUser, because OpenShift assigns each namespace a range of user ids. Elsewhere the image's USER
     applies, which is not root. */}}
{{- define "gpuenv.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "gpuenv.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* A list of patterns, in which * stands for any characters, as one regular expression for CEL. An empty list matches
     nothing, not even the empty text. */}}
{{- define "gpuenv.pattern" -}}
{{- $parts := list -}}
{{- range . -}}
{{- $parts = append $parts (regexQuoteMeta . | replace "\\*" ".*") -}}
{{- end -}}
{{- if $parts -}}
(?s)^(?:{{ join "|" $parts }})$
{{- else -}}
[^\x00-\x{10FFFF}]
{{- end -}}
{{- end }}

{{/* The patterns of images as one regular expression for CEL. In front of the first / of a pattern, * does not stand for
     /, unless the pattern begins with * and has no /. */}}
{{- define "gpuenv.imagePattern" -}}
{{- if or (has "*" .) (not .) -}}
{{- include "gpuenv.pattern" (ternary (list "*") list (has "*" .)) -}}
{{- else -}}
{{- $parts := list -}}
{{- range . -}}
{{- $halves := splitn "/" 2 . -}}
{{- $any := ternary ".*" "[^/]*" (and (hasPrefix "*" .) (not (contains "/" .))) -}}
{{- $part := regexQuoteMeta $halves._0 | replace "\\*" $any -}}
{{- if contains "/" . -}}
{{- $part = printf "%s/%s" $part (regexQuoteMeta $halves._1 | replace "\\*" ".*") -}}
{{- end -}}
{{- $parts = append $parts $part -}}
{{- end -}}
(?s)^(?:{{ join "|" $parts }})$
{{- end -}}
{{- end }}
