package auth

// index finds the place of an entry by 32 bits of its hash: a table with linear probing, eight bytes a slot, between
// half and three quarters full. A Go map takes twice as much where entries come and go.
type index struct {
	slots []indexSlot
	n     int
}

type indexSlot struct{ hash, next uint32 } // next: the place + 1; 0: the slot is empty

const (
	indexSlotBytes = 8
	indexMin       = 16
)

// home is where a hash's slot would be if no other were in the way.
func (x *index) home(hash uint32) int { return int(uint64(hash) * uint64(len(x.slots)) >> 32) }

func (x *index) after(i int) int {
	if i++; i == len(x.slots) {
		return 0
	}
	return i
}

// at gives the slot of hash, or the empty one where it would go.
func (x *index) at(hash uint32) int {
	i := x.home(hash)
	for x.slots[i].next != 0 && x.slots[i].hash != hash {
		i = x.after(i)
	}
	return i
}

func (x *index) get(hash uint32) (place uint32, ok bool) {
	if x.n == 0 {
		return 0, false
	}
	s := x.slots[x.at(hash)]
	return s.next - 1, s.next != 0
}

func (x *index) set(hash, place uint32) {
	if 4*(x.n+1) > 3*len(x.slots) {
		x.grow()
	}
	s := &x.slots[x.at(hash)]
	if s.next == 0 {
		x.n++
	}
	*s = indexSlot{hash, place + 1}
}

// remove closes the gap that it leaves, so that no search ends there early.
func (x *index) remove(hash uint32) {
	if x.n == 0 {
		return
	}
	gap := x.at(hash)
	if x.slots[gap].next == 0 {
		return
	}
	for i := x.after(gap); x.slots[i].next != 0; i = x.after(i) {
		// The slot at i may go back to the gap unless its home lies behind it.
		if x.distance(x.home(x.slots[i].hash), i) >= x.distance(gap, i) {
			x.slots[gap] = x.slots[i]
			gap = i
		}
	}
	x.slots[gap] = indexSlot{}
	x.n--
}

// distance is how many steps lead from one slot to another.
func (x *index) distance(from, to int) int {
	if to < from {
		to += len(x.slots)
	}
	return to - from
}

func (x *index) grow() {
	old := x.slots
	x.slots, x.n = make([]indexSlot, max(indexMin, len(old)*3/2)), 0
	for _, s := range old {
		if s.next != 0 {
			x.slots[x.at(s.hash)] = s
			x.n++
		}
	}
}

func (x *index) clear() {
	clear(x.slots)
	x.n = 0
}

func (x *index) bytes() int64 { return int64(len(x.slots)) * indexSlotBytes }
