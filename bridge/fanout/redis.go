package fanout

import (
	"strconv"
	"strings"

	"m2mbridge/auth"
	"m2mbridge/bridge/uplink"
)

func uplinksKey(ks auth.Keyspace, p int) string { return uplink.UplinksKey(ks, p) }
func rejectsKey(ks auth.Keyspace, p int) string { return uplink.RejectsKey(ks, p) }
func eventsKey(ks auth.Keyspace, p int) string  { return ks.Key(p, "events") }

// id is a stream id, comparable.
type id struct{ ms, seq uint64 }

// parseID reads an id as Redis writes it; anything else is 0-0.
func parseID(s string) id {
	ms, seq, _ := strings.Cut(s, "-")
	m, err := strconv.ParseUint(ms, 10, 64)
	if err != nil {
		return id{}
	}
	n, _ := strconv.ParseUint(seq, 10, 64)
	return id{m, n}
}

func (a id) less(b id) bool { return a.ms < b.ms || a.ms == b.ms && a.seq < b.seq }

func (a id) String() string {
	return strconv.FormatUint(a.ms, 10) + "-" + strconv.FormatUint(a.seq, 10)
}
