package fleet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"
)

// httpConn posts packs as a device does: one write, one answer. It parses no more of the answer than a device would, which is
// what makes it cheap enough to measure a server on the same processors.
type httpConn struct {
	link
	perRequest bool // a connection for each message, as of a device that wakes up
	out, in    []byte
	token      []byte
}

// post sends one body and returns the status of the answer and its body, which is valid until the next post. After an error
// the connection is closed; the next post opens another. A connection that the server closed while it was idle is no error: the
// same bytes go out once more on a new one.
func (c *httpConn) post(ctx context.Context, d Device, body []byte) (status int, answer []byte, err error) {
	used := c.conn != nil
	if err := c.open(ctx); err != nil {
		return 0, nil, err
	}
	c.out = c.request(c.out[:0], d, body)
	status, answer, last, err := c.exchange()
	if err != nil || last || c.perRequest {
		c.close()
	}
	if used && err != nil && len(c.in) == 0 && isClosed(err) && ctx.Err() == nil {
		return c.post(ctx, d, body)
	}
	return status, answer, err
}

// request appends the request of the seed document.
func (c *httpConn) request(dst []byte, d Device, body []byte) []byte {
	dst = append(dst, "POST "...)
	dst = append(dst, d.Path()...)
	dst = append(dst, " HTTP/1.1\r\nHost: m.m\r\nThings-Message-Token: "...)
	dst, c.token = d.appendToken(dst, body, c.token)
	dst = append(dst, "\r\nContent-Type: application/json\r\nContent-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	if c.perRequest {
		dst = append(dst, "\r\nConnection: close"...)
	}
	dst = append(dst, "\r\n\r\n"...)
	return append(dst, body...)
}

// exchange writes the request and reads one answer. Last says that the server closes after it.
func (c *httpConn) exchange() (status int, answer []byte, last bool, err error) {
	c.extend(time.Now())
	if _, err := c.conn.Write(c.out); err != nil {
		return 0, nil, false, fmt.Errorf("write request: %w", err)
	}
	c.in = c.in[:0]
	end := -1
	for end < 0 {
		if err := c.more(); err != nil {
			return 0, nil, false, err
		}
		end = bytes.Index(c.in, []byte("\r\n\r\n"))
	}
	status, length, last, err := parseHead(c.in[:end+2])
	if err != nil {
		return 0, nil, false, err
	}
	for len(c.in) < end+4+length {
		if err := c.more(); err != nil {
			return 0, nil, false, err
		}
	}
	return status, c.in[end+4 : end+4+length], last, nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// more reads what has come of the answer, once.
func (c *httpConn) more() error {
	if len(c.in) >= maxAnswer {
		return fmt.Errorf("over %d bytes: %w", maxAnswer, errProtocol)
	}
	if cap(c.in)-len(c.in) < 512 {
		c.in = append(make([]byte, 0, 2*cap(c.in)+1024), c.in...)
	}
	n, err := c.conn.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read answer: %w", err)
}

// parseHead reads the status line and the fields that say where the answer ends. An answer without Content-Length is refused:
// devices could not read it either.
func parseHead(head []byte) (status, length int, last bool, err error) {
	if len(head) < 14 || string(head[:7]) != "HTTP/1." || head[8] != ' ' {
		return 0, 0, false, fmt.Errorf("status line: %w", errProtocol)
	}
	if status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return 0, 0, false, fmt.Errorf("status: %w", errProtocol)
	}
	length = -1
	for rest := head; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxAnswer {
				return 0, 0, false, fmt.Errorf("content length: %w", errProtocol)
			}
		case len(name) == len("Connection") && bytes.EqualFold(name, []byte("Connection")):
			last = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return 0, 0, false, fmt.Errorf("no content length: %w", errProtocol)
	}
	return status, length, last, nil
}
