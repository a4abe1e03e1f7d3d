package cli

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// DeviceExport is `m2mbridge device export`.
type DeviceExport struct {
	apiFlags
	searchFlags
	File   string `arg:"" optional:"" help:"File to write; without one, standard output."`
	Format string `enum:"csv,ndjson" placeholder:"csv|ndjson" help:"Form of the file; without it, what the file's name says, else ndjson."`
}

// Help is the longer text of --help.
func (DeviceExport) Help() string {
	return `Importing the file again changes nothing. It holds no secrets. Example:

  m2mbridge device export --label site=depot depot.csv`
}

// Run writes the devices.
func (c *DeviceExport) Run(env *Env) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	query, err := c.query()
	if err != nil {
		return err
	}
	query.Set("format", c.format())
	resp, err := client.open(env.Ctx, request{method: http.MethodGet, path: "/v1/devices/export", query: query})
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if c.File == "" || c.File == "-" {
		return copyExport(env.Stdout, resp.Body)
	}
	return writeWhole(c.File, func(w io.Writer) error { return copyExport(w, resp.Body) })
}

func (c *DeviceExport) format() string {
	if c.Format != "" {
		return c.Format
	}
	if format := formatOfName(c.File); format != "" && !c.JSON {
		return format
	}
	return formatNDJSON
}

func copyExport(w io.Writer, r io.Reader) error {
	if _, err := io.Copy(w, r); err != nil {
		return fmt.Errorf("the export was cut short: %w", err)
	}
	return nil
}

// writeWhole writes a file that only takes its name when it is whole.
func writeWhole(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // it is of no use
	}
	return err
}

// The forms of files of devices.
const (
	formatCSV    = "csv"
	formatNDJSON = "ndjson"
)

// formatOfName tells the form from a file's name; empty: it does not say.
func formatOfName(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv":
		return formatCSV
	case ".ndjson", ".jsonl", ".json":
		return formatNDJSON
	}
	return ""
}
