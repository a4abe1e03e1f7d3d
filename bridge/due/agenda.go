package due

import (
	"container/heap"
	"time"
)

// agenda is when to look at each partition next, the earliest first.
type agenda struct {
	at    []time.Time // of each partition
	order []int       // the heap: partitions
	place []int       // of each partition in order
}

// newAgenda looks at all partitions at once.
func newAgenda(partitions int) *agenda {
	a := &agenda{at: make([]time.Time, partitions), order: make([]int, partitions), place: make([]int, partitions)}
	for p := range partitions {
		a.order[p], a.place[p] = p, p
	}
	return a
}

// set is for a partition that was looked at.
func (a *agenda) set(p int, at time.Time) {
	a.at[p] = at
	heap.Fix((*agendaHeap)(a), a.place[p])
}

// advance makes a look earlier, if it is.
func (a *agenda) advance(p int, at time.Time) {
	if at.Before(a.at[p]) {
		a.set(p, at)
	}
}

// next is when the first look is due.
func (a *agenda) next() time.Time { return a.at[a.order[0]] }

// due are the partitions to look at now, n at most, those first that were due
// first. They stay on the agenda until set.
func (a *agenda) due(now time.Time, n int) (list []int) {
	for len(list) < n && len(a.order) > 0 && !a.next().After(now) {
		p, _ := heap.Pop((*agendaHeap)(a)).(int)
		list = append(list, p)
	}
	for _, p := range list {
		heap.Push((*agendaHeap)(a), p)
	}
	return list
}

// agendaHeap is the agenda as package heap wants it.
type agendaHeap agenda

func (h *agendaHeap) Len() int           { return len(h.order) }
func (h *agendaHeap) Less(i, j int) bool { return h.at[h.order[i]].Before(h.at[h.order[j]]) }

func (h *agendaHeap) Swap(i, j int) {
	h.order[i], h.order[j] = h.order[j], h.order[i]
	h.place[h.order[i]], h.place[h.order[j]] = i, j
}

func (h *agendaHeap) Push(x any) {
	p, _ := x.(int)
	h.place[p] = len(h.order)
	h.order = append(h.order, p)
}

func (h *agendaHeap) Pop() any {
	last := len(h.order) - 1
	p := h.order[last]
	h.order = h.order[:last]
	return p
}
