package trace

import (
	"encoding/binary"
	"sync"

	"m2mbridge/auth"
)

// shard keeps the traces of some devices within a bound. Nothing in it points
// anywhere, so that the garbage collector passes it by: a device is a slot with
// a chain of blocks of bytes, which hold its records one after the other. Once
// its chain holds Kept steps without the oldest block, that block is used again:
// a busy device overwrites its own steps alone.
//
// When the bound is reached, the device that has been quiet the longest goes.
// Those of whom only unproven messages are known, which anybody can send who
// knows an id, are listed apart, and go first when they hold an eighth of all.
type shard struct {
	mu       sync.Mutex
	slots    []slot
	byHash   map[uint64]uint32 // number of a slot
	chunks   [][]byte
	nextFree uint32 // block never used yet
	free     ref    // chain of blocks let go
	spare    ref    // chain of slots let go
	active   [2]list
	n        uint64 // number of the next step
	limits   limits
	followed map[uint64]bool // by hash: there are steps to be told
	evicted  uint64
}

const (
	blockBytes     = 256
	blockHead      = 8 // next block (4), bytes used (2), steps (2)
	blocksPerChunk = 64
	slotBytes      = 96 // of a slot and its place in byHash, about
	maxID          = 44 // bytes of a device id
)

// limits of a shard.
type limits struct{ chunks, slots int }

// ref is the number of a block or slot and 1; 0: none.
type ref uint32

// The two lists.
const (
	proven = iota
	claimed
)

// list orders slots by their last step, the latest first.
type list struct {
	first, last ref
	blocks      int // that its slots hold
}

// slot is a device. What recording looks at is here and close together: each
// line of memory that it touches costs about as much as all else it does.
type slot struct {
	hash           uint64
	later, earlier ref    // slots
	oldest, newest ref    // blocks
	used, fresh    uint16 // bytes and steps in the newest block
	steps, blocks  uint16
	list           uint8
	length         uint8 // of the id
	id             [maxID]byte
}

func (sh *shard) slot(r ref) *slot { return &sh.slots[r-1] }

// find gives the device's slot, 0 if it has none. Of two devices with the same
// hash the second is not traced.
func (sh *shard) find(hash uint64, id auth.DeviceID) (r ref, mine bool) {
	i, ok := sh.byHash[hash]
	if !ok {
		return 0, true
	}
	r = ref(i + 1)
	s := sh.slot(r)
	return r, string(s.id[:s.length]) == string(id)
}

// add keeps a record.
func (sh *shard) add(hash uint64, id auth.DeviceID, standing Standing, rec []byte) (followed bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r, mine := sh.find(hash, id)
	if !mine || r == 0 && standing == Claimed {
		return false
	}
	if r == 0 {
		if r = sh.admit(hash, id, standing); r == 0 {
			return false
		}
	}
	sh.touch(r, standing)
	s := sh.slot(r)
	b := sh.room(r, s, len(rec))
	if b == nil {
		return false
	}
	seal(rec, sh.n)
	sh.n += uint64(rec[2])
	copy(b[blockHead+s.used:], rec)
	s.used += uint16(len(rec))
	s.fresh += uint16(rec[2])
	s.steps += uint16(rec[2])
	b.set(s.used, s.fresh)
	if _, followed = sh.followed[hash]; followed {
		sh.followed[hash] = true
	}
	return followed
}

// admit makes a slot for a device.
func (sh *shard) admit(hash uint64, id auth.DeviceID, standing Standing) ref {
	if sh.spare == 0 && len(sh.slots) >= sh.limits.slots {
		sh.evict(0)
	}
	r := sh.spare
	if r != 0 {
		sh.spare = sh.slot(r).later
	} else {
		sh.slots = append(sh.slots, slot{})
		r = ref(len(sh.slots))
	}
	s := sh.slot(r)
	*s = slot{length: uint8(len(id)), hash: hash, list: claimed}
	copy(s.id[:], id)
	if standing == Proven {
		s.list = proven
	}
	if sh.byHash == nil {
		sh.byHash = map[uint64]uint32{}
	}
	sh.byHash[hash] = uint32(r - 1)
	sh.link(r)
	return r
}

// touch moves a slot to the head of its list; what is proven once stays so.
func (sh *shard) touch(r ref, standing Standing) {
	s := sh.slot(r)
	if s.later == 0 && (s.list == proven || standing != Proven) {
		return
	}
	sh.unlink(r)
	if standing == Proven {
		s.list = proven
	}
	sh.link(r)
}

func (sh *shard) link(r ref) {
	s := sh.slot(r)
	l := &sh.active[s.list]
	l.blocks += int(s.blocks)
	s.later, s.earlier = 0, l.first
	if l.first != 0 {
		sh.slot(l.first).later = r
	} else {
		l.last = r
	}
	l.first = r
}

func (sh *shard) unlink(r ref) {
	s := sh.slot(r)
	l := &sh.active[s.list]
	l.blocks -= int(s.blocks)
	if s.later != 0 {
		sh.slot(s.later).earlier = s.earlier
	} else {
		l.first = s.earlier
	}
	if s.earlier != 0 {
		sh.slot(s.earlier).later = s.later
	} else {
		l.last = s.later
	}
}

// evict lets the device go that has been quiet the longest, never keep; false
// if there is no other.
func (sh *shard) evict(keep ref) bool {
	from := proven
	if 8*sh.active[claimed].blocks >= sh.limits.chunks*blocksPerChunk {
		from = claimed
	}
	for _, i := range [...]int{from, 1 - from} {
		r := sh.active[i].last
		if r == keep && r != 0 {
			r = sh.slot(r).later
		}
		if r != 0 {
			sh.drop(r)
			return true
		}
	}
	return false
}

func (sh *shard) drop(r ref) {
	s := sh.slot(r)
	sh.unlink(r)
	delete(sh.byHash, s.hash)
	if s.newest != 0 {
		sh.block(s.newest).setNext(sh.free)
		sh.free = s.oldest
	}
	*s = slot{later: sh.spare}
	sh.spare = r
	sh.evicted++
}

// records are copies of what is kept of a device.
func (sh *shard) records(hash uint64, id auth.DeviceID) (all []byte) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	r, mine := sh.find(hash, id)
	if r == 0 || !mine {
		return nil
	}
	for b := sh.slot(r).oldest; b != 0; b = sh.block(b).next() {
		all = append(all, sh.block(b).records()...)
	}
	return all
}

// block is a piece of memory for records.
type block []byte

func (b block) next() ref       { return ref(binary.LittleEndian.Uint32(b)) }
func (b block) setNext(r ref)   { binary.LittleEndian.PutUint32(b, uint32(r)) }
func (b block) used() int       { return int(binary.LittleEndian.Uint16(b[4:])) }
func (b block) steps() int      { return int(binary.LittleEndian.Uint16(b[6:])) }
func (b block) records() []byte { return b[blockHead : blockHead+b.used()] }

func (b block) set(used, steps uint16) {
	binary.LittleEndian.PutUint16(b[4:], used)
	binary.LittleEndian.PutUint16(b[6:], steps)
}

func (sh *shard) block(r ref) block {
	i := int(r - 1)
	at := i % blocksPerChunk * blockBytes
	return block(sh.chunks[i/blocksPerChunk][at : at+blockBytes])
}

// room gives the block that the next n bytes of a device go into; nil if there
// is no memory at all.
func (sh *shard) room(r ref, s *slot, n int) block {
	if s.newest != 0 && blockHead+int(s.used)+n <= blockBytes {
		return sh.block(s.newest)
	}
	b := sh.take(r)
	if b == 0 {
		return nil
	}
	if s.newest != 0 {
		sh.block(s.newest).setNext(b)
	} else {
		s.oldest = b
	}
	s.newest, s.used, s.fresh = b, 0, 0
	s.blocks++
	sh.active[s.list].blocks++
	fresh := sh.block(b)
	fresh.setNext(0)
	fresh.set(0, 0)
	return fresh
}

// take finds a block for a device: its own oldest when it has enough without
// it, else a free one, a new one, or one of a device that is let go.
func (sh *shard) take(r ref) ref {
	s := sh.slot(r)
	if s.oldest != s.newest && int(s.steps)-sh.block(s.oldest).steps() >= Kept {
		return sh.reuse(s)
	}
	for sh.free == 0 && !sh.grow() {
		if !sh.evict(r) {
			return sh.reuse(s)
		}
	}
	b := sh.free
	if b == 0 {
		sh.nextFree++
		return ref(sh.nextFree)
	}
	sh.free = sh.block(b).next()
	return b
}

// reuse takes a device's oldest block from it.
func (sh *shard) reuse(s *slot) ref {
	b := s.oldest
	if b == 0 || b == s.newest {
		return 0
	}
	s.oldest = sh.block(b).next()
	s.steps -= uint16(sh.block(b).steps())
	s.blocks--
	sh.active[s.list].blocks--
	return b
}

// grow sees to a block that was never used, within the bound.
func (sh *shard) grow() bool {
	if int(sh.nextFree) < len(sh.chunks)*blocksPerChunk {
		return true
	}
	if len(sh.chunks) >= sh.limits.chunks {
		return false
	}
	sh.chunks = append(sh.chunks, make([]byte, blocksPerChunk*blockBytes))
	return true
}
