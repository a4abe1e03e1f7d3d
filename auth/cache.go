package auth

import (
	"hash/maphash"
	"sync"
)

// cache keeps the records of the devices that talk, in their text form with the secrets opened, within a bound in bytes.
//
// It holds no pointers for the garbage collector to follow: each shard has chunks of bytes, filled one after the other,
// and an index from 32 bits of a hash to a place. Two devices of one shard with the same 32 bits only displace each
// other, since an entry holds its id. When the bound is reached, the oldest chunk is filled anew; what has been asked for
// since it was written stays (second chance), so that a pass over many devices does not wash out the busy ones.
type cache struct {
	seed   maphash.Seed
	shards []shard
	limit  int64 // bytes of each shard
}

const (
	defaultCacheBytes = 64 << 20
	minCacheBytes     = 2 * chunkSize
	maxShards         = 64
	chunkBits         = 14
	chunkSize         = 1 << chunkBits
	maxCached         = chunkSize / 4 // a longer record is not cached
	maxSpared         = 4             // chunks passed over in a row for being busy
)

func newCache(bytes int64) *cache {
	if bytes == 0 {
		bytes = defaultCacheBytes
	}
	n := int64(1)
	for n < maxShards && bytes/(2*n) >= 16*chunkSize {
		n *= 2
	}
	c := &cache{seed: maphash.MakeSeed(), shards: make([]shard, n), limit: max(bytes/n, minCacheBytes)}
	return c
}

// slot is where an id belongs.
type slot struct {
	key   packedID
	hash  uint32
	shard *shard
}

// slot finds it; ok is false for what is no device id, which is never cached.
func (c *cache) slot(id DeviceID) (s slot, ok bool) {
	if ok = s.key.pack(id); !ok {
		return s, false
	}
	h := maphash.Bytes(c.seed, s.key.bytes())
	s.hash, s.shard = uint32(h), &c.shards[int(h>>32)%len(c.shards)]
	return s, true
}

// get appends the record's text to dst.
func (c *cache) get(id DeviceID, dst []byte) ([]byte, bool) {
	s, ok := c.slot(id)
	if !ok {
		return dst, false
	}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	e := s.shard.find(&s)
	if e == nil {
		s.shard.misses++
		return dst, false
	}
	s.shard.hits++
	e.refer()
	return append(dst, e.text()...), true
}

// generation counts the invalidations that may have touched id. Who loads a record reads it before, and put refuses the
// record if it has moved: else a value loaded before a change could be cached after it.
func (c *cache) generation(id DeviceID) uint64 {
	s, ok := c.slot(id)
	if !ok {
		return 0
	}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	return s.shard.generation
}

// put keeps a record that was loaded when the generation was as given.
func (c *cache) put(id DeviceID, text []byte, generation uint64) {
	s, ok := c.slot(id)
	if !ok || entryHead+len(s.key.bytes())+len(text) > maxCached {
		return
	}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if s.shard.generation == generation {
		s.shard.add(c, &s, text)
	}
}

// setMatched notes which secret matched in a cached record, if it still is of that revision.
func (c *cache) setMatched(id DeviceID, revision int64, matched byte) {
	s, ok := c.slot(id)
	if !ok {
		return
	}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if e := s.shard.find(&s); e != nil {
		if rec, err := parseRecord(e.text()); err == nil && rec.revision == revision {
			e.text()[0] = matched
		}
	}
}

// invalidate forgets one device.
func (c *cache) invalidate(id DeviceID) {
	s, ok := c.slot(id)
	if !ok {
		return
	}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	s.shard.generation++
	s.shard.invalidations++
	s.shard.index.remove(s.hash)
}

// drop forgets everything.
func (c *cache) drop() {
	for i := range c.shards {
		c.shards[i].drop()
	}
}

// add the cache's part to the counters.
func (c *cache) addStats(st *Stats) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		st.Hits += s.hits
		st.Misses += s.misses
		st.Invalidations += s.invalidations
		st.Evictions += s.evictions
		st.Entries += int64(s.index.n)
		st.Bytes += s.bytes()
		s.mu.Unlock()
	}
}

// shard is a part of the cache under one lock.
type shard struct {
	mu     sync.Mutex
	index  index // hash → chunk number and offset
	chunks []chunk
	head   int // the chunk being filled

	generation, invalidations, evictions uint64
	hits, misses                         uint64
}

type chunk struct {
	data []byte // chunkSize
	used int
}

func place(chunk, offset int) uint32 { return uint32(chunk<<chunkBits | offset) }

func (s *shard) at(place uint32) entry {
	c := &s.chunks[place>>chunkBits]
	return entryAt(c.data, int(place&(chunkSize-1)))
}

func (s *shard) find(want *slot) entry {
	p, ok := s.index.get(want.hash)
	if !ok {
		return nil
	}
	if e := s.at(p); string(e.key()) == string(want.key.bytes()) {
		return e
	}
	return nil
}

func (s *shard) bytes() int64 {
	return int64(len(s.chunks))*chunkSize + s.index.bytes()
}

// add writes an entry behind the last one.
func (s *shard) add(c *cache, at *slot, text []byte) {
	n := entryHead + len(at.key.bytes()) + len(text)
	s.makeRoom(c, n)
	head := &s.chunks[s.head]
	writeEntry(head.data[head.used:head.used+n], at.key.bytes(), text)
	s.index.set(at.hash, place(s.head, head.used))
	head.used += n
}

// makeRoom sees to n free bytes in the chunk being filled.
func (s *shard) makeRoom(c *cache, n int) {
	if len(s.chunks) > 0 && s.chunks[s.head].used+n <= chunkSize {
		return
	}
	if next := s.head + 1; next < len(s.chunks) && s.chunks[next].used == 0 {
		s.head = next // left empty by drop
		return
	}
	if s.bytes()+chunkSize <= c.limit {
		s.chunks = append(s.chunks, chunk{data: make([]byte, chunkSize)})
		s.head = len(s.chunks) - 1
		return
	}
	for spared := 0; ; spared++ {
		s.head = (s.head + 1) % len(s.chunks)
		s.reclaim(c, s.head, spared < maxSpared)
		if s.chunks[s.head].used+n <= chunkSize {
			return
		}
	}
}

// reclaim empties a chunk; where it may, it spares the entries asked for since they were written, or since they were
// last spared, and moves them to the chunk's start.
func (s *shard) reclaim(c *cache, i int, spare bool) {
	ch := &s.chunks[i]
	kept := 0
	for offset := 0; offset < ch.used; {
		e := entryAt(ch.data, offset)
		n, hash := len(e), uint32(maphash.Bytes(c.seed, e.key()))
		if p, ok := s.index.get(hash); ok && p == place(i, offset) {
			if spare && e.referred() {
				e.forgive()
				copy(ch.data[kept:], e)
				s.index.set(hash, place(i, kept))
				kept += n
			} else {
				s.index.remove(hash)
				s.evictions++
			}
		}
		offset += n
	}
	ch.used = kept
}

func (s *shard) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.index.clear()
	for i := range s.chunks {
		s.chunks[i].used = 0
	}
	s.head = 0
}
