package broker

import (
	"runtime"
	"sync"
)

// flusher flushes connections that others than their reader wrote to: those
// who mark them (the commit of a batch, the live tail) pay no system call, and
// what comes for one connection meanwhile goes out together. Its goroutines
// live only while there is something to flush.
type flusher struct {
	mu      sync.Mutex
	marked  []*conn
	head    int // of marked, the next to flush
	workers int
}

// touch adds c to a list for mark, unless it already waits for a flush, or its reader will.
func touch(list []*conn, c *conn) []*conn {
	if !c.awake.Load() && c.marked.CompareAndSwap(false, true) {
		list = append(list, c)
	}
	return list
}

// mark has the connections flushed that touch added.
func (f *flusher) mark(list ...*conn) {
	if len(list) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.marked = append(f.marked, list...)
	if f.workers < min(runtime.GOMAXPROCS(0), 1+(len(f.marked)-f.head)/8) {
		f.workers++
		go f.work()
	}
}

// one marks one connection.
func (f *flusher) one(c *conn) {
	if !c.awake.Load() && c.marked.CompareAndSwap(false, true) {
		f.mark(c)
	}
}

func (f *flusher) work() {
	for c := f.take(); c != nil; c = f.take() {
		c.marked.Store(false)
		c.flush()
	}
}

func (f *flusher) take() *conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.head == len(f.marked) {
		f.marked, f.head = f.marked[:0], 0
		f.workers--
		return nil
	}
	c := f.marked[f.head]
	f.marked[f.head] = nil
	f.head++
	return c
}
