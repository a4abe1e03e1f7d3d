package fanout

import (
	"sync"

	"m2mbridge/bridge/stream"
	"m2mbridge/broker"
)

// log is one stream as this node has seen it: its end, and its recent entries
// in a ring, as long as somebody wants them. Only the partition's tail moves it.
type log struct {
	stream    broker.Stream
	top       string // first level of its messages' topics
	kind      stream.Kind
	partition int
	maxItems  int
	maxBytes  int

	mu    sync.Mutex
	live  bool            // the end is known
	end   stream.Position // behind the newest entry
	start stream.ID       // all behind it, up to the end, is in the ring
	ring  []*item         // grows as it is used, up to maxItems
	first int             // place of the oldest
	n     int             // how many there are
	bytes int             // their sizes
}

const ringBegin = 16 // places of a ring that is used at all

func newLog(s broker.Stream, top string, partition, maxItems, maxBytes int) *log {
	return &log{stream: s, top: top, kind: kindOf(top), partition: partition, maxItems: maxItems, maxBytes: maxBytes}
}

// position is behind the newest entry.
func (l *log) position() stream.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.end
}

// restart empties the ring and moves the end.
func (l *log) restart(end stream.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live, l.end = true, end
	l.empty(end.ID)
}

func (l *log) empty(start stream.ID) {
	l.start, l.ring, l.first, l.n, l.bytes = start, nil, 0, 0, 0
}

// put adds what follows the end, or after a hole what follows its far side.
func (l *log) put(items []item, end stream.Position, hole *stream.Gap) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hole != nil {
		l.empty(hole.To)
	}
	l.end = end
	for i := range items {
		l.push(&items[i])
	}
	for l.bytes > l.maxBytes && l.n > 0 {
		l.drop()
	}
	if l.n == 0 {
		l.start = end.ID
	}
}

func (l *log) push(it *item) {
	if l.n == len(l.ring) {
		l.grow()
	}
	if l.n == len(l.ring) {
		l.drop()
	}
	l.ring[(l.first+l.n)%len(l.ring)] = it
	l.n++
	l.bytes += it.size
}

func (l *log) grow() {
	places := min(max(2*len(l.ring), ringBegin), l.maxItems)
	if places == len(l.ring) {
		return
	}
	ring := make([]*item, places)
	for i := range l.n {
		ring[i] = l.at(i)
	}
	l.ring, l.first = ring, 0
}

// drop lets the oldest go.
func (l *log) drop() {
	it := l.ring[l.first]
	l.ring[l.first] = nil
	l.first = (l.first + 1) % len(l.ring)
	l.n--
	l.bytes -= it.size
	l.start = it.id()
}

func (l *log) at(i int) *item { return l.ring[(l.first+i)%len(l.ring)] }

// covers tells whether everything behind a position is in the ring.
func (l *log) covers(after stream.ID) bool { return l.live && !after.Less(l.start) }

// search is the place of the first entry behind a position.
func (l *log) search(after stream.ID) int {
	low, high := 0, l.n
	for low < high {
		if mid := (low + high) / 2; after.Less(l.at(mid).id()) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// messages appends to buf, up to its capacity, the messages behind a position.
func (l *log) messages(after stream.ID, buf []*broker.Message) (list []*broker.Message, end stream.Position, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.covers(after) {
		return buf, l.end, false
	}
	for i := l.search(after); i < l.n && len(buf) < cap(buf); i++ {
		if it := l.at(i); !it.silent {
			buf = append(buf, &it.Message)
		}
	}
	return buf, l.end, true
}

// entries is messages, of all entries and as they are stored.
func (l *log) entries(after stream.ID, buf []stream.Entry) (list []stream.Entry, end stream.Position, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.covers(after) {
		return buf, l.end, false
	}
	for i := l.search(after); i < l.n && len(buf) < cap(buf); i++ {
		buf = append(buf, l.at(i).entry(l))
	}
	return buf, l.end, true
}
