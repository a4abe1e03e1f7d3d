package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"m2mbridge/bridge/commands"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/uplink"
	"m2mbridge/broker"
)

// createDownlink makes a downlink of what an app publishes to downlinks/<TYPE>/<value>. Its user properties say what the
// pack does not: channel, ttl, notBefore, priority, idempotencyKey, ack, wake; and as, where the payload is no pack.
func (b *Bridge) createDownlink(d broker.Downlink, done func(broker.Outcome)) {
	draft, err := draftOf(&d)
	if err != nil {
		b.rejectDownlink(uplink.MQTT, string(d.Device), "app "+d.App.Name+": "+err.Error(), d.Remote, d.Payload)
		done(downlinkOutcome(err))
		return
	}
	go func() { // Redis is asked; a client has few publishes unanswered
		_, _, err := b.downlinks.Create(context.Background(), draft)
		if err != nil && !errors.Is(err, downlink.ErrUnavailable) {
			b.rejectDownlink(uplink.MQTT, string(d.Device), "app "+d.App.Name+": "+err.Error(), d.Remote, d.Payload)
		}
		done(downlinkOutcome(err))
	}()
}

// draftOf reads an app's publish.
func draftOf(d *broker.Downlink) (draft downlink.Draft, err error) {
	draft.Channel, draft.Priority = downlink.Any, downlink.DefaultPriority
	as := "pack"
	for _, p := range d.Properties {
		if p.Key == "as" {
			as = p.Val
		} else if err := commands.Set(&draft, p.Key, p.Val); err != nil {
			return draft, err
		}
	}
	draft.Device, draft.App = d.Device, d.App.Name
	switch as {
	case "pack":
		draft.Pack = d.Payload
	case "text":
		draft.Text = string(d.Payload)
	case "data":
		draft.Data = d.Payload
	default:
		return draft, fmt.Errorf("%w: as %.64q: want pack, text or data", downlink.ErrInvalid, as)
	}
	return draft, nil
}

// downlinkOutcome spells what became of an app's publish for MQTT.
func downlinkOutcome(err error) broker.Outcome {
	switch {
	case err == nil:
		return broker.Outcome{}
	case errors.Is(err, downlink.ErrUnavailable):
		return broker.Outcome{Unavailable: true}
	case errors.Is(err, downlink.ErrFull):
		return broker.Outcome{Code: codeQuotaExceeded, Reason: err.Error()}
	case errors.Is(err, downlink.ErrNoSMS):
		return broker.Outcome{Code: codeImplementation, Reason: err.Error()}
	case errors.Is(err, downlink.ErrDevice):
		return broker.Outcome{Code: codeNotAuthorized, Reason: err.Error()}
	}
	return broker.Outcome{Code: codePayloadInvalid, Reason: err.Error()}
}

// viaRedis is the edge of integrations that write streams.
const viaRedis uplink.Via = "redis"

// rejectCommand writes what could not be carried out to the rejects stream.
func (b *Bridge) rejectCommand(r commands.Rejected) {
	b.rejectDownlink(viaRedis, r.Device, r.Detail, "", []byte(r.Pack))
}

func (b *Bridge) rejectDownlink(via uplink.Via, device, detail, remote string, pack []byte) {
	b.uplinks.Reject(uplink.Reject{
		Device: device, Via: via, At: time.Now(), Reason: "downlink", Detail: detail, Remote: remote, Body: pack,
	})
}
