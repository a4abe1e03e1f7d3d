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
	log     *slog.Logger
	pipe    *os.File    // the writing end, for the child
	startup atomic.Bool // it is starting or ending: nothing it says is a warning

	reader *os.File
	done   sync.WaitGroup
	last   []string // the last lines, for the reader until done
}

func newOutput(log *slog.Logger) (*output, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("open pipe for redis-server: %w", err)
	}
	o := &output{log: log, pipe: w, reader: r}
	o.startup.Store(true)
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
			if m[1] == "#" && !o.startup.Load() {
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
