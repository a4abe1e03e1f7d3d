package store_test

import (
	"strings"
	"testing"

	"m2mbridge/bridge/store"
)

// What the child complains of at each of its starts is no warning, what it complains of in between is: whenever it is read.
func TestOutputLevels(t *testing.T) {
	start := `1475:C 23 Nov 2026 06:33:36.217 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo
1475:M 23 Nov 2026 06:33:36.218 # WARNING Memory overcommit must be enabled!
1475:M 23 Nov 2026 06:33:36.220 * The server is now ready to accept connections at /tmp/redis.sock
`
	book := &logBook{}
	err := store.LogOutput(book.logger(), start+"1475:M 23 Nov 2026 06:33:37.000 # Error writing to the AOF file\n"+
		start+"1475:M 23 Nov 2026 06:33:38.000 # Asynchronous AOF fsync is taking too long\n")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int{"overcommit": 0, "Error writing": 1, "taking too long": 1, "level=WARN": 2, "level=": 2} {
		if n := strings.Count(book.String(), text); n != want {
			t.Errorf("%q is there %d times, not %d: %s", text, n, want, book)
		}
	}
}
