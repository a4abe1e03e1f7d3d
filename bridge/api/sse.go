package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"time"
)

// eventWriter writes server-sent events (WHATWG HTML §9.2).
type eventWriter struct {
	buf  *bufio.Writer
	conn *http.ResponseController
	head http.Header
	data bytes.Buffer
}

func newEventWriter(w http.ResponseWriter) *eventWriter {
	conn := http.NewResponseController(w)
	return &eventWriter{buf: bufio.NewWriterSize(&limited{w: w, conn: conn}, 16<<10), conn: conn, head: w.Header()}
}

// limited gives each write its own time, in place of one for the whole answer.
type limited struct {
	w     io.Writer
	conn  *http.ResponseController
	begun bool // the status is sent
}

func (l *limited) Write(b []byte) (int, error) {
	l.extend()
	return l.w.Write(b)
}

func (l *limited) extend() {
	l.begun = true
	// A server without deadlines, as in tests, has none to extend.
	_ = l.conn.SetWriteDeadline(time.Now().Add(liveWriteLimit))
}

// open sends the header at once, so that the client knows it is connected.
func (w *eventWriter) open() error {
	w.head.Set("Content-Type", "text/event-stream")
	w.head.Set("X-Accel-Buffering", "no")        // for nginx
	_ = w.conn.SetReadDeadline(time.Time{})      // else the request would end with it
	_, err := w.buf.WriteString("retry: 1000\n") // ms until a browser connects again
	if err != nil {
		return err
	}
	return w.comment("")
}

// send writes one message; its data is JSON, which has no line ends. An id of
// "" leaves the client's last one.
func (w *eventWriter) send(event, id string, v any) error {
	w.data.Reset()
	enc := json.NewEncoder(&w.data)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	w.buf.WriteString("event: " + event + "\n")
	w.id(id)
	w.buf.WriteString("data: ")
	w.buf.Write(w.data.Bytes()) // ends with a line feed
	_, err := w.buf.WriteString("\n")
	return err
}

func (w *eventWriter) id(id string) {
	if id != "" {
		w.buf.WriteString("id: " + id + "\n")
	}
}

// comment is a heartbeat. With an id it moves the client's position past what
// it was not shown.
func (w *eventWriter) comment(id string) error {
	w.buf.WriteString(": m2mbridge\n")
	w.id(id)
	w.buf.WriteString("\n")
	return w.flush()
}

func (w *eventWriter) flush() error {
	if err := w.buf.Flush(); err != nil {
		return err
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(liveWriteLimit))
	return w.conn.Flush()
}
