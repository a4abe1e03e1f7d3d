package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"m2mbridge/bridge/trace"
)

// last prints what is remembered of a device, once.
func (c *Tail) last(ctx context.Context, t *tailing) error {
	if c.Device == "" || c.After != "" || len(c.Kind) > 0 {
		return Usagef("--last prints the steps of one device: give --device, and neither --kind nor --after")
	}
	body, err := t.client.call(ctx, request{method: http.MethodGet, path: "/v1/trace", query: url.Values{"device": {c.Device}}})
	if err != nil {
		return err
	}
	var page struct{ Items []json.RawMessage }
	if err := json.Unmarshal(body, &page); err != nil {
		return fmt.Errorf("read steps: %w", err)
	}
	for _, item := range page.Items {
		if err := t.showStep(string(item)); err != nil {
			return err
		}
	}
	if len(page.Items) == 0 {
		fmt.Fprintln(t.notes, "nothing is remembered of "+c.Device)
	}
	return nil
}

// shownSteps are the numbers of the last steps shown, by node.
type shownSteps map[string]uint64

// note takes a step down.
func (s shownSteps) note(step *trace.Step) { s[step.Node] = max(s[step.Node], step.N) }

// showStep prints a step, unless that was done on an earlier connection: each
// begins with the last ones.
func (t *tailing) showStep(data string) error {
	var s trace.Step
	if err := json.Unmarshal([]byte(data), &s); err != nil {
		return fmt.Errorf("read step: %w", err)
	}
	if s.N <= t.before[s.Node] {
		return nil
	}
	t.shown.note(&s)
	if t.json {
		_, err := fmt.Fprintf(t.out, "{\"type\":\"step\",%s\n", strings.TrimPrefix(data, "{"))
		return err
	}
	_, err := fmt.Fprintf(t.out, "%s  %-7s %-20s  %-10s  %s\n", s.At.Local().Format("15:04:05.000"), "step", printable(string(s.Device)), s.Kind, printable(s.String()))
	return err
}
