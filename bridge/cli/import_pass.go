package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
)

// importPass sends a file once and tells what the bridge says of it.
type importPass struct {
	command *DeviceImport
	env     *Env
	file    *importFile
	name    string // of the file, in messages
	dry     bool
	quiet   bool        // only faults are told
	secrets *secretFile // nil: none are kept
	total   importTotal
	bar     *importBar
}

// importLine is a line of the bridge's answer.
type importLine struct {
	importTotal
	Line    int            `json:"line"`
	ID      string         `json:"id"`
	Error   string         `json:"error"`
	Action  string         `json:"action"`
	Secret  string         `json:"secret"`
	Changes []importChange `json:"changes"`
}

type importTotal struct {
	Done      bool `json:"done"`
	Rows      int  `json:"rows"`
	Created   int  `json:"created"`
	Changed   int  `json:"changed"`
	Unchanged int  `json:"unchanged"`
	Faults    int  `json:"faults"`
}

type importChange struct {
	Field string          `json:"field"`
	From  json.RawMessage `json:"from"`
	To    json.RawMessage `json:"to"`
}

func (p *importPass) run() error {
	client, err := p.command.client()
	if err != nil {
		return err
	}
	body, err := p.file.body()
	if err != nil {
		return err
	}
	p.bar = newImportBar(p.env.Stderr, p.file.size, p.dry && !p.command.DryRun)
	defer p.bar.clear()
	// A client that is done with the answer must not wait for the file's rest.
	resp, err := client.open(p.env.Ctx, request{
		method: http.MethodPost, path: "/v1/devices/import", query: p.query(),
		header: http.Header{"Content-Type": {"application/octet-stream"}}, stream: io.NopCloser(p.bar.reading(body)),
	})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	return p.follow(resp.Body)
}

func (p *importPass) query() url.Values {
	c := p.command
	return url.Values{
		"format": {c.Format}, "dryRun": {strconv.FormatBool(p.dry)}, "skipFaults": {strconv.FormatBool(c.SkipFaults)},
		"generateSecrets": {strconv.FormatBool(c.GenerateSecrets != "")}, "window": {c.Window.String()},
	}
}

// follow reads the answer to its last line, without which the import was cut short.
func (p *importPass) follow(answer io.Reader) error {
	lines := bufio.NewScanner(answer)
	lines.Buffer(make([]byte, 0, 64<<10), maxEvent)
	for lines.Scan() {
		var l importLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		if l.Error != "" && l.Line == 0 {
			return cutShort(errors.New(l.Error))
		}
		if err := p.tell(&l, lines.Bytes()); err != nil {
			return err
		}
		if l.Done {
			p.total = l.importTotal
			return nil
		}
	}
	err := lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return cutShort(err)
}

func cutShort(err error) error {
	return fmt.Errorf("the import was cut short; what was imported stays, and importing the same again does the rest: %w", err)
}

// tell says what a line has to say.
func (p *importPass) tell(l *importLine, text []byte) error {
	switch {
	case l.Secret != "":
		return p.secrets.add(l.ID, l.Secret) // nowhere else
	case l.Error == "" && (p.quiet || l.Line == 0 && !l.Done):
		p.bar.show(l.Rows)
		return nil
	}
	p.bar.clear()
	if p.command.JSON {
		_, err := fmt.Fprintf(p.env.Stdout, "%s\n", text)
		return err
	}
	switch {
	case l.Error != "" && l.ID != "":
		fmt.Fprintf(p.env.Stderr, "%s:%d: %s: %s\n", p.name, l.Line, l.ID, printable(l.Error))
	case l.Error != "":
		fmt.Fprintf(p.env.Stderr, "%s:%d: %s\n", p.name, l.Line, printable(l.Error))
	case l.Action != "":
		return showDifference(p.env.Stdout, l)
	}
	return nil
}

// showDifference prints what a dry run found.
func showDifference(w io.Writer, l *importLine) error {
	sign := "~"
	if l.Action == "create" {
		sign = "+"
	}
	if _, err := fmt.Fprintf(w, "%s %s\n", sign, l.ID); err != nil {
		return err
	}
	for _, c := range l.Changes {
		text := fmt.Sprintf("    %s: %s", c.Field, c.To)
		switch {
		case c.To == nil && c.From != nil:
			text = fmt.Sprintf("    %s: %s → none", c.Field, c.From)
		case c.From != nil:
			text = fmt.Sprintf("    %s: %s → %s", c.Field, c.From, c.To)
		}
		if _, err := fmt.Fprintln(w, printable(text)); err != nil {
			return err
		}
	}
	return nil
}

// sum is the last that is said.
func (p *importPass) sum() error {
	if p.command.JSON {
		return nil // its line was printed
	}
	t, would := &p.total, ""
	if p.dry {
		would = " would be"
	}
	_, err := fmt.Fprintf(p.env.Stdout, "%d rows:%s %d created, %d changed, %d unchanged\n", t.Rows, would, t.Created, t.Changed, t.Unchanged)
	return err
}
