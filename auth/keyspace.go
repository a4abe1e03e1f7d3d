package auth

import "strconv"

// Keyspace names the Redis keys. Every key carries one hash tag, the partition, so that all keys of one device are in
// one slot of a cluster.
type Keyspace struct {
	Partitions int // 0 and 1: one
}

// Count is the number of partitions, at least 1.
func (k Keyspace) Count() int { return max(k.Partitions, 1) }

// Partition is where all keys of the device are: FNV-1a of its id, modulo the partitions.
func (k Keyspace) Partition(id DeviceID) int {
	if k.Partitions <= 1 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return int(h % uint64(k.Partitions))
}

// Key is m2m:{p}:name.
func (k Keyspace) Key(p int, name string) string {
	return "m2m:{" + strconv.Itoa(p) + "}:" + name
}
