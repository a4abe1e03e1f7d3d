package downlink

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/due"
)

//go:embed lua/rules.lua
var rulesSource string

// Rules are the rules of downlinks in Lua, for a script of another package that changes downlinks too: they make a local
// function rules(prefix, clock, keep, most, cap), and cost nothing until that is called.
func Rules() string {
	return strings.NewReplacer("--[[the rules of bridge/due]]", due.Rules(), "--[[the rules of SMS]]", smsSource).Replace(rulesSource)
}

//go:embed lua/sms.lua
var smsSource string

//go:embed lua/do.lua
var doSource string

//go:embed lua/doctor.lua
var doctorSource string

// dueKey is the set of a partition's downlinks by when they are next to be looked at.
func dueKey(k auth.Keyspace, p int) string { return k.Key(p, "due:downlink") }

func downlinkKey(k auth.Keyspace, p int, id string) string { return k.Key(p, "downlink:"+id) }

// AppendContactKey writes the key that exists while a device has a downlink that its next contact over HTTP
// may take, or that it is to be woken up for.
func AppendContactKey(b []byte, k auth.Keyspace, p int, id auth.DeviceID) []byte {
	return append(append(b, k.Key(p, "downlink:contact:")...), id...)
}

// Terms are what a script of another package passes to the rules: the prefix of a partition's keys, and as numbers ms for an
// attempt, ms for which a downlink is kept that has ended, the attempts that one gets, and the length of the events stream.
func (s *Service) Terms(p int) []any {
	return []any{s.cfg.Keys.Key(p, ""), s.cfg.Lease.Milliseconds(), s.cfg.Keep.Milliseconds(), s.cfg.Attempts, s.cfg.MaxEvents}
}

func onceKey(k auth.Keyspace, p int, app string, id auth.DeviceID, key string) string {
	return k.Key(p, "downlink:once:"+app+":"+string(id)+":"+key)
}

func allKey(k auth.Keyspace, p int) string { return k.Key(p, "downlink:all") }

func deviceKey(k auth.Keyspace, p int, id auth.DeviceID) string {
	return k.Key(p, "downlink:all:"+string(id))
}

func queueKey(k auth.Keyspace, p int, id auth.DeviceID) string {
	return k.Key(p, "downlink:queue:"+string(id))
}

func currentKey(k auth.Keyspace, p int, id auth.DeviceID) string {
	return k.Key(p, "downlink:current:"+string(id))
}

// do runs one rule in a partition.
func (s *Service) do(ctx context.Context, p int, op string, args ...any) (*redis.Cmd, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	all := append([]any{s.clockText(), s.cfg.Keep.Milliseconds(), s.cfg.Attempts, s.cfg.MaxEvents, op}, args...)
	reply := s.script.Run(ctx, s.cfg.Client, []string{dueKey(s.cfg.Keys, p)}, all...)
	if err := reply.Err(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, op, err)
	}
	return reply, nil
}

// clockText is the time for scripts: that of Redis, the same for all nodes, unless a test has its own.
func (s *Service) clockText() string {
	if s.cfg.Now == nil {
		return ""
	}
	return strconv.FormatInt(s.now().UnixMilli(), 10)
}

// Clock is "" where the clock of Redis is used, and "own" with a test's.
func (s *Service) Clock() string {
	if s.cfg.Now == nil {
		return ""
	}
	return "own"
}

// partitionOf is where a downlink is kept; false if it is no id.
func (s *Service) partitionOf(id string) (int, bool) {
	head, _, ok := strings.Cut(id, "-")
	p, err := strconv.ParseUint(head, 36, 32)
	return int(p), ok && err == nil && int(p) < s.cfg.Keys.Count()
}

// fields are those of a downlink's hash that its creator gives.
func (d *Draft) fields(pack []byte) []any {
	ack := ""
	if d.Ack {
		ack = "1"
	}
	f := []any{"channel", string(d.Channel), "pack", pack, "app", d.App, "key", d.Key, "ack", ack}
	switch {
	case d.Text != "":
		f = append(f, "text", d.Text)
	case len(d.Data) > 0:
		f = append(f, "data", d.Data)
	}
	if d.Wake {
		f = append(f, "wake", "1")
	}
	if d.ownTTL {
		f = append(f, "ttl", "1")
	}
	return f
}

// lastMilli is the end of the year 9999, the last one that RFC 3339 can write, in Unix ms.
const lastMilli = 253_402_300_799_999

// downlinkOf reads a hash.
func downlinkOf(id string, f map[string]string) (Downlink, error) {
	n := func(name string) int64 {
		v, _ := strconv.ParseFloat(f[name], 64) // Lua writes them; what is missing is 0
		return int64(v)
	}
	at := func(name string) time.Time {
		if ms := n(name); ms > 0 && ms <= lastMilli { // what nobody could write as JSON was written by outside hands
			return time.UnixMilli(ms).UTC()
		}
		return time.Time{}
	}
	d := Downlink{
		ID: id, Device: auth.DeviceID(f["device"]), Channel: Channel(f["channel"]), State: State(f["state"]), Cause: f["cause"],
		Pack: []byte(f["pack"]), App: f["app"], Key: f["key"], Priority: int(n("priority")), Ack: f["ack"] == "1",
		CreatedAt: at("created"), NotBefore: at("notbefore"), ExpiresAt: at("expires"), Since: at("since"),
		Attempts: int(n("attempts") - n("unsent")), Via: Channel(f["via"]), HandedAt: at("handed"), LeaseEnds: at("lease"), Taken: f["taken"] == "1",
	}
	d.Text, d.Data, d.Wake = f["text"], []byte(f["data"]), f["wake"] == "1"
	if f["sms"] != "" {
		d.SMS = &SMSState{State: f["sms"], Attempts: int(n("tries") - n("none")), First: at("first"), Limit: at("limit")}
	}
	if d.Channel == SMS {
		d.Attempts = int(n("tries") - n("none"))
	}
	if d.Device == "" || d.State == "" || len(d.Pack) == 0 && d.Text == "" && len(d.Data) == 0 {
		return d, fmt.Errorf("%w: downlink %s is damaged", ErrUnavailable, id)
	}
	return d, nil
}

// openKey is the set of a device's downlinks that have not ended.
func openKey(k auth.Keyspace, p int, id auth.DeviceID) string {
	return k.Key(p, "downlink:open:"+string(id))
}
