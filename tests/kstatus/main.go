// Command kstatus prints what Flux, Helm and kpt think of Kubernetes objects.
//
// It reads a JSON list of objects from stdin, and writes a JSON list with one result for each object to stdout.
// The results are computed by kstatus, the library that these tools use.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

// A result is the answer of kstatus for one object. Status is "Current", "InProgress", "Failed" or "Terminating".
type result struct {
	Status  status.Status `json:"status"`
	Message string        `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kstatus:", err)
		os.Exit(1)
	}
}

func run() error {
	// Decoding into Unstructured keeps integers as int64. kstatus finds no observedGeneration in a float64.
	var objects []unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return err
	}
	results := []result{}
	for i := range objects {
		computed, err := status.Compute(&objects[i])
		if err != nil {
			return fmt.Errorf("object %d: %w", i, err)
		}
		results = append(results, result{computed.Status, computed.Message})
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}
