package doctor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/store"
)

const (
	imei   = auth.DeviceID("IMEI:356726104408422")
	secret = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
	phone  = "31612345678"
	pack   = `[{"bn":"urn:dev:IMEI:356726104408422:","n":"led","vb":true}]`
)

// claimed reads what nodes note, as the program has it.
func claimed(ctx context.Context, c redis.UniversalClient) (int, error) {
	text, err := c.Get(ctx, "m2m:{0}:partitions").Result()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	n, err2 := strconv.Atoi(text)
	return n, errors.Join(err, err2)
}

// report is what was told, by name.
type report map[string]Finding

func examine(t *testing.T, s *redistest.Server, options ...func(*Config)) report {
	t.Helper()
	all := report{}
	c := Config{
		Redis: s.URL(), Claimed: claimed, UplinksMax: 100, RejectsMax: 100, EventsMax: 100,
		Tell: func(f Finding) {
			if text := fmt.Sprint(f); strings.Contains(text, phone) || strings.Contains(text, secret) || strings.Contains(text, `"vb"`) {
				t.Errorf("it tells %s", text)
			}
			if _, twice := all[f.Name]; twice {
				t.Errorf("%s is told twice", f.Name)
			}
			all[f.Name] = f
		},
	}
	for _, o := range options {
		o(&c)
	}
	if err := Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return all
}

func fix(c *Config) { c.Fix = true }

// want holds one finding to its level, and to what it says.
func (r report) want(t *testing.T, name string, level Level, says string) {
	t.Helper()
	f, ok := r[name]
	if !ok || f.Level != level || !strings.Contains(f.Found+" -> "+f.Must, says) {
		t.Errorf("%s: %+v; want %s, %q", name, f, level, says)
	}
}

// fill makes a device with a downlink, and an app.
func fill(t *testing.T, s *redistest.Server) {
	t.Helper()
	r, err := auth.NewRegistry(auth.RegistryConfig{Client: s.Client(), SecretKey: "a key of sixteen letters or more"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CheckSecretKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.PutDevice(t.Context(), auth.Device{ID: imei, Name: "Pump", MSISDN: phone, Secret: secret}, auth.Create); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.PutApp(t.Context(), auth.App{Name: "dashboard", Scopes: []auth.Scope{auth.ScopeUplinkRead}}, auth.Create); err != nil {
		t.Fatal(err)
	}
	d := downlink.New(downlink.Config{Client: s.Client()})
	draft := downlink.Draft{Device: imei, Channel: downlink.Any, Priority: downlink.DefaultPriority, Pack: []byte(pack)}
	if _, _, err := d.Create(t.Context(), draft); err != nil {
		t.Fatal(err)
	}
}

func TestSound(t *testing.T) {
	s := redistest.Start(t, redistest.AppendOnly(), redistest.MaxMemory(100<<20))
	fill(t, s)
	all := examine(t, s, func(c *Config) { c.SecretKey = "a key of sixteen letters or more" })
	for name, f := range all {
		if f.Level != OK && name != "latency" {
			t.Errorf("%+v", f)
		}
	}
	all.want(t, "secret-key", OK, "it is the one")
	if len(all) != 19 {
		t.Errorf("%d checks", len(all))
	}
}

// What outside hands did to what is kept is found, left alone, mended, and not found again.
func TestMend(t *testing.T) {
	for _, c := range []struct {
		name, check, says string
		hands             func(ctx context.Context, c *redis.Client)
	}{
		{"device not listed", "registry", "not in the list of ids", func(ctx context.Context, c *redis.Client) { c.Del(ctx, "m2m:{0}:devices") }},
		{"terms gone", "registry", "a search would not find it", func(ctx context.Context, c *redis.Client) { c.Del(ctx, "m2m:{0}:devices:terms") }},
		{"app not listed", "registry", "such as dashboard", func(ctx context.Context, c *redis.Client) { c.Del(ctx, "m2m:{0}:apps") }},
		{"member of none", "registry", "there is none", func(ctx context.Context, c *redis.Client) {
			c.ZAdd(ctx, "m2m:{0}:devices", redis.Z{Member: phone})
		}},
		{"due gone", "downlinks", "not in due:downlink", func(ctx context.Context, c *redis.Client) { c.Del(ctx, "m2m:{0}:due:downlink") }},
		{"current gone", "downlinks", "not current", func(ctx context.Context, c *redis.Client) {
			c.Del(ctx, "m2m:{0}:downlink:current:"+string(imei))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := redistest.Start(t)
			fill(t, s)
			c.hands(t.Context(), s.Client())
			for range 2 { // looking changes nothing
				all := examine(t, s)
				all.want(t, c.check, Fault, c.says)
				all.want(t, c.check, Fault, "doctor --fix")
			}
			all := examine(t, s, fix)
			all.want(t, c.check, OK, "mended")
			if all[c.check].Mended == 0 {
				t.Errorf("%+v", all[c.check])
			}
			if f := examine(t, s)[c.check]; f.Level != OK || f.Mended != 0 {
				t.Errorf("afterwards: %+v", f)
			}
		})
	}
}

// What cannot be mended safely remains, beside what can.
func TestMendIsSafe(t *testing.T) {
	s := redistest.Start(t)
	fill(t, s)
	s.Client().HSet(t.Context(), "m2m:{0}:device:"+string(imei), "auth", "x")
	s.Client().Del(t.Context(), "m2m:{0}:apps")
	all := examine(t, s, fix)
	all.want(t, "registry", Fault, "damaged")
	all.want(t, "registry", Fault, "m2mbridge device remove")
	if all["registry"].Mended != 1 {
		t.Errorf("%+v", all["registry"])
	}
	if s.Client().Exists(t.Context(), "m2m:{0}:device:"+string(imei)).Val() != 1 {
		t.Error("a device that cannot be read was removed")
	}
}

// Settings are told and never made.
func TestSettings(t *testing.T) {
	s := redistest.Start(t, redistest.Config("maxmemory-policy", "allkeys-lru"), redistest.Config("maxclients", "100"))
	all := examine(t, s, fix)
	all.want(t, "persistence", Warn, "CONFIG SET appendonly yes")
	all.want(t, "eviction", Warn, "CONFIG SET maxmemory-policy noeviction")
	all.want(t, "clients", Warn, "CONFIG SET maxclients")
	if got := s.Client().ConfigGet(t.Context(), "maxmemory-policy").Val()["maxmemory-policy"]; got != "allkeys-lru" {
		t.Errorf("the policy is %s now", got)
	}
}

func TestEvicted(t *testing.T) {
	s := redistest.Start(t, redistest.Config("maxmemory-policy", "allkeys-random"), redistest.Config("maxmemory", "10mb"))
	c := s.Client()
	for i := range 2000 { // one may be refused where throwing away is too slow
		_ = c.Set(t.Context(), fmt.Sprint(i), strings.Repeat("x", 10<<10), 0).Err()
	}
	all := examine(t, s)
	all.want(t, "eviction", Fault, "has thrown away")
	if all["memory"].Level == OK {
		t.Errorf("%+v", all["memory"])
	}
}

func TestReplica(t *testing.T) {
	master, s := redistest.Start(t), redistest.Start(t)
	host, port, _ := strings.Cut(master.Addr, ":")
	if err := s.Client().Do(t.Context(), "REPLICAOF", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	examine(t, s).want(t, "role", Fault, "a replica")
}

func TestClock(t *testing.T) {
	s := redistest.Start(t)
	for off, want := range map[time.Duration]Level{0: OK, 5 * time.Second: Warn, -5 * time.Second: Warn, 20 * time.Second: Fault, -time.Hour: Fault} {
		all := examine(t, s, func(c *Config) { c.Now = func() time.Time { return time.Now().Add(off) } })
		all.want(t, "clock", want, "from redis's")
	}
}

// What INFO says, where no test can bring a server to say it.
func TestInfo(t *testing.T) {
	for _, c := range []struct {
		info, check string
		level       Level
	}{
		{"redis_version:6.2.14", "version", Fault},
		{"redis_version:7.0.0", "version", OK},
		{"aof_last_write_status:err", "disk", Fault},
		{"rdb_last_bgsave_status:err", "disk", Fault},
		{"aof_last_bgrewrite_status:err", "disk", Warn},
		{"rdb_last_bgsave_status:err\r\naof_last_bgrewrite_status:err", "disk", Fault},
		{"rdb_last_bgsave_status:ok\r\naof_last_write_status:ok", "disk", OK},
		{"used_memory:70\r\nmaxmemory:100", "memory", OK},
		{"used_memory:85\r\nmaxmemory:100", "memory", Warn},
		{"used_memory:99\r\nmaxmemory:100", "memory", Fault},
		{"used_memory:99\r\nmem_not_counted_for_evict:50\r\nmaxmemory:100", "memory", OK},
		{"used_memory:99\r\nmaxmemory:0\r\ntotal_system_memory:100", "memory", Fault},
		{"evicted_keys:3\r\nmaxmemory_policy:noeviction", "eviction", Warn},
	} {
		all := report{}
		s := &server{info: store.ParseInfo(c.info), d: &doctor{store: &store.Store{}}, tell: func(f Finding) { all[f.Name] = f }}
		for _, check := range []func(){s.version, s.disk, s.memory, s.eviction} {
			check()
		}
		all.want(t, c.check, c.level, "")
	}
}

func TestStreams(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client()
	_, err := c.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for range 2000 {
			p.XAdd(t.Context(), &redis.XAddArgs{Stream: "m2m:{0}:uplinks", Values: []string{"device", "x"}})
		}
		p.XAdd(t.Context(), &redis.XAddArgs{Stream: "m2m:{0}:commands", ID: "1-1", Values: []string{"device", "x"}})
		p.XGroupCreate(t.Context(), "m2m:{0}:commands", "m2mbridge", "0")
		p.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: "m2mbridge", Consumer: "gone", Streams: []string{"m2m:{0}:commands", ">"}})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	all := examine(t, s)
	all.want(t, "uplinks", Warn, "--uplinks-max")
	all.want(t, "rejects", OK, "0 entries")
	all.want(t, "commands", OK, "none")
	if err := c.Do(t.Context(), "XCLAIM", "m2m:{0}:commands", "m2mbridge", "gone", 0, "1-1", "IDLE", 120000).Err(); err != nil {
		t.Fatal(err)
	}
	examine(t, s).want(t, "commands", Warn, "1 were taken")
}

func TestSecretKeyAndPartitions(t *testing.T) {
	s := redistest.Start(t)
	all := examine(t, s, func(c *Config) { c.SecretKey = "a key of sixteen letters or more" })
	all.want(t, "secret-key", OK, "no bridge with a secret key")
	all.want(t, "partitions", OK, "no bridge")
	if n := s.Client().DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("looking wrote %d keys", n)
	}
	fill(t, s)
	examine(t, s, func(c *Config) { c.SecretKey = "another one of sixteen letters.." }).want(t, "secret-key", Fault, "another")
	examine(t, s).want(t, "secret-key", OK, "not checked")
	s.Client().Set(t.Context(), "m2m:{0}:partitions", 8, 0)
	all = examine(t, s, func(c *Config) { c.Partitions = 4 })
	all.want(t, "partitions", Fault, "set up with 8")
	s.Client().Set(t.Context(), "m2m:{0}:partitions", "many", 0)
	if all = examine(t, s); all["partitions"].Level != Fault || all["registry"].Name != "" {
		t.Errorf("%+v", all)
	}
}

// Nothing answers, and something else does.
func TestAway(t *testing.T) {
	s := redistest.Start(t)
	others := func(c *Config) {
		for _, p := range []Protocol{DeviceHTTP, API, MQTT, MQTTTLS, MQTTWS} {
			c.Listeners = append(c.Listeners, Listener{p, s.Addr})
		}
	}
	all := examine(t, s, others)
	for _, name := range []string{"http", "api", "mqtt", "mqtt-tls", "mqtt-ws"} {
		all.want(t, name, Fault, "--"+name)
	}
	s.Kill()
	all = examine(t, s, others)
	for _, name := range []string{"http", "api", "mqtt", "mqtt-tls", "mqtt-ws", "redis"} {
		all.want(t, name, Fault, "refused")
	}
	all = examine(t, s, func(c *Config) { c.Redis, c.Data = "embedded", t.TempDir() })
	all.want(t, "redis", Fault, "start m2mbridge serve")
}
