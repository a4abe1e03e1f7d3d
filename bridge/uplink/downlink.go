package uplink

import (
	"bytes"
	"context"
	"strings"

	"m2mbridge/bridge/downlink"
	"m2mbridge/senml"
)

// Downlink is what an uplink takes along in its answer.
type Downlink struct {
	ID   string
	Body []byte // the pack, with the base name as the device spells it
	// Settle tells what became of it: the whole answer left and the device's side took it, or not, and by what one knows.
	// It is called once.
	Settle func(delivered bool, cause string)
}

// ackName is the record by which a device says that it has a downlink; its value is the id.
const (
	ackName = "downlinkAck"
	maxID   = 64 // bytes; longer ones are none of ours
)

// acknowledges is the id of the downlink that the pack acknowledges, "" if none. A pack has been resolved.
func (u *uplink) acknowledges() string {
	for i := range u.pack.Records {
		r := &u.pack.Records[i]
		if r.Kind != senml.String || len(r.Text) > maxID || !bytes.HasSuffix(r.Name, []byte(ackName)) {
			continue
		}
		if head := r.Name[:len(r.Name)-len(ackName)]; len(head) == 0 || head[len(head)-1] == ':' {
			return string(r.Text)
		}
	}
	return ""
}

// taken is the downlink that the script handed to an uplink. One that cannot be written for the device is given back.
func (s *Service) taken(u *uplink, words string) *Downlink {
	h, ok, err := downlink.HandedOf(u.id, strings.SplitN(words, " ", 3))
	if err != nil || !ok {
		s.cfg.Log.Error("downlink not handed over", "device", u.id, "error", err)
		return nil
	}
	s.cfg.Downlinks.Handing(h, downlink.HTTP)
	d := &Downlink{ID: h.ID, Settle: func(delivered bool, cause string) { s.settleDownlink(h, delivered, cause) }}
	if d.Body, err = h.Spell(string(u.spelling)); err != nil {
		d.Settle(false, "the pack cannot be written for the device")
		return nil
	}
	return d
}

// settleDownlink tells the outcome, now or as soon as Redis can be told.
func (s *Service) settleDownlink(h downlink.Handed, delivered bool, cause string) {
	if err := s.cfg.Downlinks.Settle(context.Background(), h, delivered, cause); err != nil {
		s.cfg.Log.Warn("outcome of a downlink not noted yet", "downlink", h.ID, "error", err)
	}
}
