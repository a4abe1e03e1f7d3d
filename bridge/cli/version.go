package cli

import (
	"fmt"
	"runtime"

	"m2mbridge/bridge"
)

func version() string {
	return fmt.Sprintf("m2mbridge %s %s %s/%s", bridge.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
