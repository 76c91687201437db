{{/* Names are fixed: the operator's account is named in the admission policy, and a cluster has one gpuenv. */}}
{{- define "gpuenv.name" -}}
gpuenv-operator
{{- end }}

{{- define "gpuenv.labels" -}}
app.kubernetes.io/name: gpuenv
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
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

{{/* No runAsUser: OpenShift gives each namespace a range of its own; elsewhere the image's USER is not root. */}}
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
