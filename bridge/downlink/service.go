package downlink

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"m2mbridge/auth"
	"m2mbridge/bridge/due"
	"m2mbridge/senml"
)

// Config is what a Service needs. The zeros of all below Client and Keys stand for their defaults.
type Config struct {
	Client redis.UniversalClient // must bound its commands by their contexts, and not repeat them
	Keys   auth.Keyspace

	TTL      time.Duration // how long a downlink may wait, if it does not say; 48 h
	Keep     time.Duration // how long one is kept that has ended; 7 days
	Lease    time.Duration // for an attempt, within which its outcome must be told; 30 s
	AckWait  time.Duration // for a device to acknowledge what it got; 10 min
	Attempts int           // that a downlink gets; 10
	Room     int           // downlinks of a device that have not ended; 1000
	MaxPack  int           // bytes of a pack; 4096, which is what devices' buffers hold at most

	// SMS checks what an SMS is to hold, one of text and data, and gives of how many parts it is. Nil: no SMS are sent.
	SMS      func(text string, data []byte) (parts int, err error)
	Schedule string // of the attempts by SMS: their offsets and behind ";" the limit, in ms

	Deadline time.Duration // of one change; 1 s

	// Note is told in words what happens to a device's downlinks through this Service; it must not block. Nil: nobody is told.
	Note func(device auth.DeviceID, text string)

	Blocking redis.UniversalClient // hears of what other nodes make due; nil: within a second or so
	Metrics  prometheus.Registerer // nil: none

	MaxEvents int64 // length of a partition's events stream, about; 0: no limit

	Log *slog.Logger     // nil: nothing is logged
	Now func() time.Time // nil: the clock of Redis, the same for all nodes
}

// Service keeps the downlinks.
type Service struct {
	cfg    Config
	now    func() time.Time
	log    *slog.Logger
	script *redis.Script
	nudges chan struct{} // of one: something is due sooner than was thought

	due      *due.Set
	removals removals
	untold   untold
}

// New makes a Service; it asks nothing of Redis yet.
func New(c Config) *Service {
	c.TTL = cmp.Or(c.TTL, 48*time.Hour)
	c.Keep = cmp.Or(c.Keep, 7*24*time.Hour)
	c.Lease = cmp.Or(c.Lease, 30*time.Second)
	c.AckWait = cmp.Or(c.AckWait, 10*time.Minute)
	c.Attempts = cmp.Or(c.Attempts, 10)
	c.Room = cmp.Or(c.Room, 1000)
	c.MaxPack = cmp.Or(c.MaxPack, 4096)
	c.Deadline = cmp.Or(c.Deadline, time.Second)
	s := &Service{cfg: c, now: c.Now, log: c.Log, script: redis.NewScript(Rules() + doSource), nudges: make(chan struct{}, 1)}
	if s.now == nil {
		s.now = time.Now
	}
	s.due = due.NewSet(due.Config{Client: c.Client, Keys: c.Keys, Kind: due.Downlink, Horizon: maxTTL + c.Keep + time.Hour, Clock: c.Now})
	if s.cfg.Note == nil {
		s.cfg.Note = func(auth.DeviceID, string) {}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

const (
	maxTTL       = 366 * 24 * time.Hour
	ackRoom      = 64  // bytes of a pack for the id, where it is to be acknowledged
	maxKey       = 128 // bytes of an idempotency key
	maxNotBefore = 366 * 24 * time.Hour
)

// Create queues a downlink, or gives the one that the idempotency key made before; fresh says which. ErrInvalid, ErrDevice,
// ErrFull, ErrOther, ErrUnavailable.
func (s *Service) Create(ctx context.Context, d Draft) (made Downlink, fresh bool, err error) {
	now := s.now()
	d.ownTTL, d.TTL = d.TTL != 0, cmp.Or(d.TTL, s.cfg.TTL)
	pack, err := s.check(&d, now)
	if err != nil {
		return Downlink{}, false, err
	}
	notBefore := int64(0)
	if !d.NotBefore.IsZero() {
		notBefore = d.NotBefore.UnixMilli()
	}
	p, once := s.cfg.Keys.Partition(d.Device), ""
	if key := cmp.Or(d.Key, d.Once); key != "" {
		once = onceKey(s.cfg.Keys, p, d.App, d.Device, key)
	}
	id, print := newID(p, now), d.print(pack)
	if d.Ack {
		pack = withID(pack, id)
	}
	args := append([]any{
		id, string(d.Device), s.cfg.Room, once, d.TTL.Milliseconds(), notBefore, d.Priority, print, "created by " + d.by(), flag(d.Channel == SMS || d.Wake),
	}, d.fields(pack)...)
	reply, err := s.do(ctx, p, "create", args...)
	if err != nil {
		return Downlink{}, false, err
	}
	words, err := reply.StringSlice()
	if err != nil || len(words) != 2 {
		return Downlink{}, false, fmt.Errorf("%w: create: %w", ErrUnavailable, err)
	}
	if words[0] == "" {
		return Downlink{}, false, cmp.Or(refusals[words[1]], fmt.Errorf("%w: create: %q", ErrUnavailable, words[1]))
	}
	if words[1] == "1" {
		s.cfg.Note(d.Device, words[0]+" created, channel "+string(d.Channel))
	}
	made, err = s.Get(ctx, words[0])
	return made, words[1] == "1", err
}

// refusals are the script's words for what it does not create.
var refusals = map[string]error{
	"unknown": ErrDevice, "full": ErrFull, "other": ErrOther,
	"barred":     fmt.Errorf("%w: its SIM is registered as one that SMS do not reach (sms: false)", ErrNoSMS),
	"numberless": fmt.Errorf("%w: it is registered without an msisdn", ErrNoSMS),
	"unreadable": fmt.Errorf("%w: its registration cannot be read", ErrNoSMS),
}

func flag(set bool) string {
	if set {
		return "1"
	}
	return "0"
}

// check brings a draft into its canonical form, or says which rule it breaks; it gives the pack as it is kept.
func (s *Service) check(d *Draft, now time.Time) ([]byte, error) {
	bad := func(format string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
	}
	switch {
	case d.Channel != HTTP && d.Channel != MQTT && d.Channel != SMS && d.Channel != Any:
		return bad("channel %.20q: want http, mqtt, sms or any", string(d.Channel))
	case d.TTL < time.Second || d.TTL > maxTTL:
		return bad("ttl: want 1s to %s", maxTTL)
	case d.Priority < 0 || d.Priority > 9:
		return bad("priority: want 0 to 9")
	case len(d.Key) > maxKey || strings.ContainsFunc(d.Key, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("idempotencyKey: want at most %d bytes without control characters", maxKey)
	case !d.NotBefore.IsZero() && d.NotBefore.UnixMilli() < 0:
		return bad("notBefore: it is before 1970")
	case d.NotBefore.After(now.Add(maxNotBefore)):
		return bad("notBefore: it is more than %s ahead", maxNotBefore)
	case !d.NotBefore.IsZero() && !d.NotBefore.Before(now.Add(d.TTL)):
		return bad("notBefore: it is not before the ttl is over")
	}
	if err := s.checkSMS(d); err != nil {
		return nil, err
	}
	if d.Text != "" || len(d.Data) > 0 {
		return nil, nil
	}
	pack, err := s.checkPack(d)
	if err == nil && d.Channel == SMS {
		err = s.checkParts(string(pack), nil, "pack")
	}
	return pack, err
}

// checkPack reads the pack and writes it as devices can read it, with the canonical base name, which the edge that hands it
// over replaces by the device's own spelling.
func (s *Service) checkPack(d *Draft) ([]byte, error) {
	var pack senml.Pack
	if err := pack.Decode(bytes.TrimSpace(d.Pack), senml.Options{}); err != nil {
		return nil, fmt.Errorf("%w: pack: %w", ErrInvalid, err)
	}
	for i := range pack.Records {
		r := &pack.Records[i]
		if !r.HasBaseName || len(r.BaseName) == 0 {
			continue
		}
		if _, ok := auth.SameDevice(d.Device, r.BaseName); !ok {
			return nil, fmt.Errorf("%w: pack: record %d has a base name that is not %s", ErrInvalid, i+1, d.Device.BaseName())
		}
	}
	if pack.Measurements() == 0 {
		return nil, fmt.Errorf("%w: pack: no record has a value", ErrInvalid)
	}
	out := pack.AppendDownlink(nil, d.Device.BaseName())
	if room := s.cfg.MaxPack - ackRoom; len(out) > s.cfg.MaxPack || d.Ack && len(out) > room {
		return nil, fmt.Errorf("%w: pack: %d bytes as the device gets it, more than %d", ErrInvalid, len(out), s.cfg.MaxPack)
	}
	return out, nil
}

// IDName is the record in which a device gets the id of a downlink that it is to acknowledge; it sends that back in a record
// named downlinkAck.
const IDName = "downlinkId"

// withID is the pack with the id in a last record.
func withID(pack []byte, id string) []byte {
	return append(pack[:len(pack)-1], `,{"n":"`+IDName+`","vs":"`+id+`"}]`...)
}

// by is who creates it.
func (d *Draft) by() string {
	switch {
	case d.By != "":
		return d.By
	case d.App != "":
		return "app " + d.App
	}
	return "an integration"
}

// print tells one downlink from another under the same idempotency key.
func (d *Draft) print(pack []byte) string {
	text := fmt.Appendf(nil, "%s\n%s\n%d\n%v\n%s", d.Device, d.Channel, d.Priority, d.Ack, pack)
	if d.Text != "" || len(d.Data) > 0 || d.Wake {
		text = fmt.Appendf(text, "\n%q\n%q\n%v", d.Text, d.Data, d.Wake)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// newID makes an id that says its partition, and sorts by time.
func newID(p int, now time.Time) string {
	return strconv.FormatInt(int64(p), 36) + "-" + strconv.FormatInt(now.UnixMilli(), 36) + strings.ToLower(rand.Text()[:12])
}

// Get gives one downlink; ErrUnknown if there is none.
func (s *Service) Get(ctx context.Context, id string) (Downlink, error) {
	if _, ok := s.partitionOf(id); !ok {
		return Downlink{}, ErrUnknown
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Deadline)
	defer cancel()
	list, err := s.read(ctx, []string{id})
	if err != nil {
		return Downlink{}, err
	}
	if list[0] == nil {
		return Downlink{}, ErrUnknown
	}
	return *list[0], nil
}

// Cancel ends a downlink that is not being handed over. ErrUnknown, ErrHanded, ErrFinal.
func (s *Service) Cancel(ctx context.Context, id, cause string) error {
	p, ok := s.partitionOf(id)
	if !ok {
		return ErrUnknown
	}
	reply, err := s.do(ctx, p, "cancel", id, cause)
	if err != nil {
		return err
	}
	switch was, _ := reply.Text(); State(was) {
	case Queued, Executing:
		return nil
	case "":
		return ErrUnknown
	case "HANDED":
		return ErrHanded
	default:
		return fmt.Errorf("%w: it is %s", ErrFinal, was)
	}
}
