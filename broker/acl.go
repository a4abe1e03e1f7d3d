package broker

import (
	"context"
	"errors"
	"strings"
	"time"

	"m2mbridge/auth"
)

// Bounds of the look-up of a device's labels for an app that filters by them.
const (
	labelWait = 100 * time.Millisecond
	blindFor  = time.Second // after that failed
)

// rights are the kinds of messages an app may read.
type rights uint8

const (
	readUplinks rights = 1 << iota // uplinks and presence
	readEvents
	readRejects
)

func rightsOf(a *auth.App) (r rights) {
	if a.Has(auth.ScopeUplinkRead) {
		r |= readUplinks
	}
	if a.Has(auth.ScopeDownlinkRead) {
		r |= readEvents
	}
	if a.Has(auth.ScopeRejectRead) {
		r |= readRejects
	}
	return r
}

// access is what an app may see, as the registry last said.
type access struct {
	app    *auth.App
	rights rights
}

// neededFor is the rights of which any one lets a message of the topic through; none for other topics.
func neededFor(topic string) rights {
	switch {
	case strings.HasPrefix(topic, topicUplinks), strings.HasPrefix(topic, topicPresence):
		return readUplinks
	case strings.HasPrefix(topic, topicRejects):
		return readRejects
	case strings.HasPrefix(topic, topicEvents):
		if strings.HasSuffix(topic, "/presence") {
			return readUplinks | readEvents
		}
		return readEvents
	}
	return 0
}

// neededByFilter is the same for a filter: of the topics it can match, those of any right.
func neededByFilter(filter string) rights {
	top, tail, _ := strings.Cut(filter, "/")
	switch top {
	case "#", "+":
		return readUplinks | readEvents | readRejects
	case "uplinks", "presence":
		return readUplinks
	case "rejects":
		return readRejects
	case "events":
		if strings.HasPrefix(tail, "APP/") || strings.HasSuffix(tail, "/presence") || tail == "#" || strings.HasSuffix(tail, "/+") || strings.HasSuffix(tail, "/#") {
			return readEvents | readUplinks
		}
		return readEvents
	}
	return 0
}

// maySubscribe is the reason code for a filter of an app; 0: it may.
func (b *Broker) maySubscribe(a *access, filter string) byte {
	if a.rights&neededByFilter(filter) == 0 {
		return codeNotAuthorized
	}
	id, named := namedDevice(filter)
	if !named || len(a.app.Devices) == 0 {
		return 0
	}
	sees, err := b.sees(a, id)
	switch {
	case errors.Is(err, auth.ErrDamaged):
		return 0 // its session goes on; each message is held against what can be read then
	case err != nil:
		return codeUnspecified // the registry cannot say: try again
	case !sees:
		return codeNotAuthorized
	}
	return 0
}

// mayRead is asked again for each message and each app: what a wildcard let in
// on SUBSCRIBE is not yet seen. It is not sure when the registry cannot be asked.
func (b *Broker) mayRead(a *access, m *Message) (may, sure bool) {
	if m.App == a.app.Name && a.rights&(readUplinks|readEvents) != 0 { // about its own sessions
		return true, true
	}
	if a.rights&neededFor(m.Topic) == 0 {
		return false, true
	}
	if len(a.app.Devices) == 0 {
		return true, true
	}
	if m.Device == "" {
		return false, true
	}
	may, err := b.sees(a, m.Device)
	return may && err == nil, err == nil || !unsure(err)
}

// sees asks for labels only where the filter is by label. While the registry
// cannot be asked, it is asked once a second: the live tail must not wait for
// each message.
func (b *Broker) sees(a *access, id auth.DeviceID) (bool, error) {
	if !a.app.NeedsLabels(id) {
		return a.app.Sees(id, nil), nil
	}
	if time.Now().UnixNano() < b.blind.Load() {
		return false, auth.ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(context.Background(), labelWait)
	defer cancel()
	sees, err := b.cfg.Registry.Sees(ctx, a.app, id)
	if err != nil && unsure(err) { // else the device's record is damaged: what labels it has nobody can say, ever
		b.blind.Store(time.Now().Add(blindFor).UnixNano())
	}
	return sees, err
}
