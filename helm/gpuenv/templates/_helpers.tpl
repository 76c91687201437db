{{/* Names are fixed: the operator's account is named in the admission policy, and a cluster has one gpuenv. */}}
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

{{/* The operator's --health-port, by default. */}}
{{- define "gpuenv.healthPort" -}}
8081
{{- end }}

{{/* Where the chart's pods go, and how important they are: the operator's, the test's, the uninstall Job's. */}}
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
