package broker

import (
	"cmp"
	"slices"
)

// window is the messages of QoS 1 that a subscriber has not acknowledged, with
// packet ids that are the server's own: a client's ids for its publishes and
// subscriptions are another space (MQTT 5 §2.2.1). Guarded by session.mu.
type window struct {
	limit int
	open  int
	last  uint16   // packet id
	slots []flight // a power of two, indexed by packet id modulo its length
}

// flight is a message on its way. It holds no message of a stream, which can be
// read again, but for one that was claimed for the session.
type flight struct {
	packet uint16 // id; 0: free
	stream int32  // -1: of none
	id     ID
	n      int64
	claim  *claim
	gap    ID // of the notice of a gap: its end; id is its first
}

// noStream is of flights that are in no stream.
const noStream = -1

const firstSlots = 8

func (w *window) full() bool { return w.open >= w.limit }

// free is how many more messages may be sent.
func (w *window) free() int { return max(w.limit-w.open, 0) }

// take gives f the next packet id that is free. The window must not be full.
func (w *window) take(f flight) uint16 {
	if w.open >= len(w.slots)/2 { // half of them free: the next is near
		w.grow()
	}
	for {
		w.last++
		slot := &w.slots[int(w.last)&(len(w.slots)-1)]
		if w.last != 0 && slot.packet == 0 {
			f.packet = w.last
			*slot = f
			w.open++
			return w.last
		}
	}
}

// place gives f the packet id that it had before; false if it is in use.
func (w *window) place(f flight) bool {
	for {
		if len(w.slots) > 0 {
			slot := &w.slots[int(f.packet)&(len(w.slots)-1)]
			if slot.packet == 0 {
				*slot = f
				w.open++
				return true
			}
			if slot.packet == f.packet {
				return false
			}
		}
		w.grow()
	}
}

// grow doubles the slots. Those apart in the smaller are apart in the greater.
func (w *window) grow() {
	slots := make([]flight, max(firstSlots, 2*len(w.slots)))
	for _, fl := range w.slots {
		if fl.packet != 0 {
			slots[int(fl.packet)&(len(slots)-1)] = fl
		}
	}
	w.slots = slots
}

// give frees a packet id; false if it was not in use.
func (w *window) give(id uint16) (flight, bool) {
	if len(w.slots) == 0 {
		return flight{}, false
	}
	slot := &w.slots[int(id)&(len(w.slots)-1)]
	if id == 0 || slot.packet != id {
		return flight{}, false
	}
	f := *slot
	*slot = flight{}
	w.open--
	return f, true
}

// shrink lets an empty window's slots go, but for those it began with.
func (w *window) shrink() {
	if w.open == 0 && len(w.slots) > firstSlots {
		w.slots = nil
	}
}

// all gives what is in flight, oldest first.
func (w *window) all() (list []flight) {
	for _, f := range w.slots {
		if f.packet != 0 {
			list = append(list, f)
		}
	}
	// Packet ids are given in turn, so that those above the last are the older.
	slices.SortFunc(list, func(a, b flight) int { return cmp.Compare(a.packet-w.last-1, b.packet-w.last-1) })
	return list
}

// oldest is the lowest id in flight of a stream; not ok if there is none.
func (w *window) oldest(s Stream) (least Position, ok bool) {
	for i := range w.slots {
		f := &w.slots[i]
		if f.packet == 0 || f.stream != int32(s) || f.claim != nil || ok && !f.id.Less(least.ID) {
			continue
		}
		least, ok = Position{f.id, f.n}, true
	}
	return least, ok
}
