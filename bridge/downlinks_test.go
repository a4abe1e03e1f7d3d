package bridge

import (
	"errors"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
	"m2mbridge/broker"
)

// What an app publishes is a pack, or with the user property as text or octets.
func TestDraftOfPublish(t *testing.T) {
	of := func(payload string, pairs ...string) (downlink.Draft, error) {
		d := broker.Downlink{App: &auth.App{Name: "a"}, Device: "IMEI:356726104408422", Payload: []byte(payload)}
		for i := 0; i < len(pairs); i += 2 {
			d.Properties = append(d.Properties, packets.UserProperty{Key: pairs[i], Val: pairs[i+1]})
		}
		return draftOf(&d)
	}
	d, err := of(`[{"n":"n","v":1}]`, "wake", "true", "channel", "mqtt", "ttl", "60000")
	if err != nil || string(d.Pack) != `[{"n":"n","v":1}]` || !d.Wake || d.Channel != downlink.MQTT || d.App != "a" || d.Device != "IMEI:356726104408422" || d.Priority != downlink.DefaultPriority {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = of("reboot", "as", "text", "channel", "sms")
	if err != nil || d.Text != "reboot" || len(d.Pack) > 0 || d.Channel != downlink.SMS {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = of("\x00\xff", "channel", "sms", "as", "data")
	if err != nil || string(d.Data) != "\x00\xff" || len(d.Pack) > 0 || d.Text != "" {
		t.Errorf("%+v, %v", d, err)
	}
	for _, pairs := range [][]string{{"as", "song"}, {"wake", "perhaps"}, {"waek", "true"}} {
		if d, err := of("x", pairs...); !errors.Is(err, downlink.ErrInvalid) {
			t.Errorf("%v: %+v, %v", pairs, d, err)
		}
	}
}

func TestOutcomeOfNoSMS(t *testing.T) {
	if o := downlinkOutcome(downlink.ErrNoSMS); o.Code != codeImplementation || o.Reason == "" {
		t.Errorf("%+v", o)
	}
}
