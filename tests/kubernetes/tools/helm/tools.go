//go:build tools

// Package tools names the command that lints and renders the chart; only go mod and ../../bring read it.
package tools

import (
	_ "helm.sh/helm/v4/cmd/helm"
)
