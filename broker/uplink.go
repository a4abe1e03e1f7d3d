package broker

import (
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
)

// tokenProperty is the MQTT 5 user property with the message token.
const tokenProperty = "Things-Message-Token"

// publish takes a PUBLISH: check → make room → own the acknowledgement → hand on.
// Nothing goes from here to a subscriber.
func (s *session) publish(pk *packets.Packet) *ending {
	s.b.count.published.Add(1)
	if c := pk.PublishValidate(topicAliases); c != packets.CodeSuccess {
		return &ending{code: c.Code, reason: c.Reason, will: true}
	}
	topic, e := s.topicOf(pk)
	if e != nil {
		return e
	}
	// A 5 client that publishes beyond its quota is cut, others are read more slowly.
	quota := s.version == version5 && pk.FixedHeader.Qos > 0
	if !quota && !s.awaitInFlight(s.b.cfg.ReceiveMaximum, s.f.quit) {
		return nil // the session ends or retires: the next read says so
	}
	p, e := s.inboxed(pk)
	if p == nil {
		return e
	}
	s.handOn(p, topic, pk)
	return nil
}

// topicOf is the topic by name or by alias. A new alias needs the name too.
func (s *session) topicOf(pk *packets.Packet) (string, *ending) {
	topic := pk.TopicName
	if pk.Properties.TopicAlias > 0 {
		topic = s.cl.State.TopicAliases.Inbound.Set(pk.Properties.TopicAlias, topic) // [MQTT-3.3.2-12]
	}
	if topic == "" {
		return "", &ending{code: codeProtocolError, reason: "unknown topic alias", will: true}
	}
	return topic, nil
}

// handOn submits what may be submitted, and refuses the rest.
func (s *session) handOn(p *publication, topic string, pk *packets.Packet) {
	if s.who.app != nil {
		s.fromApp(p, topic, pk)
		return
	}
	levelToken, hasLevel, ok := uplinkTopic(s.who.device, topic)
	if !ok {
		s.refusePublish(p, pk, codeNotAuthorized, "topic", "only the device's own uplink topic is taken")
		return
	}
	token, has, no := oneToken(pk.Properties.User, levelToken, hasLevel)
	if no != "" {
		s.refusePublish(p, pk, codeNotAuthorized, "token", no)
		return
	}
	s.b.cfg.Submit(Uplink{Device: s.who.device, Payload: pk.Payload, Token: token, HasToken: has, Remote: s.cl.Net.Remote}, p.decided)
}

// fromApp takes a downlink, the only thing that an app may publish.
func (s *session) fromApp(p *publication, topic string, pk *packets.Packet) {
	tail, ok := strings.CutPrefix(topic, topicDownlinks)
	id, rest, valid := cutDevice(tail)
	a := s.access.Load()
	switch {
	case !ok:
		s.refusePublish(p, pk, codeNotAuthorized, "topic", "an app may publish to downlinks/<TYPE>/<value> only")
		return
	case !a.app.Has(auth.ScopeDownlinkWrite):
		s.refusePublish(p, pk, codeNotAuthorized, "topic", "the app lacks the scope downlink.write")
		return
	case !valid || rest != "":
		s.refusePublish(p, pk, codeNotAuthorized, "topic", "the topic names no device: want downlinks/IMEI/<15 digits> or downlinks/DVNUUID/<uuid>")
		return
	case pk.FixedHeader.Retain:
		s.refusePublish(p, pk, codeImplementation, "topic", "a downlink goes to its device once: it is not retained, publish it without RETAIN")
		return
	case s.b.cfg.Downlink == nil && s.version < version5:
		p.decided(Outcome{Unavailable: true}) // an acknowledgement would be a promise
		return
	case s.b.cfg.Downlink == nil:
		s.refusePublish(p, pk, codeImplementation, "topic", "downlinks are not available yet")
		return
	}
	if sees, err := s.b.sees(a, id); err != nil {
		p.decided(Outcome{Unavailable: true})
		return
	} else if !sees {
		s.refusePublish(p, pk, codeNotAuthorized, "topic", "the device is not one of the app's")
		return
	}
	if !s.b.quotas.take(a.app) {
		s.refusePublish(p, pk, codeQuota, "quota", "the app publishes more than it may: slow down, and send it again")
		return
	}
	s.b.cfg.Downlink(Downlink{App: a.app, Device: id, Payload: pk.Payload, Remote: s.cl.Net.Remote, Properties: pk.Properties.User}, p.decided)
}

// refusePublish refuses here what never gets a verdict. A 3.1.1 client is
// acknowledged all the same: it would send again for ever (DESIGN.md 5).
func (s *session) refusePublish(p *publication, pk *packets.Packet, c byte, kind, reason string) {
	r := Refusal{Device: s.who.device, Remote: s.cl.Net.Remote, Reason: kind, Detail: reason, Body: pk.Payload}
	if s.who.app != nil {
		r.App = s.who.app.Name
	}
	s.b.cfg.Reject(r)
	p.decided(Outcome{Code: c, Reason: reason})
}

// oneToken is the message token of a publish, which may come as a user property
// or as the topic's last level. Where it is ambiguous no says why.
func oneToken(props []packets.UserProperty, level string, hasLevel bool) (token string, has bool, no string) {
	token, has = level, hasLevel
	seen := false
	for _, p := range props {
		if !strings.EqualFold(p.Key, tokenProperty) {
			continue
		}
		switch {
		case seen:
			return "", false, "two message tokens"
		case hasLevel && !strings.EqualFold(level, p.Val):
			return "", false, "the message tokens in topic and user property differ"
		}
		token, has, seen = p.Val, true, true
	}
	return token, has, ""
}
