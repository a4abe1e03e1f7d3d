package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"m2mbridge/auth"
	"m2mbridge/bridge/downlink"
	"m2mbridge/bridge/texter"
	"m2mbridge/bridge/trace"
	"m2mbridge/sms"
)

// schedule is that of attempts by SMS.
func (c *Config) schedule() (sms.Schedule, error) {
	return sms.ParseSchedule(c.SMSSchedule, c.SMSLimit)
}

// scheduleText is a schedule as the rules of downlinks take it.
func scheduleText(s sms.Schedule) string {
	var b strings.Builder
	for i, offset := range s.Offsets() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(offset.Milliseconds(), 10))
	}
	return b.String() + ";" + strconv.FormatInt(s.Limit().Milliseconds(), 10)
}

// smsOff tells whether no SMS are sent.
func (c *Config) smsOff() bool { return c.SMS == "off" || c.SMS == "" }

// downlinkSMS is what downlinks are to know of SMS.
func (c *Config) downlinkSMS(d *downlink.Config) error {
	if c.smsOff() {
		return nil
	}
	s, err := c.schedule()
	if err != nil {
		return err // of a configuration that was not validated
	}
	d.SMS, d.Schedule = sms.Parts, scheduleText(s)
	return nil
}

// openGateway makes the gateway, nil if none is configured. It connects to nothing yet.
func (c *Config) openGateway(o sms.Options) (sms.Gateway, error) {
	if c.smsOff() {
		return nil, nil
	}
	classes, err := sms.ParseClasses(c.SMSErrors)
	if err != nil {
		return nil, err
	}
	o.Originator, o.Classes = c.SMSOriginator, classes
	return sms.Open(c.SMS, o)
}

// openSMS makes what brings downlinks to devices by SMS, if anything is to.
func (b *Bridge) openSMS(keys auth.Keyspace, metrics prometheus.Registerer) error {
	c := b.cfg
	if c.smsOff() {
		return nil
	}
	gateway, err := c.openGateway(sms.Options{
		Log: b.log,
		Receive: sms.Receive{ // by what is made below
			Receipt: func(ctx context.Context, gateway string, r sms.Receipt) error {
				return b.texter.Receipt(ctx, gateway, r)
			},
			Late: func(ctx context.Context, gateway string, m sms.Message, a sms.Accepted, err error) {
				b.texter.Late(ctx, gateway, m, a, err)
			},
		},
	})
	if err != nil {
		return refuse("sms", "%v", err)
	}
	window, rate := 0, 0.0
	if l, ok := sms.As[sms.Limited](gateway); ok {
		window, rate = l.Limits()
	}
	b.gateway = gateway
	b.texter = texter.New(texter.Config{
		Client: b.store.Client, Keys: keys, Downlinks: b.downlinks, Gateway: gateway, Originator: c.SMSOriginator, WakeText: c.SMSWakeText,
		Validity: func(step time.Duration) time.Duration { return sms.Validity(time.Time{}, time.Time{}.Add(step)) },
		Keep:     c.SMSLimit + 24*time.Hour, Window: window, Rate: rate, Blocking: b.store.Blocking, Metrics: metrics, Log: b.log, Note: b.noteSMS,
	})
	return nil
}

// DescribeSMS says in a few words how SMS go.
func (b *Bridge) DescribeSMS() string {
	switch {
	case b.gateway == nil:
		return "off: none are sent"
	case strings.HasPrefix(b.cfg.SMS, "loopback:"):
		return "loopback: they are shown in the log and not sent (see --sms)"
	}
	return "by " + b.gateway.Name()
}

// noteSMS is the trace for SMS.
func (b *Bridge) noteSMS(id auth.DeviceID, text string) {
	if b.trace != nil {
		b.trace.Note(id, trace.Proven, trace.SMS, text)
	}
}

// smsReady tells whether the gateway would take an SMS now, and why not.
func (b *Bridge) smsReady() (ready bool, why string) {
	if b.gateway == nil {
		return false, "this bridge sends no SMS (--sms off)"
	}
	ready, _ = b.gateway.Ready()
	if w, ok := sms.As[interface{ Why() string }](b.gateway); ok && !ready {
		why = w.Why()
	}
	return ready, why
}

// smsReceipts takes the receipts that a gateway's owner posts. The secret in the gateway's file is what lets it in.
func (b *Bridge) smsReceipts() http.Handler {
	hook, ok := sms.As[sms.Webhook](b.gateway)
	if b.gateway == nil || !ok {
		return nil
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		receipts, err := hook.ParseReceipt(r)
		var failed error
		for _, one := range receipts { // what could be read comes with an error
			if err := b.texter.Receipt(r.Context(), b.gateway.Name(), one); err != nil {
				failed = err
			}
		}
		switch {
		case failed != nil:
			b.log.Warn("receipt of an SMS not noted: its gateway should send it again", "error", failed)
			http.Error(w, "it cannot be stored now: send it again", http.StatusServiceUnavailable)
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, sms.ErrReceiptDenied):
			http.Error(w, err.Error(), http.StatusForbidden)
		case errors.Is(err, sms.ErrNoWebhook):
			http.Error(w, err.Error(), http.StatusNotFound)
		default:
			http.Error(w, fmt.Sprint("receipt: ", err), http.StatusBadRequest)
		}
	})
}
