"""kind-config.yaml as kind itself reads it: decoded strictly into kind's own Go types."""

import subprocess
from pathlib import Path

import pytest
from tests.support import go_reader

ROOT = Path(__file__).parents[2]
KIND = "v0.32.0"
PROGRAM = """
package main

import (
	"fmt"
	"os"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

func main() {
	decoder := yaml.NewDecoder(os.Stdin)
	decoder.KnownFields(true)
	cluster := v1alpha4.Cluster{}
	if err := decoder.Decode(&cluster); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	v1alpha4.SetDefaultsCluster(&cluster)
	fmt.Println(cluster.Name)
	for _, node := range cluster.Nodes {
		fmt.Println(node.Role, node.Labels["nvidia.com/gpu.present"])
	}
}
"""


@pytest.fixture(scope="module")
def reader() -> Path:
    """A program that reads a configuration the way kind does."""
    modules = {"sigs.k8s.io/kind": KIND, "go.yaml.in/yaml/v3": "v3.0.4"}
    return go_reader.reader(PROGRAM, modules, "kind")


def test_kind_understands_every_field(reader: Path) -> None:
    text = (ROOT / "kind-config.yaml").read_text(encoding="utf-8")
    result = subprocess.run([reader], input=text, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["gpuenv", "control-plane ", "worker true", "worker true"]


def test_a_misspelt_field_is_noticed(reader: Path) -> None:
    text = (ROOT / "kind-config.yaml").read_text(encoding="utf-8").replace("  labels:", "  label:")
    result = subprocess.run([reader], input=text, capture_output=True, text=True, check=False)
    assert "field label not found in type v1alpha4.Node" in result.stderr
