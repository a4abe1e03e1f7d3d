package uplink

import (
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
)

// commitSource is the one script that writes the uplinks stream.
//
//go:embed commit.lua
var commitSource string

//go:embed refused.lua
var refusedSource string

// UplinksKey is the stream of a partition's uplinks.
func UplinksKey(ks auth.Keyspace, p int) string { return ks.Key(p, "uplinks") }

// RejectsKey is the stream of a partition's rejects.
func RejectsKey(ks auth.Keyspace, p int) string { return ks.Key(p, "rejects") }

// laneKey holds the last batch of a lane, so that one sent again is known.
func laneKey(ks auth.Keyspace, p int, lane string) string { return ks.Key(p, "lane:"+lane) }

// appendSeenKey writes the key that holds a device's state: what Seen tells of
// it, and the tags of its latest uplinks, for Once. commit.lua says how.
func appendSeenKey(b []byte, ks auth.Keyspace, p int, id auth.DeviceID) []byte {
	return append(append(b, ks.Key(p, "seen:")...), id...)
}

// refusedKey holds what was refused in the name of a device: hash count at.
func refusedKey(ks auth.Keyspace, p int, id auth.DeviceID) string {
	return ks.Key(p, "refused:"+string(id))
}

// deviceKey is the registry's hash of a device, which is there as long as the device is.
func deviceKey(ks auth.Keyspace, p int, id auth.DeviceID) string {
	return ks.Key(p, "device:"+string(id))
}

// newestKey holds the newest time of a device's uplinks, for OnceEnforce.
func newestKey(ks auth.Keyspace, p int, id auth.DeviceID) string {
	return ks.Key(p, "newest:"+string(id))
}

const (
	tagSize      = 10               // bytes of the token that tell a repeat; the device alone could make two alike
	trimEach     = 16               // batches between trims of the stream's length
	laneRemember = 10 * time.Minute // longer than any command can linger in a socket
	batchUplinks = 256              // uplinks in a batch at most
	batchBytes   = 1 << 20          // bytes of packs in a batch at most, about

)

// args are the script's arguments of one uplink, views of what the uplink
// holds. They are handed to the client by pointer, which spares an allocation
// each: go-redis reads through pointers to strings and integers.
type args struct {
	seenKey, newestKey, contactKey                              string // KEYS
	device, via, token, pack, raw, unsigned, tag, newestAt, ack string
	at                                                          int64 // Unix ms

	keys []byte // memory of seenKey and contactKey
}

// lay sets the arguments out for a commit to partition p.
func (u *uplink) lay(cfg *Config, p int) *args {
	a := &u.args
	a.keys = appendSeenKey(a.keys[:0], cfg.Keys, p, u.id)
	n := len(a.keys)
	if cfg.Downlinks != nil {
		a.keys = downlink.AppendContactKey(a.keys, cfg.Keys, p, u.id)
	}
	a.seenKey, a.contactKey, a.ack = view(a.keys[:n]), view(a.keys[n:]), u.ack
	a.device, a.via, a.token, a.at = string(u.id), string(u.msg.Via), view(u.token), u.at.UnixMilli()
	a.pack, a.raw, a.unsigned, a.tag, a.newestAt, a.newestKey = "", "", "", "", "", ""
	if !u.heartbeat {
		a.pack = view(u.normalised)
	}
	if cfg.KeepRaw {
		a.raw = view(u.msg.Body)
	}
	if u.proof.Unsigned {
		a.unsigned = "1"
	}
	if u.fixesTime && cfg.Once != OnceOff {
		a.tag = view(u.proof.Token[:tagSize])
	}
	if cfg.Once == OnceEnforce {
		a.newestKey = newestKey(cfg.Keys, p, u.id)
		// A clock that ran ahead once must not shut the device out until then.
		now := float64(u.at.UnixMilli()) / 1000
		a.newestAt = strconv.FormatFloat(min(u.newest, now), 'f', -1, 64)
	}
	return a
}

// view is b as a string without a copy. It is good for as long as the uplink
// is in its lane: nothing writes to b until then.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

const answerHeartbeat = "-"

// verdict is the script's answer for one uplink.
func (u *uplink) verdict(answer string) (Verdict, error) {
	switch {
	case answer == answerHeartbeat:
		return Verdict{Outcome: Heartbeat}, nil
	case answer == "~":
		return Verdict{}, refusal(BadPack, "too-old", "the pack is older than this device's newest by more than --tolerance allows")
	case answer == "=":
		return Verdict{Outcome: Repeated}, nil
	}
	return Verdict{Outcome: Stored, StreamID: storedID(answer), observed: answer[0] == '+'}, nil
}

// storedID is the id of the entry that the uplink added to the stream, "" when it added none.
func storedID(answer string) string {
	switch answer[0] {
	case '-', '~', '=':
		return ""
	case '+':
		return answer[1:]
	}
	return answer
}

// reply is what the script answered.
type reply struct {
	prev    string   // the stream's last id before the batch
	answers []string // one for each uplink
	handed  []string // the downlink that each takes along, "" for none
}

func parseReply(text string, n int) (r reply, err error) {
	if text == "stale" {
		return r, errStale
	}
	head, lines, _ := strings.Cut(text, "\n")
	words := strings.Split(head, " ")
	if len(words) != n+1 {
		return r, fmt.Errorf("commit script answered %d uplinks of %d", len(words)-1, n)
	}
	r = reply{prev: words[0], answers: words[1:], handed: make([]string, n)}
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\n")
		number, handed, _ := strings.Cut(line, " ")
		i, err := strconv.Atoi(number)
		if err != nil || i < 1 || i > n {
			return r, fmt.Errorf("commit script handed a downlink to uplink %.10q of %d", number, n)
		}
		r.handed[i-1] = handed
	}
	return r, nil
}

// errStale: a later batch of the lane has been stored, so this one never will be.
var errStale = errors.New("overtaken by a later batch")

// final tells whether Redis has refused the batch for good, so that asking
// again within the deadline is no use.
func final(err error) bool {
	return errors.Is(err, errStale) || redis.HasErrorPrefix(err, "OOM") || redis.HasErrorPrefix(err, "MISCONF") ||
		redis.HasErrorPrefix(err, "WRONGTYPE") || redis.HasErrorPrefix(err, "NOAUTH") || redis.HasErrorPrefix(err, "NOPERM") ||
		err != nil && strings.Contains(err.Error(), "ACL failure")
}
