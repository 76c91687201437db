"""What Prometheus and the kubelet read of the operator: metrics, health, and the HTTP server for both."""
