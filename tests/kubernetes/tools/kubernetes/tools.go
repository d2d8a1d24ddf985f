//go:build tools

// Package tools names the commands of a cluster; only go mod and ../../bring read it.
package tools

import (
	_ "groundplan/tests/kubernetes/pause"

	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
)
