package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// outlet is an output that tells when nobody reads it any more.
type outlet struct {
	io.Writer
	gone func()
}

func (o *outlet) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		o.gone()
	}
	return n, err
}

// whileRead is for commands that print until they are interrupted: ctx also ends
// when what they print on w has lost its reader, as with `| head`. The program
// ignores SIGPIPE, which would end it without cleaning up.
func (e *Env) whileRead() (ctx context.Context, w io.Writer, stop context.CancelFunc) {
	ctx, stop = context.WithCancel(e.Ctx)
	return ctx, &outlet{e.Stdout, stop}, stop
}

// unread tells an output that was closed from a connection that was: the former
// is a file.
func unread(err error) bool {
	var file *fs.PathError
	return errors.As(err, &file) && errors.Is(file, syscall.EPIPE)
}
