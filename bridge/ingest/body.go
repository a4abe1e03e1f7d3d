package ingest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// errTooLarge: the body is over the limit.
var errTooLarge = errors.New("body too large")

// readBody reads the whole body into buf, growing it as needed, and returns
// it. With a Content-Length above the limit nothing is read, so that a device
// that expects 100-continue need not send it. A body that ends early is an
// error even where its bytes would be a whole pack.
func readBody(r *http.Request, buf *[]byte, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge
	}
	if r.ContentLength >= 0 {
		return readExactly(r.Body, buf, int(r.ContentLength))
	}
	b := (*buf)[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		*buf = b
		switch {
		case int64(len(b)) > limit:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			return b, nil
		case err != nil:
			return nil, fmt.Errorf("read chunked body: %w", err)
		}
	}
}

func readExactly(r io.Reader, buf *[]byte, n int) ([]byte, error) {
	if cap(*buf) < n {
		*buf = make([]byte, n)
	}
	b := (*buf)[:n]
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read body of %d bytes: %w", n, err)
	}
	return b, nil
}

// bufferPool recycles bodies' memory.
type bufferPool struct{ pool sync.Pool }

const bufferSize = 1 << 10 // bytes of a new buffer: most packs are smaller

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, bufferSize)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }
