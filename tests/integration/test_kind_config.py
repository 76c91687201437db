"""kind-config.yaml as kind itself reads it: decoded strictly into kind's own Go types."""

import os
import subprocess
from pathlib import Path

import pytest

from gpuenv.sandbox.cache import cache_root
from gpuenv.sandbox.catalogue import BinaryError
from gpuenv.sandbox.gobuild import find_go

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
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that reads a configuration the way kind does."""
    try:
        go = find_go()
    except BinaryError as error:
        pytest.skip(str(error))
    if go is None:
        pytest.skip("no Go toolchain here; the sandbox gets one when it has to build from source")
    directory = tmp_path_factory.mktemp("kind")
    (directory / "main.go").write_text(PROGRAM, encoding="utf-8")
    requirements = f"require (\n\tsigs.k8s.io/kind {KIND}\n\tgo.yaml.in/yaml/v3 v3.0.4\n)\n"
    (directory / "go.mod").write_text(f"module kindconfig\n\ngo 1.24\n\n{requirements}", encoding="utf-8")
    env = os.environ | {"GOFLAGS": "-mod=mod", "GOMODCACHE": str(cache_root() / "go/mod")}
    build = subprocess.run(
        [go, "build", "-o", "reader", "."],
        cwd=directory,
        env=env,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    if build.returncode != 0:
        pytest.skip(f"kind's types cannot be had: {build.stderr.strip().splitlines()[-1]}")
    return directory / "reader"


def test_kind_understands_every_field(reader: Path) -> None:
    text = (ROOT / "kind-config.yaml").read_text(encoding="utf-8")
    result = subprocess.run([reader], input=text, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    assert result.stdout.splitlines() == ["gpuenv", "control-plane ", "worker true", "worker true"]


def test_a_misspelt_field_is_noticed(reader: Path) -> None:
    text = (ROOT / "kind-config.yaml").read_text(encoding="utf-8").replace("  labels:", "  label:")
    result = subprocess.run([reader], input=text, capture_output=True, text=True, check=False)
    assert "field label not found in type v1alpha4.Node" in result.stderr
