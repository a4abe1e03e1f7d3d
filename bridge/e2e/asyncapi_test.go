package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"github.com/redis/go-redis/v9"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"m2mbridge/bridge/fleet"
)

// asyncAPI is the served AsyncAPI document, to hold against it what comes.
type asyncAPI struct {
	*site
	doc     asyncDocument
	compile sync.Mutex // a compiler is of one goroutine
	schemas *jsonschema.Compiler

	mu       sync.Mutex
	seen     map[string]int // messages by channel
	retained int            // messages that were retained: they have no id
}

type asyncDocument struct {
	DefaultContentType string
	Channels           map[string]struct {
		Address  string
		Messages map[string]any
	}
	Operations map[string]struct {
		Action   string
		Reserved bool `json:"x-reserved"`
	}
	Components struct {
		Messages map[string]struct {
			ContentType string
			Headers     map[string]any
		}
		Schemas map[string]map[string]any
	}
}

func (s *site) asyncAPI(n *node) *asyncAPI {
	s.Helper()
	a := &asyncAPI{site: s, schemas: jsonschema.NewCompiler(), seen: map[string]int{}}
	status, body := s.ask(n, http.MethodGet, "/asyncapi.json", nil)
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err == nil {
		err = json.Unmarshal(body, &a.doc)
	}
	if err != nil || status != http.StatusOK {
		s.Fatalf("%d, %v", status, err)
	}
	a.schemas.DefaultDraft(jsonschema.Draft2020)
	a.schemas.AssertFormat()
	a.schemas.AssertContent()
	if err := a.schemas.AddResource("urn:asyncapi", whole); err != nil {
		s.Fatal(err)
	}
	for name, schema := range a.doc.Components.Schemas {
		if schema["type"] == "object" && schema["additionalProperties"] != false {
			s.Errorf("schema %s allows names that are not in it", name)
		}
	}
	return a
}

// channel is the one that a topic or key is of.
func (a *asyncAPI) channel(address string) string {
	a.Helper()
	var found []string
	for name, c := range a.doc.Channels {
		pattern := regexp.MustCompile(`\\\{[a-z]+\\\}`).ReplaceAllString(regexp.QuoteMeta(c.Address), "[^/]+")
		if regexp.MustCompile("^" + pattern + "$").MatchString(address) {
			found = append(found, name)
		}
	}
	if len(found) > 1 { // events/APP/x/gap is an event of no device
		found = slices.DeleteFunc(found, func(name string) bool { return strings.Count(a.doc.Channels[name].Address, "{") > 2 })
	}
	if len(found) != 1 {
		a.Errorf("%s is of the channels %v", address, found)
		return ""
	}
	return found[0]
}

// fits holds a part of a message against the document.
func (a *asyncAPI) fits(channel, part string, text []byte) {
	a.Helper()
	for message := range a.doc.Channels[channel].Messages {
		a.compile.Lock()
		schema, err := a.schemas.Compile("urn:asyncapi#/components/messages/" + message + "/" + part)
		a.compile.Unlock()
		var value any
		if err == nil {
			value, err = jsonschema.UnmarshalJSON(bytes.NewReader(text))
		}
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			a.Errorf("%s of %s: %s: %v", part, channel, text, err)
		}
	}
}

// got holds a message that an app was sent.
func (a *asyncAPI) got(p *paho.Publish) {
	channel := a.channel(p.Topic)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[channel]++
	said := a.doc.Components.Messages[channel]
	want := said.ContentType
	if want == "" {
		want = a.doc.DefaultContentType
	}
	if p.Properties.ContentType != want {
		a.Errorf("%s comes as %q, want %q", p.Topic, p.Properties.ContentType, want)
	}
	a.fits(channel, "payload", p.Payload)
	if p.Retain {
		a.retained++
	}
	user := map[string]string{}
	for _, u := range p.Properties.User {
		user[u.Key] = u.Value
	}
	if said.Headers == nil {
		if len(user) > 0 {
			a.Errorf("%s comes with %v, which is not documented", p.Topic, user)
		}
		return
	}
	a.fits(channel, "headers", marshal(user))
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// stream holds all entries of a stream.
func (a *asyncAPI) stream(kind string) {
	a.Helper()
	channel := a.channel("m2m:{0}:" + kind)
	read, err := a.own.XRead(context.Background(), &redis.XReadArgs{Streams: []string{"m2m:{0}:" + kind, "0"}, Block: -1}).Result()
	if err != nil {
		a.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range read[0].Messages {
		a.seen[channel]++
		a.fits(channel, "payload", marshal(e.Values))
	}
}

// command adds an entry that the document allows; what comes of it is for the caller to see.
func (a *asyncAPI) command(fields map[string]any) {
	a.Helper()
	channel := a.channel("m2m:{0}:commands")
	a.fits(channel, "payload", marshal(fields))
	if err := a.own.XAdd(context.Background(), &redis.XAddArgs{Stream: "m2m:{0}:commands", Values: fields}).Err(); err != nil {
		a.Fatal(err)
	}
	a.mu.Lock()
	a.seen[channel]++
	a.mu.Unlock()
}

func (a *asyncAPI) count(channel string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[channel]
}

// client logs in with Paho; all that comes is held against the document.
func (a *asyncAPI) client(n *node, user, password, id string) *paho.Client {
	a.Helper()
	conn, err := net.Dial("tcp", n.addr("mqtt"))
	if err != nil {
		a.Fatal(err)
	}
	c := paho.NewClient(paho.ClientConfig{Conn: conn, PacketTimeout: loginLimit, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) { a.got(p.Packet); return true, nil },
	}})
	_, err = c.Connect(a.Context(), &paho.Connect{
		ClientID: id, CleanStart: true, KeepAlive: 60, Username: user, UsernameFlag: true, Password: []byte(password), PasswordFlag: true,
	})
	if err != nil {
		a.Fatalf("log in %s: %v", user, err)
	}
	a.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c
}

func (a *asyncAPI) subscribe(c *paho.Client, after string, filters ...string) {
	a.Helper()
	s := &paho.Subscribe{}
	if after != "" {
		s.Properties = &paho.SubscribeProperties{User: paho.UserProperties{{Key: "after", Value: after}}}
	}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, paho.SubscribeOptions{Topic: f, QoS: 1})
	}
	if ack, err := c.Subscribe(a.Context(), s); err != nil {
		a.Fatalf("subscribe to %v: %v %+v", filters, err, ack)
	}
}

// publish gives the reason code.
func (a *asyncAPI) publish(c *paho.Client, topic, body, token string) byte {
	a.Helper()
	p := &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(body)}
	if token != "" {
		p.Properties = &paho.PublishProperties{User: paho.UserProperties{{Key: "Things-Message-Token", Value: token}}}
		a.fits(a.channel(topic), "headers", marshal(map[string]string{"Things-Message-Token": token}))
	}
	ack, err := c.Publish(a.Context(), p)
	if ack == nil {
		a.Fatalf("publish to %s: %v", topic, err)
	}
	channel := a.channel(topic)
	if ack.ReasonCode == 0 {
		a.mu.Lock()
		a.seen[channel]++
		a.mu.Unlock()
		a.fits(channel, "payload", []byte(body))
	}
	return ack.ReasonCode
}

// TestAsyncAPI holds the served AsyncAPI document against what comes over topics
// and streams: each message is of a channel, its payload and user properties are
// what the document says and nothing beside, and each channel was seen. What is
// reserved does nothing yet.
func TestAsyncAPI(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	s := newSite(t)
	n := s.serve("--keep-raw", "--unsigned-from", "127.0.0.1/32")
	a := s.asyncAPI(n)
	d := s.device(0, nil)
	unsigned := fleet.Device{ID: "IMEI:490154203237518"}
	s.call(http.MethodPost, "/v1/devices", map[string]any{"id": unsigned.ID, "unsigned": true}, http.StatusCreated)
	reader := s.app("reader", []string{"uplink.read", "downlink.read", "reject.read", "downlink.write"})
	app := a.client(n, reader.name, reader.key, "one")
	a.subscribe(app, "", "uplinks/#", "rejects/#", "events/#", "presence/#")

	a.devicesSend(n, d, unsigned)
	uplinks := s.stored("uplinks")
	if err := s.own.XTrimMaxLen(t.Context(), "m2m:{0}:uplinks", 1).Err(); err != nil {
		t.Fatal(err)
	}
	// Another node has nothing of it in memory: what follows was trimmed.
	late := a.client(s.serve(), reader.name, reader.key, "two")
	a.subscribe(late, uplinks[0].ID, "uplinks/#", "presence/#")
	if code := a.publish(app, "downlinks/"+d.Type()+"/"+d.Value(), `[{"n":"down","v":1}]`, ""); code != 0 {
		t.Errorf("a downlink is refused: %#x", code)
	}
	a.command(map[string]any{"device": d.ID, "channel": "mqtt", "pack": `[{"n":"down","v":2}]`, "ttl": "1h", "priority": "7", "ack": "true", "key": "k"})
	eventually(t, 10*time.Second, "both downlinks come to the device", func() bool { return a.count("deviceDownlink") >= 2 })
	eventually(t, 10*time.Second, "all channels of apps", func() bool {
		return a.count("uplinks") >= 5 && a.count("rejects") >= 2 && a.count("events") > 0 && a.count("sessionEvents") > 0 && a.count("gap") > 0 && a.count("presence") >= 3
	})
	// Both devices, for the session that came later.
	eventually(t, 10*time.Second, "what is retained", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.retained >= 2 })
	for _, kind := range []string{"uplinks", "rejects", "events"} {
		a.stream(kind)
	}
	for _, name := range slices.Sorted(maps.Keys(a.doc.Operations)) {
		if op := a.doc.Operations[name]; op.Reserved != (a.count(name) == 0) {
			t.Errorf("%s: reserved %v, but %d messages were seen", name, op.Reserved, a.count(name))
		}
	}
}

// devicesSend has devices send in every way that there is, well and badly.
func (a *asyncAPI) devicesSend(n *node, d, unsigned fleet.Device) {
	a.Helper()
	a.send(n, d, pack(d, 0, "http", 1))
	a.postWith(n, "/ingestion/m2m/senml/v1", "", pack(unsigned, 0, "unsigned", 1)).accepted(a.T)
	a.postWith(n, "/ingestion/m2m/senml/v1", a.token(d, "x"), pack(d, 0, "wrong", 1))
	a.postWith(n, "/ingestion/m2m/senml/v1", a.token(d, "\xff["), "\xff[")
	device := a.client(n, d.BaseName(), d.Secret, "device")
	a.subscribeDevice(device, d)
	for name, publish := range map[string]func(body string) byte{
		"plain":    func(body string) byte { return a.publish(device, d.Topic(), body, "") },
		"property": func(body string) byte { return a.publish(device, d.Topic(), body, a.token(d, body)) },
		"level":    func(body string) byte { return a.publish(device, d.Topic()+"/"+a.token(d, body), body, "") },
	} {
		if code := publish(pack(d, 0, name, 1)); code != 0 {
			a.Errorf("%s: PUBACK %#02x", name, code)
		}
	}
}

// subscribeDevice waits for downlinks, of which none come yet.
func (a *asyncAPI) subscribeDevice(c *paho.Client, d fleet.Device) {
	a.Helper()
	a.subscribe(c, "", strings.TrimSuffix(d.Topic(), "uplink")+"downlink")
}
