package cli

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// openTerminal gives both ends of a pseudo-terminal of 50 columns.
func openTerminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 50, Row: 20})
	}
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return screen, program
}

// A real terminal says how wide it is; a file and a pipe are none.
func TestTableOnTerminal(t *testing.T) {
	screen, program := openTerminal(t)
	if !isTerminal(program) || terminalWidth(program) != 50 {
		t.Fatalf("terminal %v of %d", isTerminal(program), terminalWidth(program))
	}
	table := newTable(program, "", "ID", "NAME")
	if err := table.row("IMEI:356726104408422", strings.Repeat("n", 100)); err != nil {
		t.Fatal(err)
	}
	if err := table.end(); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReader(screen); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "IMEI") {
			if utf8.RuneCountInString(line) != 50 || !strings.HasSuffix(line, "n…") {
				t.Errorf("%q", line)
			}
			break
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if isTerminal(w) || terminalWidth(w) != 0 {
		t.Error("a pipe is taken for a terminal")
	}
}
