package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// DeviceImport is `m2mbridge device import`.
type DeviceImport struct {
	apiFlags
	File            string        `arg:"" help:"File to read; - is standard input."`
	Format          string        `enum:"csv,ndjson" placeholder:"csv|ndjson" help:"Form of the file; without it, what the file's name says, else how it begins."`
	DryRun          bool          `help:"Change nothing, but show what would change."`
	GenerateSecrets string        `placeholder:"FILE" help:"Make a secret for each device that needs one and has none, and write them to this new file as CSV, for your eyes only."`
	SkipFaults      bool          `help:"Import the other rows when some are at fault; else nothing is."`
	Window          time.Duration `default:"168h" help:"How long the secret that a device has stays valid beside a new one of the file."`
}

// Help is the longer text of --help.
func (DeviceImport) Help() string {
	return `A row creates its device, or changes what it names of it; the same file again changes
nothing. CSV has a header with columns out of

  id, secret, name, iccid, msisdn, ratePlan, sms, requireToken, unsigned, disabled, labels

where labels are written a=b;c=d. An empty cell clears, but for that of secret. NDJSON has
an object a line with the same names; null clears. Faults are told as FILE:LINE, and make
the exit code 1. Examples:

  m2mbridge device import fleet.csv --dry-run
  m2mbridge device import fleet.csv --generate-secrets secrets.csv`
}

// errFaults ends an import with faults, which are on standard error already.
var errFaults = errors.New("rows at fault")

// Run imports the file.
func (c *DeviceImport) Run(env *Env) error {
	file, name, err := c.open(env)
	if err != nil {
		return err
	}
	defer file.close()
	if c.Format == "" {
		if c.Format, err = file.format(); err != nil {
			return err
		}
	}
	if !c.DryRun && !c.SkipFaults {
		check := &importPass{command: c, env: env, file: file, name: name, dry: true, quiet: true}
		if err := check.run(); err != nil {
			return err
		}
		if n := check.total.Faults; n > 0 {
			return fmt.Errorf("nothing was imported: %d %w (--skip-faults imports the others)", n, errFaults)
		}
	}
	pass := &importPass{command: c, env: env, file: file, name: name, dry: c.DryRun}
	if c.GenerateSecrets != "" && !c.DryRun {
		if pass.secrets, err = createSecrets(c.GenerateSecrets); err != nil {
			return err
		}
	}
	if err := errors.Join(pass.run(), pass.secrets.close()); err != nil {
		return err
	}
	if err := pass.sum(); err != nil || pass.total.Faults == 0 {
		return err
	}
	return fmt.Errorf("%d %w", pass.total.Faults, errFaults)
}

// open gives the file, and what its lines are called in messages. What is read
// twice must be a file.
func (c *DeviceImport) open(env *Env) (f *importFile, name string, err error) {
	if c.File != "-" {
		if c.Format == "" {
			c.Format = formatOfName(c.File)
		}
		f, err = openImport(c.File)
		return f, c.File, err
	}
	f = &importFile{start: bufio.NewReader(env.Stdin)}
	if !c.DryRun && !c.SkipFaults {
		f, err = spool(f.start)
	}
	return f, "stdin", err
}

// importFile is what is imported: a file, or standard input, which can be read once.
type importFile struct {
	f         *os.File // nil: start alone
	start     *bufio.Reader
	size      int64 // 0: not known
	temporary bool
}

func openImport(name string) (*importFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open file: %w", err)
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, Usagef("%s is no file to read twice; - reads standard input", name)
	}
	return &importFile{f: f, size: info.Size()}, nil
}

// spool keeps standard input in a file that has no name for others.
func spool(r io.Reader) (*importFile, error) {
	f, err := os.CreateTemp("", "m2mbridge-import-*") // of mode 0600: it may hold secrets
	if err != nil {
		return nil, fmt.Errorf("keep standard input: %w", err)
	}
	file := &importFile{f: f, temporary: true}
	if file.size, err = io.Copy(f, r); err != nil {
		file.close()
		return nil, fmt.Errorf("keep standard input: %w", err)
	}
	return file, nil
}

// body is the whole file from its start.
func (f *importFile) body() (io.Reader, error) {
	if f.f == nil {
		return f.start, nil
	}
	if _, err := f.f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return f.f, nil
}

// format tells the form by how the file begins.
func (f *importFile) format() (string, error) {
	if f.f != nil {
		if _, err := f.body(); err != nil {
			return "", err
		}
		f.start = bufio.NewReader(f.f)
	}
	start, err := f.start.Peek(64)
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read file: %w", err)
	}
	start = bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), " \t\r\n")
	if len(start) > 0 && start[0] == '{' {
		return formatNDJSON, nil
	}
	return formatCSV, nil
}

func (f *importFile) close() {
	if f.f == nil {
		return
	}
	_ = f.f.Close() // it was read only
	if f.temporary {
		_ = os.Remove(f.f.Name())
	}
}
