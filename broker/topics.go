package broker

import (
	"strings"

	"m2mbridge/auth"
)

// The topics there are (DESIGN.md 5 and 6). Type and value of a device are
// canonical in what the broker sends to apps; a device may spell its own as it
// likes, since the case of neither tells two devices apart.
const (
	topicThings    = "things/"
	topicUplinks   = "uplinks/"
	topicEvents    = "events/"
	topicPresence  = "presence/"
	topicRejects   = "rejects/"
	topicDownlinks = "downlinks/"

	topicGap  = "events/gap" // to the session alone that missed messages
	sharedTop = "$share/"    // MQTT 5 §4.8.2; taken from 3.1.1 clients too
)

// deviceTopic reads things/<TYPE>/<value>/<rest>.
func deviceTopic(topic string) (id auth.DeviceID, rest string, ok bool) {
	tail, ok := strings.CutPrefix(topic, topicThings)
	if !ok {
		return "", "", false
	}
	return cutDevice(tail)
}

// cutDevice reads <TYPE>/<value>[/<rest>].
func cutDevice(tail string) (id auth.DeviceID, rest string, ok bool) {
	kind, tail, ok := strings.Cut(tail, "/")
	if !ok {
		return "", "", false
	}
	value, rest, _ := strings.Cut(tail, "/")
	id, err := auth.ParseDeviceID(kind + ":" + value)
	return id, rest, err == nil
}

// uplinkTopic reads a device's own uplink topic, and the message token that a
// 3.1.1 client may give as its last level.
func uplinkTopic(own auth.DeviceID, topic string) (token string, hasToken, ok bool) {
	id, rest, ok := deviceTopic(topic)
	if !ok || id != own {
		return "", false, false
	}
	leaf, token, hasToken := strings.Cut(rest, "/")
	if leaf != "uplink" || strings.Contains(token, "/") {
		return "", false, false
	}
	return token, hasToken, true
}

// downlinkFilter reports whether filter is a device's own downlink topic.
func downlinkFilter(own auth.DeviceID, filter string) bool {
	id, rest, ok := deviceTopic(filter)
	return ok && id == own && rest == "downlink"
}

// appFilter cuts $share/<group>/ from a filter.
func appFilter(filter string) (group, inner string, ok bool) {
	if len(filter) > maxFilter {
		return "", filter, false
	}
	tail, shared := strings.CutPrefix(filter, sharedTop)
	if !shared {
		return "", filter, validFilter(filter)
	}
	group, inner, ok = strings.Cut(tail, "/")
	ok = ok && group != "" && !strings.ContainsAny(group, "+#") && validFilter(inner) // [MQTT-4.8.2-1] [MQTT-4.8.2-2]
	return group, inner, ok
}

// No topic has more levels than five, or bytes than a hundred. Each level of a
// filter costs a node of the index, a hundred times the size of its byte in the
// packet, and each filter is kept with its session, over and over.
const (
	maxLevels = 8
	maxFilter = 256
)

// validFilter: a # is a whole level and the last, a + is a whole level.
func validFilter(filter string) bool { // [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1]
	if filter == "" || strings.Count(filter, "/") >= maxLevels {
		return false
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		if strings.ContainsAny(level, "+#") && (len(level) > 1 || level == "#" && more) {
			return false
		}
	}
	return true
}

// matches reports whether a valid filter matches a topic (MQTT 5 §4.7).
func matches(filter, topic string) bool {
	for {
		f, filterRest, filterMore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, topicRest, topicMore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !topicMore:
			return !filterMore || filterRest == "#" // its parent's level too (MQTT 5 §4.7.1.2)
		case !filterMore:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}

// topsThereAre are the first levels of topics for apps.
var topsThereAre = [...]string{"uplinks", "rejects", "events", "presence"}

func topsOf(source Source) map[Stream][]string {
	tops := map[Stream][]string{}
	if source == nil {
		return tops
	}
	for _, top := range topsThereAre {
		for _, s := range source.Of(top) {
			tops[s] = append(tops[s], top)
		}
	}
	return tops
}

// streamsOf gives the streams that a filter's messages come from.
func (b *Broker) streamsOf(filter string) []Stream {
	if b.cfg.Source == nil {
		return nil
	}
	top, _, _ := strings.Cut(filter, "/")
	if top != "#" && top != "+" {
		return b.cfg.Source.Of(top)
	}
	var all []Stream
	for _, top := range topsThereAre {
		all = append(all, b.cfg.Source.Of(top)...)
	}
	return sortStreams(all)
}

// namedDevice is the device that an app's filter names in its second and third level.
func namedDevice(filter string) (auth.DeviceID, bool) {
	_, tail, _ := strings.Cut(filter, "/")
	id, _, ok := cutDevice(tail)
	return id, ok
}
