//go:build !linux

package ingest

import (
	"context"
	"time"
)

// taken cannot look into the connection here: that it was written must do.
func taken(context.Context, time.Duration) error { return nil }
