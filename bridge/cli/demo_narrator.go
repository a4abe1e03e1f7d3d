package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"m2mbridge/bridge/fleet"
)

// narrator writes the lines of the demo, whole ones, whoever speaks.
type narrator struct {
	mu     sync.Mutex
	w      io.Writer
	colour bool
	json   bool // each line is an object; what is only for people is left out
}

// told is a line of the story in JSON.
type told struct {
	At    time.Time       `json:"at"`
	Who   string          `json:"who"`
	Text  string          `json:"text,omitempty"`
	Topic string          `json:"topic,omitempty"`
	Pack  json.RawMessage `json:"pack,omitempty"`
}

// newNarrator colours on a terminal only, and not where NO_COLOR asks for none.
func newNarrator(env *Env, w io.Writer, inJSON bool) *narrator {
	return &narrator{w: w, json: inJSON, colour: isTerminal(env.Stdout) && env.Settings.environ["NO_COLOR"] == ""}
}

// ANSI colours.
const (
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// plain is for people only.
func (n *narrator) plain(format string, args ...any) {
	if !n.json {
		n.write(format, args...)
	}
}

func (n *narrator) write(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.w, format, args...)
}

// object is for programs only.
func (n *narrator) object(v any) {
	if line, err := json.Marshal(v); err == nil && n.json { // else it would not be JSON for them either
		n.write("%s\n", line)
	}
}

func (n *narrator) tinted(colour, who, text string) {
	n.object(told{At: time.Now(), Who: who, Text: text})
	who = fmt.Sprintf("%-7s", who)
	if n.colour {
		who = "\x1b[" + colour + "m" + who + "\x1b[0m"
	}
	n.plain("%s  %s %s\n", time.Now().Format("15:04:05"), who, printable(text))
}

func (n *narrator) line(who, format string, args ...any) {
	n.tinted(green, who, fmt.Sprintf(format, args...))
}

func (n *narrator) warn(who, format string, args ...any) {
	n.tinted(yellow, who, fmt.Sprintf(format, args...))
}

// uplink tells of one that has reached the app.
func (n *narrator) uplink(topic string, payload []byte) {
	if n.json {
		n.object(told{At: time.Now(), Who: "uplink", Topic: topic, Pack: payload})
		return
	}
	n.tinted(cyan, "uplink", strings.TrimPrefix(topic, "uplinks/")+"  "+packSummary(payload))
}

// sent tells what a fleet has sent, when it has ended.
func (n *narrator) sent(via fleet.Via, r fleet.Report) {
	text := fmt.Sprintf("%s: %d uplinks accepted, half of them within %s", strings.ToUpper(string(via)), r.Accepted, milliseconds(r.Latency.Quantile(0.5)))
	if failed := r.Failures(); failed > 0 {
		text += fmt.Sprintf("; %d failed: %v", failed, r.Failed)
	}
	n.line("fleet", "%s", text)
}
