package store

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
)

// startEmbedded starts a redis-server of our own when there is one on PATH,
// else an in-memory stand-in.
func startEmbedded(ctx context.Context, c Config) (kind string, b backend, err error) {
	program, missing := findServer(ctx)
	if missing == nil {
		b, err := startChild(ctx, program, c)
		return KindChild, b, err
	}
	if dir, err := dataDir(c.Data); err == nil && dir.holdsData() {
		return "", nil, fmt.Errorf("%s holds what an earlier run stored, but %w; install redis-server, or give another --data", dir.root, missing)
	}
	c.Log.Warn("NOTHING IS KEPT: everything is in this process's memory and lost when it ends; install redis-server 7 or give --redis a URL", "reason", missing)
	b, err = startMemory()
	return KindMiniredis, b, err
}

var versionText = regexp.MustCompile(`server v=((\d+)\.\d+\.\d+)`)

// findServer looks on PATH for a Redis, or its fork Valkey, that is new enough.
// The error says why there is none.
func findServer(ctx context.Context) (program string, missing error) {
	missing = errors.New("there is no redis-server on PATH")
	for _, name := range []string{"redis-server", "valkey-server"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		text, err := exec.CommandContext(ctx, path, "--version").Output()
		if err != nil {
			missing = fmt.Errorf("%s does not run: %w", path, err)
			continue
		}
		m := versionText.FindSubmatch(text)
		if m == nil {
			missing = fmt.Errorf("%s does not say its version", path)
			continue
		}
		if major, _ := strconv.Atoi(string(m[2])); major < oldestMajor {
			missing = fmt.Errorf("%s is version %s, older than 7.0", path, m[1])
			continue
		}
		return path, nil
	}
	return "", missing
}
