package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxLine is the longest line of an import; a row needs a tenth of it.
const maxLine = 64 << 10

var (
	errLineTooLong = fmt.Errorf("longer than %d bytes", maxLine)
	errOnlyCR      = errors.New("its lines end in CR alone, as on an old Mac: save the file with line ends LF or CRLF")
	errNotUTF8     = errors.New("not UTF-8: save the file as UTF-8")
)

// lineReader gives a file line by line, in memory of one line.
type lineReader struct {
	buf  *bufio.Reader
	line int // of what next gave, from 1
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{buf: bufio.NewReaderSize(r, maxLine)}
}

// next gives the next line that is not blank, without its end, until next is
// called again. fault is what is wrong with that line alone.
func (l *lineReader) next() (text []byte, fault, err error) {
	for {
		l.line++
		text, err = l.buf.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			fault = errLineTooLong
			if bytes.IndexByte(text, '\r') >= 0 {
				fault = errOnlyCR
			}
			return nil, fault, l.skip()
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(text) == 0) {
			return nil, nil, err
		}
		if l.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff")) // what Windows programs put before UTF-8
		}
		text = bytes.TrimRight(text, "\r\n")
		switch {
		case len(bytes.TrimSpace(text)) == 0:
		case !utf8.Valid(text):
			return nil, errNotUTF8, nil
		default:
			return text, nil, nil
		}
	}
}

// skip reads up to the end of the line, or of the file.
func (l *lineReader) skip() error {
	for {
		_, err := l.buf.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil // it is told at the next call
		default:
			return err
		}
	}
}
