package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// output takes what the child says, over all its lives, to our log.
type output struct {
	log    *slog.Logger
	pipe   *os.File    // the writing end, for the child
	ending atomic.Bool // it has been asked to end: nothing it says is a warning any more

	reader *os.File
	done   sync.WaitGroup

	// For the reader until done.
	serving bool     // between what it says of its start and of the next: else nothing is a warning either
	last    []string // the last lines
}

func newOutput(log *slog.Logger) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open pipe for redis-server: %w", err)
	}
	o := &output{log: log, pipe: w, reader: r}
	o.done.Go(o.read)
	return o, nil
}

// redisLine is "pid:role day month year hour level text"; level # is a warning.
var redisLine = regexp.MustCompile(`^\d+:[A-Z] \d+ \w+ \d+ [\d:.]+ ([.\-*#]) (.*)$`)

func (o *output) read() {
	for lines := bufio.NewScanner(o.reader); lines.Scan(); {
		level, text := slog.LevelDebug, strings.TrimSpace(lines.Text())
		if m := redisLine.FindStringSubmatch(text); m != nil {
			text = m[2]
			if o.follow(text); m[1] == "#" && o.serving && !o.ending.Load() {
				level = slog.LevelWarn
			}
		}
		if text == "" {
			continue
		}
		o.log.Log(context.Background(), level, "redis-server says", "text", text)
		if o.last = append(o.last, text); len(o.last) > 5 {
			o.last = o.last[1:]
		}
	}
}

// follow notes where a life begins and where its start ends. The lines themselves say it: that the child answers may be
// known before what it said at its start has been read.
func (o *output) follow(text string) {
	switch {
	case strings.HasPrefix(text, "oO0OoO0OoO0Oo"): // "Redis is starting", or Valkey
		o.serving = false
	case strings.Contains(strings.ToLower(text), "ready to accept connections"):
		o.serving = true
	}
}

// close returns when everything was read. A grandchild (a rewrite of the
// append-only file) may hold the pipe open: it is not waited for.
func (o *output) close() error {
	err := o.pipe.Close()
	_ = o.reader.SetReadDeadline(time.Now().Add(time.Second))
	o.done.Wait()
	return errors.Join(err, o.reader.Close())
}

// lastWords is what the child said last, after close.
func (o *output) lastWords() error {
	if len(o.last) == 0 {
		return nil
	}
	return errors.New("redis-server said: " + strings.Join(o.last, " | "))
}
