//go:build tools

// Package tools names the S3 server of the tests; only go mod and ../../bring read it.
package tools

import (
	_ "github.com/versity/versitygw/cmd/versitygw"
)
