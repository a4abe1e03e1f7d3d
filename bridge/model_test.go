package bridge_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/uplink"
)

// The bounds of the model's downlinks.
const (
	modelLease    = 30 * time.Second
	modelAckWait  = 10 * time.Minute
	modelKeep     = 30 * time.Minute
	modelPuback   = 20 * time.Second // that a device has
	modelAskEvery = 10 * time.Second // what a node left is looked at so much later at most
	modelAttempts = 4
	modelRoom     = 12
	modelPatience = 10 * time.Second
	modelSecret   = "72J3wD2bd49jnMI8S31j2L3vZldH3rSS"
)

// world is two nodes over one Redis, with devices, and what the model knows of their downlinks.
type world struct {
	*rapid.T
	server   *redistest.Server
	clients  [2]*lossy
	plain    *redis.Client // the model's own
	keys     auth.Keyspace
	registry *auth.Registry
	clock    *modelClock
	nodes    [2]*modelNode

	busy   atomic.Int32 // what couriers are at
	signal chan struct{}
	mu     sync.Mutex
	inbox  []*handed // not looked at yet

	devices []*modelDevice
	made    []*item
	byID    map[string]*item
	events  []string // position in each partition's
	open    []*handed
	texts   []*texted
	number  int
}

type modelDevice struct {
	id         auth.DeviceID
	generation int // of its registration
	gone       bool
	uplinks    int
	last       string // its last body
	got        string // id of the last downlink
	answer     string // id of the last one over HTTP
	answered   string // the body that it answered
}

// item is a downlink as the model has it.
type item struct {
	draft      downlink.Draft
	n          int
	id         string
	device     *modelDevice
	generation int
	expires    time.Time

	state                     downlink.State // by its events
	since                     time.Time
	confirmed, acked          bool
	restsUntil                time.Time // no further SMS before
	woken, hopeless           bool      // its device came; no further SMS makes sense
	cancelled                 bool
	taken                     time.Time // it waits since for the device to acknowledge
	mayBeCancelled, forgotten bool
}

// handed is a downlink on its way, as a device has it.
type handed struct {
	device     auth.DeviceID
	it         *item
	body       string
	topic      string
	token      string // of the uplink that it answers
	mqtt       bool
	node       *modelNode
	at         time.Time
	superseded bool // the device has repeated its uplink
	settle     func(delivered bool, cause string)
}

// Random sequences of all that can happen to downlinks, on two nodes over a real Redis.
func TestDownlinkModel(t *testing.T) {
	server := redistest.Start(t, redistest.AppendOnly(), redistest.Config("appendfsync", "no")) // it is killed, the machine is not
	clients := [2]*lossy{{Client: server.Client()}, {Client: server.Client()}}
	for _, c := range clients {
		c.AddHook(c)
	}
	clock, plain := &modelClock{}, server.Client()
	clock.ms.Store(1_800_000_000_000)
	registry, err := auth.NewRegistry(auth.RegistryConfig{Client: plain, Keys: auth.Keyspace{Partitions: 2}, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	if checks := flag.Lookup("rapid.checks"); raceEnabled && os.Getenv("M2M_LONG") == "" && checks.Value.String() == checks.DefValue {
		_ = checks.Value.Set("25") // a quarter of its own: the race detector takes its time
	}
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			T: t, server: server, clients: clients, plain: plain, clock: clock, registry: registry, keys: auth.Keyspace{Partitions: 2},
			signal: make(chan struct{}, 1), byID: map[string]*item{}, events: []string{"0", "0"},
		}
		w.begin()
		defer func() { w.nodes[0].stop(); w.nodes[1].stop() }()
		for range 2 { // rapid's own length is short of what takes several steps to go wrong
			t.Repeat(map[string]func(*rapid.T){
				"": w.check, "create": w.create, "create ": w.create, "uplink": w.uplink, "uplink ": w.uplink, "repeat": w.repeat, "at once": w.atOnce,
				"acknowledge": w.acknowledge, "answered": w.answered, "answered ": w.answered, "connect": w.connect, "connect ": w.connect,
				"disconnect": w.disconnect, "puback": w.puback, "puback ": w.puback, "cancel": w.cancel, "clock": w.pass, "clock ": w.pass,
				"sms": w.text, "sms ": w.text, "sms  ": w.text, "receipt": w.receipt,
				"crash": w.crash, "lost reply": w.lostReply, "register": w.register, "restart": w.restart,
			})
		}
		w.end()
	})
}

func (w *world) begin() {
	if err := w.plain.FlushAll(context.Background()).Err(); err != nil {
		w.Fatalf("flush: %v", err)
	}
	for i := range 2 {
		d := &modelDevice{id: auth.DeviceID(fmt.Sprintf("IMEI:%015d", i+1))}
		w.devices = append(w.devices, d)
		w.put(d)
	}
	for i := range w.nodes {
		w.clients[i].lose.Store(0)
		w.start(i)
	}
}

// end has the time pass in which every downlink must have ended, and be forgotten.
func (w *world) end() {
	for range 10 {
		for range 8 {
			w.move(10 * time.Minute)
		}
		w.check(w.T)
	}
	for _, it := range w.made {
		if it.id != "" && !it.forgotten {
			w.Fatalf("%s is there for ever: %s", it.id, it.state)
		}
	}
}

func (w *world) put(d *modelDevice) {
	if _, err := w.registry.PutDevice(context.Background(), auth.Device{ID: d.id, Secret: modelSecret, MSISDN: "31612345678"}, auth.Create); err != nil {
		w.Fatalf("register: %v", err)
	}
	d.gone = false
}

func (w *world) anyDevice(t *rapid.T) *modelDevice {
	return rapid.SampledFrom(w.devices).Draw(t, "device")
}

func (w *world) anyNode(t *rapid.T) *modelNode {
	return w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")]
}

func (w *world) create(t *rapid.T) {
	d, n := w.anyDevice(t), w.anyNode(t)
	w.number++
	draft := downlink.Draft{
		Device: d.id, App: "model", Pack: fmt.Appendf(nil, `[{"n":"n","v":%d}]`, w.number),
		Channel:  rapid.SampledFrom([]downlink.Channel{downlink.HTTP, downlink.MQTT, downlink.Any, downlink.Any, downlink.SMS, downlink.SMS}).Draw(t, "channel"),
		TTL:      rapid.SampledFrom([]time.Duration{5 * time.Second, time.Minute, 30 * time.Minute, 3 * time.Hour}).Draw(t, "ttl"),
		Priority: rapid.SampledFrom([]int{0, 5, 5, 5, 9}).Draw(t, "priority"),
		Ack:      rapid.IntRange(0, 3).Draw(t, "ack") == 0,
	}
	draft.Wake = draft.Channel != downlink.SMS && rapid.IntRange(0, 1).Draw(t, "wake") == 0
	if rapid.IntRange(0, 3).Draw(t, "scheduled") == 0 {
		draft.NotBefore = w.clock.now().Add(draft.TTL / 3)
	}
	if rapid.IntRange(0, 2).Draw(t, "keyed") == 0 {
		draft.Key = fmt.Sprint("key", w.number)
	}
	it := &item{draft: draft, n: w.number, device: d, generation: d.generation, expires: w.clock.now().Add(draft.TTL)}
	w.made = append(w.made, it)
	made, fresh, err := n.downlinks.Create(context.Background(), draft)
	if errors.Is(err, downlink.ErrUnavailable) && draft.Key != "" { // a client that was told nothing, and has a key
		made, fresh, err = n.downlinks.Create(context.Background(), draft)
		if err == nil {
			it.id = made.ID
			fresh = true
		}
	}
	switch {
	case err == nil && fresh && !d.gone:
		it.id = made.ID
		w.byID[it.id] = it
	case errors.Is(err, downlink.ErrUnavailable): // it is known by its event, if it is there
	case errors.Is(err, downlink.ErrFull) && w.waiting(d) >= modelRoom, errors.Is(err, downlink.ErrDevice) && d.gone:
		w.made = w.made[:len(w.made)-1]
	default:
		w.Fatalf("create: %+v, fresh %v: %v", made, fresh, err)
	}
	if err == nil && draft.Key != "" {
		w.createAgain(n, it)
	}
}

// createAgain is what a client does that was not told.
func (w *world) createAgain(n *modelNode, it *item) {
	again, fresh, err := n.downlinks.Create(context.Background(), it.draft)
	if err == nil && (fresh || again.ID != it.id) || err != nil && !errors.Is(err, downlink.ErrUnavailable) {
		w.Fatalf("create %s again: %s, fresh %v, %v", it.id, again.ID, fresh, err)
	}
	other := it.draft
	other.Pack = []byte(`[{"n":"other","v":1}]`)
	if _, _, err := n.downlinks.Create(context.Background(), other); !errors.Is(err, downlink.ErrOther) && !errors.Is(err, downlink.ErrUnavailable) {
		w.Fatalf("another one with the key of %s: %v", it.id, err)
	}
}

func (w *world) waiting(d *modelDevice) (n int) {
	w.follow()
	for _, it := range w.made {
		if it.device == d && it.id != "" && !it.state.Final() {
			n++
		}
	}
	return n
}

// body is a new uplink of a device.
func (w *world) body(d *modelDevice, record string) string {
	d.uplinks++
	d.last = fmt.Sprintf(`[{"bn":"%s","bt":%d,%s}]`, d.id.BaseName(), 1_700_000_000+d.uplinks, record)
	return d.last
}

func (w *world) uplink(t *rapid.T) {
	d, n := w.anyDevice(t), w.anyNode(t)
	w.send(n, d, w.body(d, `"n":"seq","v":1`), uplink.HTTP)
}

// repeat sends the last uplink again: its answer was lost.
func (w *world) repeat(t *rapid.T) {
	if d, n := w.anyDevice(t), w.anyNode(t); d.last != "" {
		w.send(n, d, d.last, uplink.HTTP)
	}
}

// acknowledge is the device's own word, by either edge; perhaps for what it never got.
func (w *world) acknowledge(t *rapid.T) {
	d, n := w.anyDevice(t), w.anyNode(t)
	via := rapid.SampledFrom([]uplink.Via{uplink.HTTP, uplink.MQTT}).Draw(t, "via")
	id := d.got
	if len(w.made) > 0 && rapid.IntRange(0, 3).Draw(t, "strange") == 0 {
		id = rapid.SampledFrom(w.made).Draw(t, "downlink").id
	}
	if it := w.byID[id]; it != nil && it.device == d && it.generation == d.generation && !d.gone && w.attempted(it) {
		it.acked = true // it is the device's word, whatever it got
	}
	w.send(n, d, w.body(d, fmt.Sprintf(`"n":"downlinkAck","vs":"%s"`, id)), via)
}

// atOnce has a device send two uplinks at the same time, to both nodes.
func (w *world) atOnce(t *rapid.T) {
	d := w.anyDevice(t)
	bodies := [2]string{w.body(d, `"n":"seq","v":1`), w.body(d, `"n":"seq","v":2`)}
	var verdicts [2]uplink.Verdict
	met := w.meets(d)
	var wg sync.WaitGroup
	for i := range bodies {
		wg.Go(func() { verdicts[i] = w.accept(w.nodes[i], d, bodies[i], uplink.HTTP) })
	}
	wg.Wait()
	for i, v := range verdicts {
		met(v)
		w.judge(w.nodes[i], d, bodies[i], v)
	}
}

func (w *world) send(n *modelNode, d *modelDevice, body string, via uplink.Via) {
	met := w.meets(d)
	v := w.accept(n, d, body, via)
	met(v)
	w.judge(n, d, body, v)
}

// accept sends an uplink until it is judged, as a device does.
func (w *world) accept(n *modelNode, d *modelDevice, body string, via uplink.Via) (v uplink.Verdict) {
	m := uplink.Message{Via: via, PathType: "IMEI", Body: []byte(body), Token: auth.Token([]byte(body), modelSecret), HasToken: true}
	if via == uplink.MQTT {
		m.PathType, m.Login = "", d.id
	}
	for range 10 {
		if v = n.uplinks.Accept(context.Background(), &m); v.Outcome != uplink.Unavailable {
			return v
		}
	}
	return v
}

func (w *world) judge(n *modelNode, d *modelDevice, body string, v uplink.Verdict) {
	if v.Outcome.Accepted() == d.gone {
		w.Fatalf("uplink of %s, gone %v: %s %s", d.id, d.gone, v.Outcome, v.Detail)
	}
	if v.Downlink != nil {
		w.arrived(&handed{device: d.id, body: string(v.Downlink.Body), token: body, node: n, at: w.clock.now(), settle: v.Downlink.Settle})
	}
}

// answered is how the answer to an uplink went.
func (w *world) answered(t *rapid.T) {
	var answers []*handed
	for _, h := range w.open {
		if !h.mqtt {
			answers = append(answers, h)
		}
	}
	if len(answers) > 0 {
		w.settle(rapid.SampledFrom(answers).Draw(t, "answer"), rapid.Bool().Draw(t, "taken"), "the model says so")
	}
}

func (w *world) connect(t *rapid.T) {
	d, n := w.anyDevice(t), w.anyNode(t)
	if d.gone {
		return
	}
	for _, other := range w.nodes {
		other.sessions.end(d.id, "taken over")
	}
	n.sessions.begin(d.id)
}

func (w *world) disconnect(t *rapid.T) {
	d := w.anyDevice(t)
	for _, n := range w.nodes {
		n.sessions.end(d.id, "its session ended")
	}
}

func (w *world) puback(t *rapid.T) {
	d := w.anyDevice(t)
	for _, n := range w.nodes {
		if h, _ := n.sessions.waits(d.id); h != nil {
			n.sessions.acked(d.id)
			w.settle(h, true, "PUBACK")
		}
	}
}

func (w *world) cancel(t *rapid.T) {
	if len(w.made) == 0 {
		return
	}
	it, n := rapid.SampledFrom(w.made).Draw(t, "downlink"), w.anyNode(t)
	if it.id == "" {
		return
	}
	switch err := n.downlinks.Cancel(context.Background(), it.id, "by the model"); {
	case err == nil && !it.state.Final():
		it.cancelled = true
	case errors.Is(err, downlink.ErrUnavailable):
		it.mayBeCancelled = true
	case errors.Is(err, downlink.ErrFinal) && it.state.Final(), errors.Is(err, downlink.ErrUnknown) && it.state.Final():
	case errors.Is(err, downlink.ErrHanded) && w.underWay(it):
	default:
		w.Fatalf("cancel %s, which is %s: %v", it.id, it.state, err)
	}
}

// underWay reports whether a lease of the downlink lasts.
func (w *world) underWay(it *item) bool {
	d, err := w.nodes[0].downlinks.Get(context.Background(), it.id)
	return err == nil && (!d.LeaseEnds.IsZero() || d.Channel == downlink.SMS && d.SMS != nil && d.SMS.State == "submitting")
}

func (w *world) attempted(it *item) bool {
	d, err := w.nodes[0].downlinks.Get(context.Background(), it.id)
	return err == nil && d.Attempts > 0
}

func (w *world) pass(t *rapid.T) {
	steps := []time.Duration{time.Second, 4 * time.Second, 11 * time.Second, 31 * time.Second, 2 * time.Minute, 11 * time.Minute, 90 * time.Minute}
	w.move(rapid.SampledFrom(steps).Draw(t, "step"))
}

// move lets time pass: sessions without a PUBACK end, and the nodes look.
func (w *world) move(d time.Duration) {
	w.clock.pass(d)
	for _, n := range w.nodes {
		for _, d := range w.devices {
			if h, _ := n.sessions.waits(d.id); h != nil && w.clock.now().Sub(h.at) >= modelPuback {
				n.sessions.end(d.id, "no PUBACK in time")
			}
		}
	}
	w.quiet()
	for _, n := range w.nodes {
		n.look()
	}
	w.follow()
}

// crash ends a node: nobody is told anything, and another takes its place.
func (w *world) crash(t *rapid.T) {
	n := w.anyNode(t)
	n.sessions.mu.Lock()
	n.sessions.dead = true
	n.sessions.mu.Unlock()
	n.stop()
	w.open = slices.DeleteFunc(w.open, func(h *handed) bool { return h.node == n })
	w.start(n.number)
}

// lostReply has a reply of Redis to a script of a node lost.
func (w *world) lostReply(t *rapid.T) {
	w.clients[rapid.IntRange(0, 1).Draw(t, "client")].lose.Store(1)
}

// register removes a device, or registers it anew.
func (w *world) register(t *rapid.T) {
	if rapid.IntRange(0, 2).Draw(t, "seldom") > 0 {
		return
	}
	d := w.anyDevice(t)
	w.clock.pass(time.Millisecond)
	if d.gone {
		w.put(d)
		return
	}
	d.generation++
	d.gone, d.last, d.got, d.answer, d.answered = true, "", "", "", ""
	if err := w.registry.DeleteDevice(context.Background(), d.id, auth.AnyRevision); err != nil {
		w.Fatalf("remove: %v", err)
	}
	for _, n := range w.nodes {
		n.sessions.end(d.id, "the device was removed")
	}
	if rapid.Bool().Draw(t, "anew") { // before anybody is told
		w.clock.pass(time.Millisecond)
		w.put(d)
	}
	for _, n := range w.nodes {
		n.downlinks.OnChange(auth.Change{Kind: auth.ChangeDevice, Device: d.id})
	}
}

// restart kills Redis, and starts it again with what it had written.
func (w *world) restart(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "seldom") > 0 {
		return
	}
	w.quiet()
	w.server.Restart()
	for range 50 { // which ends the connections that are no more
		for _, c := range []*redis.Client{w.plain, w.clients[0].Client, w.clients[1].Client} {
			_ = c.Ping(context.Background()).Err()
		}
	}
}
