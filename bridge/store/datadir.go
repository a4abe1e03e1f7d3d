package store

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// directory is where the child keeps its data: a subdirectory of the user's,
// so that it can be private whatever the user's is.
type directory struct {
	root string // --data
	path string // root/redis, mode 0700
	lock *os.File
}

// dataDir names the directory; nothing is made yet.
func dataDir(root string) (*directory, error) {
	if root == "" {
		var err error
		if root, err = DefaultData(); err != nil {
			return nil, err
		}
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	return &directory{root: root, path: filepath.Join(root, "redis")}, nil
}

// DefaultData is the user's data directory for us, by the XDG base directory
// specification.
func DefaultData() (string, error) {
	if xdg := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(xdg) {
		return filepath.Join(xdg, "m2mbridge"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no --data, and no home to put it in: %w", err)
	}
	return filepath.Join(home, ".local", "share", "m2mbridge"), nil
}

// holdsData tells whether a redis-server has kept anything here.
func (d *directory) holdsData() bool {
	_, err := os.Stat(filepath.Join(d.path, "appendonlydir"))
	return err == nil
}

// take makes the directory and locks it until release. Two servers on one
// append-only file would destroy it.
func (d *directory) take() error {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	if err := os.Chmod(d.path, 0o700); err != nil {
		return fmt.Errorf("make data directory private: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(d.path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("lock data directory: %w", err)
	}
	// The lock goes with the file description, however we end. Go opens files
	// close-on-exec, so the child does not hold it.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := lockHolder(f)
		return errors.Join(fmt.Errorf("data directory %s is in use by another m2mbridge%s", d.root, holder), f.Close())
	}
	d.lock = f
	_ = f.Truncate(0) // the number is only for the message above
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	return nil
}

func lockHolder(f *os.File) string {
	var text [20]byte
	n, _ := f.ReadAt(text[:], 0)
	if pid := strings.TrimSpace(string(text[:n])); pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

func (d *directory) release() error { return d.lock.Close() }

// socketLimit is what fits in sockaddr_un, with its ending NUL (unix(7)).
const socketLimit = 107

// socket names the child's socket: in the data directory, or where that is too
// deep in a short private one. cleanup removes the latter.
func (d *directory) socket() (path string, cleanup func() error, err error) {
	path = filepath.Join(d.path, socketFile)
	note := filepath.Join(d.path, placeFile)
	if len(path) <= socketLimit {
		_ = os.Remove(note) // of an earlier run, on a system with other limits
		return path, func() error { return nil }, nil
	}
	short, err := os.MkdirTemp("", "m2mbridge-") // mode 0700
	if err == nil && len(short)+len("/redis.sock") > socketLimit {
		err = errors.Join(os.Remove(short), fmt.Errorf("%s is too long for a socket", short))
	}
	if err != nil {
		return "", nil, fmt.Errorf("find a place for the socket: %w", err)
	}
	path = filepath.Join(short, socketFile)
	if err := os.WriteFile(note, []byte(path), 0o600); err != nil {
		return "", nil, errors.Join(fmt.Errorf("note the place of the socket: %w", err), os.Remove(short))
	}
	return path, func() error { return errors.Join(os.Remove(note), os.RemoveAll(short)) }, nil
}

const (
	socketFile = "redis.sock"
	placeFile  = "redis.sock.at" // says where the socket is, if not beside it
)

// RunningURL is where the redis-server of our own can be reached that a running
// program keeps its data in root with (empty: [DefaultData]); an error if none is
// found. One in a program's memory cannot be reached.
func RunningURL(root string) (string, error) {
	d, err := dataDir(root)
	if err != nil {
		return "", err
	}
	path := filepath.Join(d.path, socketFile)
	if place, err := os.ReadFile(filepath.Join(d.path, placeFile)); err == nil {
		path = string(place)
	}
	if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		return "", fmt.Errorf("no m2mbridge keeps its data in %s now", d.root)
	}
	return "unix://" + (&url.URL{Path: path}).EscapedPath(), nil
}
