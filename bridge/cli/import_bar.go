package cli

import (
	"fmt"
	"io"
	"sync/atomic"
)

// importBar is a line on a terminal that says how far an import is.
type importBar struct {
	w     io.Writer // nil: there is no terminal
	verb  string
	size  int64
	sent  atomic.Int64
	shown bool
}

func newImportBar(w io.Writer, size int64, checking bool) *importBar {
	b := &importBar{size: size, verb: "importing"}
	if checking {
		b.verb = "checking"
	}
	if isTerminal(w) {
		b.w = w
	}
	return b
}

// reading counts what is read of the file.
func (b *importBar) reading(r io.Reader) io.Reader { return &countingReader{r, &b.sent} }

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

const barWidth = 30

func (b *importBar) show(rows int) {
	if b.w == nil || rows == 0 {
		return
	}
	b.shown = true
	if b.size == 0 {
		fmt.Fprintf(b.w, "\r%s: %d rows", b.verb, rows)
		return
	}
	part := float64(b.sent.Load()) / float64(b.size)
	full := int(part * barWidth)
	fmt.Fprintf(b.w, "\r%s [%-*.*s] %3.0f %%, %d rows", b.verb, barWidth, full, "##############################", part*100, rows)
}

// clear takes the line away, so that others can be written.
func (b *importBar) clear() {
	if b.shown {
		fmt.Fprintf(b.w, "\r\x1b[K")
		b.shown = false
	}
}
