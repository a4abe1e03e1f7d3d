package auth

// Stats are counters since the start, and the cache as it is.
type Stats struct {
	Hits, Misses   uint64 // lookups of devices in the cache
	Loads          uint64 // devices read from Redis, for misses and before refusals
	LoadErrors     uint64
	Busy           uint64 // lookups that found too many others waiting
	Invalidations  uint64 // devices dropped from the cache by a change
	Drops          uint64 // times the whole cache was dropped
	Evictions      uint64
	Entries, Bytes int64
	LeaseValid     bool // every partition's cache may be trusted
}

// Stats gives the counters.
func (r *Registry) Stats() Stats {
	st := Stats{
		Loads: r.loads.Load(), LoadErrors: r.loadErrors.Load(), Busy: r.busy.Load(), Drops: r.drops.Load(), LeaseValid: true,
	}
	r.cache.addStats(&st)
	for p := range r.leases {
		st.LeaseValid = st.LeaseValid && r.trusted(p)
	}
	return st
}
