package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// sseMessage is one server-sent event (WHATWG HTML §9.2). A heartbeat has no
// data; it may have an id.
type sseMessage struct{ id, event, data string }

// maxEvent bounds a line: a pack of the largest body, in base64 beside itself.
const maxEvent = 4 << 20

var errEnded = errors.New("the bridge ended the stream")

// readEvents calls f with each message until the stream ends, which is an
// error, or f returns one.
func readEvents(r io.Reader, f func(sseMessage) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	var m sseMessage
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			if err := f(m); err != nil {
				return err
			}
			m = sseMessage{}
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data += value // the bridge writes one line of data
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	return errEnded
}
