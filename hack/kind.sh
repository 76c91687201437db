#!/bin/sh
# Install gpuenv from this checkout in a kind cluster whose nodes advertise a GPU that does not exist, with an example.
# Run it again after a change; `kind delete cluster --name gpuenv` removes it. It needs docker, kind, kubectl and helm.
set -eu
cd "$(dirname "$0")/.."

for program in docker kind kubectl helm; do
    command -v "$program" >/dev/null || {
        echo "make kind needs $program: install it and try again (without Docker: make sandbox)" >&2
        exit 2
    }
done
docker info >/dev/null 2>&1 || {
    echo "make kind needs a running Docker daemon: start it and try again (without Docker: make sandbox)" >&2
    exit 2
}

context=kind-gpuenv
kind get clusters 2>/dev/null | grep -qx gpuenv || kind create cluster --config kind-config.yaml --wait 120s
docker build -q -f operator/Dockerfile -t gpuenv.local/gpuenv:dev .
kind load docker-image gpuenv.local/gpuenv:dev --name gpuenv
for node in $(kubectl --context "$context" get nodes -l nvidia.com/gpu.present=true -o name); do
    kubectl --context "$context" patch "$node" --subresource=status --type=merge \
        -p '{"status": {"capacity": {"nvidia.com/gpu": "1"}}}'
done
helm --kube-context "$context" upgrade --install gpuenv helm/gpuenv -n gpuenv-system --create-namespace \
    --set image.repository=gpuenv.local/gpuenv,image.tag=dev,image.pullPolicy=Never --wait --timeout 3m
# The image may have changed although its tag is the same.
kubectl --context "$context" -n gpuenv-system rollout restart deployment/gpuenv-operator
kubectl --context "$context" -n gpuenv-system rollout status deployment/gpuenv-operator --timeout=2m
kubectl --context "$context" apply -f examples/pytorch-2.9.yaml
cat <<EOF

The nodes now pull the PyTorch image (some 4 GB) and probe it; without GPUs they will be Incompatible (DriverNotVisible):
  kubectl --context $context wait --for=condition=Ready genv/pytorch-2-9 --timeout=30m
  kubectl --context $context get genv,gnr -o wide
EOF
