package doctor

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/bridge/store"
)

// redis examines each server that takes writes.
func (d *doctor) redis(ctx context.Context) {
	err := d.store.EachMaster(ctx, func(ctx context.Context, name string, c redis.Cmdable) error {
		s := &server{name: name, c: c, tell: d.cfg.Tell, d: d}
		s.examine(ctx)
		return nil
	})
	if err != nil {
		d.failed(ctx, "redis", err)
	}
}

// server is one under examination.
type server struct {
	name string // of a cluster's node; "": there is one only
	c    redis.Cmdable
	d    *doctor
	info store.Info
	tell func(Finding)
}

func (s *server) found(l Level, name, must, format string, args ...any) {
	f := Finding{Level: l, Name: name, Node: s.name, Found: fmt.Sprintf(format, args...)}
	if l != OK {
		f.Must = must
	}
	s.tell(f)
}

func (s *server) examine(ctx context.Context) {
	text, err := s.c.Info(ctx).Result()
	if err != nil {
		s.found(Warn, "version", "permit INFO to this user", "redis keeps its version and settings to itself: %v", store.Explain(err))
	} else {
		s.info = store.ParseInfo(text)
		s.version()
		s.role()
		s.persistence(ctx)
		s.disk()
		s.eviction()
		s.memory()
		s.clients(ctx)
		s.cluster(ctx)
	}
	s.latency(ctx)
	s.clock(ctx)
}

func (s *server) version() {
	if err := s.d.store.Fits(s.info); err != nil {
		s.found(Fault, "version", "serve needs Redis 7.0 or later, by the URL that fits it", "%v", err)
		return
	}
	s.found(OK, "version", "", "%s", s.info["redis_version"])
}

func (s *server) role() {
	if role := s.info["role"]; role == "slave" || role == "replica" {
		s.found(Fault, "role", "give --redis the master's address, or redis+sentinel:// to follow it", "it is a replica, which takes no writes")
		return
	}
	s.found(OK, "role", "", "master, %s replicas", s.info["connected_slaves"])
}

// persistence is whether what was acknowledged outlives the server.
func (s *server) persistence(ctx context.Context) {
	if risk := s.info.ForgetsAtStop(); risk != "" {
		s.found(Warn, "persistence", "CONFIG SET appendonly yes", "%s", risk)
		return
	}
	fsync, err := s.setting(ctx, "appendfsync")
	switch {
	case err != nil:
		s.found(Warn, "persistence", "permit CONFIG GET to this user", "append-only file, but appendfsync is not shown: %v", err)
	case fsync == "no":
		s.found(Warn, "persistence", "CONFIG SET appendfsync everysec", "append-only file, written to disk when the kernel likes: half a minute may be lost with the machine")
	case fsync == "everysec":
		s.found(OK, "persistence", "", "append-only file, written to disk each second: one second may be lost with the machine")
	default:
		s.found(OK, "persistence", "", "append-only file, appendfsync %s", fsync)
	}
}

func (s *server) setting(ctx context.Context, name string) (string, error) {
	all, err := s.c.ConfigGet(ctx, name).Result()
	if err != nil {
		return "", store.Explain(err)
	}
	return all[name], nil
}

// disk is whether the last writing of each file went well.
func (s *server) disk() {
	var bad []string
	level := OK
	for _, of := range []struct {
		field string
		level Level
	}{{"aof_last_write_status", Fault}, {"rdb_last_bgsave_status", Fault}, {"aof_last_bgrewrite_status", Warn}} {
		if status := s.info[of.field]; status != "" && status != "ok" {
			bad = append(bad, of.field+" is "+status)
			if level != Fault {
				level = of.level
			}
		}
	}
	if bad == nil {
		bad = []string{"redis could write its files"}
	}
	s.found(level, "disk", "see redis's log; make room on its disk", "%s", strings.Join(bad, ", "))
}

// eviction is whether redis throws entries away.
func (s *server) eviction() {
	const must = "CONFIG SET maxmemory-policy noeviction"
	evicted := s.number("evicted_keys")
	risk := s.info.ThrowsAway()
	switch {
	case risk != "" && evicted > 0:
		s.found(Fault, "eviction", must, "redis has thrown away %d keys, under maxmemory-policy %s", evicted, s.info["maxmemory_policy"])
	case risk != "":
		s.found(Warn, "eviction", must, "%s", risk)
	case evicted > 0:
		s.found(Warn, "eviction", "see what the checks below find missing; CONFIG RESETSTAT forgets the count", "redis threw away %d keys before maxmemory-policy was noeviction", evicted)
	default:
		s.found(OK, "eviction", "", "none")
	}
}

func (s *server) number(field string) int64 {
	n, _ := strconv.ParseInt(s.info[field], 10, 64) // absent: 0
	return n
}

// memory is how near redis is to refusing writes.
func (s *server) memory() {
	used, most := s.number("used_memory"), s.number("maxmemory")
	what := "maxmemory"
	if most == 0 {
		most, what = s.number("total_system_memory"), "the machine's memory (there is no maxmemory)"
	} else {
		used -= s.number("mem_not_counted_for_evict")
	}
	if most <= 0 {
		s.found(OK, "memory", "", "%s used", size(used))
		return
	}
	part, level := 100*used/most, OK
	switch {
	case part >= 95:
		level = Fault
	case part >= 80:
		level = Warn
	}
	s.found(level, "memory", "CONFIG SET maxmemory to more, or serve with a smaller --uplinks-max", "%s used, %d %% of %s", size(used), part, what)
}

// clients is whether one more node could connect.
func (s *server) clients(ctx context.Context) {
	now, most, refused := s.number("connected_clients"), s.number("maxclients"), s.number("rejected_connections")
	need := int64(store.Connections(1))
	if n, err := s.d.cfg.Claimed(ctx, s.d.store.Client); err == nil {
		need = int64(store.Connections(n))
	}
	level, more := OK, ""
	if most > 0 && most-now < need {
		level, more = Warn, fmt.Sprintf("; a node may need %d", need)
	}
	if most > 0 && now >= most-5 {
		level = Fault
	}
	if refused > 0 {
		more += fmt.Sprintf("; %d were refused", refused)
		if level == OK {
			level = Warn
		}
	}
	s.found(level, "clients", "CONFIG SET maxclients to more", "%d of %d connections%s", now, most, more)
}

// cluster is whether every slot is served.
func (s *server) cluster(ctx context.Context) {
	if s.info["cluster_enabled"] != "1" {
		return
	}
	text, err := s.c.ClusterInfo(ctx).Result()
	if err != nil {
		s.found(Warn, "cluster", "permit CLUSTER INFO to this user", "not checked: %v", store.Explain(err))
		return
	}
	info, level := store.ParseInfo(text), OK
	switch {
	case info["cluster_state"] != "ok" || info["cluster_slots_assigned"] != "16384":
		level = Fault
	case info["cluster_slots_ok"] != "16384":
		level = Warn
	}
	s.found(level, "cluster", "see redis-cli --cluster check", "state %s, %s of 16384 slots assigned, %s well", info["cluster_state"], info["cluster_slots_assigned"], info["cluster_slots_ok"])
}

const pings = 50

// latency is how long redis takes to answer nothing.
func (s *server) latency(ctx context.Context) {
	times := make([]time.Duration, pings)
	for i := range times {
		began := time.Now()
		if err := s.c.Ping(ctx).Err(); err != nil {
			s.found(Fault, "latency", "see redis's log and its SLOWLOG", "a ping was not answered: %v", store.Explain(err))
			return
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	p50, p99 := times[pings/2], times[pings-1]
	level := OK
	if p50 > 10*time.Millisecond || p99 > 250*time.Millisecond { // a command is given up after 500 ms
		level = Warn
	}
	s.found(level, "latency", "see redis's SLOWLOG, and what else runs there", "p50 %s, p99 %s of %d pings", p50.Round(time.Microsecond), p99.Round(time.Microsecond), pings)
}

// clock is how far this machine's is from redis's: what is not before a time, and
// what is too old, is judged by the clocks of nodes.
func (s *server) clock(ctx context.Context) {
	before := s.d.now()
	theirs, err := s.c.Time(ctx).Result()
	if err != nil {
		s.found(Warn, "clock", "permit TIME to this user", "not checked: %v", store.Explain(err))
		return
	}
	ours := before.Add(s.d.now().Sub(before) / 2)
	ahead := ours.Sub(theirs)
	level := OK
	switch {
	case ahead.Abs() > 10*time.Second:
		level = Fault
	case ahead.Abs() > time.Second:
		level = Warn
	}
	s.found(level, "clock", "have both machines' clocks set by NTP", "this machine's is %s from redis's", ahead.Round(time.Millisecond))
}

// size writes bytes for people.
func size(n int64) string {
	for _, u := range []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
