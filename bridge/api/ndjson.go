package api

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"
)

// ndjsonWriter writes JSON, one value a line, to a client that reads as it comes.
type ndjsonWriter struct {
	buf     *bufio.Writer
	out     *limited
	enc     *json.Encoder
	conn    *http.ResponseController
	flushed time.Time
}

func newNDJSONWriter(w http.ResponseWriter) *ndjsonWriter {
	conn := http.NewResponseController(w)
	out := &limited{w: w, conn: conn}
	buf := bufio.NewWriterSize(out, 16<<10)
	n := &ndjsonWriter{buf: buf, out: out, enc: json.NewEncoder(buf), conn: conn, flushed: time.Now()}
	n.enc.SetEscapeHTML(false)
	return n
}

func (n *ndjsonWriter) write(v any) error { return n.enc.Encode(v) }

// begun reports whether the client has been sent anything, and so a status.
func (n *ndjsonWriter) begun() bool { return n.out.begun }

// due reports whether the client has heard nothing for a second.
func (n *ndjsonWriter) due() bool { return time.Since(n.flushed) >= time.Second }

func (n *ndjsonWriter) flush() error {
	n.flushed = time.Now()
	n.out.extend()
	if err := n.buf.Flush(); err != nil {
		return err
	}
	return n.conn.Flush()
}
