package broker

// window is the messages of QoS 1 that a subscriber has not acknowledged, with
// packet ids that are the server's own: a client's ids for its publishes and
// subscriptions are another space (MQTT 5 §2.2.1). Guarded by session.mu.
type window struct {
	limit int
	open  int
	last  uint16   // packet id
	slots []flight // a power of two, indexed by packet id modulo its length
}

type flight struct {
	id uint16 // 0: free
	f  *frame // nil: it goes to nobody else if the client leaves
}

const firstSlots = 8

func (w *window) full() bool { return w.open >= w.limit }

// take gives f the next packet id that is free. The window must not be full.
// It keeps no message that is not of a group: nobody would ask for it.
func (w *window) take(f *frame) uint16 {
	if f.group == nil {
		f = nil
	}
	if w.open >= len(w.slots)/2 { // half of them free: the next is near
		w.grow()
	}
	for {
		w.last++
		slot := &w.slots[int(w.last)&(len(w.slots)-1)]
		if w.last != 0 && slot.id == 0 {
			*slot = flight{id: w.last, f: f}
			w.open++
			return w.last
		}
	}
}

// grow doubles the slots. Those apart in the smaller are apart in the greater.
func (w *window) grow() {
	slots := make([]flight, max(firstSlots, 2*len(w.slots)))
	for _, fl := range w.slots {
		if fl.id != 0 {
			slots[int(fl.id)&(len(slots)-1)] = fl
		}
	}
	w.slots = slots
}

// give frees a packet id; false if it was not in use.
func (w *window) give(id uint16) bool {
	if len(w.slots) == 0 {
		return false
	}
	slot := &w.slots[int(id)&(len(w.slots)-1)]
	if id == 0 || slot.id != id {
		return false
	}
	*slot = flight{}
	w.open--
	return true
}

// shrink lets an empty window's slots go, but for those it began with.
func (w *window) shrink() {
	if w.open == 0 && len(w.slots) > firstSlots {
		w.slots = nil
	}
}

// unacknowledged gives the messages in flight that keep selects, oldest first.
func (w *window) unacknowledged(keep func(*frame) bool) (list []*frame) {
	if w.open == 0 {
		return nil
	}
	for i := range 1 << 16 { // every packet id once, those longest in use first
		id := w.last + 1 + uint16(i)
		slot := w.slots[int(id)&(len(w.slots)-1)]
		if id != 0 && slot.id == id && slot.f != nil && keep(slot.f) {
			list = append(list, slot.f)
		}
	}
	return list
}
