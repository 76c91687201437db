"""The PodMonitor and the ServiceMonitor as the Prometheus operator reads them: decoded strictly into its own Go types."""

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.support import go_reader
from tests.support.helm import Helm

TYPES = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"
VERSION = "v0.88.0"
ON = "metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true"
PROGRAM = f"""
package main

import (
	"fmt"
	"io"
	"os"

	monitoring "{TYPES}/v1"
	"sigs.k8s.io/yaml"
)

func main() {{
	text, _ := io.ReadAll(os.Stdin)
	podMonitor, serviceMonitor := monitoring.PodMonitor{{}}, monitoring.ServiceMonitor{{}}
	kinds := map[string]any{{"PodMonitor": &podMonitor, "ServiceMonitor": &serviceMonitor}}
	if err := yaml.UnmarshalStrict(text, kinds[os.Args[1]]); err != nil {{
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}}
	for _, one := range podMonitor.Spec.PodMetricsEndpoints {{
		fmt.Println(podMonitor.Spec.Selector.MatchLabels["app.kubernetes.io/name"], *one.Port, one.Interval)
	}}
	for _, one := range serviceMonitor.Spec.Endpoints {{
		fmt.Println(serviceMonitor.Spec.Selector.MatchLabels["app.kubernetes.io/name"], one.Port, one.Interval)
	}}
}}
"""


@pytest.fixture(scope="module")
def reader() -> Path:
    """A program that reads a monitor of the kind it is given."""
    modules = {TYPES: VERSION, "sigs.k8s.io/yaml": "v1.6.0"}
    return go_reader.reader(PROGRAM, modules, "the Prometheus operator")


def read(reader: Path, kind: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([reader, kind], input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["PodMonitor", "ServiceMonitor"])
def test_the_prometheus_operator_understands_every_field(helm: Helm, reader: Path, kind: str) -> None:
    (monitor,) = [one for one in helm.documents("--set", ON) if one["kind"] == kind]
    text = yaml.safe_dump(monitor)
    understood = read(reader, kind, text)
    assert (understood.stderr, understood.stdout) == ("", "gpuenv metrics 30s\n")
    misspelt = read(reader, kind, text.replace("interval:", "intervall:"))
    assert 'unknown field "intervall"' in misspelt.stderr
